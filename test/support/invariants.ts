/**
 * Checks I1-I7 by the rows of the log and what callers were told, independently of the code that the program uses for it.
 */
import { createHash } from "node:crypto"
import { Effect } from "effect"
import type { Receipt } from "../../src/domain/Receipt.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import type { CommitRow } from "../../src/infra/eventstore/EventStore.ts"
import { everyTail } from "../../src/infra/eventstore/EveryTail.ts"
import { readLog, type Store } from "./ledgerWorld.ts"

/** Written from the design alone: it shares no code with what it judges. */
export interface Log {
  readonly streams: ReadonlyMap<string, ReadonlyArray<StoredEvent>>
  /** All commit rows of each writer, in order of their number. */
  readonly tails: ReadonlyMap<string, ReadonlyArray<CommitRow>>
}

/** One sending of a command. `start` and `end` are taken from one counter for all callers. */
export interface Attempt {
  readonly commandId: string
  readonly start: number
  readonly end: number
  /** The receipt, or the tag of the error. */
  readonly answer: Receipt | string
}

/** Answers that promise that this sending left nothing and never will. */
const nothingDone = (answer: Attempt["answer"]) => typeof answer === "string" && answer !== "Indeterminate"

interface Body {
  readonly amount?: string
  readonly overdraftLimit?: string
  readonly asset?: string
  readonly contra?: string
  readonly to?: string
  readonly toVersion?: number
  readonly from?: string
  readonly fromVersion?: number
  readonly side?: "debit" | "credit"
  readonly head?: string
  readonly headVersion?: number
  readonly hold?: string
  readonly expiresAt?: number
  readonly final?: boolean
  readonly after?: { readonly balance: string; readonly held: string }
  readonly group?: {
    head: string
    headVersion: number
    events?: ReadonlyArray<{ account: string; version: number }>
  }
  readonly contras?: ReadonlyArray<{ asset: string; side: "debit" | "credit"; amount: string }>
  readonly legs?: ReadonlyArray<{
    account: string
    version: number
    side: "debit" | "credit"
    amount: string
  }>
}

// What the program wrote is read as what the design says it writes; a field that is missing shows as a breach.
const bodyOf = (row: StoredEvent): Body => JSON.parse(row.payload) as Body

const deltaOf = (row: StoredEvent): bigint => {
  const body = bodyOf(row)
  const own = row.type === "JournalPosted" ? body.legs?.[0] : body
  const amount = BigInt(own?.amount ?? 0)
  if (row.type === "Deposited" || row.type === "TransferReceived") return amount
  if (["Withdrawn", "TransferSent", "HoldCaptured"].includes(row.type)) return -amount
  if (row.type.startsWith("Journal")) return own?.side === "credit" ? amount : -amount
  return 0n
}

/** What one open hold keeps back. */
interface Kept {
  total: bigint
  rest: bigint
  until: number
}

/** The open holds of an account after a row, in place; what they keep back together. */
const keepHolds = (holds: Map<string, Kept>, row: StoredEvent): bigint => {
  const { amount = "0", expiresAt, final, hold = "" } = bodyOf(row)
  for (const [id, { until }] of holds) if (until <= row.recordedAt) holds.delete(id)
  const units = BigInt(row.type.startsWith("Hold") ? amount : "0")
  const kept = holds.get(hold)
  if (row.type === "HoldPlaced")
    holds.set(hold, { total: units, rest: units, until: expiresAt ?? Number.POSITIVE_INFINITY })
  if (kept !== undefined) {
    if (row.type === "HoldCaptured") kept.rest = final === true || units > kept.rest ? 0n : kept.rest - units
    if (row.type === "HoldReleased") kept.rest -= units
    if (row.type === "HoldAdjusted") {
      kept.rest += units - kept.total
      kept.total = units
      kept.until = expiresAt ?? kept.until
    }
    if (kept.rest <= 0n) holds.delete(hold)
  }
  return [...holds.values()].reduce((sum, { rest }) => sum + rest, 0n)
}

/** The balance and the overdraft limit of an account after one more of its events. */
export const balanceAfter = (balance: bigint, row: StoredEvent): bigint => balance + deltaOf(row)
export const limitOf = (limit: bigint, row: StoredEvent): bigint =>
  BigInt(bodyOf(row).overdraftLimit ?? limit)

const hashOf = (previous: string, row: StoredEvent): string => {
  const { accountId, version, type, schemaVersion, payload, commandId, ordinal } = row
  const { commandHash, recordedAt, effectiveAt, context } = row
  const columns = [accountId, version, type, schemaVersion, payload, commandId, ordinal]
  const text = JSON.stringify([previous, ...columns, commandHash, recordedAt, effectiveAt, context])
  return createHash("sha256").update(text).digest("base64url")
}

const at = (row: StoredEvent) => `${row.accountId}@${row.version}`

/** I1, I3, I5 and time, account by account. */
const faultsOfStreams = ({ streams }: Log): ReadonlyArray<string> => {
  const faults: Array<string> = []
  for (const [account, rows] of streams) {
    let hash = ""
    let balance = 0n
    let limit = 0n
    let recordedAt = 0
    const holds = new Map<string, Kept>()
    for (const [index, row] of rows.entries()) {
      if (row.accountId !== account) faults.push(`${at(row)} stands in the stream of ${account}`)
      if (row.version !== index + 1)
        faults.push(`I1: ${account} has ${row.version} where ${index + 1} is due`)
      if (hashOf(hash, row) !== row.hash) faults.push(`I5: the hash of ${at(row)} covers something else`)
      if (row.recordedAt < recordedAt) faults.push(`time: ${at(row)} is recorded before the one before`)
      if ((row.type === "AccountOpened") !== (index === 0)) faults.push(`${at(row)} is ${row.type}`)
      limit = limitOf(limit, row)
      balance = balanceAfter(balance, row)
      const isOpen = (holds.get(bodyOf(row).hold ?? "")?.until ?? 0) > row.recordedAt
      const held = keepHolds(holds, row)
      if (balance - held < -limit)
        faults.push(`I3: ${at(row)} leaves ${balance}, of which ${held} are held, less than -${limit}`)
      if (/^Hold(Captured|Adjusted|Released)$/.test(row.type) && !isOpen)
        faults.push(`${at(row)} is ${row.type} of a hold that was not open`)
      const { after } = bodyOf(row)
      if (after !== undefined && (BigInt(after.balance) !== balance || BigInt(after.held) !== held))
        faults.push(`${at(row)} binds ${after.balance} and ${after.held} held, not ${balance} and ${held}`)
      hash = row.hash
      recordedAt = row.recordedAt
    }
  }
  return faults
}

/** I2 and the form of I4: each command's legs are whole, of one instant, name each other, and sum to zero. */
const faultsOfCommands = ({ streams }: Log): ReadonlyArray<string> => {
  const faults: Array<string> = []
  const find = (account = "", version = 0) => streams.get(account)?.[version - 1]
  const assetOf = (account: string) => bodyOf(streams.get(account)?.[0] ?? noRow).asset ?? "?"
  for (const [command, legs] of byCommand(streams)) {
    const ordinals = legs.map((row) => row.ordinal)
    if (ordinals.some((ordinal, index) => ordinal !== index)) {
      faults.push(`I4: command ${command} stands in the log as ordinals ${ordinals}`)
    }
    if (new Set(legs.map((row) => row.recordedAt)).size > 1) faults.push(`legs of ${command} differ in time`)
    const sums = new Map<string, bigint>()
    for (const row of legs) {
      const body = bodyOf(row)
      const asset = assetOf(row.accountId)
      const isOut = body.contra !== undefined || body.to?.startsWith("external:") === true
      const contra = isOut ? deltaOf(row) : 0n
      sums.set(asset, (sums.get(asset) ?? 0n) + deltaOf(row) - contra)
      for (const leg of body.contras ?? []) {
        const amount = BigInt(leg.amount)
        sums.set(leg.asset, (sums.get(leg.asset) ?? 0n) + (leg.side === "credit" ? amount : -amount))
      }
      for (const [account, version] of referencesOf(row, body)) {
        const other = find(account, version)
        if (other?.commandId !== row.commandId) {
          faults.push(`I2: ${at(row)} names ${account}@${version}, which is no leg of ${command}`)
        }
      }
    }
    for (const [asset, sum] of sums) if (sum !== 0n) faults.push(`I2: ${command} sums to ${sum} ${asset}`)
    const wanted = wantedLegs(legs)
    if (legs.length !== wanted) faults.push(`I2: ${command} has ${legs.length} legs, not ${wanted}`)
  }
  return faults
}

const noRow = { payload: "{}" } as StoredEvent // only its payload is looked at

const byCommand = (streams: Log["streams"]): ReadonlyMap<string, ReadonlyArray<StoredEvent>> => {
  const legs = new Map<string, Array<StoredEvent>>()
  for (const rows of streams.values()) {
    for (const row of rows) {
      const group = legs.get(row.commandId)
      if (group === undefined) legs.set(row.commandId, [row])
      else group.push(row)
    }
  }
  for (const group of legs.values()) group.sort((a, b) => a.ordinal - b.ordinal)
  return legs
}

const referencesOf = (
  row: StoredEvent,
  body: Body
): ReadonlyArray<readonly [string | undefined, number | undefined]> => {
  const { group } = body
  if (group === undefined) return legReferencesOf(row, body)
  const others = (group.events ?? []).map(({ account, version }) => [account, version] as const)
  return [[group.head, group.headVersion], ...others, ...legReferencesOf(row, body)]
}

const legReferencesOf = (
  row: StoredEvent,
  body: Body
): ReadonlyArray<readonly [string | undefined, number | undefined]> => {
  if (row.type === "TransferSent") return [[body.to, body.toVersion]]
  if (row.type === "HoldCaptured" && body.toVersion !== undefined) return [[body.to, body.toVersion]]
  if (row.type === "TransferReceived") return [[body.from, body.fromVersion]]
  if (row.type === "JournalLegPosted") return [[body.head, body.headVersion]]
  if (row.type === "JournalPosted") return (body.legs ?? []).map((leg) => [leg.account, leg.version])
  return []
}

const wantedLegs = ([first]: ReadonlyArray<StoredEvent>): number => {
  const group = first === undefined ? undefined : bodyOf(first).group
  if (group !== undefined) return group.events?.length ?? 0
  if (first?.type === "TransferSent") return 2
  if (first?.type === "HoldCaptured") return bodyOf(first).toVersion === undefined ? 1 : 2
  return first?.type === "JournalPosted" ? (bodyOf(first).legs?.length ?? 0) : 1
}

/** Each writer's tail is dense, ends at its fence, and together they hold every event exactly once. */
const faultsOfTails = ({ streams, tails }: Log): ReadonlyArray<string> => {
  const faults: Array<string> = []
  const written = new Map<string, number>()
  for (const [writer, rows] of tails) {
    for (const [index, row] of rows.entries()) {
      if (row.seq !== index + 1) faults.push(`writer ${writer} has ${row.seq} where ${index + 1} is due`)
      if (row.rows === 0 && index !== rows.length - 1) faults.push(`writer ${writer} goes on after its fence`)
      for (const [account, first, last] of row.keys) {
        for (let version = first; version <= last; version++) {
          const key = `${account}@${version}`
          written.set(key, (written.get(key) ?? 0) + 1)
        }
      }
    }
  }
  for (const rows of streams.values()) {
    for (const row of rows) {
      const times = written.get(at(row)) ?? 0
      if (times !== 1) faults.push(`${at(row)} stands in ${times} commits`)
      written.delete(at(row))
    }
  }
  for (const key of written.keys()) faults.push(`a commit names ${key}, which is not in the log`)
  return faults
}

/** I4, I6 and I7: what callers were told against what stands in the log. */
const faultsOfAnswers = ({ streams }: Log, attempts: ReadonlyArray<Attempt>): ReadonlyArray<string> => {
  const faults: Array<string> = []
  const legs = byCommand(streams)
  const sent = new Map<string, Array<Attempt>>()
  for (const attempt of attempts) {
    const group = sent.get(attempt.commandId)
    if (group === undefined) sent.set(attempt.commandId, [attempt])
    else group.push(attempt)
  }
  for (const [command, group] of sent) {
    const rows = legs.get(command)
    if (rows !== undefined && group.every(({ answer }) => nothingDone(answer))) {
      faults.push(`I4: ${command} is in the log, though every answer said that nothing was done`)
    }
    for (const { answer } of group) {
      if (typeof answer === "string") continue
      if (rows === undefined) {
        faults.push(`I6: ${command} was acknowledged and is not in the log`)
        continue
      }
      const told = answer.postings.map((one) => `${one.account}@${one.version} ${one.hash}`).join()
      const stands = rows.map((row) => `${at(row)} ${row.hash}`).join()
      if (told !== stands) faults.push(`I4: the receipt of ${command} says ${told}, the log ${stands}`)
      if (answer.recordedAt !== rows[0]?.recordedAt) faults.push(`the receipt of ${command} has another time`)
    }
    const firsts = group.filter(({ answer }) => typeof answer !== "string" && !answer.replayed)
    if (firsts.length > 1) faults.push(`I4: ${command} was accepted as new ${firsts.length} times`)
  }
  return [...faults, ...faultsOfOrder(streams, sent)]
}

/** I7: a command acknowledged before another was first sent stands before it on every account they share. */
const faultsOfOrder = (
  streams: Log["streams"],
  sent: ReadonlyMap<string, ReadonlyArray<Attempt>>
): ReadonlyArray<string> => {
  const faults: Array<string> = []
  for (const rows of streams.values()) {
    // The latest first sending so far: a later row must not have been acknowledged before it.
    let latest = { start: -1, command: "" }
    for (const row of rows) {
      const attempts = sent.get(row.commandId)
      if (attempts === undefined) continue
      const acknowledged = Math.min(
        ...attempts.map(({ answer, end }) => (typeof answer === "string" ? Number.POSITIVE_INFINITY : end))
      )
      if (acknowledged < latest.start) {
        faults.push(`I7: ${row.commandId} was done before ${latest.command} was sent, and stands after it`)
      }
      const start = Math.min(...attempts.map((attempt) => attempt.start))
      if (start > latest.start) latest = { start, command: row.commandId }
    }
  }
  return faults
}

export const faultsOf = (log: Log, attempts: ReadonlyArray<Attempt> = []): ReadonlyArray<string> => [
  ...faultsOfStreams(log),
  ...faultsOfCommands(log),
  ...faultsOfTails(log),
  ...faultsOfAnswers(log, attempts)
]

/** Reads the whole log. */
export const logOf = Effect.fnUntraced(function* (store: Store) {
  const tails = new Map<string, ReadonlyArray<CommitRow>>()
  for (const { writerId } of yield* everyTail(store)) {
    tails.set(writerId, yield* store.readTail({ writerId, after: 0, limit: 1_000_000 }))
  }
  return { streams: yield* readLog(store), tails } satisfies Log
})

/** Every breach in the log of a store. */
export const invariantsOf = (store: Store, attempts: ReadonlyArray<Attempt> = []) =>
  Effect.map(logOf(store), (log) => faultsOf(log, attempts))
