/** The message that carries the events of commits on one partition, and its form on the wire. */
import { hash } from "node:crypto"
import { Predicate, Result, Schema } from "effect"
import * as SchemaJITCompiler from "effect/schema/SchemaJITCompiler"
import { accountIdPattern, anyCommandIdPattern } from "../../domain/IdPatterns.ts"
import { type AccountId, type CommandId, instantMax } from "../../domain/Ids.ts"
import { byPartition } from "../../domain/Partition.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import type { Commit, WriterId } from "../eventstore/EventStoreTypes.ts"

/** The events of one commit on one partition, or a piece of them. */
export interface CommitPart {
  readonly writerId: WriterId
  readonly seq: number
  /** Numbers the pieces of one commit and partition from 0: large ones are cut to what a server takes. */
  readonly part: number
  readonly events: ReadonlyArray<StoredEvent>
}

/**
 * The events of one partition of all commits that are published together, of any writers: a message an event would cap a
 * node near 12,000 transfers a second, and a message a commit is most of the cost of one command at low rates.
 */
export interface BusMessage {
  readonly partition: number
  readonly parts: ReadonlyArray<CommitPart>
}

/** All events of a message, in the order of its commits. */
export const eventsOf = ({ parts }: BusMessage): ReadonlyArray<StoredEvent> =>
  parts.flatMap(({ events }) => events)

/** Bytes of a row beside its texts, about. */
const rowBytes = 300

/** About what the row takes on the wire: quotes in the payload are escaped once more on the way. */
const bytesOf = ({ payload, context }: StoredEvent): number =>
  rowBytes + 1.3 * (Buffer.byteLength(payload) + (context?.length ?? 0) * 2)

interface Packing {
  readonly parts: Array<
    { -readonly [Key in keyof CommitPart]: CommitPart[Key] } & { events: Array<StoredEvent> }
  >
  bytes: number
}

/** The same commits always make the same messages; those of a partition are in the order of the commits. */
export const pack = (
  commits: ReadonlyArray<Commit>,
  limits: { readonly partitions: number; readonly bytesMax: number }
): ReadonlyArray<BusMessage> => {
  const messages: Array<BusMessage> = []
  /** The message of each partition that is being filled. */
  const filling = new Map<number, Packing>()
  const begin = (partition: number): Packing => {
    const packing: Packing = { parts: [], bytes: 0 }
    filling.set(partition, packing)
    messages.push({ partition, parts: packing.parts })
    return packing
  }
  for (const { writerId, seq, events } of commits) {
    for (const [partition, rows] of byPartition(events, limits.partitions, (row) => row.accountId)) {
      let packing = filling.get(partition) ?? begin(partition)
      let part = 0
      let piece: Array<StoredEvent> | undefined
      for (const row of rows) {
        const bytes = bytesOf(row)
        if (packing.bytes > 0 && packing.bytes + bytes > limits.bytesMax) {
          packing = begin(partition)
          if (piece !== undefined) part++
          piece = undefined
        }
        if (piece === undefined) {
          piece = []
          packing.parts.push({ writerId, seq, part, events: piece })
        }
        piece.push(row)
        packing.bytes += bytes
      }
    }
  }
  return messages
}

/**
 * The id by which the bus drops a message that was sent twice: what it begins with and ends with, of each writer, and a hash of all
 * that it holds. The places alone would not do: where else commits are packed beside others, a message that is cut for its size
 * has the same places as one of the first time, and other events.
 */
export const messageIdOf = ({ partition, parts }: BusMessage): string => {
  const spans = new Map<WriterId, string>()
  const placeOf = ({ seq, part }: CommitPart) => (part === 0 ? `${seq}` : `${seq}.${part}`)
  for (const one of parts) {
    const [first] = spans.get(one.writerId)?.split("-") ?? []
    const place = placeOf(one)
    spans.set(one.writerId, first === undefined ? place : `${first}-${place}`)
  }
  // A row's hash covers all of it.
  const rows = parts.map(({ events }) => events.map((row) => row.hash).join(" ")).join("\n")
  const content = hash("sha256", rows, "base64url").slice(0, contentLength)
  return `${[...spans].map(([writer, span]) => `${writer}:${span}`).join("+")}:${partition}:${content}`
}

/** Characters of the hash in the id of a message: beside the places, 96 bits are enough. */
const contentLength = 16

/** Rows as arrays: the names of the columns in each row would be a third of the bytes. */
const Row = Schema.Tuple([
  Schema.String,
  Schema.Number,
  Schema.String,
  Schema.Number,
  Schema.String,
  Schema.String,
  Schema.Number,
  Schema.NullOr(Schema.String),
  Schema.Number,
  Schema.NullOr(Schema.Number),
  Schema.NullOr(Schema.String),
  Schema.String
])
const Part = Schema.Struct({
  writer: Schema.String,
  seq: Schema.Number,
  part: Schema.Number,
  rows: Schema.Array(Row)
})
const Wire = Schema.Struct({ partition: Schema.Number, parts: Schema.Array(Part) })
/** As an earlier version of this program wrote it: the stream may hold such messages while nodes are replaced one by one. */
const OnePart = Schema.Struct({ partition: Schema.Number, ...Part.fields })

// Compiled where the host allows code from text, else interpreted: each event of the log is read by it once.
SchemaJITCompiler.enable(Wire.ast)
const decodeWire = Schema.decodeUnknownResult(Wire)
const decodeOnePart = Schema.decodeUnknownResult(OnePart)

export const encodeMessage = ({ partition, parts }: BusMessage): string =>
  JSON.stringify({
    partition,
    parts: parts.map(({ writerId, seq, part, events }) => ({
      writer: writerId,
      seq,
      part,
      rows: events.map(toRow)
    }))
  } satisfies typeof Wire.Type)

const decodeJson = (json: unknown): Result.Result<typeof Wire.Type, Schema.SchemaError> =>
  Predicate.hasProperty(json, "parts")
    ? decodeWire(json)
    : Result.map(decodeOnePart(json), ({ partition, ...part }) => ({ partition, parts: [part] }))

/** The message, or why the text is not one. */
export const decodeMessage = (text: string): Result.Result<BusMessage, string> =>
  Result.try({
    try: (): unknown => JSON.parse(text),
    catch: (cause) => `no JSON: ${cause instanceof Error ? cause.message : String(cause)}`
  }).pipe(
    Result.flatMap((json) => Result.mapError(decodeJson(json), (error) => error.message)),
    Result.flatMap((wire) => {
      const fault = faultOf(wire)
      return fault === undefined ? Result.succeed(wire) : Result.fail(fault)
    }),
    Result.map(({ partition, parts }) => ({
      partition,
      parts: parts.map(({ writer, seq, part, rows }) => ({
        writerId: writer,
        seq,
        part,
        events: rows.map(toEvent)
      }))
    }))
  )

/** Characters of a writer's id, at most: the name of its node and some twenty more. */
const writerLengthMax = 1_000
const isWriter = (text: string): boolean =>
  text.length > 0 && text.length <= writerLengthMax && !text.includes("\0")
const isCount = (value: number, least: number): boolean => Number.isSafeInteger(value) && value >= least
const isInstant = (value: number): boolean => isCount(value, 0) && value <= instantMax

/**
 * What of a message a database takes for none of its values. Such a part is looked up, and its rows are, before any hash is: a statement
 * that is refused for one of them would be so each time that the message comes. The schema is compiled to code, which has no checks.
 */
const faultOf = ({ partition, parts }: typeof Wire.Type): string | undefined => {
  if (!isCount(partition, 0)) return `${partition} is no partition`
  for (const { writer, seq, part, rows } of parts) {
    if (!isWriter(writer)) return `${JSON.stringify(writer.slice(0, 100))} is no writer`
    if (!isCount(seq, 1) || !isCount(part, 0)) return `${seq}.${part} is no part of a commit`
    const index = rows.findIndex((row) => !isSound(row))
    if (index !== -1)
      return `row ${index} of commit ${seq} of ${writer} has an id, a number or an instant that no event has`
  }
  return undefined
}

const isSound = (row: typeof Row.Type): boolean =>
  accountIdPattern.test(row[0]) &&
  isCount(row[1], 1) &&
  isCount(row[3], 1) &&
  anyCommandIdPattern.test(row[5]) &&
  isCount(row[6], 0) &&
  isInstant(row[8]) &&
  (row[9] === null || isInstant(row[9]))

/** Commits as one text: what the thread of the read side is handed. Objects of so many members take twice as long to cross. */
export const encodeCommits = (commits: ReadonlyArray<Commit>): string =>
  JSON.stringify(commits.map(({ writerId, seq, events }) => [writerId, seq, events.map(toRow)]))

/** The commits of a text that `encodeCommits` made. */
export const decodeCommits = (text: string): ReadonlyArray<Commit> => {
  const commits: ReadonlyArray<readonly [WriterId, number, ReadonlyArray<typeof Row.Type>]> = JSON.parse(text)
  return commits.map(([writerId, seq, rows]) => ({ writerId, seq, events: rows.map(toEvent) }))
}

const toRow = (row: StoredEvent): typeof Row.Type => [
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
  row.context,
  row.hash
]

/** Of a row whose ids were checked, or that this process has printed itself. */
const toEvent = (row: typeof Row.Type): StoredEvent => ({
  accountId: row[0] as AccountId,
  version: row[1],
  type: row[2],
  schemaVersion: row[3],
  payload: row[4],
  commandId: row[5] as CommandId,
  ordinal: row[6],
  commandHash: row[7],
  recordedAt: row[8],
  effectiveAt: row[9],
  context: row[10],
  hash: row[11]
})
