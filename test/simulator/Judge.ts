/**
 * Judges a history: the log by itself (I1, I2, I3, I5), what callers were told by the log (I4, I6, I7), strong balances and
 * refusals by every state that was the account's last while they were asked (I7), the read model by the log (I8), answers
 * about closed instants by the whole log (I9), and the order in subscriptions. It folds the log by itself, from the
 * design alone, so that a wrong fold of the program does not judge itself.
 */
import { Effect, Exit } from "effect"
import type { Receipt } from "../../src/domain/Receipt.ts"
import type { AccountView } from "../../src/domain/Views.ts"
import { type Attempt, faultsOf, logOf } from "../support/invariants.ts"
import {
  absent,
  availableAt,
  heldAt,
  instantsIn,
  openHolds,
  type Span,
  type State,
  type States,
  shown,
  statesBetween,
  statesOf
} from "./Fold.ts"
import { Domain, epochMs, Kernel } from "./Kernel.ts"
import { faultsOfLanded } from "./Landed.ts"
import { type Plan, skewMaxMs } from "./Plan.ts"
import { knownSince, type Log, logOfCommands, refusalFault } from "./Refusals.ts"
import {
  type Found,
  type History,
  isOpen,
  isReceipt,
  type Refusal,
  type Seen,
  type Sending
} from "./World.ts"

/** After a standstill, or after a clock was set right, the next heartbeat that is answered sets a node right. */
const setRightMs = 300

/**
 * The instants by which a node may have decided: a perfect clock's, and as far from them as clocks may be. A node's own may also
 * stand still, after it was set back, until it is known to be off. And where an answer of the store was on its way while the node or
 * its gateway stood still, the node takes it for younger than it is, and goes on from what the store said before: it must never be
 * ahead of a store's clock that went back meanwhile, and to be behind breaks nothing (LedgerClock.ts). Both last until the next
 * heartbeat, so that only what happened just before the answer, or while it was waited for, counts.
 */
const spanOf = (plan: Plan, askedAt: number, answeredAt: number): Span => {
  const [from, to] = [askedAt - epochMs, answeredAt - epochMs]
  const still = plan.disruptions.reduce((sum, one) => {
    const isStill = one.kind === "clockStep" || one.kind === "freeze" || one.kind === "stall"
    const isNear = isStill && one.at <= to && one.at + one.forMs + setRightMs >= from
    return isNear ? sum + one.forMs : sum
  }, 0)
  return { from: askedAt - 3 * skewMaxMs - still, to: answeredAt + 3 * skewMaxMs }
}

/** What an answer says of the account beside its version and balance, where holds expire by the instant of the answer. */
const showsAt = (view: AccountView, state: State, at: number): boolean => {
  const open = openHolds(state, at)
  const isSame = view.holds?.every(({ id, amount, captured, captures, remaining, expiresAt }, index) => {
    const [own, hold] = open[index] ?? []
    const isOwn = own === id && hold?.total === amount && hold.captured === captured
    const ends = hold?.expiresAt === (expiresAt ?? Number.POSITIVE_INFINITY)
    return isOwn && ends && hold.remaining === remaining && hold.captures === captures
  })
  return (
    view.holds?.length === open.length &&
    isSame === true &&
    view.held === heldAt(state, at) &&
    view.available === availableAt(state, at)
  )
}

const shows = (view: AccountView, state: State, instants: ReadonlyArray<number>): boolean =>
  state.version === view.version &&
  state.balance === view.balance &&
  state.hash === view.hash &&
  state.status === view.status &&
  state.frozen === view.frozen &&
  state.limit === view.overdraftLimit &&
  state.owner === view.owner &&
  instants.some((at) => showsAt(view, state, at))

const printView = (view: AccountView | undefined): string => {
  if (view === undefined) return "no account"
  const holds = (view.holds ?? []).map(({ id, remaining }) => `${id} ${remaining}`)
  return `v${view.version} ${view.balance}${holds.length === 0 ? "" : ` (${holds.join("; ")})`}`
}

const viewFault = (plan: Plan, seen: Seen, states: States): string | undefined => {
  const { account, kind, view } = seen
  const all = states.get(account) ?? [absent]
  const told = printView(view)
  const span = spanOf(plan, seen.askedAt, seen.answeredAt)
  const isTrue = (state: State | undefined): boolean => {
    if (view === undefined || state === undefined) return view === undefined && state?.status === "absent"
    return shows(view, state, kind === "asOf" ? [seen.instant ?? 0] : instantsIn(state, span))
  }
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

/** A refusal that no state of the account allows which it had while the caller waited. */
const faultOfRefusal = (
  { plan, outside }: History,
  sending: Sending,
  group: ReadonlyArray<Sending>,
  states: States,
  log: Log
): string | undefined => {
  const { answer, answeredAt } = sending
  if (answer === undefined || isReceipt(answer) || outside.isSplit) return undefined
  const asked = askedAt(sending, group)
  const first = group.reduce(
    (least, { start, askedAt: at }) => (start >= asked ? Math.min(least, at) : least),
    sending.askedAt
  )
  return refusalFault(sending, answer, { states, log, asked, span: spanOf(plan, first, answeredAt) })
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
  for (const { answer, end, input } of group) {
    if (answer === undefined || isReceipt(answer) || answer._tag !== "CommandIdReused") continue
    const isHis = group.some(
      (one) => one.answer !== undefined && isReceipt(one.answer) && bodyOf(one.input) === bodyOf(input)
    )
    if (landedAt === undefined || landedAt > end || isHis)
      faults.push(`I4: ${command} was refused for another command of its id, and no other one was accepted`)
  }
  const bodies = new Set(
    group.filter(({ answer }) => answer !== undefined && isReceipt(answer)).map(({ input }) => bodyOf(input))
  )
  if (bodies.size > 1) faults.push(`I4: ${command} was accepted with two bodies`)
  return faults
}

const faultsOfCommands = (history: History, states: States, log: Log): ReadonlyArray<string> => {
  const groups = new Map<string, Array<Sending>>()
  for (const sending of history.sendings) {
    const group = groups.get(sending.input.commandId) ?? []
    group.push(sending)
    groups.set(sending.input.commandId, group)
  }
  // A notice of an expired hold is the ledger's own command (Landed.ts).
  const known = [...log].flatMap(([command, [first]]) =>
    groups.has(command) || first?.row.type === "HoldExpired" ? [] : [command]
  )
  return [
    ...known.map((command) => `I4: ${command} is in the log, and no client has an answer for it`),
    ...[...groups].flatMap(([command, group]) => [
      ...faultsOfCommand(command, group, log.get(command)?.[0]?.step),
      ...group.flatMap((sending) => faultOfRefusal(history, sending, group, states, log) ?? [])
    ])
  ]
}

const faultsOfTrials = ({ trials }: History, states: States): ReadonlyArray<string> =>
  trials.flatMap(({ instant, asset, accounts, total }) => {
    let sum = 0n
    for (const all of states.values()) {
      const state = all.findLast(({ recordedAt }) => recordedAt <= instant)
      if (state?.asset === asset) sum += state.balance
    }
    if (total !== 0n) return [`I2: the trial balance of ${asset} as of ${instant} is off by ${total}`]
    return sum === accounts
      ? []
      : [
          `I9: all accounts of ${asset} as of ${instant} were told to have ${accounts}; in the log it is ${sum}`
        ]
  })

/** A command that was looked up is told as the log has it, with every reversal that callers could know of. */
const findFault = ({ command, end, start, view }: Found, states: States, log: Log): string | undefined => {
  const rows = log.get(command) ?? []
  const isKnown = (id: string) => knownSince(states, log.get(id) ?? []) < start
  if (view === undefined)
    return isKnown(command) ? `I7: ${command} was not found, though it was known to be in the log` : undefined
  const told = view.legs.map(({ account, hash, version }) => `${account}@${version} ${hash}`).join(", ")
  const stands = rows.map(({ row }) => `${row.accountId}@${row.version} ${row.hash}`).join(", ")
  if (told !== stands) return `I7: ${command} was told as ${told}; in the log it is ${stands}`
  const isThere = (id: string) => log.get(id)?.some(({ step }) => step <= end) === true
  const { length } = view.reversals
  const wrong = view.reversals.find((id, index) => id !== `~r${index + 1}~${command}` || !isThere(id))
  if (wrong !== undefined) return `I7: ${command} was told to have a reversal ${wrong}`
  return isKnown(`~r${length + 1}~${command}`)
    ? `I7: ${command} was told to have ${length} reversals, though it was known to have another one`
    : undefined
}

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

/** The same of a subscription that is resumed, and goes on from what the first one had told by then. */
const faultsOfResumed = ({ events, resumed }: History): ReadonlyArray<string> =>
  resumed.flatMap(({ behind, events: told }) => {
    const reached = new Map<string, number>()
    for (const { account, version } of events.slice(0, behind))
      reached.set(account, Math.max(reached.get(account) ?? 0, version))
    const wrong = told.find(({ account, version }) => {
      const last = reached.get(account) ?? 0
      reached.set(account, Math.max(last, version))
      return version > last + 1
    })
    return wrong === undefined
      ? []
      : [`order: a resumed feed told ${wrong.account}@${wrong.version} too early`]
  })

/** What a forged message made of an account's row, until it was noticed, is told by the read model for a while. */
const mayBeForged = ({ outside }: History, account: string, end: number): boolean =>
  (outside.forged.get(account) ?? Number.POSITIVE_INFINITY) <= end

/**
 * Design §4: within the skew bound of the store's clock. That is itself off by half as much in these worlds, and what it said may be
 * as old as the skew bound when it is heard (LedgerClock.ts).
 */
const aheadMaxMs = 2 * skewMaxMs + skewMaxMs / 2

const faultsOfTime = ({ outside }: History): ReadonlyArray<string> =>
  outside.landed.flatMap(({ row, wallMs }) => {
    const aheadMs = row.recordedAt - wallMs
    return aheadMs > aheadMaxMs
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
  const log = logOfCommands(history)
  const seen = history.seen.filter(
    ({ kind, account, end }) =>
      !(kind === "weak" && mayBeForged(history, account, end)) &&
      !(kind === "strong" && history.outside.isSplit)
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
    ...seen.flatMap((one) => viewFault(history.plan, one, states) ?? []),
    ...history.found.flatMap((one) => findFault(one, states, log) ?? []),
    ...faultsOfCommands(history, states, log),
    ...faultsOfLanded(history, states, log),
    ...(history.outside.forged.size > 0 ? [] : faultsOfTrials(history, states)),
    ...lines.map(
      ({ account, version, balance }) => `I8: a statement says ${balance} after ${account}@${version}`
    ),
    ...faultsOfFeed(history),
    ...faultsOfResumed(history),
    ...finalFaults(history)
  ]
}
