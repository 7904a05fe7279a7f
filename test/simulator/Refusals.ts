/** Whether a refusal is right for a state that the account had while its caller waited: the rules once more, from the design alone. */
import { accountsOfMember, assetOf, type WorldCommand, worth } from "./Commands.ts"
import {
  changeOf,
  heldAt,
  instantsIn,
  openHolds,
  payloadOf,
  type Span,
  type State,
  type States,
  shown,
  statesBetween
} from "./Fold.ts"
import type { History, Refusal, Sending } from "./World.ts"

/** What the log has of each command, in the order of its events, with the step in which it came there. */
export type Log = ReadonlyMap<string, History["outside"]["landed"]>

export const logOfCommands = ({ outside }: History): Log => {
  const log = new Map<string, Array<(typeof outside.landed)[number]>>()
  for (const landed of outside.landed) {
    const rows = log.get(landed.row.commandId) ?? []
    rows.push(landed)
    log.set(landed.row.commandId, rows)
  }
  for (const rows of log.values()) rows.sort((a, b) => a.row.ordinal - b.row.ordinal)
  return log
}

/** A contra has no asset of its own, and may have several. */
export const placeOf = (account: string, asset: unknown): string =>
  account.startsWith("external:") ? `${account} ${asset}` : account

/** What a command moved, by account, and by contra and asset; what ended as it began has no entry. */
export const netOf = (rows: History["outside"]["landed"]): ReadonlyMap<string, bigint> => {
  const net = new Map<string, bigint>()
  const add = (place: string, units: bigint) => net.set(place, (net.get(place) ?? 0n) + units)
  for (const { row } of rows) {
    const body = payloadOf(row)
    const units = changeOf(row, body)
    add(row.accountId, units)
    const contra = row.type === "HoldCaptured" && body.to?.startsWith("external:") ? body.to : body.contra
    if (contra !== undefined) add(placeOf(contra, assetOf(row.accountId)), -units)
    for (const leg of body.contras ?? []) {
      const amount = BigInt(leg.amount)
      add(placeOf(leg.contra, leg.asset), leg.side === "credit" ? amount : -amount)
    }
  }
  return new Map([...net].filter(([, units]) => units !== 0n))
}

/** What reversal `n` of a command says that it gave back at a place. */
export const gaveOf = (log: Log, original: string, n: number, place: string): bigint => {
  const first = log.get(`~r${n}~${original}`)?.[0]
  const gave = first === undefined ? [] : (payloadOf(first.row).reverses?.gave ?? [])
  return gave.reduce(
    (sum, leg) => (placeOf(leg.account, leg.asset) === place ? sum + BigInt(leg.amount) : sum),
    0n
  )
}

const sizeOf = (units: bigint): bigint => (units < 0n ? -units : units)

type Verdict = boolean | undefined

const units = (value: unknown): bigint | undefined => (typeof value === "bigint" ? value : undefined)

/** Money is short by the figures of the refusal, which are those of the state. */
const isShort = (refusal: Refusal, state: State, span: Span, input: { readonly _tag: string }): boolean => {
  const [amount, limit] = [units(refusal.amount), units(refusal.overdraftLimit)]
  if (amount === undefined || limit === undefined || state.balance !== refusal.balance) return false
  return instantsIn(state, span).some((at) => {
    const held = heldAt(state, at)
    if (held !== (units(refusal.held) ?? 0n)) return false
    if (input._tag === "UpdateAccount") return amount === held - state.balance - limit && amount > 0n
    return limit === state.limit && state.balance + limit - held < amount
  })
}

const hasOpenHolds = (refusal: Refusal, state: State, span: Span): boolean =>
  instantsIn(state, span).some((at) => {
    const open = openHolds(state, at)
    return open.length > 0 && open.length === refusal.count && heldAt(state, at) === refusal.held
  })

/** What a refusal says of a hold. */
const isRightOfHold = (refusal: Refusal, state: State, span: Span): Verdict => {
  const id = `${refusal.hold}`
  const [open, ended] = [state.holds.get(id), state.ended.get(id)]
  switch (refusal._tag) {
    case "HoldNotFound":
      return open === undefined && ended === undefined
    case "HoldExpired":
      return open === undefined
        ? ended?.how === "expired" && ended.at === refusal.expiredAt
        : open.expiresAt === refusal.expiredAt && open.expiresAt <= span.to
    case "HoldClosed":
      return ended?.how === refusal.how && ended?.at === refusal.at
    default: {
      const amount = units(refusal.amount)
      const isOpen = open !== undefined && open.expiresAt > span.from
      return isOpen && open.remaining === refusal.remaining && amount !== undefined && amount > open.remaining
    }
  }
}

const taking = ["Withdraw", "PlaceHold", "CaptureHold", "AdjustHold"]

/** The status is the account's, and forbids what the command does. */
const isInactive = (refusal: Refusal, state: State, input: { readonly _tag: string }): boolean => {
  if (state.status !== refusal.status || state.frozen !== refusal.frozen) return false
  if (state.status !== "frozen") return true
  if (input._tag === "Deposit") return state.frozen !== "debits"
  // A capture's other side may be the one that is frozen.
  return !taking.includes(input._tag) || input._tag === "CaptureHold" || state.frozen !== "credits"
}

/** Whether a rejection is right for a state of the account that it names; undefined where this judge cannot tell. */
const isRight = (refusal: Refusal, state: State, span: Span, input: { readonly _tag: string }): Verdict => {
  switch (refusal._tag) {
    case "AccountNotFound":
      return state.status === "absent"
    case "AccountAlreadyExists":
      return state.status !== "absent"
    case "AccountNotActive":
      return isInactive(refusal, state, input)
    case "AssetMismatch":
      return state.asset === refusal.actual && refusal.expected !== refusal.actual
    case "InsufficientFunds":
      return isShort(refusal, state, span, input)
    case "LimitExceeded":
      return state.balance + ("amount" in input ? (units(input.amount) ?? 0n) : 0n) >= 10n ** 38n
    case "OpenHolds":
      return hasOpenHolds(refusal, state, span)
    case "HoldNotFound":
    case "HoldExpired":
    case "HoldClosed":
    case "CaptureExceedsHold":
      return isRightOfHold(refusal, state, span)
    case "HoldLimit":
      return [...state.holds.values()].some(({ captures }) => captures === 100)
    case "VersionConflict":
      return state.version === refusal.actual && refusal.actual !== refusal.expected
    default:
      return undefined
  }
}

type Member = Extract<WorldCommand, { readonly _tag: "Group" }>["commands"][number]

/** What was left to give back of the original when its n-th reversal was decided never changes. */
const reversalFault = (
  refusal: Refusal,
  input: Extract<WorldCommand, { readonly _tag: "Reverse" }>,
  log: Log
): string | undefined => {
  const place = placeOf(`${refusal.account}`, refusal.asset)
  let left = sizeOf(netOf(log.get(input.original) ?? []).get(place) ?? 0n)
  for (let n = 1; n < (input.n ?? 1); n++) left -= gaveOf(log, input.original, n, place)
  const isTrue = refusal.left === left && (units(refusal.amount) ?? 0n) > left
  return isTrue ? undefined : `${left} were left to give back on ${refusal.account}, not ${refusal.left}`
}

const rateFault = (refusal: Refusal): string | undefined => {
  const amount = units(refusal.amount)
  const expected = amount === undefined ? undefined : worth(amount, `${refusal.rate}`)
  return refusal.expected === expected && refusal.actual !== expected
    ? undefined
    : `${refusal.amount} at ${refusal.rate} is ${expected}, not ${refusal.expected}`
}

/** Since when others could know of a command; never where it did not land. */
export const knownSince = (states: States, rows: History["outside"]["landed"]): number => {
  const [first] = rows
  if (first === undefined) return Number.POSITIVE_INFINITY
  return states.get(first.row.accountId)?.[first.row.version]?.known ?? Number.POSITIVE_INFINITY
}

/** What of the world a refusal is judged by. */
interface Evidence {
  readonly states: States
  readonly log: Log
  /** The earliest step in which the question may have been asked, and by which clock readings. */
  readonly asked: number
  readonly span: Span
}

/** Why a refusal is right for no state that was true while its caller waited; undefined where it may be right. */
const faultOf = (
  refusal: Refusal,
  input: WorldCommand | Member,
  sending: Sending,
  { asked, log, span, states }: Evidence
): string | undefined => {
  const whole = sending.input
  if (refusal._tag === "RateMismatch") return rateFault(refusal)
  if (refusal._tag === "CommandNotFound" && whole._tag === "Reverse")
    return knownSince(states, log.get(whole.original) ?? []) < asked
      ? `${whole.original} was known to be in the log`
      : undefined
  if (refusal._tag === "ReversalExceeds" && whole._tag === "Reverse")
    return reversalFault(refusal, whole, log)
  if (typeof refusal.account !== "string") return undefined
  const possible = statesBetween(states, refusal.account, asked, sending.end)
  return possible.some((state) => isRight(refusal, state, span, input) !== false)
    ? undefined
    : `meanwhile the account was ${shown(possible)}`
}

export const refusalFault = (sending: Sending, refusal: Refusal, evidence: Evidence): string | undefined => {
  const { input } = sending
  const inner = innerOf(input, refusal)
  if (inner === undefined) return undefined
  const fault = faultOf(inner.refusal, inner.input, sending, evidence)
  const what = `${inner.refusal._tag}${typeof inner.refusal.account === "string" ? ` (${inner.refusal.account})` : ""}`
  return fault === undefined ? undefined : `I7: ${input.commandId} was refused with ${what}; ${fault}`
}

/** What is refused: of a group the command that its refusal names, unless those before it touch the same account. */
const innerOf = (
  input: WorldCommand,
  refusal: Refusal
): { readonly input: WorldCommand | Member; readonly refusal: Refusal } | undefined => {
  if (refusal._tag !== "GroupRejected" || input._tag !== "Group") return { input, refusal }
  const index = Number(refusal.index)
  const inner = refusal.rejection as Refusal // as the error's schema says
  const member = input.commands[index]
  if (member === undefined) return { input, refusal: { ...inner, _tag: "AccountNotFound", account: "" } }
  const isTouched = input.commands
    .slice(0, index)
    .some((one) => accountsOfMember(one).includes(`${inner.account}`))
  return isTouched ? undefined : { input: member, refusal: { ...inner, _tag: inner._tag } }
}
