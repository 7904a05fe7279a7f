/** Runs clients against a small faulty world of nodes under one seed, and judges their answers by the log. */
import { Clock, Effect, Exit, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { ClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import type { LedgerLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { FaultyStore, type Script } from "./faultyStore.ts"
import { type Attempt, faultsOf, logOf } from "./invariants.ts"
import {
  deposit,
  type LedgerNode,
  open,
  readLog,
  startNode,
  toCommand,
  transfer,
  withdraw
} from "./ledgerWorld.ts"
import { Rng } from "./Rng.ts"
import type { SimulatedCluster } from "./simulatedCluster.ts"

export interface World {
  readonly seed: number
  readonly nodes: number
  readonly clients: number
  readonly commandsPerClient: number
  readonly accounts: number
  /** The faults, one script a node. */
  readonly script: (node: number) => Script
  /** How long each commit is on its way, in milliseconds; 0 if left out. */
  readonly commitMs?: number
  /** Commit lanes of a node; as many as by default, if left out. */
  readonly lanes?: number
  /** Every so many calls of the snapshots fail; never, if left out. */
  readonly snapshotsFailOneIn?: number
  /** How the accounts are spread over the nodes; every node believes to own all of them by default. */
  readonly cluster?: SimulatedCluster
  /** Goes on beside the clients, and ends with them. */
  readonly meanwhile?: Effect.Effect<void>
}

export interface Outcome {
  /** Every breach of an invariant, in words. */
  readonly faults: ReadonlyArray<string>
  readonly attempts: ReadonlyArray<Attempt>
  readonly stores: ReadonlyArray<FaultyStore>
}

/** Small, so that every bound is met: batches are split, accounts leave memory, snapshots are taken. */
const smallLimits: Partial<LedgerLimits> = {
  commandDeadlineMs: 400,
  queryDeadlineMs: 400,
  heartbeatMs: 50,
  clockSkewMaxMs: 20,
  batchRowsMax: 8,
  snapshotEvery: 5,
  residentsMax: 5,
  idleMs: 100,
  inFlightMax: 40,
  inFlightPerAccountMax: 12
}

const away = new StoreUnavailable({ store: "event store", reason: "a fault of the test" })

/** Snapshots of which some calls fail. */
const failing = (inner: Snapshots["Service"], rng: Rng, oneIn: number): Snapshots["Service"] => {
  const maybe = <A>(call: Effect.Effect<A, StoreUnavailable>) =>
    Effect.suspend(() => (rng.below(oneIn) === 0 ? Effect.fail(away) : call))
  return {
    ...inner,
    latest: (accounts) => maybe(inner.latest(accounts)),
    save: (heads) => maybe(inner.save(heads))
  }
}

const smallCluster: Partial<ClusterLimits> = {
  leaseMs: 100,
  shareMs: 10,
  shareMax: 4,
  retryMs: 5,
  drainMs: 50,
  answerGraceMs: 60
}

const sendingsMax = 12
/** Virtual milliseconds of one step, and the most steps a world may take. */
const stepMs = 5
const stepsMax = 20_000

const accountOf = (rng: Rng, { accounts }: World): string => `acc-${rng.below(accounts)}`

const randomCommand = (rng: Rng, world: World, commandId: string): CommandInput => {
  const account = accountOf(rng, world)
  const other = accountOf(rng, world)
  const amount = BigInt(1 + rng.below(60))
  switch (rng.below(12)) {
    case 0:
      return { ...open(account, 20n), commandId }
    case 1:
    case 2:
    case 3:
      return deposit(account, amount, commandId)
    case 4:
    case 5:
      return withdraw(account, amount, commandId)
    case 6:
      return { _tag: rng.chance(0.3) ? "FreezeAccount" : "UnfreezeAccount", account, commandId }
    case 7:
    case 8:
      return {
        _tag: "PostJournal",
        commandId,
        legs: [
          { account, side: "debit", amount: amount + 1n },
          { account: other, side: "credit", amount },
          { account: accountOf(rng, world), side: "credit", amount: 1n }
        ]
      }
    default:
      return transfer(account, other, amount, commandId)
  }
}

const mayHaveBeen = new Set(["Indeterminate", "Unavailable", "Overloaded"])

/** Runs a world to its end in virtual time. */
export const simulate = Effect.fnUntraced(function* (world: World) {
  const inner = yield* EventStore
  const innerSnapshots = yield* Snapshots
  const oneIn = world.snapshotsFailOneIn
  const snapshots = oneIn === undefined ? innerSnapshots : failing(innerSnapshots, new Rng(world.seed), oneIn)
  const stores = Array.from({ length: world.nodes }, (_, node) => FaultyStore.over(inner, world.script(node)))
  for (const store of stores) store.commitMs = world.commitMs ?? 0
  const attempts: Array<Attempt> = []
  const inputs = new Map<string, CommandInput>()
  let ticks = 0

  const send = Effect.fnUntraced(function* (node: LedgerNode, input: CommandInput) {
    const command = toCommand(input)
    inputs.set(command.commandId, input)
    const start = ticks++
    const result = yield* Effect.exit(node.dispatcher.dispatch(command))
    // A defect is handed to the caller: then it does not know more than after `Indeterminate`.
    const answer = Exit.isSuccess(result)
      ? result.value
      : Result.match(Exit.findError(result), {
          onSuccess: (error) => error._tag,
          onFailure: () => "Indeterminate"
        })
    attempts.push({ commandId: command.commandId, start, end: ticks++, answer })
    return answer
  })

  const client = Effect.fnUntraced(function* (nodes: ReadonlyArray<LedgerNode>, index: number) {
    const rng = new Rng(world.seed * 1_000 + index)
    for (let nth = 0; nth < world.commandsPerClient; nth++) {
      const input = randomCommand(rng, world, `${index}-${nth}`)
      for (let sending = 0; sending < sendingsMax; sending++) {
        const node = nodes[rng.below(nodes.length)]
        if (node === undefined) return
        const answer = yield* send(node, input)
        if (typeof answer === "string" ? !mayHaveBeen.has(answer) : rng.chance(0.9)) break
        yield* Effect.sleep(rng.below(30))
      }
    }
  })

  const run = Effect.gen(function* () {
    const nodes = yield* Effect.forEach(stores, ({ store }, index) =>
      startNode(`node-${index}`, {
        store,
        snapshots,
        limits: world.lanes === undefined ? smallLimits : { ...smallLimits, lanes: world.lanes },
        ...(world.cluster === undefined
          ? {}
          : { placement: world.cluster.placementOf(index), cluster: smallCluster })
      }).pipe(
        Effect.retry({ times: 20 }),
        Effect.tap((node) => Effect.sync(() => world.cluster?.join(index, node.dispatcher.localNode)))
      )
    )
    const meanwhile = yield* Effect.forkChild(world.meanwhile ?? Effect.void)
    for (let index = 0; index < world.accounts; index++) {
      const node = nodes[index % nodes.length]
      if (node !== undefined) yield* send(node, { ...open(`acc-${index}`, 10n), commandId: `open-${index}` })
    }
    yield* Effect.forEach(Array.from({ length: world.clients }), (_, index) => client(nodes, index), {
      concurrency: "unbounded"
    })
    yield* Fiber.interrupt(meanwhile)
    for (const store of stores) store.script = () => undefined
    yield* Effect.forEach(nodes, (node) => node.stop, { concurrency: "unbounded" })
    // What was to land late has landed.
    yield* Effect.sleep(1_000)
    yield* settleOpen
  }).pipe(Effect.scoped)

  /** A node without faults is sent again all that stayed open; then nothing is indeterminate any more. */
  const settleOpen = Effect.gen(function* () {
    const last = yield* startNode("last")
    const latest = new Map(attempts.map(({ commandId, answer }) => [commandId, answer]))
    for (const [commandId, answer] of latest) {
      const input = inputs.get(commandId)
      if (answer !== "Indeterminate" || input === undefined) continue
      const settled = yield* send(last, input)
      if (typeof settled === "string" && mayHaveBeen.has(settled)) {
        return yield* Effect.die(new Error(`${commandId} is ${settled} without any fault`))
      }
    }
    for (const [account, rows] of yield* readLog(inner)) {
      const { head } = yield* last.dispatcher.head(account)
      if (head.hash !== rows.at(-1)?.hash)
        return yield* Effect.die(new Error(`${account} was loaded wrongly`))
    }
    yield* last.stop
  })

  const running = yield* Effect.forkChild(run)
  for (let steps = 0; running.pollUnsafe() === undefined; steps++) {
    if (steps > stepsMax) {
      return yield* Effect.die(new Error(`the world stands still at ${yield* Clock.currentTimeMillis}`))
    }
    yield* TestClock.adjust(stepMs)
  }
  yield* Fiber.join(running)
  return { faults: faultsOf(yield* logOf(inner), attempts), attempts, stores } satisfies Outcome
})
