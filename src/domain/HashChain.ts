/** The hash chain (I5): each event's hash covers the whole row and the hash before it on the same account. */
import { hash } from "node:crypto"

import type { Command } from "./Command.ts"
import type { ResolvedReverse } from "./Original.ts"
import type { StoredEvent } from "./StoredEvent.ts"

/** What the first event of an account is chained to. */
export const genesis = ""

/** An event before its hash is known. */
export type Unlinked = Omit<StoredEvent, "hash">

/**
 * SHA-256, base64url, of the JSON array of the hash before and every column in the order below: anyone can
 * recompute it from the row in any language. Payload and context enter as the texts that are stored.
 */
export const link = (previous: string, row: Unlinked): string =>
  hash(
    "sha256",
    JSON.stringify([
      previous,
      row.accountId,
      row.version,
      row.type,
      row.schemaVersion,
      row.payload,
      row.commandId,
      row.ordinal,
      row.commandHash,
      row.recordedAt,
      row.effectiveAt,
      row.context
    ]),
    "base64url"
  )

/**
 * The row with its hash, which is written into the row itself: a copy of it would cost as much as the rest of a turn.
 * For rows that were just decided: their ids have no character that JSON escapes, so the text of `link` is put together by
 * hand, a third faster. `chained` is what `encodePayload` made of the row's type, schema version and payload. A row that was
 * read may have been tampered with and takes `link`.
 */
export const linked = (previous: string, row: Unlinked & { hash: string }, chained: string): StoredEvent => {
  // Node makes one piece of the text before it hashes it, 8 ns a part: what mostly stands together is one part here.
  const end =
    row.effectiveAt === null && row.context === null
      ? ",null,null]"
      : `,${row.effectiveAt},${row.context === null ? "null" : JSON.stringify(row.context)}]`
  // Only the first event of a command has the command's hash.
  const place = row.commandHash === null ? `",${row.ordinal},null,` : `",${row.ordinal},"${row.commandHash}",`
  row.hash = hash(
    "sha256",
    `["${previous}","${row.accountId}",${row.version},${chained},"${row.commandId}${place}${row.recordedAt}${end}`,
    "base64url"
  )
  return row
}

export const isLinked = (previous: string, row: StoredEvent): boolean => link(previous, row) === row.hash

/**
 * What makes two commands of one id the same command: SHA-256, base64url, over everything but the context (a retry
 * may come with another trace id), as JSON with the keys of every object in order and amounts as strings.
 */
export const hashCommand = (command: Command): string => hash("sha256", canonicalText(command), "base64url")

const canonicalText = (command: Command): string => {
  switch (command._tag) {
    // The frequent commands are written out, which is ten times as fast; a test compares the two forms.
    case "Deposit":
    case "Withdraw":
      return `{"_tag":"${command._tag}","account":"${command.account}",${amountText(command)},"commandId":"${command.commandId}"${optional("contra", command.contra)}${laterMembers(command)}${metadataText(command)}}`
    case "Transfer":
      return `{"_tag":"Transfer",${amountText(command)},"commandId":"${command.commandId}"${laterMembers(command)},"from":"${command.from}"${metadataText(command)},"to":"${command.to}"}`
    case "PlaceHold":
      return `{"_tag":"PlaceHold","account":"${command.account}",${amountText(command)},"commandId":"${command.commandId}"${laterMembers(command)}${optional("expiresAt", command.expiresAt)}${optional("expiresIn", command.expiresIn)}${metadataText(command)}${optional("to", command.to)}}`
    case "CaptureHold":
      return `{"_tag":"CaptureHold","account":"${command.account}"${partText(command)},"commandId":"${command.commandId}"${capturedMembers(command)},"hold":"${command.hold}"${metadataText(command)}${optional("to", command.to)}}`
    case "ReleaseHold":
      return `{"_tag":"ReleaseHold","account":"${command.account}"${partText(command)},"commandId":"${command.commandId}"${laterMembers(command)},"hold":"${command.hold}"${metadataText(command)}}`
    default:
      return canonicalCommand(command)
  }
}

type Of<Tag extends Command["_tag"]> = Extract<Command, { readonly _tag: Tag }>
type Movement = Of<"Deposit" | "Withdraw" | "Transfer" | "PlaceHold">

const amountText = ({ amount, asset }: Movement): string => `"amount":"${amount}"${optional("asset", asset)}`

/** An amount that may be absent. */
const partText = ({ amount, asset }: Of<"CaptureHold" | "ReleaseHold">): string =>
  `${amount === undefined ? "" : `,"amount":"${amount}"`}${optional("asset", asset)}`

/** The members of any command that stand between its id and what is its own. */
type Common = Pick<Movement, "description" | "effectiveAt" | "expectedVersion">

const capturedMembers = (command: Of<"CaptureHold">): string => {
  const { description, effectiveAt, excess, expectedVersion, final } = command
  return `${optional("description", description)}${optional("effectiveAt", effectiveAt)}${optional("excess", excess)}${optional("expectedVersion", expectedVersion)}${optional("final", final)}`
}

const laterMembers = ({ description, effectiveAt, expectedVersion }: Common): string =>
  description === undefined && effectiveAt === undefined && expectedVersion === undefined
    ? ""
    : `${optional("description", description)}${optional("effectiveAt", effectiveAt)}${optional("expectedVersion", expectedVersion)}`

const metadataText = ({ metadata }: Pick<Movement, "metadata">): string =>
  metadata === undefined ? "" : `,"metadata":${canonicalJson(metadata)}`

/** A member that may be absent, with the comma before it. */
const optional = (key: string, value: string | number | boolean | undefined): string =>
  value === undefined ? "" : `,"${key}":${JSON.stringify(value)}`

/** The text of any command: everything but the context. The texts that are written out above must equal it. */
export const canonicalCommand = (command: Command): string => {
  const { context: _, ...body } = command
  return canonicalJson(body._tag === "Reverse" ? withoutOriginal(body) : body)
}

/** A reversal carries what the log says of its original, which is no part of what was asked for; its id says which one it is. */
const withoutOriginal = ({ found: _, n: __, ...asked }: Omit<ResolvedReverse, "context">) => asked

/** One JSON text for equal values, whatever order their keys were written in. */
const canonicalJson = (value: unknown): string => {
  if (typeof value === "bigint") return `"${value}"`
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  const members = Object.entries(value).filter(([, inner]) => inner !== undefined)
  members.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([key, inner]) => `${JSON.stringify(key)}:${canonicalJson(inner)}`).join(",")}}`
}
