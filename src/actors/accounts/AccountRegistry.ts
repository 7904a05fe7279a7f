/** Account ids enter; their actors, in memory and bounded in number, leave; cold ones are loaded in batches. */
import { Effect, Latch, Result } from "effect"
import type { BrokenLog } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { AccountActor } from "./AccountActor.ts"
import { LedgerClock } from "./LedgerClock.ts"
import { loadAccounts } from "./LoadAccounts.ts"
import { Placement } from "./Placement.ts"
import { Snapshotter } from "./Snapshotter.ts"

/** Accounts that one batch of loading reads, and batches that load at once. */
const loadBatchMax = 500
const loaders = 2
const retryMs = 200
/** Actors that are looked at to make room for one. */
const looksMax = 128

export interface AccountRegistry {
  /**
   * The account's actor; `undefined` when memory is full of accounts that are all in use. `nowMs` has elapsed, one
   * value for all accounts of a command.
   */
  readonly get: (id: AccountId, nowMs: number) => AccountActor | undefined
  /** The actor, if it is in memory. */
  readonly peek: (id: AccountId) => AccountActor | undefined
  /**
   * The actor forgets what it thought and reads the log again; its mailbox waits meanwhile. With tickets of its
   * own still in flight only the forgetting happens: to be called again when the last of them is settled.
   */
  readonly reload: (actor: AccountActor) => void
  /** Forgets those idle accounts whose groups are not this node's any more; answers how many others are in use. */
  readonly evictNotOwned: (isForeign: (group: number) => boolean) => number
  /** Groups of accounts came (back) to this node: what it remembers of them may be old. */
  readonly invalidate: (isArriving: (group: number) => boolean) => void
  readonly size: () => number
}

export interface AccountRegistryEvents {
  /** The actor may decide again. */
  readonly onReady: (actor: AccountActor) => void
  /** Its log is broken: the actor is gone, what waits for it must be answered. */
  readonly onBroken: (actor: AccountActor, broken: BrokenLog) => void
  /** The store did not answer; loading goes on trying. */
  readonly onUnavailable: (reason: string) => void
}

/** Starts the loaders and the passivation of idle actors in the scope. */
export const makeAccountRegistry = Effect.fnUntraced(function* (events: AccountRegistryEvents) {
  const limits = yield* LedgerConfig
  const clock = yield* LedgerClock
  const snapshotter = yield* Snapshotter
  const placement = yield* Placement
  const actors = new Map<AccountId, AccountActor>()
  const wanted = new Set<AccountActor>()
  /** Being read; nobody decides on them meanwhile, so a second reading would find the same, or come too late. */
  const reading = new Set<AccountActor>()
  const wake = Latch.makeUnsafe(false)

  const want = (actor: AccountActor): void => {
    if (reading.has(actor)) return
    wanted.add(actor)
    wake.openUnsafe()
  }

  const passivate = (actor: AccountActor): void => {
    actor.phase = "gone"
    actors.delete(actor.id)
  }

  /** Makes room for one by the second-chance rule: an actor used since it was last passed over is passed again. */
  const makeRoom = (nowMs: number): boolean => {
    let fallback: AccountActor | undefined
    let looks = 0
    for (const actor of actors.values()) {
      if (looks++ === looksMax) break
      // One used at this very instant may belong to the command that asks for room.
      if (actor.isIdle && actor.usedAt < nowMs) {
        if (actor.usedAt <= actor.passedAt) {
          passivate(actor)
          return true
        }
        fallback ??= actor
      }
      actor.passedAt = nowMs
      actors.delete(actor.id)
      actors.set(actor.id, actor)
    }
    if (fallback !== undefined) passivate(fallback)
    return fallback !== undefined
  }

  const get = (id: AccountId, nowMs: number): AccountActor | undefined => {
    const resident = actors.get(id)
    if (resident !== undefined) {
      resident.usedAt = nowMs
      return resident
    }
    if (actors.size >= limits.residentsMax && !makeRoom(nowMs)) return undefined
    const actor = new AccountActor(id, nowMs, placement.groupOf(id))
    actors.set(id, actor)
    want(actor)
    return actor
  }

  const load = Effect.fnUntraced(function* (batch: ReadonlyArray<AccountActor>) {
    const ids = batch.map((actor) => actor.id)
    const loaded = yield* loadAccounts(ids, limits.snapshotEvery).pipe(
      Effect.catch((error) => {
        events.onUnavailable(error.message)
        return Effect.sleep(retryMs).pipe(Effect.as(undefined))
      })
    )
    for (const actor of batch) {
      // Each in its turn: what becomes ready before it is decided upon at once, and may ask for this one.
      reading.delete(actor)
      const found = loaded?.get(actor.id)
      if (found === undefined) {
        want(actor)
        continue
      }
      for (const milestone of found.milestones) snapshotter.offerUnsafe(milestone)
      if (Result.isSuccess(found.head)) {
        actor.load(found.head.success)
        events.onReady(actor)
      } else {
        passivate(actor)
        events.onBroken(actor, found.head.failure)
      }
    }
  })
  const loader = Effect.gen(function* () {
    yield* wake.await
    // What is asked for in the same tick is read in one batch, and never inside of `get`.
    yield* Effect.yieldNow
    const batch: Array<AccountActor> = []
    for (const actor of wanted) {
      if (batch.length === loadBatchMax) break
      wanted.delete(actor)
      // One that became ready otherwise has been decided upon: what the log holds is behind it.
      if (actor.phase !== "loading" || actor.uncommitted > 0) continue
      reading.add(actor)
      batch.push(actor)
    }
    if (wanted.size === 0) wake.closeUnsafe()
    if (batch.length === 0) return
    yield* load(batch).pipe(
      Effect.catchDefect((defect) => {
        for (const actor of batch) {
          reading.delete(actor)
          if (actor.phase === "loading") want(actor)
        }
        return Effect.logError("a loader failed and goes on", defect).pipe(
          Effect.andThen(Effect.sleep(retryMs))
        )
      })
    )
  }).pipe(Effect.forever)
  for (let index = 0; index < loaders; index++) yield* Effect.forkScoped(loader)

  const passivateIdle = Effect.sync(() => {
    const before = clock.elapsedUnsafe() - limits.idleMs
    for (const actor of actors.values()) if (actor.isIdle && actor.usedAt < before) passivate(actor)
  })
  yield* passivateIdle.pipe(Effect.delay(limits.idleMs / 2), Effect.forever, Effect.forkScoped)

  const reload = (actor: AccountActor): void => {
    actor.phase = "loading"
    if (actor.uncommitted === 0) want(actor)
  }

  return {
    get,
    peek: (id) => actors.get(id),
    reload,
    evictNotOwned: (isForeign) => {
      let inUse = 0
      for (const actor of actors.values()) {
        if (!isForeign(actor.group)) continue
        if (actor.isIdle) passivate(actor)
        else inUse++
      }
      return inUse
    },
    invalidate: (isArriving) => {
      for (const actor of actors.values()) {
        if (!isArriving(actor.group)) continue
        if (actor.isIdle) passivate(actor)
        else reload(actor)
      }
    },
    size: () => actors.size
  } satisfies AccountRegistry
})
