/**
 * The stored form of events: the row that stands in the log for ever, and how a row of any schema version is read as
 * today's event. Rows are never rewritten, so every old version stays readable here.
 */
import { Data, Result, Schema } from "effect"
import * as SchemaJITCompiler from "effect/schema/SchemaJITCompiler"
import type { After } from "./Account.ts"
import { CommandContext } from "./Command.ts"
import { Event, type EventType, type InGroup } from "./Event.ts"
import { type AccountId, type CommandId, type ContraId, type Instant, isContra, type Version } from "./Ids.ts"
import type { HistoryEntry } from "./Views.ts"

/**
 * One row of the log (table `events`). `payload` is the exact text that was hashed and stored, never parsed and
 * printed again. `commandHash` stands on ordinal 0 only. `effectiveAt` is null where it equals `recordedAt`.
 */
export interface StoredEvent {
  readonly accountId: AccountId
  readonly version: Version
  readonly type: string
  readonly schemaVersion: number
  /** JSON text of the event without its tag, and of the account's state after it (`after`; not before version 2). */
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

/** Fixed columns of a row, about, on top of its texts. */
const rowBytes = 250

/** What a row takes, about, in the INSERT and in memory. */
export const bytesOf = ({ payload, context }: StoredEvent): number =>
  rowBytes + payload.length + (context?.length ?? 0)

/**
 * The schema version each event type is written with today. From version 2 on, the payload binds the account's state after
 * the event (`after`), so that one row and its hash prove a balance.
 */
export const schemaVersionOf = (type: EventType): number => (type === "AccountOpened" ? 3 : 2)

type Payload = Readonly<Record<string, unknown>>

const unchanged = (payload: Payload): Payload => payload

/**
 * `upcasts[type][n]` turns a payload of version n into one of version n + 1. Rows themselves are never changed. What
 * stands in `upcastsOfAll` goes for every type that names none; the version before today's differs by `after` alone.
 */
const upcasts: Partial<Record<string, Readonly<Record<number, (payload: Payload) => Payload>>>> = {
  // Version 1 knew neither overdrafts nor metadata.
  AccountOpened: { 1: (payload) => ({ ...payload, overdraftLimit: "0", metadata: {} }), 2: unchanged },
  // Version 1 froze an account for debits and credits alike.
  AccountFrozen: { 1: (payload) => ({ ...payload, side: "both" }) },
  AccountUnfrozen: { 1: (payload) => ({ ...payload, side: "both" }) }
}
const upcastsOfAll: Readonly<Record<number, (payload: Payload) => Payload>> = { 1: unchanged }

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
const decodeContextJson = Schema.decodeUnknownResult(Schema.fromJsonString(CommandContext))

/** The text of a payload, or its end: as it is stored, and as it stands within a text of JSON. */
interface PayloadText {
  readonly stored: string
  /** Every quotation mark with a backslash before it, and in quotation marks as a whole. */
  readonly quoted: string
}

/** A payload as it is stored, and what the hash chain covers of it. */
interface EncodedPayload {
  readonly stored: string
  /** The type of the event, its schema version and the payload, as they stand in the text of `link`. */
  readonly chained: string
}

/**
 * The payload of an event: what the schema encodes, without the tag, and the account's state after it. The frequent events
 * are written out in the order of the schema, movements in both forms, since to quote a payload afterwards costs a third of
 * its hash. A test compares the texts.
 */
export const encodePayload = (event: Event, after: After): EncodedPayload => {
  switch (event._tag) {
    case "Deposited":
    case "Withdrawn": {
      if (event.reverses !== undefined) return encodeAny(event, after)
      const { contra } = event
      const amount = `${event.amount}`
      const { stored, quoted } = encodeEnd(event, after)
      return {
        stored: `{"amount":"${amount}","contra":"${contra}"${stored}`,
        chained: `"${event._tag}",2,"{\\"amount\\":\\"${amount}\\",\\"contra\\":\\"${contra}\\"${quoted}`
      }
    }
    case "TransferSent": {
      const { to, toVersion } = event
      const amount = `${event.amount}`
      const { stored, quoted } = encodeEnd(event, after)
      return {
        stored: `{"amount":"${amount}","to":"${to}","toVersion":${toVersion}${stored}`,
        chained: `"TransferSent",2,"{\\"amount\\":\\"${amount}\\",\\"to\\":\\"${to}\\",\\"toVersion\\":${toVersion}${quoted}`
      }
    }
    case "TransferReceived": {
      const { from, fromVersion } = event
      const amount = `${event.amount}`
      const { stored, quoted } = encodeEnd(event, after)
      return {
        stored: `{"amount":"${amount}","from":"${from}","fromVersion":${fromVersion}${stored}`,
        chained: `"TransferReceived",2,"{\\"amount\\":\\"${amount}\\",\\"from\\":\\"${from}\\",\\"fromVersion\\":${fromVersion}${quoted}`
      }
    }
    case "HoldPlaced": {
      const { amount, expiresAt, hold, to } = event
      const expiry = expiresAt === undefined ? "" : `,"expiresAt":${expiresAt}`
      const destination = to === undefined ? "" : `,"to":"${to}"`
      const { stored } = encodeEnd(event, after)
      return toEncoded(
        event._tag,
        `{${holdInPayload(hold)},"amount":"${amount}"${expiry}${destination}${stored}`
      )
    }
    case "HoldCaptured": {
      const { amount, final, hold, to, toVersion } = event
      const version = toVersion === undefined ? "" : `,"toVersion":${toVersion}`
      const end = final === undefined ? "" : `,"final":${final}`
      const { stored } = encodeEnd(event, after)
      return toEncoded(
        event._tag,
        `{${holdInPayload(hold)}${version},"amount":"${amount}","to":"${to}"${end}${stored}`
      )
    }
    case "HoldReleased": {
      const { stored } = encodeEnd(event, after)
      return toEncoded(event._tag, `{${holdInPayload(event.hold)},"amount":"${event.amount}"${stored}`)
    }
    default:
      return encodeAny(event, after)
  }
}

/** What stands in the payload of each event about a hold: within a text of JSON every quotation mark has a backslash before it. */
export const holdInPayload = (hold: CommandId): string => `"hold":"${hold}"`

const encodeAny = (event: Event, after: After): EncodedPayload => {
  const { _tag, ...payload } = encodeEvent(event)
  const text = JSON.stringify(payload)
  const end = encodeEnd({}, after).stored
  return toEncoded(_tag, text === "{}" ? `{${end.slice(1)}` : `${text.slice(0, -1)}${end}`)
}

const toEncoded = (type: EventType, stored: string): EncodedPayload => ({
  stored,
  chained: `"${type}",${schemaVersionOf(type)},${JSON.stringify(stored)}`
})

interface Notes {
  readonly description?: string
  readonly metadata?: { readonly [key: string]: string }
  readonly group?: InGroup
}

/** The end of each payload: what the sender wrote to the movement, its group, and the state after it. */
const encodeEnd = (event: Notes, { balance, held, available }: After): PayloadText => {
  const notes = encodeNotes(event)
  // A balance is printed once where all of it is available, as mostly: that is half of the cost.
  const units = `${balance}`
  const rest = available === balance ? units : `${available}`
  // Where nothing is held, as mostly, what stands between them is one part: see `linked`.
  const kept = held === 0n ? noneKept : `","held":"${held}","available":"`
  const keptQuoted = held === 0n ? noneKeptQuoted : `\\",\\"held\\":\\"${held}\\",\\"available\\":\\"`
  return {
    stored: `${notes},"after":{"balance":"${units}${kept}${rest}"}}`,
    quoted: `${notes === "" ? "" : JSON.stringify(notes).slice(1, -1)},\\"after\\":{\\"balance\\":\\"${units}${keptQuoted}${rest}\\"}}"`
  }
}

const noneKept = `","held":"0","available":"`
const noneKeptQuoted = `\\",\\"held\\":\\"0\\",\\"available\\":\\"`

/** Ids need no escaping, by their alphabet; these texts do. */
const encodeNotes = ({ description, metadata, group }: Notes): string => {
  let text = description === undefined ? "" : `,"description":${JSON.stringify(description)}`
  if (metadata !== undefined) text += `,"metadata":${JSON.stringify(metadata)}`
  return group === undefined ? text : `${text},"group":${JSON.stringify(group)}`
}

export const encodeContext = (context: CommandContext | undefined): string | null =>
  context === undefined || Object.keys(context).length === 0 ? null : encodeContextJson(context)

/** The context of a row; none where it has none, or one that a later version wrote. */
const contextOf = ({ context }: StoredEvent): { readonly context?: CommandContext } => {
  if (context === null) return {}
  const decoded = decodeContextJson(context)
  return Result.isSuccess(decoded) ? { context: decoded.success } : {}
}

/** A row as an entry of its account's history. */
export const entryOf = (row: StoredEvent): Result.Result<HistoryEntry, UnreadableEvent> =>
  Result.map(decodeStored(row), (event) => ({
    version: row.version,
    event,
    commandId: row.commandId,
    recordedAt: row.recordedAt,
    effectiveAt: row.effectiveAt ?? row.recordedAt,
    hash: row.hash,
    ...contextOf(row)
  }))

/** A row as today's event, and the state that it binds; none in rows from before version 2. */
interface ReadEvent {
  readonly event: Event
  readonly after: After | undefined
}

/** Reads a row as today's event, upcast step by step from the version it was written with. */
export const decodeStored = (row: StoredEvent): Result.Result<Event, UnreadableEvent> =>
  Result.map(readStored(row), ({ event }) => event)

/** The state of the account after the event, as the row binds it; undefined where it binds none, or cannot be read. */
export const boundBy = (row: StoredEvent): After | undefined =>
  Result.match(parseObject(row.payload), { onSuccess: readAfter, onFailure: () => undefined })

/** The same, with the state that the row binds. */
export const readStored = (row: StoredEvent): Result.Result<ReadEvent, UnreadableEvent> => {
  const movement = readMovement(row)
  return movement === undefined ? readAny(row) : Result.succeed(movement)
}

const unitsText = "(0|-?[1-9]\\d{0,39})"
const afterText = `"after":\\{"balance":"${unitsText}","held":"${unitsText}","available":"${unitsText}"\\}`
const amountText = '"amount":"([1-9]\\d{0,35})"'
const accountText = "([A-Za-z0-9_:-]{1,64})"
const versionText = "(0|[1-9]\\d{0,14})"
/** The payloads that `encodePayload` writes for plain transfers: the schema accepts each of these texts, and makes the same of it. */
const sentText = new RegExp(
  `^\\{${amountText},"to":"${accountText}","toVersion":${versionText},${afterText}\\}$`
)
const receivedText = new RegExp(
  `^\\{${amountText},"from":"${accountText}","fromVersion":${versionText},${afterText}\\}$`
)

/** Nearly all rows are legs of transfers that nothing is written to: their text is read at a third of what JSON and the schema take. */
const readMovement = ({ type, schemaVersion, payload }: StoredEvent): ReadEvent | undefined => {
  const isSent = type === "TransferSent"
  if ((!isSent && type !== "TransferReceived") || schemaVersion !== schemaVersionOf(type)) return undefined
  const found = (isSent ? sentText : receivedText).exec(payload)
  if (found === null) return undefined
  const [, amountDigits = "", other = "", version, balanceDigits = "", held = "", available = ""] = found
  if (!isAccount(other)) return undefined
  const [amount, balance] = [BigInt(amountDigits), BigInt(balanceDigits)]
  const counterVersion = Number(version)
  return {
    event: isSent
      ? { _tag: "TransferSent", amount, to: other, toVersion: counterVersion }
      : { _tag: "TransferReceived", amount, from: other, fromVersion: counterVersion },
    // A bigint takes as long to read as to print, and mostly all of a balance is available.
    after: {
      balance,
      held: held === "0" ? 0n : BigInt(held),
      available: available === balanceDigits ? balance : BigInt(available)
    }
  }
}

/** Of a text in the alphabet of ids. */
const isAccount = (id: string): id is AccountId => !isContra(id as AccountId | ContraId)

/** Reads a row of any type and version. */
const readAny = (row: StoredEvent): Result.Result<ReadEvent, UnreadableEvent> => {
  const unreadable = (reason: string) =>
    Result.fail(new UnreadableEvent({ accountId: row.accountId, version: row.version, reason }))
  const current = schemaVersionOf(row.type as EventType) // an unknown type is refused by the decoder below
  if (row.schemaVersion > current)
    return unreadable(`schema version ${row.schemaVersion} is newer than ${current}`)
  const parsed = parseObject(row.payload)
  if (Result.isFailure(parsed)) return unreadable(parsed.failure)
  let payload = parsed.success
  for (let version = row.schemaVersion; version < current; version++) {
    const upcast = (upcasts[row.type] ?? upcastsOfAll)[version]
    if (upcast === undefined) return unreadable(`no upcast from schema version ${version}`)
    payload = upcast(payload)
  }
  const decoded = decodeEvent({ ...payload, _tag: row.type })
  if (Result.isFailure(decoded)) return unreadable(decoded.failure.message)
  const after = row.schemaVersion < current ? undefined : readAfter(parsed.success)
  if (row.schemaVersion === current && after === undefined)
    return unreadable("it does not say the account's balance after it")
  return Result.succeed({ event: decoded.success, after })
}

const readAfter = ({ after }: Payload): After | undefined => {
  if (!isObject(after)) return undefined
  const { balance, held, available } = after
  return isUnits(balance) && isUnits(held) && isUnits(available)
    ? { balance: BigInt(balance), held: BigInt(held), available: BigInt(available) }
    : undefined
}

const isUnits = (value: unknown): value is string => typeof value === "string" && /^-?\d{1,40}$/.test(value)

const isObject = (value: unknown): value is Payload =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const parseObject = (text: string): Result.Result<Payload, string> => {
  const parsed = Result.try((): unknown => JSON.parse(text))
  if (Result.isSuccess(parsed) && isObject(parsed.success)) return Result.succeed(parsed.success)
  const reason = Result.isFailure(parsed) ? String(parsed.failure) : `it is ${text.slice(0, 20)}`
  return Result.fail(`payload is no JSON object (${reason})`)
}
