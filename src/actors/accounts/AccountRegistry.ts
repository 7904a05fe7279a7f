/**
 * The accounts in memory: bounded in number, loaded from the log in batches, evicted when they are not used. The log
 * is always the truth; an account here may be dropped and read again at any time when nothing is pending on it.
 *
 * An account is not loaded while another writer may still write to it, or memory would be behind the log without
 * knowing. When accounts change hands they are barred here, and OwnershipBarrier.ts lifts the bar.
 */
import { Context, Effect, Exit, Latch, Layer, Queue, Result } from "effect"
import { Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { PartSize } from "../../infra/eventstore/PartSize.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import { LedgerClock } from "./LedgerClock.ts"
import { AccountActor } from "./Lifecycle.ts"
import { type LoadedAccount, loadAccounts } from "./LoadAccounts.ts"
import { Placement } from "./Placement.ts"
import { Snapshotter } from "./Snapshotter.ts"

/** Accounts that one batch of loading reads, and batches that load at once. */
const loadBatchMax = 500
const loaders = 2
const retryMs = 200
/** Actors that are looked at to make room for one. */
const looksMax = 128

/** Keeps accounts from being loaded, since another node may still write to them. */
export interface LoadBar {
  /** All accounts of a shard that came to this node, or one account that another node had leased. */
  readonly on: number | AccountActor
  /** The former owner may have leased them to nodes that go on deciding on them for so long, in milliseconds. */
  readonly leaseMs: number
  /** Nodes that have nothing to write to them. */
  readonly strangers: ReadonlySet<string>
}

export class AccountRegistry extends Context.Service<
  AccountRegistry,
  {
    /**
     * The account's actor, which may be loading; `undefined` when memory is full of accounts that are all in use.
     * `nowMs` is the time elapsed, one value for all accounts of a command.
     */
    readonly get: (id: AccountId, nowMs: number) => AccountActor | undefined
    /** The actor, if it is in memory. */
    readonly peek: (id: AccountId) => AccountActor | undefined
    /**
     * The actor is read from the log again, since what it holds may be wrong; commands wait in its mailbox meanwhile.
     * While commands of it are uncommitted it is only invalidated: `noteSettled` loads it after the last of them.
     */
    readonly reload: (actor: AccountActor) => void
    /** One more command of the account has its outcome: it may be reloaded, or leased, now. */
    readonly noteSettled: (actor: AccountActor) => void
    /** Evicts the unused accounts of shards that leave this node; answers how many others it may still write to. */
    readonly evictNotOwned: (isForeign: (shard: number) => boolean) => number
    /** A shard came (back) to this node: what it remembers of its accounts, or is reading, may be old. */
    readonly invalidate: (shard: number) => void
    /** How many shards have come to this node since its start, those that came again, or were in doubt, too. */
    readonly arrivals: () => number
    /**
     * A forwarded command was given back because this node is not certain of the shard. Counts as an arrival, so that what came with it is
     * given back too and cannot overtake it.
     */
    readonly noteDoubt: (shard: number) => void
    /** The shard came (back) to this node, or was in doubt, since so many had: another node may have owned it meanwhile. */
    readonly cameAfter: (shard: number, forwardedAfter: number) => boolean
    /** Bars accounts from being loaded, until `lift`. */
    readonly bar: (bar: LoadBar) => void
    /** Nothing is done where another bar on the same took its place. */
    readonly lift: (bar: LoadBar) => void
    /** A shard is barred: its former owners may still write to it. */
    readonly isBarred: (shard: number) => boolean
    /** The bar on an account that another node had leased. */
    readonly barOn: (actor: AccountActor) => LoadBar | undefined
    /** Waits for bars, and takes those that are new. */
    readonly newBars: Effect.Effect<ReadonlyArray<LoadBar>>
    readonly size: () => number
    /** Why the store did not answer the last time accounts were loaded; undefined where it did, or none are to be loaded any more. */
    readonly trouble: () => string | undefined
  }
>()("chronicle/actors/AccountRegistry") {
  static readonly layer = Layer.effect(
    AccountRegistry,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const limits = yield* LedgerConfig
  const clock = yield* LedgerClock
  const placement = yield* Placement
  const actors = new Map<AccountId, AccountActor>()
  const evict = (actor: AccountActor): void => {
    actor.evict()
    actors.delete(actor.id)
  }
  const bars = new Map<LoadBar["on"], LoadBar>()
  /** Each shard that came, with how many had come by then. */
  const arrived = new Map<number, number>()
  let arrivals = 0
  const noteArrival = (shard: number): void => {
    arrived.set(shard, ++arrivals)
  }
  const isActorBarred = (actor: AccountActor) => bars.has(actor.shard) || bars.has(actor)
  const added = yield* Queue.unbounded<LoadBar>()
  const { want, trouble } = yield* startLoaders(evict, isActorBarred)

  const makeRoom = (nowMs: number): boolean => {
    const victim = findVictim(actors, nowMs)
    if (victim !== undefined) evict(victim)
    return victim !== undefined
  }

  const reload = (actor: AccountActor): void => {
    actor.invalidate()
    if (actor.uncommitted === 0) want(actor)
  }

  yield* Effect.sync(() => {
    const before = clock.elapsedUnsafe() - limits.idleMs
    for (const actor of actors.values()) if (actor.isIdle && actor.usedAt < before) evict(actor)
  }).pipe(
    goesOn("passivating idle accounts"),
    Effect.delay(limits.idleMs / 2),
    Effect.forever,
    Effect.forkScoped
  )

  return AccountRegistry.of({
    get: (id, nowMs) => {
      const resident = actors.get(id)
      if (resident !== undefined) {
        resident.touch(nowMs)
        return resident
      }
      if (actors.size >= limits.residentsMax && !makeRoom(nowMs)) return undefined
      const actor = new AccountActor(id, nowMs, placement.shardOf(id))
      actors.set(id, actor)
      want(actor)
      return actor
    },
    peek: (id) => actors.get(id),
    reload,
    noteSettled: (actor) => {
      const told = Result.try(() => actor.tellReaders())
      if (actor.phase === "leasing") actor.offerLease()
      // An actor of another node's account is loaded by its lease alone.
      else if (isLoadable(actor) && actors.get(actor.id) === actor) want(actor)
      Result.getOrThrow(told)
    },
    evictNotOwned: (isForeign) => {
      let inUse = 0
      for (const actor of actors.values()) {
        if (!isForeign(actor.shard)) continue
        if (actor.isDroppable && !bars.has(actor)) evict(actor)
        else inUse++
      }
      return inUse
    },
    invalidate: (shard) => {
      noteArrival(shard)
      for (const actor of actors.values()) {
        if (actor.shard !== shard) continue
        // What a lease of its earlier stay here says is old.
        bars.delete(actor)
        if (actor.isDroppable) evict(actor)
        else reload(actor)
      }
    },
    arrivals: () => arrivals,
    noteDoubt: noteArrival,
    cameAfter: (shard, forwardedAfter) => (arrived.get(shard) ?? 0) > forwardedAfter,
    bar: (bar) => {
      bars.set(bar.on, bar)
      Queue.offerUnsafe(added, bar)
    },
    lift: (bar) => {
      if (bars.get(bar.on) !== bar) return
      bars.delete(bar.on)
      const isCovered = (actor: AccountActor) => actor === bar.on || actor.shard === bar.on
      for (const actor of actors.values()) {
        if (isCovered(actor) && isLoadable(actor)) want(actor)
      }
    },
    isBarred: (shard) => bars.has(shard),
    barOn: (actor) => bars.get(actor),
    newBars: Queue.takeAll(added),
    size: () => actors.size,
    trouble
  })
})

/** Starts the fibers that load the actors which are wanted. `evict` drops an actor whose log is broken, or that nothing waits for. */
const startLoaders = Effect.fnUntraced(function* (
  evict: (actor: AccountActor) => void,
  isBarred: (actor: AccountActor) => boolean
) {
  const limits = yield* LedgerConfig
  const snapshotter = yield* Snapshotter
  const wanted = new Set<AccountActor>()
  /** Being read, with the generation in which the reading began; one reading at a time. */
  const reading = new Map<AccountActor, number>()
  const wake = Latch.makeUnsafe(false)
  const part = new PartSize(loadBatchMax)
  let trouble: string | undefined

  const want = (actor: AccountActor): void => {
    if (reading.has(actor) || isBarred(actor)) return
    wanted.add(actor)
    wake.openUnsafe()
  }

  /** What the store said last says nothing of what comes later. */
  const forgetTrouble = (): void => {
    if (wanted.size + reading.size === 0) trouble = undefined
  }

  const deliver = (actor: AccountActor, found: LoadedAccount): void => {
    if (actor.phase !== "loading") return
    for (const milestone of found.milestones) snapshotter.offerUnsafe(milestone)
    if (Result.isSuccess(found.head)) return actor.load(found.head.success)
    const reason = found.head.failure.message
    evict(actor)
    actor.tellFailure(Exit.fail(new Unavailable({ what: `account ${actor.id}`, reason })))
  }

  const load = Effect.fnUntraced(function* (batch: ReadonlyArray<AccountActor>) {
    const ids = batch.map((actor) => actor.id)
    const loaded = yield* loadAccounts(ids, limits.snapshotEvery).pipe(
      Effect.catch((error) => {
        trouble = error.reason
        return Effect.sleep(retryMs).pipe(Effect.as(undefined))
      })
    )
    // After the pause, in which the other loader may have met nothing but successes.
    if (loaded === undefined) part.noteFailure()
    else {
      trouble = undefined
      part.noteSuccess()
    }
    for (const actor of batch) {
      // Each in its turn: what becomes ready before it is decided upon at once, and may ask for this one.
      const isCurrent = reading.get(actor) === actor.generation
      reading.delete(actor)
      const found = loaded?.get(actor.id)
      // A reading that began before the account left counts for nothing after it came back.
      if (found !== undefined && isCurrent) deliver(actor, found)
      // It could not be read, and what waited for it has been answered.
      else if (loaded === undefined && actor.isDroppable && !isBarred(actor)) evict(actor)
      else if (isLoadable(actor)) want(actor)
    }
    forgetTrouble()
  })

  const afterDefect = Effect.fnUntraced(function* (batch: ReadonlyArray<AccountActor>, defect: unknown) {
    // Before the pause: what was delivered of the batch may be wanted again meanwhile, and read by the other loader.
    part.noteFailure()
    for (const actor of batch) {
      reading.delete(actor)
      if (isLoadable(actor)) want(actor)
    }
    yield* Effect.logError("a loader of accounts failed and goes on", defect)
    yield* Effect.sleep(retryMs)
  })

  const loadSome = Effect.gen(function* () {
    yield* wake.await
    // What is asked for in the same tick is read in one batch, and never inside of `want`.
    yield* Effect.yieldNow
    const batch: Array<AccountActor> = []
    for (const actor of wanted) {
      if (batch.length === part.size) break
      wanted.delete(actor)
      // One that became ready otherwise has been decided upon: what the log holds is behind it.
      if (!isLoadable(actor) || isBarred(actor)) continue
      reading.set(actor, actor.generation)
      batch.push(actor)
    }
    if (wanted.size === 0) wake.closeUnsafe()
    if (batch.length === 0) return forgetTrouble()
    yield* Effect.catchDefect(load(batch), (defect) => afterDefect(batch, defect))
  }).pipe(Effect.forever)
  for (let index = 0; index < loaders; index++) yield* Effect.forkScoped(loadSome)
  return { want, trouble: () => trouble }
})

const isLoadable = (actor: AccountActor): boolean => actor.phase === "loading" && actor.uncommitted === 0

/** An actor to evict for another, by the second-chance rule: one used since it was last passed over is passed again. */
const findVictim = (actors: Map<AccountId, AccountActor>, nowMs: number): AccountActor | undefined => {
  let fallback: AccountActor | undefined
  let looks = 0
  for (const actor of actors.values()) {
    if (looks++ === looksMax) break
    // One used at this very instant may belong to the command that asks for room.
    if (actor.isIdle && actor.usedAt < nowMs) {
      if (actor.usedAt <= actor.passedAt) return actor
      fallback ??= actor
    }
    actor.passOver(nowMs)
    actors.delete(actor.id)
    actors.set(actor.id, actor)
  }
  return fallback
}
