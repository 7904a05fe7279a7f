/**
 * Judges a history: the log by itself (I1, I2, I3, I5), what callers were told by the log (I4, I6, I7), strong balances and
 * refusals by every state that was the account's last while they were asked (I7), the read model by the log (I8), answers
 * about closed instants by the whole log (I9), and the order in subscriptions. It folds the log by itself, from the
 * design alone, so that a wrong fold of the program does not judge itself.
 */
import { Effect, Exit } from "effect"
import type { Receipt } from "../../src/domain/Receipt.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { type Attempt, faultsOf, logOf } from "../support/invariants.ts"
import { Domain, Kernel } from "./Kernel.ts"
import { skewMaxMs } from "./Plan.ts"
import { type History, isOpen, isReceipt, type Refusal, type Seen, type Sending } from "./World.ts"

/** An account after one of its events; version 0 before the first. */
interface State {
  readonly version: number
  readonly balance: bigint
  readonly limit: bigint
  readonly status: "absent" | "open" | "frozen" | "closed"
  readonly asset: string
  readonly hash: string
  readonly recordedAt: number
  /** The step in which its event came into the log. */
  readonly from: number
  /** The step in which a caller was first told of this version or a later one. */
  known: number
}

interface Body {
  readonly amount?: string
  readonly overdraftLimit?: string
  readonly asset?: string
  readonly side?: "debit" | "credit"
  readonly legs?: ReadonlyArray<{ readonly side: "debit" | "credit"; readonly amount: string }>
}

const absent: State = {
  version: 0,
  balance: 0n,
  limit: 0n,
  status: "absent",
  asset: "",
  hash: "",
  recordedAt: 0,
  from: 0,
  known: 0
}

const changeOf = (row: StoredEvent, body: Body): bigint => {
  const leg = row.type === "JournalPosted" ? body.legs?.[0] : body
  const amount = BigInt(leg?.amount ?? 0)
  if (row.type === "Deposited" || row.type === "TransferReceived") return amount
  if (row.type === "Withdrawn" || row.type === "TransferSent") return -amount
  if (row.type.startsWith("Journal")) return leg?.side === "credit" ? amount : -amount
  return 0n
}

const statusAfter = (before: State["status"], type: string): State["status"] => {
  if (type === "AccountOpened" || type === "AccountUnfrozen") return "open"
  if (type === "AccountFrozen") return "frozen"
  return type === "AccountClosed" ? "closed" : before
}

const next = (before: State, row: StoredEvent, step: number): State => {
  // What the program wrote is read as what the design says that it writes.
  const body = JSON.parse(row.payload) as Body
  const isOpening = row.type === "AccountOpened"
  return {
    version: row.version,
    balance: before.balance + changeOf(row, body),
    limit: isOpening ? BigInt(body.overdraftLimit ?? 0) : before.limit,
    asset: isOpening ? (body.asset ?? "") : before.asset,
    status: statusAfter(before.status, row.type),
    hash: row.hash,
    recordedAt: row.recordedAt,
    from: step,
    known: Number.POSITIVE_INFINITY
  }
}

/** All states of each account, in order of version, from version 0 on. */
const statesOf = (history: History): ReadonlyMap<string, ReadonlyArray<State>> => {
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
function* toldVersions({ sendings, seen, events }: History) {
  for (const { answer, end } of sendings) {
    if (answer === undefined || !isReceipt(answer)) continue
    for (const { account, version } of answer.postings) yield { account: `${account}`, version, step: end }
  }
  for (const { account, kind, view, end } of seen) {
    // A forged row may have told of a version before it was there.
    if (kind !== "weak") yield { account, version: view?.version ?? 0, step: end }
  }
  for (const { account, version, step } of events) yield { account: `${account}`, version, step }
}

type States = ReturnType<typeof statesOf>

/**
 * Those that were the account's last at some moment between two steps. A state ends, for callers, when one of them could know of the
 * next: a commit that has landed takes effect no later than its first answer.
 */
const statesBetween = (states: States, account: string, start: number, end: number): ReadonlyArray<State> => {
  const all = states.get(account) ?? [absent]
  return all.filter(
    (state, index) => state.from <= end && (all[index + 1]?.known ?? Number.POSITIVE_INFINITY) >= start
  )
}

const shown = (states: ReadonlyArray<State>): string =>
  states.map(({ version, balance, status }) => `v${version} ${status} ${balance}`).join(", ")

const viewFault = (seen: Seen, states: States): string | undefined => {
  const { account, kind, view } = seen
  const all = states.get(account) ?? [absent]
  const told = view === undefined ? "no account" : `v${view.version} ${view.balance}`
  const isTrue = (state: State | undefined): boolean =>
    view === undefined
      ? state?.status === "absent"
      : state?.version === view.version && state.balance === view.balance && state.hash === view.hash
  if (kind === "strong") {
    const possible = statesBetween(states, account, seen.start, seen.end)
    return possible.some(isTrue)
      ? undefined
      : `I7: the strong balance of ${account} was told as ${told}; while it was asked it was ${shown(possible)}`
  }
  if (kind === "asOf") {
    const instant = seen.instant ?? 0
    const right = all.findLast((state) => state.recordedAt <= instant)
    return isTrue(right)
      ? undefined
      : `I9: ${account} as of ${instant} was told as ${told}; in the log it is ${shown(right === undefined ? [] : [right])}`
  }
  if (view === undefined)
    return seen.atLeast === undefined
      ? undefined
      : `I8: ${account} is not there for a reader with a token of version ${seen.atLeast}`
  if (view.version < (seen.atLeast ?? 0))
    return `I8: ${account} was told at version ${view.version} to a reader with a token of version ${seen.atLeast}`
  const lacking = all.find(
    (state) => state.version > view.version && state.recordedAt < (view.completeTo ?? 0)
  )
  if (lacking !== undefined)
    return `I8: ${account} was told at version ${view.version} to be complete up to ${view.completeTo}, and lacks version ${lacking.version} of ${lacking.recordedAt}`
  return all.some(isTrue) ? undefined : `I8: ${account} was told as ${told}, which is the fold of no prefix`
}

/** Whether a rejection is right for a state of the account that it names; undefined where this judge cannot tell. */
const isRight = (refusal: Refusal, state: State): boolean | undefined => {
  switch (refusal._tag) {
    case "AccountNotFound":
      return state.status === "absent"
    case "AccountAlreadyExists":
      return state.status !== "absent"
    case "AccountNotActive":
      return state.status === refusal.status
    case "InsufficientFunds":
      return (
        state.status === "open" &&
        state.balance === refusal.balance &&
        typeof refusal.amount === "bigint" &&
        state.balance + state.limit < refusal.amount
      )
    case "VersionConflict":
      return state.version === refusal.actual && refusal.actual !== refusal.expected
    default:
      return undefined
  }
}

/**
 * When a sending's question was asked. A command that is sent while its twin is under way joins it (I4), and is answered what
 * was decided for the twin; so the question is the twin's.
 */
const askedAt = ({ input, start }: Sending, group: ReadonlyArray<Sending>): number => {
  let earliest = start
  for (const twin of group.toReversed()) {
    const isUnderWay = twin.answer === undefined || isUnknown(twin.answer) || twin.end >= earliest
    if (twin.start < earliest && isUnderWay && bodyOf(twin.input) === bodyOf(input)) earliest = twin.start
  }
  return earliest
}

const isUnknown = (answer: Receipt | Refusal): boolean =>
  !isReceipt(answer) && answer._tag === "Indeterminate"

const refusalFault = (
  sending: Sending,
  group: ReadonlyArray<Sending>,
  states: States
): string | undefined => {
  const { answer, input, end } = sending
  if (answer === undefined || isReceipt(answer) || typeof answer.account !== "string") return undefined
  const possible = statesBetween(states, answer.account, askedAt(sending, group), end)
  if (possible.some((state) => isRight(answer, state) !== false)) return undefined
  return `I7: ${input.commandId} was refused with ${answer._tag} (${answer.account}); meanwhile the account was ${shown(possible)}`
}

const bodyOf = (input: Sending["input"]): string =>
  JSON.stringify(input, (_, value: unknown) => (typeof value === "bigint" ? `${value}n` : value))

/** I4 and "a refusal stays true", sending by sending. */
const faultsOfCommand = (
  command: string,
  group: ReadonlyArray<Sending>,
  landedAt: number | undefined
): ReadonlyArray<string> => {
  const faults: Array<string> = []
  if (landedAt !== undefined) {
    const mayHaveDone = group.some(
      ({ start, answer }) =>
        start <= landedAt && (answer === undefined || isReceipt(answer) || answer._tag === "Indeterminate")
    )
    if (!mayHaveDone)
      faults.push(`I7: ${command} landed, though every sending before that was refused for good`)
  }
  for (const accepted of group) {
    if (accepted.answer === undefined || !isReceipt(accepted.answer)) continue
    for (const later of group) {
      if (later.start <= accepted.end || later.answer === undefined || isReceipt(later.answer)) continue
      const wanted = bodyOf(later.input) === bodyOf(accepted.input) ? undefined : "CommandIdReused"
      if (!isOpen(later.answer) && later.answer._tag !== wanted)
        faults.push(`I4: ${command} was accepted, and later refused with ${later.answer._tag}`)
    }
  }
  const bodies = new Set(
    group.filter(({ answer }) => answer !== undefined && isReceipt(answer)).map(({ input }) => bodyOf(input))
  )
  if (bodies.size > 1) faults.push(`I4: ${command} was accepted with two bodies`)
  return faults
}

const faultsOfCommands = (history: History, states: States): ReadonlyArray<string> => {
  const groups = new Map<string, Array<Sending>>()
  for (const sending of history.sendings) {
    const group = groups.get(sending.input.commandId) ?? []
    group.push(sending)
    groups.set(sending.input.commandId, group)
  }
  const landed = new Map<string, number>()
  for (const { row, step } of history.outside.landed) {
    if (!landed.has(row.commandId)) landed.set(row.commandId, step)
  }
  const known = [...landed.keys()].filter((command) => !groups.has(command))
  return [
    ...known.map((command) => `I4: ${command} is in the log, and no client has an answer for it`),
    ...[...groups].flatMap(([command, group]) => [
      ...faultsOfCommand(command, group, landed.get(command)),
      ...group.flatMap((sending) => refusalFault(sending, group, states) ?? [])
    ])
  ]
}

const faultsOfTrials = ({ trials }: History, states: States): ReadonlyArray<string> =>
  trials.flatMap(({ instant, accounts, total }) => {
    let sum = 0n
    for (const all of states.values())
      sum += all.findLast((state) => state.recordedAt <= instant)?.balance ?? 0n
    if (total !== 0n) return [`I2: the trial balance as of ${instant} is off by ${total}`]
    return sum === accounts
      ? []
      : [`I9: the trial balance as of ${instant} holds ${accounts}; in the log it is ${sum}`]
  })

/** Versions of an account come in order; what comes again has come before. */
const faultsOfFeed = ({ events }: History): ReadonlyArray<string> => {
  const reached = new Map<string, number>()
  const faults: Array<string> = []
  for (const { account, version } of events) {
    const last = reached.get(account) ?? 0
    if (version > last + 1) faults.push(`order: the feed told ${account}@${version} after ${account}@${last}`)
    reached.set(account, Math.max(last, version))
  }
  return faults
}

/** What a forged message made of an account's row, until it was noticed, is told by the read model for a while. */
const mayBeForged = ({ outside }: History, account: string, end: number): boolean =>
  (outside.forged.get(account) ?? Number.POSITIVE_INFINITY) <= end

/** Design §4: within the skew bound of the store's clock, which is itself off by as much at most. */
const faultsOfTime = ({ outside }: History): ReadonlyArray<string> =>
  outside.landed.flatMap(({ row, wallMs }) => {
    const aheadMs = row.recordedAt - wallMs
    return aheadMs > 2 * skewMaxMs
      ? [`time: ${row.accountId}@${row.version} is recorded ${aheadMs} ms ahead of the clock of the world`]
      : []
  })

const logFaults = ({ outside, sendings }: History): ReadonlyArray<string> => {
  const judge = new Domain(new Kernel(1, "oldest", 0), "judge", 1)
  const exit = judge.fork(logOf(outside.store)).pollUnsafe()
  if (exit === undefined || Exit.isFailure(exit)) return ["the log cannot be read"]
  const attempts = sendings.map(
    ({ input, start, end, answer }): Attempt => ({
      commandId: input.commandId,
      start: start * 2,
      end: end * 2 + 1,
      answer: answer === undefined ? "Indeterminate" : isReceipt(answer) ? answer : answer._tag
    })
  )
  return faultsOf(exit.value, attempts)
}

const finalFaults = (history: History): ReadonlyArray<string> => {
  const { outside } = history
  const judge = new Domain(new Kernel(1, "oldest", 0), "judge", 1)
  const exit = judge
    .fork(Effect.all({ trial: outside.books.trialBalance, parked: outside.books.parked }))
    .pollUnsafe()
  if (exit === undefined || Exit.isFailure(exit)) return ["the read model cannot be read"]
  const { trial, parked } = exit.value
  return [
    ...trial
      .filter(({ total }) => total !== 0n)
      .map(({ total }) => `I2: the read model is off by ${total} in the end`),
    ...parked.map(({ account, reason }) => `I8: ${account} is parked in the end: ${reason}`)
  ]
}

/** Every breach of the design's invariants, in words. */
export const judge = (history: History): ReadonlyArray<string> => {
  const states = statesOf(history)
  const seen = history.seen.filter(
    ({ kind, account, end }) => !(kind === "weak" && mayBeForged(history, account, end))
  )
  const lines = history.lines.filter(({ account, version, balance }) => {
    const state = states.get(account)?.[version]
    return !history.outside.forged.has(account) && state?.balance !== balance
  })
  return [
    ...history.troubles,
    ...history.outside.defects,
    ...logFaults(history),
    ...faultsOfTime(history),
    ...seen.flatMap((one) => viewFault(one, states) ?? []),
    ...faultsOfCommands(history, states),
    ...(history.outside.forged.size > 0 ? [] : faultsOfTrials(history, states)),
    ...lines.map(
      ({ account, version, balance }) => `I8: a statement says ${balance} after ${account}@${version}`
    ),
    ...faultsOfFeed(history),
    ...finalFaults(history)
  ]
}
