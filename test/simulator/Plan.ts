/**
 * What a seed means: the shape of a world, what its clients do, and what goes wrong in it. A plan is a value, so that a failing
 * one can be made smaller by leaving commands and faults out of it.
 */
import type { CommandInput } from "../../src/domain/Command.ts"
import { deposit, open, transfer, withdraw } from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"
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

/** What happens once, at a time of the plan. */
export type Disruption =
  | {
      readonly kind: "crash"
      readonly at: number
      readonly node: number
      readonly afterMs: number
      readonly sameName: boolean
    }
  | { readonly kind: "freeze"; readonly at: number; readonly node: number; readonly forMs: number }
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
  | { readonly kind: "readModelHesitates"; readonly at: number; readonly forMs: number }
  | { readonly kind: "forge"; readonly at: number; readonly account: number; readonly isAhead: boolean }
  | { readonly kind: "wipeBus"; readonly at: number }

export type Action =
  | { readonly kind: "command"; readonly input: CommandInput & { readonly commandId: string } }
  | { readonly kind: "strong" | "weak" | "statement"; readonly account: string }
  | { readonly kind: "asOf"; readonly account: string; readonly agoMs: number }
  | { readonly kind: "trialAt"; readonly agoMs: number }

export interface Step {
  readonly client: number
  readonly node: number
  readonly pauseMs: number
  readonly action: Action
}

export interface Plan {
  readonly seed: number
  readonly order: Order
  readonly busyOneIn: number
  readonly nodes: number
  readonly shards: number
  readonly lanes: number
  readonly accounts: number
  readonly clients: number
  readonly latencyMs: number
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

export const accountName = (index: number): string => `acc-${index}`

const reopened = (input: CommandInput, rng: Rng): CommandInput =>
  "amount" in input ? { ...input, amount: input.amount + 1n + BigInt(rng.below(3)) } : input

const drawInput = (rng: Rng, accounts: number, commandId: string): CommandInput => {
  const [account, other, third] = [0, 0, 0].map(() => accountName(rng.below(accounts)))
  if (account === undefined || other === undefined || third === undefined) throw new Error("three were drawn")
  const amount = BigInt(1 + rng.below(80))
  const dice = rng.below(24)
  if (dice < 2) return { ...open(account, 10n), commandId }
  if (dice < 7) return deposit(account, amount, commandId)
  if (dice < 12) return withdraw(account, amount, commandId)
  if (dice < 13) return { _tag: rng.chance(0.5) ? "FreezeAccount" : "UnfreezeAccount", account, commandId }
  if (dice < 16)
    return {
      _tag: "PostJournal",
      commandId,
      legs: [
        { account, side: "debit", amount: amount + 1n },
        { account: other, side: "credit", amount },
        { account: third, side: "credit", amount: 1n }
      ]
    }
  if (dice < 17) return { ...deposit(account, amount, commandId), expectedVersion: 1 + rng.below(6) }
  return transfer(account, other, amount, commandId)
}

const drawAction = (rng: Rng, accounts: number, before: ReadonlyArray<CommandInput>, id: string): Action => {
  const account = accountName(rng.below(accounts))
  const dice = rng.below(20)
  if (dice < 3) return { kind: "strong", account }
  if (dice < 5) return { kind: "weak", account }
  if (dice < 6) return { kind: "statement", account }
  if (dice < 8) return { kind: "asOf", account, agoMs: rng.below(200) - 20 }
  if (dice < 9) return { kind: "trialAt", agoMs: rng.below(200) }
  const earlier = before[rng.below(Math.max(1, before.length))]
  if (dice < 11 && earlier?.commandId !== undefined) {
    const again = rng.chance(0.3) ? reopened(earlier, rng) : earlier
    return { kind: "command", input: { ...again, commandId: earlier.commandId } }
  }
  return { kind: "command", input: { ...drawInput(rng, accounts, id), commandId: id } }
}

/** Accounts are opened, then funded, mostly. */
const drawBeginning = (rng: Rng, accounts: number, index: number, commandId: string): Action => {
  const account = accountName(index % accounts)
  const input =
    index < accounts
      ? open(account, BigInt(10 * rng.below(3)))
      : deposit(account, BigInt(50 + rng.below(200)))
  return { kind: "command", input: { ...input, commandId } }
}

const drawSteps = (rng: Rng, shape: { accounts: number; clients: number; nodes: number; count: number }) => {
  const inputs: Array<CommandInput> = []
  const steps: Array<Step> = []
  for (let index = 0; index < shape.count; index++) {
    const id = `c-${index}`
    const action =
      index < shape.accounts * 2
        ? drawBeginning(rng, shape.accounts, index, id)
        : drawAction(rng, shape.accounts, inputs, id)
    if (action.kind === "command") inputs.push(action.input)
    steps.push({
      client: rng.below(shape.clients),
      node: rng.below(shape.nodes),
      pauseMs: rng.chance(0.5) ? 0 : rng.below(30),
      action
    })
  }
  return steps
}

const drawDisruption = (
  rng: Rng,
  nodes: number,
  shards: number,
  accounts: number,
  lastsMs: number
): Disruption => {
  const at = 20 + rng.below(lastsMs)
  const node = rng.below(nodes)
  const sign = rng.chance(0.5) ? 1 : -1
  switch (rng.below(nodes > 1 ? 12 : 10)) {
    case 0:
    case 1:
      return { kind: "crash", at, node, afterMs: rng.below(300), sameName: rng.chance(0.5) }
    case 2:
      return { kind: "freeze", at, node, forMs: 20 + rng.below(900) }
    case 3:
    case 4:
      return { kind: "stall", at, node, forMs: 20 + rng.below(500) }
    case 5:
      return {
        kind: "clockStep",
        at,
        node,
        byMs: sign * (rng.chance(0.5) ? rng.below(skewMaxMs) : rng.below(100_000)),
        forMs: rng.below(200)
      }
    case 6:
      return { kind: "storeClockStep", at, node, byMs: sign * rng.below(skewMaxMs / 4) }
    case 7:
      return { kind: "readModelHesitates", at, forMs: rng.below(400) }
    case 8:
      return { kind: "forge", at, account: rng.below(accounts), isAhead: rng.chance(0.5) }
    case 9:
      return { kind: "wipeBus", at }
    default:
      return { kind: "moveShard", at, shard: rng.below(shards), node }
  }
}

/** Each seed has a mix of its own: some worlds are calm but for one kind of fault, some have nearly all of them. */
const drawNoise = (rng: Rng): Plan["noise"] => {
  const share = [0, 0.15, 0.4][rng.below(3)] ?? 0
  const noise: Partial<Record<Noise, number>> = {}
  for (const kind of noises) if (rng.chance(share)) noise[kind] = 0.02 + rng.next() * 0.15
  return noise
}

export const planOf = (seed: number): Plan => {
  const rng = new Rng(Math.imul(seed, 0x9e3779b1) ^ 0x5f356495)
  const nodes = rng.pick([1, 1, 2, 3] as const)
  const accounts = 2 + rng.below(4)
  const clients = 1 + rng.below(5)
  const shards = nodes === 1 ? 1 : 2 + rng.below(3)
  const count = 2 * accounts + 8 + rng.below(30)
  const isSteady = rng.chance(0.3)
  const disruptions = Array.from({ length: rng.chance(0.2) ? 0 : 1 + rng.below(5) }, () =>
    drawDisruption(rng, nodes, shards, accounts, 400)
  )
  return {
    seed,
    order: rng.pick(["oldest", "any", "any", "newest"] as const),
    busyOneIn: rng.pick([0, 40, 15] as const),
    nodes,
    shards,
    lanes: 1 + rng.below(2),
    accounts,
    clients,
    latencyMs: 1 + rng.below(8),
    drifts: Array.from({ length: nodes }, () => ({
      offsetMs: isSteady ? 0 : rng.below(skewMaxMs) - skewMaxMs / 2,
      rate: isSteady ? 1 : 1 + (rng.next() - 0.5) / 500,
      storeOffsetMs: isSteady ? 0 : rng.below(skewMaxMs / 4) - skewMaxMs / 8
    })),
    steps: drawSteps(rng, { accounts, clients, nodes, count }),
    disruptions: disruptions.toSorted((a, b) => a.at - b.at),
    noise: drawNoise(rng)
  }
}
