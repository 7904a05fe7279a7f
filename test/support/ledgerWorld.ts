/** Whole write sides of nodes over one event store, started and stopped at will, and commands for them. */
import { Effect, Exit, type Fiber, Layer, References, Result, Scope } from "effect"
import { LedgerClock } from "../../src/actors/accounts/LedgerClock.ts"
import { Placement, type Placing } from "../../src/actors/accounts/Placement.ts"
import { Snapshotter } from "../../src/actors/accounts/Snapshotter.ts"
import { Dispatcher } from "../../src/actors/commands/Dispatcher.ts"
import { ClosedTimestamps } from "../../src/actors/past/ClosedTimestamps.ts"
import { TimeTravel } from "../../src/actors/past/TimeTravel.ts"
import { type AskedCommand, type CommandInput, fromHost } from "../../src/domain/Command.ts"
import type { CommandError } from "../../src/domain/Errors.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import {
  ClusterConfig,
  type ClusterLimits,
  defaultClusterLimits
} from "../../src/infra/config/ClusterConfig.ts"
import { defaultLimits, LedgerConfig, type LedgerLimits } from "../../src/infra/config/LedgerConfig.ts"
import { type EventKey, EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { writeSide } from "../../src/LedgerNode.ts"

export type Store = EventStore["Service"]

/** Stores of one world in memory; a suite over a database gives its own instead. */
export const memoryStores = Layer.mergeAll(EventStore.layerMemory, Snapshots.layerMemory)

/** The log of the program, which tells of every fault that a test causes, is not printed. */
export const quiet = Layer.succeed(References.MinimumLogLevel, "None")

export interface NodeOptions {
  /** What differs from the defaults. */
  readonly limits?: Partial<LedgerLimits>
  /** Another store than the world's, a faulty one say. */
  readonly store?: Store
  readonly snapshots?: Snapshots["Service"]
  /** Its place among others; alone by default. */
  readonly placement?: Placing
  readonly cluster?: Partial<ClusterLimits>
}

export interface LedgerNode {
  readonly dispatcher: Dispatcher["Service"]
  readonly travel: TimeTravel["Service"]
  readonly instants: ClosedTimestamps["Service"]
  readonly clock: LedgerClock["Service"]
  /** Sends them as one batch; answers the fiber of their outcomes, in the words of `outcomeOf`. */
  readonly sendBatch: (
    batch: ReadonlyArray<CommandInput>
  ) => Effect.Effect<Fiber.Fiber<ReadonlyArray<string>>>
  readonly send: (command: CommandInput) => Effect.Effect<Receipt, CommandError>
  /** Closes the node as the end of its process would: drains, then fences its writers. */
  readonly stop: Effect.Effect<void>
}

const past = TimeTravel.layer.pipe(Layer.provideMerge(ClosedTimestamps.layer))

/** The default takes 14 MiB a node at once, which costs a short-lived node more than all else. */
const outcomesMax = 2_000

const outsideOf = Effect.fnUntraced(function* (options: NodeOptions) {
  return Layer.mergeAll(
    Layer.succeed(EventStore, options.store ?? (yield* EventStore)),
    Layer.succeed(Snapshots, options.snapshots ?? (yield* Snapshots)),
    Layer.succeed(LedgerConfig, { ...defaultLimits, outcomesMax, ...options.limits }),
    Layer.succeed(ClusterConfig, { ...defaultClusterLimits, ...options.cluster }),
    options.placement === undefined ? Layer.empty : Layer.succeed(Placement, options.placement)
  )
})

/** Answers questions about the past beside the nodes, without being one. */
export const startReader = Effect.fnUntraced(function* (options: NodeOptions = {}) {
  const reader = past.pipe(Layer.provide(Snapshotter.layer), Layer.provide(yield* outsideOf(options)))
  const context = yield* Layer.buildWithMemoMap(reader, Layer.makeMemoMapUnsafe(), yield* Effect.scope)
  return yield* Effect.provide(TimeTravel, context)
})

/** A node of its own, sharing nothing with others but the store; it ends with the scope at the latest. */
export const startNode = Effect.fnUntraced(function* (name: string, options: NodeOptions = {}) {
  const scope = yield* Scope.fork(yield* Effect.scope)
  const node = past.pipe(Layer.provideMerge(writeSide(name)), Layer.provide(yield* outsideOf(options)))
  const context = yield* Layer.buildWithMemoMap(node, Layer.makeMemoMapUnsafe(), scope)
  const dispatcher = yield* Effect.provide(Dispatcher, context)
  return {
    dispatcher,
    travel: yield* Effect.provide(TimeTravel, context),
    instants: yield* Effect.provide(ClosedTimestamps, context),
    clock: yield* Effect.provide(LedgerClock, context),
    send: (input) => dispatcher.dispatch(toCommand(input)),
    sendBatch: (batch) =>
      dispatcher.dispatchMany(batch.map(toCommand)).pipe(
        Effect.map((results): ReadonlyArray<string> => results.map(outcomeOf)),
        Effect.forkChild
      ),
    stop: Scope.close(scope, Exit.void)
  } satisfies LedgerNode
})

let ids = 0

/** A valid command from plain values; an id of its own unless one is given. */
export const toCommand = (input: CommandInput): AskedCommand =>
  Result.getOrThrow(fromHost({ commandId: `c-${++ids}`, ...input }))

export const open = (account: string, overdraftLimit = 0n): CommandInput => ({
  _tag: "OpenAccount",
  account,
  asset: "USD/2",
  owner: "Ada",
  overdraftLimit
})
export const deposit = (account: string, amount: bigint, commandId?: string): CommandInput => ({
  _tag: "Deposit",
  account,
  amount,
  ...(commandId === undefined ? {} : { commandId })
})
export const withdraw = (account: string, amount: bigint, commandId?: string): CommandInput => ({
  _tag: "Withdraw",
  account,
  amount,
  ...(commandId === undefined ? {} : { commandId })
})
export const transfer = (from: string, to: string, amount: bigint, commandId?: string): CommandInput => ({
  _tag: "Transfer",
  from,
  to,
  amount,
  ...(commandId === undefined ? {} : { commandId })
})

/** Opens accounts with a first deposit each. */
export const fund = (node: LedgerNode, accounts: ReadonlyArray<string>, amount: bigint) =>
  Effect.map(
    node.dispatcher.dispatchMany(
      accounts.flatMap((account) => [toCommand(open(account)), toCommand(deposit(account, amount))])
    ),
    (results) => results.map(Result.getOrThrow)
  )

/** The tag of the error, or `"Accepted"`, or `"Replayed"`. */
export const outcomeOf = (result: Result.Result<Receipt, CommandError>): string =>
  Result.isFailure(result) ? result.failure._tag : result.success.replayed ? "Replayed" : "Accepted"

/** How often each value occurs. */
export const tally = (values: ReadonlyArray<string>): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}

export const readStream = (store: Store, account: string) =>
  store.readStream({ account: account as AccountId, after: 0, limit: 1_000_000 }) // ids of tests are valid

/** The whole log, by account. */
export const readLog = Effect.fnUntraced(function* (store: Store) {
  const log = new Map<AccountId, Array<StoredEvent>>()
  for (let after: EventKey = { account: "", version: 0 }; ; ) {
    const page = yield* store.scan({ after, limit: 1_000 })
    for (const row of page) {
      const stream = log.get(row.accountId) ?? []
      stream.push(row)
      log.set(row.accountId, stream)
    }
    const last = page.at(-1)
    if (last === undefined) return log as ReadonlyMap<AccountId, ReadonlyArray<StoredEvent>>
    after = { account: last.accountId, version: last.version }
  }
})

/**
 * Waits, one turn of all other fibers after another, until the condition holds; a test's clock stands still meanwhile. It gives up by the
 * time on the wall: turns without number pass on a busy machine while a timer, or another process, has not come to its turn.
 */
export const until = Effect.fnUntraced(function* (what: string, condition: () => boolean) {
  const giveUpAt = performance.now() + 60_000
  while (!condition()) {
    if (performance.now() > giveUpAt) return yield* Effect.die(new Error(`waited in vain until ${what}`))
    yield* Effect.yieldNow
  }
})
