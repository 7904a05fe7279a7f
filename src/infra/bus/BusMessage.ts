/** The message that carries the events of one commit on one partition, and its form on the wire. */
import { Result, Schema } from "effect"
import type { AccountId, CommandId } from "../../domain/Ids.ts"
import { byPartition } from "../../domain/Partition.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import type { Commit, WriterId } from "../eventstore/EventStoreTypes.ts"

/** The events of one commit on one partition: a message an event would cap a node near 12,000 transfers a second. */
export interface BusMessage {
  readonly partition: number
  readonly writerId: WriterId
  readonly seq: number
  /** Numbers the messages of one commit and partition from 0: large ones are cut to what a server takes. */
  readonly part: number
  readonly events: ReadonlyArray<StoredEvent>
}

/** Bytes of a row beside its texts, about. */
const rowBytes = 300

/** The same commit always makes the same messages. */
export const pack = (
  commit: Commit,
  limits: { readonly partitions: number; readonly bytesMax: number }
): ReadonlyArray<BusMessage> => {
  const { writerId, seq } = commit
  const messages: Array<BusMessage> = []
  for (const [partition, events] of byPartition(commit.events, limits.partitions, (row) => row.accountId)) {
    cut(events, limits.bytesMax).forEach((piece, part) => {
      messages.push({ partition, writerId, seq, part, events: piece })
    })
  }
  return messages
}

const cut = (
  events: ReadonlyArray<StoredEvent>,
  bytesMax: number
): ReadonlyArray<ReadonlyArray<StoredEvent>> => {
  const pieces: Array<Array<StoredEvent>> = []
  let piece: Array<StoredEvent> = []
  let bytes = 0
  for (const event of events) {
    // Quotes in the payload are escaped once more on the way.
    const size = rowBytes + 1.3 * (Buffer.byteLength(event.payload) + (event.context?.length ?? 0) * 2)
    if (piece.length > 0 && bytes + size > bytesMax) {
      pieces.push(piece)
      piece = []
      bytes = 0
    }
    piece.push(event)
    bytes += size
  }
  pieces.push(piece)
  return pieces
}

/** The id by which the bus drops a message that was sent twice. */
export const messageIdOf = ({ writerId, seq, partition, part }: BusMessage): string =>
  part === 0 ? `${writerId}:${seq}:${partition}` : `${writerId}:${seq}:${partition}:${part}`

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
const Wire = Schema.Struct({
  partition: Schema.Number,
  writer: Schema.String,
  seq: Schema.Number,
  part: Schema.Number,
  rows: Schema.Array(Row)
})
const decodeWire = Schema.decodeUnknownResult(Wire)

export const encodeMessage = ({ partition, writerId, seq, part, events }: BusMessage): string =>
  JSON.stringify({
    partition,
    writer: writerId,
    seq,
    part,
    rows: events.map((row) => [
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
    ])
  } satisfies typeof Wire.Type)

/** The message, or why the text is not one. */
export const decodeMessage = (text: string): Result.Result<BusMessage, string> =>
  Result.try({
    try: (): unknown => JSON.parse(text),
    catch: (cause) => `no JSON: ${cause instanceof Error ? cause.message : String(cause)}`
  }).pipe(
    Result.flatMap((json) => Result.mapError(decodeWire(json), (error) => error.message)),
    Result.map(({ partition, writer, seq, part, rows }) => ({
      partition,
      writerId: writer,
      seq,
      part,
      events: rows.map(toEvent)
    }))
  )

/** Whoever reads these rows follows their hash chain, so the ids need no check here. */
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
