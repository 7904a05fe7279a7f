/**
 * The judge's own fold of the log: all states of each account with its holds, and when callers could know of them. It is written
 * from the design alone and shares no code with the program's, so that a wrong fold of the program does not judge itself.
 */
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { type History, isReceipt } from "./World.ts"

export type Side = "debits" | "credits" | "both"

/** What one hold keeps back, and what became of the rest of it. */
export interface HoldState {
  readonly total: bigint
  readonly captured: bigint
  readonly released: bigint
  readonly remaining: bigint
  readonly captures: number
  readonly expiresAt: number
  readonly to: string | undefined
}

/** How a hold came to its end, and when; what remained of it then was given free. */
export interface Ended extends HoldState {
  readonly how: "captured" | "released" | "expired"
  readonly at: number
}

/** An account after one of its events; version 0 before the first. */
export interface State {
  readonly version: number
  readonly balance: bigint
  readonly limit: bigint
  readonly status: "absent" | "open" | "frozen" | "closed"
  readonly frozen: Side | undefined
  readonly asset: string
  readonly owner: string
  /** Those that were open when the event was recorded. */
  readonly holds: ReadonlyMap<string, HoldState>
  readonly ended: ReadonlyMap<string, Ended>
  readonly hash: string
  readonly recordedAt: number
  /** The step in which its event came into the log. */
  readonly from: number
  /** The step in which a caller was first told of this version or a later one. */
  known: number
}

export interface Leg {
  readonly account: string
  readonly side: "debit" | "credit"
  readonly amount: string
}

/** What stands in a payload, of any type. */
export interface Body {
  readonly amount?: string
  readonly overdraftLimit?: string
  readonly asset?: string
  readonly owner?: string
  readonly side?: string
  readonly legs?: ReadonlyArray<Leg>
  readonly contra?: string
  readonly contras?: ReadonlyArray<{
    readonly contra: string
    readonly asset: string
    readonly side: string
    readonly amount: string
  }>
  readonly hold?: string
  readonly expiresAt?: number
  readonly expiredAt?: number
  readonly final?: boolean
  readonly to?: string
  readonly reverses?: {
    readonly original: string
    readonly n: number
    readonly gave?: ReadonlyArray<{
      readonly account: string
      readonly amount: string
      readonly asset?: string
    }>
    readonly isShortfall?: boolean
  }
}

// What the program wrote is read as what the design says that it writes.
export const payloadOf = (row: StoredEvent): Body => JSON.parse(row.payload) as Body

export const absent: State = {
  version: 0,
  balance: 0n,
  limit: 0n,
  status: "absent",
  frozen: undefined,
  asset: "",
  owner: "",
  holds: new Map(),
  ended: new Map(),
  hash: "",
  recordedAt: 0,
  from: 0,
  known: 0
}

/** What an event adds to the balance of its account. */
export const changeOf = (row: StoredEvent, body: Body): bigint => {
  const leg = row.type === "JournalPosted" ? body.legs?.[0] : body
  const amount = BigInt(leg?.amount ?? 0)
  if (row.type === "Deposited" || row.type === "TransferReceived") return amount
  if (["Withdrawn", "TransferSent", "HoldCaptured"].includes(row.type)) return -amount
  if (row.type.startsWith("Journal")) return leg?.side === "credit" ? amount : -amount
  return 0n
}

type Frozen = Pick<State, "status" | "frozen">

const sidesOf = (frozen: Side | undefined): ReadonlySet<string> =>
  new Set(frozen === "both" ? ["debits", "credits"] : frozen === undefined ? [] : [frozen])

const frozenAfter = ({ frozen, status }: State, type: string, side: string): Frozen => {
  if (type === "AccountClosed") return { status: "closed", frozen: undefined }
  if (type === "AccountOpened") return { status: "open", frozen: undefined }
  if (type !== "AccountFrozen" && type !== "AccountUnfrozen") return { status, frozen }
  const sides = new Set(sidesOf(frozen))
  for (const one of sidesOf(side as Side)) {
    if (type === "AccountFrozen") sides.add(one)
    else sides.delete(one)
  }
  const [only] = sides
  if (only === undefined) return { status: "open", frozen: undefined }
  return { status: "frozen", frozen: sides.size === 2 ? "both" : (only as Side) }
}

/** A hold after an event about it; undefined where the event ends it. */
const heldOn = (hold: HoldState, row: StoredEvent, body: Body): Ended | HoldState => {
  const amount = BigInt(body.amount ?? 0)
  const { captured, released, remaining, total } = hold
  switch (row.type) {
    case "HoldCaptured": {
      const taken = amount > remaining ? remaining : amount
      const rest = remaining - taken
      const next = { ...hold, captured: captured + taken, captures: hold.captures + 1 }
      return rest > 0n && body.final !== true
        ? { ...next, remaining: rest }
        : { ...next, remaining: 0n, released: released + rest, how: "captured", at: row.recordedAt }
    }
    case "HoldReleased": {
      const next = { ...hold, released: released + amount, remaining: remaining - amount }
      return next.remaining > 0n ? next : { ...next, how: "released", at: row.recordedAt }
    }
    default: // HoldAdjusted
      return {
        ...hold,
        total: amount,
        remaining: remaining + amount - total,
        expiresAt: body.expiresAt ?? hold.expiresAt
      }
  }
}

const holdsAfter = (before: State, row: StoredEvent, body: Body): Pick<State, "holds" | "ended"> => {
  const late = [...before.holds].filter(([, { expiresAt }]) => expiresAt <= row.recordedAt)
  const isAboutHold = row.type.startsWith("Hold") && row.type !== "HoldExpired"
  if (late.length === 0 && !isAboutHold) return { holds: before.holds, ended: before.ended }
  const holds = new Map(before.holds)
  const ended = new Map(before.ended)
  for (const [id, hold] of late) {
    holds.delete(id)
    ended.set(id, { ...hold, how: "expired", at: hold.expiresAt })
  }
  if (!isAboutHold) return { holds, ended }
  const { hold: id = "" } = body
  const hold = holds.get(id)
  if (row.type === "HoldPlaced") {
    const total = BigInt(body.amount ?? 0)
    const expiresAt = body.expiresAt ?? Number.POSITIVE_INFINITY
    const none = { captured: 0n, released: 0n, captures: 0 }
    holds.set(id, { ...none, total, remaining: total, expiresAt, to: body.to })
  } else if (hold !== undefined) {
    const next = heldOn(hold, row, body)
    if ("how" in next) {
      holds.delete(id)
      ended.set(id, next)
    } else holds.set(id, next)
  }
  return { holds, ended }
}

const next = (before: State, row: StoredEvent, step: number): State => {
  const body = payloadOf(row)
  const isOpening = row.type === "AccountOpened"
  return {
    version: row.version,
    balance: before.balance + changeOf(row, body),
    limit: BigInt(body.overdraftLimit ?? before.limit),
    asset: isOpening ? (body.asset ?? "") : before.asset,
    owner: body.owner ?? before.owner,
    ...frozenAfter(before, row.type, body.side ?? "both"),
    ...holdsAfter(before, row, body),
    hash: row.hash,
    recordedAt: row.recordedAt,
    from: step,
    known: Number.POSITIVE_INFINITY
  }
}

export type States = ReadonlyMap<string, ReadonlyArray<State>>

/** All states of each account, in order of version, from version 0 on. */
export const statesOf = (history: History): States => {
  const states = new Map<string, Array<State>>()
  for (const { row, step } of history.outside.landed) {
    const before = states.get(row.accountId) ?? [absent]
    before.push(next(before.at(-1) ?? absent, row, step))
    states.set(row.accountId, before)
  }
  for (const { account, version, step } of toldVersions(history)) {
    for (const state of states.get(account)?.slice(1, version + 1) ?? [])
      state.known = Math.min(state.known, step)
  }
  return states
}

/** Every version that a caller was told of. */
function* toldVersions({ sendings, seen, found, events }: History) {
  for (const { answer, end } of sendings) {
    if (answer === undefined || !isReceipt(answer)) continue
    for (const { account, version } of answer.postings) yield { account: `${account}`, version, step: end }
  }
  for (const { account, kind, view, end } of seen) {
    // A forged row may have told of a version before it was there.
    if (kind !== "weak") yield { account, version: view?.version ?? 0, step: end }
  }
  for (const { view, end } of found) {
    for (const { account, version } of view?.legs ?? []) yield { account: `${account}`, version, step: end }
  }
  for (const { account, version, step } of events) yield { account: `${account}`, version, step }
}

/**
 * Those that were the account's last at some moment between two steps. A state ends, for callers, when one of them could know of the
 * next: a commit that has landed takes effect no later than its first answer.
 */
export const statesBetween = (
  states: States,
  account: string,
  start: number,
  end: number
): ReadonlyArray<State> => {
  const all = states.get(account) ?? [absent]
  return all.filter(
    (state, index) => state.from <= end && (all[index + 1]?.known ?? Number.POSITIVE_INFINITY) >= start
  )
}

/** The instants at which a node may have decided or answered. */
export interface Span {
  readonly from: number
  readonly to: number
}

/** The holds of a state that are open at an instant. */
export const openHolds = ({ holds }: State, at: number): ReadonlyArray<readonly [string, HoldState]> =>
  [...holds].filter(([, { expiresAt }]) => expiresAt > at)

export const heldAt = (state: State, at: number): bigint =>
  openHolds(state, at).reduce((sum, [, { remaining }]) => sum + remaining, 0n)

/** What the balance and the limit leave beside what is held, while money may leave the account. */
export const availableAt = (state: State, at: number): bigint =>
  state.status === "closed" || state.frozen === "debits" || state.frozen === "both"
    ? 0n
    : state.balance + state.limit - heldAt(state, at)

/** One instant of a span for each set of holds that may be open in it. */
export const instantsIn = (state: State, { from, to }: Span): ReadonlyArray<number> => [
  Math.max(from, state.recordedAt),
  ...[...state.holds.values()].flatMap(({ expiresAt }) =>
    expiresAt > from && expiresAt <= to ? [Math.max(expiresAt, state.recordedAt)] : []
  )
]

export const shown = (states: ReadonlyArray<State>): string =>
  states
    .map(({ version, balance, status, holds }) => {
      const held = [...holds].map(([id, { remaining, expiresAt }]) => `${id} ${remaining} until ${expiresAt}`)
      return `v${version} ${status} ${balance}${held.length === 0 ? "" : ` (${held.join("; ")})`}`
    })
    .join(", ")
