/**
 * The stored form of events: the row that stands in the log for ever, and how a row of any schema version is read as
 * today's event. Rows are never rewritten, so every old version stays readable here.
 */
import { Data, Result, Schema } from "effect"
import { SchemaJITCompiler } from "effect/schema"
import { CommandContext } from "./Command.ts"
import { Event, type EventType } from "./Event.ts"
import type { AccountId, CommandId, Instant, Version } from "./Ids.ts"

/**
 * One row of the log (table `events`). `payload` is the exact text that was hashed and stored, never parsed and
 * printed again. `commandHash` stands on ordinal 0 only. `effectiveAt` is null where it equals `recordedAt`.
 */
export interface StoredEvent {
  readonly accountId: AccountId
  readonly version: Version
  readonly type: string
  readonly schemaVersion: number
  /** JSON text of the event without its tag. */
  readonly payload: string
  readonly commandId: CommandId
  /** Numbers the events of one command from 0. */
  readonly ordinal: number
  readonly commandHash: string | null
  readonly recordedAt: Instant
  readonly effectiveAt: Instant | null
  /** JSON text of the `CommandContext`, null where it is empty. */
  readonly context: string | null
  /** SHA-256, base64url, of everything above and the hash before it (see HashChain.ts). */
  readonly hash: string
}

/** The schema version each event type is written with today; 1 where none is named. */
const currentVersions: Partial<Record<EventType, number>> = { AccountOpened: 2 }

export const schemaVersionOf = (type: EventType): number => currentVersions[type] ?? 1

type Payload = Readonly<Record<string, unknown>>

/** `upcasts[type][n]` turns a payload of version n into one of version n + 1. Rows themselves are never changed. */
const upcasts: Partial<Record<string, Readonly<Record<number, (payload: Payload) => Payload>>>> = {
  // Version 1 knew neither overdrafts nor metadata.
  AccountOpened: { 1: (payload) => ({ ...payload, overdraftLimit: "0", metadata: {} }) }
}

/** A row that no version of this program can read: unknown type, newer schema, or broken payload. */
export class UnreadableEvent extends Data.TaggedError("UnreadableEvent")<{
  readonly accountId: string
  readonly version: number
  readonly reason: string
}> {
  override get message() {
    return `event ${this.accountId}@${this.version} cannot be read: ${this.reason}`
  }
}

// Compiled where the host allows code from text, else interpreted: every row of the log is read by it.
SchemaJITCompiler.enable(Event.ast)
const encodeEvent = Schema.encodeSync(Event)
const decodeEvent = Schema.decodeUnknownResult(Event)
const encodeContextJson = Schema.encodeSync(Schema.fromJsonString(CommandContext))

/** The payload text of an event: what the schema encodes, without the tag. */
export const encodePayload = (event: Event): string => {
  switch (event._tag) {
    // The frequent events are written out, in the order of the schema; a test compares the two forms.
    case "Deposited":
    case "Withdrawn":
      return `{"amount":"${event.amount}","contra":"${event.contra}"${encodeDescription(event)}}`
    case "TransferSent":
      return `{"amount":"${event.amount}","to":"${event.to}","toVersion":${event.toVersion}${encodeDescription(event)}}`
    case "TransferReceived":
      return `{"amount":"${event.amount}","from":"${event.from}","fromVersion":${event.fromVersion}${encodeDescription(event)}}`
    default: {
      const { _tag, ...payload } = encodeEvent(event)
      return JSON.stringify(payload)
    }
  }
}

/** Ids need no escaping, by their alphabet; this text does. */
const encodeDescription = ({ description }: { readonly description?: string }): string =>
  description === undefined ? "" : `,"description":${JSON.stringify(description)}`

export const encodeContext = (context: CommandContext | undefined): string | null =>
  context === undefined || Object.keys(context).length === 0 ? null : encodeContextJson(context)

/** Reads a row as today's event, upcast step by step from the version it was written with. */
export const decodeStored = (row: StoredEvent): Result.Result<Event, UnreadableEvent> => {
  const unreadable = (reason: string) =>
    Result.fail(new UnreadableEvent({ accountId: row.accountId, version: row.version, reason }))
  const current = schemaVersionOf(row.type as EventType) // an unknown type is refused by the decoder below
  if (row.schemaVersion > current)
    return unreadable(`schema version ${row.schemaVersion} is newer than ${current}`)
  return Result.flatMap(parseObject(row.payload), (parsed) => {
    let payload = parsed
    for (let version = row.schemaVersion; version < current; version++) {
      const upcast = upcasts[row.type]?.[version]
      if (upcast === undefined) return unreadable(`no upcast from schema version ${version}`)
      payload = upcast(payload)
    }
    return Result.mapError(
      decodeEvent({ ...payload, _tag: row.type }),
      (error) =>
        new UnreadableEvent({ accountId: row.accountId, version: row.version, reason: error.message })
    )
  }).pipe(
    Result.mapError((error) =>
      error instanceof UnreadableEvent
        ? error
        : new UnreadableEvent({ accountId: row.accountId, version: row.version, reason: error })
    )
  )
}

const isObject = (value: unknown): value is Payload =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const parseObject = (text: string): Result.Result<Payload, string> => {
  const parsed = Result.try((): unknown => JSON.parse(text))
  if (Result.isSuccess(parsed) && isObject(parsed.success)) return Result.succeed(parsed.success)
  const reason = Result.isFailure(parsed) ? String(parsed.failure) : `it is ${text.slice(0, 20)}`
  return Result.fail(`payload is no JSON object (${reason})`)
}
