/** The chain of I5: each event's hash covers the whole row and the hash before it on the same account. */
import { hash } from "node:crypto"

import type { Command } from "./Command.ts"
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

export const isLinked = (previous: string, row: StoredEvent): boolean => link(previous, row) === row.hash

/**
 * What makes two commands of one id the same command: SHA-256, base64url, over everything but the context (a retry
 * may come with another trace id), as JSON with the keys of every object in order and amounts as strings.
 */
export const hashCommand = (command: Command): string => {
  const { context: _, ...body } = command
  return hash("sha256", canonicalJson(body), "base64url")
}

/** One JSON text for equal values, whatever order their keys were written in. */
const canonicalJson = (value: unknown): string => {
  if (typeof value === "bigint") return `"${value}"`
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  const members = Object.entries(value).filter(([, inner]) => inner !== undefined)
  members.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([key, inner]) => `${JSON.stringify(key)}:${canonicalJson(inner)}`).join(",")}}`
}
