/** The chain of I5: each event's hash covers the whole row and the hash before it on the same account. */
import { hash } from "node:crypto"

import { Schema } from "effect"
import { type Command, Command as CommandSchema } from "./Command.ts"
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

const encodeCommand = Schema.encodeSync(CommandSchema)

/**
 * What makes two commands of one id the same command: SHA-256 over everything but the context (a retry may come
 * with another trace id). Fields are encoded in schema order, so the order a caller wrote them in is no matter.
 */
export const hashCommand = (command: Command): string => {
  const { context: _, ...body } = command
  return hash("sha256", JSON.stringify(sorted(encodeCommand(body as Command))), "base64url")
}

/** The same JSON value with the keys of every object in order. */
const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)])
  )
}
