/**
 * What a seed means: the shape of a world, what its clients do, and what goes wrong in it. A plan is a value, so that a failing
 * one can be made smaller by leaving commands and faults out of it.
 */
import { capturesMax } from "../../src/domain/Holds.ts"
import { deposit } from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"
import {
  aboutOf,
  accountName,
  closingOf,
  crowdOfCaptures,
  crowdOfDeposits,
  drawCommand,
  openAccount,
  type WorldCommand
} from "./Commands.ts"
import type { Order } from "./Kernel.ts"

/** Faults of single messages; each has a chance in the plan, mostly of zero. */
export const noises = [
  "commitNotWritten",
  "commitLandedUnknown",
  "commitLostUnknown",
  "commitLandsLate",
  "commitSlow",
  "storeUnavailable",
  "storeSlow",
  "snapshotUnavailable",
  "busLoses",
  "busRepeats",
  "busShuffles",
  "busUnavailable",
  "ackLost",
  "readModelUnavailable",
  "readModelAppliedUnknown",
  "readModelSlow",
  "peerLost",
  "peerAnswerLost",
  "peerSlow",
  "clientImpatient"
] as const
export type Noise = (typeof noises)[number]

/** A fault that happens once, at a time of the plan. */
export type Disruption =
  | {
      readonly kind: "crash"
      readonly at: number
      readonly node: number
      readonly afterMs: number
      readonly sameName: boolean
      /** What it had sent to the event store is still on its way for so long; its next life comes by another gateway then. */
      readonly lingersMs?: number
    }
  /** Told to end: it drains, fences its writers and says what it left clean, for as long as it is given time. */
  | {
      readonly kind: "end"
      readonly at: number
      readonly node: number
      readonly graceMs: number
      readonly afterMs: number
      readonly sameName: boolean
    }
  | { readonly kind: "freeze"; readonly at: number; readonly node: number; readonly forMs: number }
  /** Of the streams that the node reads in the event store, most are read at once and heard only when this is over. */
  | { readonly kind: "answersLate"; readonly at: number; readonly node: number; readonly forMs: number }
  | { readonly kind: "stall"; readonly at: number; readonly node: number; readonly forMs: number }
  | {
      readonly kind: "clockStep"
      readonly at: number
      readonly node: number
      readonly byMs: number
      readonly forMs: number
    }
  | { readonly kind: "storeClockStep"; readonly at: number; readonly node: number; readonly byMs: number }
  | { readonly kind: "moveShard"; readonly at: number; readonly shard: number; readonly node: number }
  /** Two nodes take one shard for their own until the faults end. */
  | { readonly kind: "splitBrain"; readonly at: number; readonly shard: number; readonly node: number }
  /** So many transfers and deposits at once, on all nodes: some wait for others, and land in another order than they are decided in. */
  | { readonly kind: "rush"; readonly at: number; readonly size: number }
  /** Commands and questions come to the accounts of a node. */
  | { readonly kind: "press"; readonly at: number; readonly node: number; readonly forMs: number }
  | { readonly kind: "readModelHesitates"; readonly at: number; readonly forMs: number }
  | { readonly kind: "forge"; readonly at: number; readonly account: number; readonly isAhead: boolean }
  | { readonly kind: "wipeBus"; readonly at: number }
  | { readonly kind: "changeSnapshot"; readonly at: number; readonly account: number }

export type Action =
  /** `twin`: another command under its id, sent at the same time. */
  | { readonly kind: "command"; readonly input: WorldCommand; readonly twin?: WorldCommand }
  | { readonly kind: "find"; readonly command: string }
  | { readonly kind: "sum" }
  | { readonly kind: "strong" | "weak"; readonly account: string }
  | { readonly kind: "statement"; readonly account: string }
  | { readonly kind: "asOf"; readonly account: string; readonly agoMs: number }
  | { readonly kind: "trialAt"; readonly agoMs: number }

export interface Step {
  readonly client: number
  readonly node: number
  readonly pauseMs: number
  readonly action: Action
}

/**
 * What a world is mostly about. Faults are rare in each other's company: a shard that moves while a commit hangs, and is asked
 * about before the account is written again, hardly happens where everything does.
 */
export const themes = ["everything", "time", "ownership", "readSide", "money"] as const
export type Theme = (typeof themes)[number]

export interface Plan {
  readonly seed: number
  readonly theme: Theme
  readonly order: Order
  readonly busyOneIn: number
  readonly nodes: number
  /** Each life of each node has the same name, as where an earlier life of a node wakes beside the one that took its place. */
  readonly isOfOneName: boolean
  readonly shards: number
  readonly lanes: number
  readonly accounts: number
  /** Accounts that are not used stay in memory for so long: where that is short, memory is rarely old. */
  readonly idleMs: number
  readonly residentsMax: number
  readonly clients: number
  readonly latencyMs: number
  /** How often nodes confirm their locks, about. */
  readonly confirmMs: number
  /** How long a node tries to answer. */
  readonly deadlineMs: number
  /** Commits of a tail that a subscription reads ahead. */
  readonly aheadMax: number
  /** How often writers say up to which instants they are closed; and how often the read side is compared with the log, and how young commits are that it leaves out. */
  readonly heartbeatMs: number
  readonly sweepMs: number
  readonly sweepGraceMs: number
  readonly drifts: ReadonlyArray<{
    readonly offsetMs: number
    readonly rate: number
    readonly storeOffsetMs: number
  }>
  readonly steps: ReadonlyArray<Step>
  readonly disruptions: ReadonlyArray<Disruption>
  readonly noise: Readonly<Partial<Record<Noise, number>>>
}

/** A node's clock may be off by so much, and refuses commands beyond. */
export const skewMaxMs = 40

/** The same command with another body. */
const reopened = (input: WorldCommand, rng: Rng): WorldCommand =>
  "amount" in input && input.amount !== undefined
    ? { ...input, amount: input.amount + 1n + BigInt(rng.below(3)) }
    : input

/** How long ago the instant of a question lies: mostly one that is just being closed, else one of the near past. */
const drawAgoMs = (rng: Rng): number => (rng.chance(0.7) ? rng.below(120) - 40 : rng.below(600))

const drawQuestion = (
  rng: Rng,
  theme: Theme,
  account: string,
  before: ReadonlyArray<WorldCommand>
): Action => {
  const asOf: Action = { kind: "asOf", account, agoMs: drawAgoMs(rng) }
  const find: Action = {
    kind: "find",
    command: before[rng.below(Math.max(1, before.length))]?.commandId ?? "never-sent"
  }
  const dice = rng.below(10)
  switch (theme) {
    case "everything":
      if (dice < 3) return { kind: "strong", account }
      if (dice < 5) return { kind: "weak", account }
      if (dice < 6) return rng.chance(0.5) ? { kind: "statement", account } : find
      return dice < 9 ? asOf : { kind: "trialAt", agoMs: drawAgoMs(rng) }
    case "time":
      return dice < 8 ? asOf : { kind: "trialAt", agoMs: drawAgoMs(rng) }
    case "ownership":
      return dice < 8 ? { kind: "strong", account } : asOf
    case "readSide":
      if (dice < 6) return { kind: "weak", account }
      if (dice < 8) return { kind: "statement", account }
      return dice < 9 ? { kind: "sum" } : { kind: "trialAt", agoMs: drawAgoMs(rng) }
    case "money":
      if (dice < 4) return { kind: "strong", account }
      if (dice < 6) return find
      return dice < 8 ? { kind: "weak", account } : dice < 9 ? { kind: "sum" } : asOf
  }
}

const drawAction = (
  rng: Rng,
  shape: Shape,
  inputs: ReadonlyArray<WorldCommand>,
  id: string,
  account: string
): Action => {
  const dice = rng.below(20)
  const isCommon = shape.theme === "everything" || shape.theme === "money"
  if (dice < (isCommon ? 8 : 11)) return drawQuestion(rng, shape.theme, account, inputs)
  const earlier = inputs[rng.below(Math.max(1, inputs.length))]
  if (dice > 17 && earlier !== undefined) {
    const again = rng.chance(0.3) ? reopened(earlier, rng) : earlier
    return { kind: "command", input: again }
  }
  const isAboutMoney = shape.theme === "money"
  const input = drawCommand(rng, id, { accounts: shape.accounts, inputs, isAboutMoney })
  const twin = isCommon && rng.chance(0.1) ? drawTwin(rng, input) : undefined
  return { kind: "command", input, ...(twin === undefined ? {} : { twin }) }
}

/** More than any account of a world has. */
const tooMuch = 1_000_000n

/** One of the two is refused, mostly: while it is under way, nothing is known of the other. */
const drawTwin = (rng: Rng, input: WorldCommand): WorldCommand | undefined =>
  input._tag !== "Reverse" && "amount" in input && input.amount !== undefined
    ? { ...input, amount: rng.chance(0.7) ? tooMuch : input.amount + 1n }
    : undefined

interface Shape {
  readonly theme: Theme
  readonly accounts: number
  readonly clients: number
  readonly nodes: number
  readonly count: number
}

/** Accounts are opened, then funded, mostly. */
const drawBeginning = (rng: Rng, accounts: number, index: number, commandId: string): Action => {
  const account = accountName(index % accounts)
  const input =
    index < accounts
      ? openAccount(account, BigInt(10 * rng.below(3)))
      : deposit(account, BigInt(50 + rng.below(200)))
  return { kind: "command", input: { ...input, commandId } }
}

/** Where things take long, clients are about for longer; they think, and mostly they do not. */
const drawPauseMs = (rng: Rng, theme: Theme): number => {
  if (rng.chance(0.4)) return 0
  return theme !== "everything" && rng.chance(0.1) ? rng.below(700) : rng.below(40)
}

const drawSteps = (rng: Rng, shape: Shape) => {
  const inputs: Array<WorldCommand> = []
  const steps: Array<Step> = []
  for (let index = 0; index < shape.count; index++) {
    const id = `c-${index}`
    const action =
      index < shape.accounts * 2
        ? drawBeginning(rng, shape.accounts, index, id)
        : drawAction(rng, shape, inputs, id, accountName(rng.below(shape.accounts)))
    if (action.kind === "command") inputs.push(action.input)
    const client = rng.below(shape.clients)
    const about = action.kind === "command" ? aboutOf(action.input) : undefined
    const before = steps.findLast(
      (step) => step.action.kind === "command" && step.action.input.commandId === about
    )
    steps.push({
      // What it is about is sent before it then.
      client: before !== undefined && rng.chance(0.8) ? before.client : client,
      node: rng.below(shape.nodes),
      pauseMs: drawPauseMs(rng, shape.theme),
      action
    })
  }
  return steps
}

interface Target {
  readonly at: number
  readonly node: number
  readonly nodes: number
  readonly shards: number
  readonly accounts: number
}

const crash = (
  rng: Rng,
  { at, node }: Target,
  share = 0.7
): Extract<Disruption, { kind: "crash" | "end" }> =>
  rng.chance(share)
    ? {
        kind: "crash",
        at,
        node,
        afterMs: rng.below(300),
        sameName: rng.chance(0.5),
        ...(rng.chance(0.4) ? { lingersMs: 60 + rng.below(400) } : {})
      }
    : { kind: "end", at, node, graceMs: rng.below(300), afterMs: rng.below(200), sameName: rng.chance(0.5) }

const clockStep = (rng: Rng, { at, node }: Target): Disruption => {
  const sign = rng.chance(0.5) ? 1 : -1
  const byMs = sign * (rng.chance(0.5) ? rng.below(skewMaxMs) : rng.below(100_000))
  return { kind: "clockStep", at, node, byMs, forMs: rng.chance(0.5) ? rng.below(200) : rng.below(1_500) }
}

const moveShard = (
  rng: Rng,
  { at, node, nodes, shards }: Target
): Extract<Disruption, { kind: "moveShard" }> => ({
  kind: "moveShard",
  at,
  shard: rng.below(shards),
  node: (node + 1 + rng.below(Math.max(1, nodes - 1))) % nodes
})

/** Away, and back before it is quite gone. */
const thereAndBack = (rng: Rng, target: Target): ReadonlyArray<Disruption> => {
  const away = moveShard(rng, target)
  const at = target.at + (rng.chance(0.5) ? 5 + rng.below(40) : 20 + rng.below(120))
  return [away, { ...away, at, node: target.node }]
}

/**
 * A shard comes back to a node, which reads its accounts, leaves it and comes back once more before the store's answer is heard: what
 * that says is older than what another node wrote meanwhile. The other one writes only once it certainly may, which takes long.
 */
const thereAndBackWhileItReads = (rng: Rng, target: Target): ReadonlyArray<Disruption> => {
  const { at, node } = target
  const away = moveShard(rng, target)
  const homeAt = at + 110
  const awayAt = homeAt + 160 + rng.below(60)
  // Its commands wait there, so that it leaves unclean: the other one waits for a lease and the skew of clocks, and writes then.
  const backAt = awayAt + 560 + rng.below(200)
  return [
    away,
    { kind: "answersLate", at: homeAt, node, forMs: backAt - homeAt + 150 + rng.below(150) },
    { ...away, at: homeAt, node },
    { ...away, at: awayAt },
    { ...away, at: backAt, node }
  ]
}

/**
 * A node whose commits hang loses one of its shards, and keeps another: its writer is fenced, and it goes on as a new one at once,
 * which the read side does not know yet.
 */
const fencedWhileItLives = (rng: Rng, target: Target): ReadonlyArray<Disruption> => {
  const { at, node } = target
  return [
    { kind: "stall", at, node, forMs: 500 + rng.below(400) },
    { ...moveShard(rng, target), at: at + rng.below(30), shard: node }
  ]
}

/**
 * The event store stands still for a node that keeps its shards: its commits land when the read side has heard nothing of it for long.
 * What comes just before that is decided by a new writer at once.
 */
const silentWhileItLives = (rng: Rng, { at, node }: Target): ReadonlyArray<Disruption> => {
  const forMs = 600 + rng.below(500)
  return [
    { kind: "stall", at, node, forMs },
    { kind: "press", at: at + forMs - rng.below(100), node, forMs: 300 }
  ]
}

/**
 * The event store hesitates while many commands come: what is decided meanwhile is committed together, and was recorded long before the
 * last of it.
 */
const decidedLongBefore = (rng: Rng, { at, node }: Target): ReadonlyArray<Disruption> => {
  const forMs = 80 + rng.below(200)
  return [
    { kind: "press", at, node, forMs: forMs + 150 },
    { kind: "stall", at: at + rng.below(10), node, forMs }
  ]
}

/** A snapshot is changed in the database, and the accounts of a node are read anew, from snapshots where there are any. */
const changedAndReadAnew = (rng: Rng, target: Target): ReadonlyArray<Disruption> => {
  const { at, accounts } = target
  const later = { ...target, at: at + 20 + rng.below(150) }
  return [
    { kind: "changeSnapshot", at, account: rng.below(accounts) },
    { ...crash(rng, later), afterMs: rng.below(40) }
  ]
}

/**
 * A clock is set back while many commands come: until it has caught up, its node records one instant, so that what lies before what
 * cannot be told by the times of commits.
 */
const rushWhileTheClockStands = (rng: Rng, { at, node }: Target): ReadonlyArray<Disruption> => {
  const forMs = 60 + rng.below(60)
  return [
    { kind: "clockStep", at, node, byMs: 15 + rng.below(20), forMs },
    { kind: "rush", at: at + forMs - rng.below(15), size: 6 + rng.below(20) }
  ]
}

/** Any one fault. */
const drawAny = (rng: Rng, target: Target): Disruption => {
  const { at, node, nodes, accounts } = target
  switch (rng.below(nodes > 1 ? 14 : 11)) {
    case 0:
    case 1:
      return crash(rng, target)
    case 2:
      return { kind: "freeze", at, node, forMs: 20 + rng.below(900) }
    case 3:
    case 4:
      return { kind: "stall", at, node, forMs: 20 + rng.below(500) }
    case 5:
      return clockStep(rng, target)
    case 6:
      return { kind: "storeClockStep", at, node, byMs: rng.below(skewMaxMs) - skewMaxMs / 2 }
    case 7:
      return { kind: "readModelHesitates", at, forMs: rng.below(400) }
    case 8:
      return { kind: "forge", at, account: rng.below(accounts), isAhead: rng.chance(0.5) }
    case 9:
      return { kind: "wipeBus", at }
    case 10:
      return { kind: "changeSnapshot", at, account: rng.below(accounts) }
    case 11:
      return { ...moveShard(rng, target), kind: "splitBrain" }
    default:
      return moveShard(rng, target)
  }
}

/** A node whose commits hang for longer than leases and locks, while its shards move, or it ends, or is taken for dead. */
const drawStandstill = (rng: Rng, target: Target): ReadonlyArray<Disruption> => {
  const { at, node } = target
  const forMs = rng.pick([200, 600, 1_300] as const) + rng.below(400)
  const standstill: Disruption = { kind: rng.chance(0.8) ? "stall" : "freeze", at, node, forMs }
  const later = { ...target, at: at + rng.below(120) }
  const dice = rng.below(10)
  if (dice < 6) return [standstill, moveShard(rng, later), ...(dice < 3 ? [moveShard(rng, later)] : [])]
  return dice < 8 ? [standstill, crash(rng, later)] : [standstill]
}

/** A node whose commits hang loses a shard, and is held up for longer than the next owner waits where no other node writes. */
const hungWhileItLoses = (rng: Rng, { at, node, nodes, shards }: Target): ReadonlyArray<Disruption> => {
  const own = Array.from({ length: shards }, (_, shard) => shard).filter((shard) => shard % nodes === node)
  const to = (node + 1 + rng.below(nodes - 1)) % nodes
  return [
    { kind: "stall", at, node, forMs: 700 + rng.below(900) },
    { kind: "moveShard", at: at + rng.below(60), shard: own[rng.below(own.length)] ?? 0, node: to }
  ]
}

const drawDisruptions = (rng: Rng, theme: Theme, target: Target): ReadonlyArray<Disruption> => {
  const { at, accounts } = target
  switch (theme) {
    case "everything":
      return rng.chance(0.15) ? changedAndReadAnew(rng, target) : [drawAny(rng, target)]
    case "money":
      // Holds that expire by a clock which is ahead are open all the same.
      if (rng.chance(0.15))
        return [{ kind: "clockStep", at, node: target.node, byMs: 1_000 + rng.below(100_000), forMs: 600 }]
      return [drawAny(rng, target)]
    case "time": {
      if (rng.chance(0.5))
        return rng.chance(0.5)
          ? rushWhileTheClockStands(rng, target)
          : [{ kind: "rush", at, size: 10 + rng.below(15) }]
      const dice = rng.below(6)
      if (dice < 2) return [{ ...crash(rng, target, 0.3), afterMs: rng.below(40) }]
      if (dice < 4) return [clockStep(rng, target)]
      return dice < 5 ? drawStandstill(rng, target) : [drawAny(rng, target)]
    }
    case "ownership":
      // What a node that is alone had sent lands while its next life remembers the account already.
      if (target.nodes === 1 && rng.chance(0.8))
        return [
          {
            kind: "crash",
            at,
            node: target.node,
            afterMs: rng.below(40),
            sameName: rng.chance(0.5),
            lingersMs: 100 + rng.below(300)
          }
        ]
      if (rng.chance(0.3)) return thereAndBack(rng, target)
      if (target.nodes > 1 && rng.chance(0.2)) return thereAndBackWhileItReads(rng, target)
      return rng.chance(0.7) ? drawStandstill(rng, target) : [drawAny(rng, target)]
    case "readSide": {
      if (target.nodes > 1 && rng.chance(0.4))
        return rng.chance(0.5) ? silentWhileItLives(rng, target) : fencedWhileItLives(rng, target)
      if (rng.chance(0.3)) return decidedLongBefore(rng, target)
      const dice = rng.below(6)
      if (dice < 2) {
        const forged = () =>
          ({ kind: "forge", account: rng.below(accounts), isAhead: rng.chance(0.5) }) as const
        return [
          { ...forged(), at },
          { ...forged(), at: at + rng.below(80) }
        ]
      }
      if (dice < 3) return [{ kind: "wipeBus", at }]
      if (dice < 4) return [{ kind: "readModelHesitates", at, forMs: rng.below(400) }]
      return dice < 5 ? [{ ...crash(rng, target, 0.8), afterMs: rng.below(40) }] : [drawAny(rng, target)]
    }
  }
}

/** Noise that a theme has nearly always. */
const themeNoise: { readonly [theme in Theme]: ReadonlyArray<Noise> } = {
  everything: [],
  money: ["clientImpatient"],
  time: ["commitSlow", "commitLandsLate"],
  ownership: ["commitLandsLate", "commitLandedUnknown", "peerSlow", "storeSlow"],
  readSide: ["busLoses", "busRepeats", "busShuffles", "readModelAppliedUnknown"]
}

/** Each seed has a mix of its own: some worlds are calm but for one kind of fault, some have nearly all of them. */
const drawNoise = (rng: Rng, theme: Theme): Plan["noise"] => {
  const share = [0, 0.15, 0.4][rng.below(3)] ?? 0
  const noise: Partial<Record<Noise, number>> = {}
  for (const kind of noises) {
    if (rng.chance(themeNoise[theme].includes(kind) ? 0.6 : share)) noise[kind] = 0.02 + rng.next() * 0.15
  }
  return noise
}

/** A node is off its gateway by little, and gateways are as far apart as they may be, where a world is about time. */
const drawDrift = (
  rng: Rng,
  theme: Theme,
  index: number,
  isSteady: boolean,
  silent?: Disruption
): Plan["drifts"][number] => {
  const isAboutClocks = theme === "time" || theme === "readSide"
  if (isSteady && !isAboutClocks) return { offsetMs: 0, rate: 1, storeOffsetMs: 0 }
  const drawn = rng.below(skewMaxMs) - skewMaxMs / 2
  const extreme = index % 2 === 0 ? -skewMaxMs / 2 : skewMaxMs / 2
  const opposed = isAboutClocks ? rng.pick([-extreme, drawn, extreme, extreme] as const) : drawn
  // What a new writer of this node records is behind what the others take for past.
  const isBehind = silent !== undefined && "node" in silent && silent.node === index
  const storeOffsetMs =
    silent === undefined || rng.chance(0.3) ? opposed : isBehind ? -skewMaxMs / 2 : skewMaxMs / 2
  const offsetMs = storeOffsetMs + rng.below(skewMaxMs / 2) - skewMaxMs / 4
  return { offsetMs, rate: 1 + (rng.next() - 0.5) / 500, storeOffsetMs }
}

const nodesOf = (rng: Rng, theme: Theme): number => {
  if (theme === "ownership") return rng.pick([1, 1, 2, 2, 2, 3] as const)
  return theme === "readSide" ? rng.pick([1, 2, 2, 3] as const) : rng.pick([1, 1, 2, 3] as const)
}

const themesByWeight = [
  "everything",
  "everything",
  "time",
  "ownership",
  "ownership",
  "readSide",
  "money",
  "money"
] as const

/** A client of some worlds that holds money on an account without any, within its overdraft limit, and closes it. */
const drawClosing = (rng: Rng, { accounts, nodes, theme }: Shape): ReadonlyArray<Step> => {
  if (theme !== "money" || !rng.chance(0.3)) return []
  const inputs = closingOf(accountName(accounts), rng.chance(0.5) ? undefined : 1 + rng.below(300))
  return inputs.map((input) => ({
    client: 0,
    node: rng.below(nodes),
    pauseMs: rng.below(40),
    action: { kind: "command", input }
  }))
}

/** A client of a few worlds that does one thing until a limit is reached. */
const drawCrowd = (rng: Rng, theme: Theme): ReadonlyArray<Step> => {
  if (theme !== "money" || !rng.chance(0.02)) return []
  const account = accountName(0)
  const inputs = rng.chance(0.5) ? crowdOfCaptures(account, capturesMax + 1) : crowdOfDeposits(account)
  return inputs.map((input) => ({ client: 0, node: 0, pauseMs: 0, action: { kind: "command", input } }))
}

/** The plan of a seed; with a theme, of a world that is about that whatever the seed says. */
export const planOf = (seed: number, wanted?: Theme): Plan => {
  const rng = new Rng(Math.imul(seed, 0x9e3779b1) ^ 0x5f356495)
  const drawn = rng.pick(themesByWeight)
  const theme = wanted ?? drawn
  const nodes = nodesOf(rng, theme)
  const accounts = 2 + rng.below(4)
  const clients = 1 + rng.below(5)
  const shards = nodes === 1 ? 1 : 2 + rng.below(3)
  const count = 2 * accounts + 8 + rng.below(30)
  const isSteady = rng.chance(0.3)
  const isForgetful = rng.chance(theme === "ownership" ? 0.2 : 0.7)
  const faultsMax =
    theme === "everything" || theme === "time" ? 5 : theme === "ownership" && nodes === 1 ? 1 : 3
  const faults = rng.chance(0.15) ? 0 : 1 + rng.below(faultsMax)
  // Drawn apart: the other worlds of the theme stay as they are.
  const isOfOneName = theme === "ownership" && nodes > 1 && new Rng(Math.imul(seed, 0x85ebca6b)).chance(0.3)
  const disruptions = Array.from({ length: faults }, () => {
    const target = { at: 20 + rng.below(400), node: rng.below(nodes), nodes, shards, accounts }
    return isOfOneName ? hungWhileItLoses(rng, target) : drawDisruptions(rng, theme, target)
  })
  const isSplit = disruptions.flat().some(({ kind }) => kind === "splitBrain")
  const silent = disruptions.flat().find(({ kind }) => kind === "press")
  const hearsLate = disruptions.flat().some(({ kind }) => kind === "answersLate")
  const shape: Shape = { theme, accounts, clients, nodes, count }
  return {
    seed,
    theme,
    order: rng.pick(["oldest", "any", "any", "newest"] as const),
    busyOneIn: rng.pick([0, 40, 15] as const),
    nodes,
    isOfOneName,
    shards,
    lanes: rng.pick(theme === "readSide" ? ([1, 1, 1, 2, 3] as const) : ([1, 2, 3] as const)),
    accounts,
    // What a node remembers wrongly stays so there, after two nodes held one shard.
    idleMs: isForgetful && !isSplit ? 100 : 10_000,
    residentsMax: isForgetful && !isSplit ? 4 : 20,
    clients,
    latencyMs: 1 + rng.below(8),
    confirmMs: theme === "ownership" ? rng.pick([8, 40] as const) : 40,
    // What waits for a reading that is heard late must not be given up before.
    deadlineMs:
      theme === "ownership" ? rng.pick(hearsLate ? ([1_000] as const) : ([400, 1_000] as const)) : 400,
    aheadMax: rng.pick(theme === "time" ? ([1, 1, 1, 2, 3] as const) : ([1, 2, 3] as const)),
    heartbeatMs: theme === "readSide" ? rng.pick([20, 50] as const) : 50,
    ...(theme === "readSide" && rng.chance(0.7)
      ? { sweepMs: 100, sweepGraceMs: 1 }
      : { sweepMs: 400, sweepGraceMs: 30 }),
    drifts: Array.from({ length: nodes }, (_, index) => drawDrift(rng, theme, index, isSteady, silent)),
    steps: [...drawClosing(rng, shape), ...drawSteps(rng, shape), ...drawCrowd(rng, theme)],
    disruptions: disruptions.flat().toSorted((a, b) => a.at - b.at),
    noise: drawNoise(rng, theme)
  }
}
