/**
 * The writers of this node: each commit lane is a writer that the store knows by an id of its own, and that others may
 * fence. A heartbeat tells the store that they live, and up to which instant each of them is closed, so that a question
 * about the past knows when that past can no longer change.
 */
import { Clock, Context, Effect, Layer, Random, Schedule } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { awaitStore } from "../../infra/eventstore/AwaitStore.ts"
import {
  EventStore,
  type StoreUnavailable,
  type WriterId,
  type WriterRow
} from "../../infra/eventstore/EventStore.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import { Placement } from "../accounts/Placement.ts"
import { CommitQueue } from "./CommitQueue.ts"

/**
 * Stands behind the name of a node without a cluster in the writers that it registers. Such a node notes no tenures of shards: what
 * the members of a cluster know of who held which shard, and how it was left, says nothing of these writers.
 */
const aloneMark = " (alone)"

/** How long a node that ends may take to fence its writers. */
const fenceAtEndMs = 2_000

export class WriterRegistry extends Context.Service<
  WriterRegistry,
  {
    /** A new writer for a lane. Fails when the store does not answer within `storeStartMs`: for the start of a node. */
    readonly registerFirst: (lane: number) => Effect.Effect<WriterId, StoreUnavailable>
    /** The same, but tries until the store answers. */
    readonly register: (lane: number) => Effect.Effect<WriterId>
    /** This process registered it, for a lane or for one that took its place: an earlier life under the same name did not. */
    readonly isOwn: (writerId: WriterId) => boolean
    /** The writer will not be used again. */
    readonly retire: (writerId: WriterId) => void
    /** Why commands must be refused now, or `undefined`: the clock is off, or was never compared. */
    readonly refusal: () => string | undefined
    /** The same, or why the store did not take the last heartbeat: known also while no command comes. */
    readonly trouble: () => string | undefined
    /** How far the clock was off at the last heartbeat, in milliseconds; 0 within the time that the asking took. */
    readonly skewMs: () => number
    /** How far what is recorded now is ahead of the store's clock, in milliseconds; 0 where it is not. */
    readonly aheadMs: () => number
  }
>()("chronicle/actors/WriterRegistry") {
  /** `node` names this process in the writers it registers. */
  static readonly layer = (node: string) => Layer.effect(WriterRegistry, make(node))
}

const make = Effect.fnUntraced(function* (node: string) {
  const queue = yield* CommitQueue.Service
  const store = yield* EventStore
  const clock = yield* LedgerClock
  const limits = yield* LedgerConfig
  const comparison = yield* makeClockComparison
  const live = new Set<WriterId>()
  const ids = yield* makeWriterIds(node)
  /** Just before what is decided and not committed, or up to now; the clock is raised so that it stays so (design §4). */
  const closedNow = (now: Instant): Instant => Math.min(queue.openSince() ?? now, now) - 1
  let silence: string | undefined

  const beat = Effect.fnUntraced(function* (writers: ReadonlyArray<WriterId>) {
    const closedAt = closedNow(clock.nowUnsafe())
    yield* comparison.compare(store.heartbeat(writers.map((writerId) => ({ writerId, closedAt }))))
    silence = undefined
  })

  const { isAlone } = yield* Placement
  const registeredAs = isAlone ? `${node}${aloneMark}` : node

  /** May be tried again with the same id, where it is not known what came of it: one row a writer, however often the store hesitates. */
  const registerOnce = Effect.fnUntraced(function* (writerId: WriterId) {
    // From now on no node takes an instant for closed at which this writer may still write.
    yield* store.registerWriter({ writerId, node: registeredAs, closedAt: closedNow(clock.nowUnsafe()) })
    yield* beat([writerId])
    live.add(writerId)
    return writerId
  })

  const registerFirst = (lane: number) => Effect.suspend(() => awaitStore(registerOnce(ids.next(lane))))
  const registerAs = (writerId: WriterId) =>
    registerOnce(writerId).pipe(
      Effect.tapError((error) => Effect.logWarning("a commit lane waits for the event store", error.message)),
      Effect.retry(Schedule.spaced(200)),
      Effect.orDie
    )
  const register = (lane: number) => Effect.suspend(() => registerAs(ids.next(lane)))

  const fence = (writerIds: ReadonlyArray<WriterId>) =>
    Effect.forEach(writerIds, (writerId) => store.fenceWriter(writerId), { discard: true })
  // Before anything asks the clock: the machine's may be ahead, and what it said once stands.
  yield* awaitStore(comparison.bind(store.heartbeat([])))
  yield* awaitStore(
    Effect.flatMap(store.listWriters, (known) => fence(writersOfEarlierLives(known, node, isAlone)))
  )
  yield* Effect.addFinalizer(() => fence([...live]).pipe(Effect.timeoutOption(fenceAtEndMs), Effect.ignore))
  yield* Effect.suspend(() => beat([...live])).pipe(
    Effect.tapError(({ reason }) => Effect.sync(() => (silence = reason))),
    Effect.catch(({ message }) =>
      Effect.logWarning("the heartbeat of this node's writers was not stored", message)
    ),
    goesOn("the heartbeat"),
    Effect.repeat(Schedule.spaced(limits.heartbeatMs)),
    Effect.delay(limits.heartbeatMs),
    Effect.forkScoped
  )
  return WriterRegistry.of({
    registerFirst,
    register,
    isOwn: ids.isOwn,
    retire: (writerId) => {
      live.delete(writerId)
    },
    refusal: comparison.refusal,
    trouble: () => comparison.refusal() ?? silence ?? comparison.ahead(),
    skewMs: comparison.skewMs,
    aheadMs: clock.aheadMsUnsafe
  })
})

/**
 * An earlier life of a node is over, under whatever name it ran: nothing of it may be written after this life has loaded an account. Of
 * a member of a cluster the name tells which writers were its own; OwnershipBarrier.ts has the rest. A node alone may have run
 * between two lives of the cluster, and the cluster calls shards clean that it wrote to since.
 */
const writersOfEarlierLives = (known: ReadonlyArray<WriterRow>, node: string, isAlone: boolean) =>
  known
    .filter((one) => !one.fenced && (isAlone || one.node === node || one.node.endsWith(aloneMark)))
    .map(({ writerId }) => writerId)

/** The ids of all writers of this process begin alike. Two lives of a node, which may be under way at once, share the name alone. */
const makeWriterIds = Effect.fnUntraced(function* (node: string) {
  const startedMs = (yield* Clock.Clock).currentTimeMillisUnsafe()
  const nonce = yield* Random.nextIntBetween(0, 36 ** 6)
  const life = `${node}.${startedMs.toString(36)}.${nonce.toString(36)}.`
  let made = 0
  return {
    next: (lane: number): WriterId => `${life}${lane}.${(++made).toString(36)}`,
    isOwn: (writerId: WriterId): boolean => writerId.startsWith(life)
  }
})

type StoreNow = Effect.Effect<Instant, StoreUnavailable>

/** What the event store's clock says of this node's. */
const makeClockComparison = Effect.gen(function* () {
  const clock = yield* LedgerClock
  const wall = yield* Clock.Clock
  const { clockSkewMaxMs } = yield* LedgerConfig
  let skewMs = 0
  let refusal: string | undefined = "the clock was not compared with the store's yet"
  let isAhead = false

  /**
   * Why what is recorded now is too far ahead of the store's clock. The clock cannot run there by itself: the store's must
   * have gone back, in a failover say. Questions about "now" wait until it has caught up.
   */
  const ahead = (): string | undefined => {
    const aheadMs = clock.aheadMsUnsafe()
    // Twice: a store may have several clocks, and two of them are as far apart as one of them and ours.
    return aheadMs > 2 * clockSkewMaxMs
      ? `what this node records is ${aheadMs} ms ahead of the event store's clock, which went back`
      : undefined
  }

  const bind = (ask: StoreNow): StoreNow =>
    Effect.suspend(() => {
      const askedAtMs = clock.elapsedUnsafe()
      return Effect.tap(ask, (storeNow) => Effect.sync(() => clock.boundUnsafe(storeNow, askedAtMs)))
    })

  const compare = Effect.fnUntraced(function* (ask: StoreNow) {
    const sentAt = wall.currentTimeMillisUnsafe()
    const storeNow = yield* bind(ask)
    const answeredAt = wall.currentTimeMillisUnsafe()
    // The store read its clock somewhere between; only what lies outside counts as skew.
    skewMs = Math.max(sentAt - storeNow, storeNow - answeredAt, 0)
    const isOff = skewMs > clockSkewMaxMs
    if (isOff && refusal === undefined) {
      yield* Effect.logError(`this node's clock is ${skewMs} ms off the store's: commands are refused`)
    }
    refusal = isOff
      ? `this node's clock is ${skewMs} ms off the event store's (${clockSkewMaxMs} ms allowed)`
      : undefined
    // Others may have taken for closed what the store's clock has passed before it knew of us; while the clock
    // is off nothing is decided.
    if (!isOff) clock.raiseUnsafe(storeNow)
    const why = ahead()
    if (why !== undefined && !isAhead) yield* Effect.logError(why)
    isAhead = why !== undefined
  })

  return {
    /** Bounds the ledger's clock by the store's. */
    bind,
    /** The same, and raises it over everything that may have been answered, and notes how far the two are apart. */
    compare,
    refusal: () => refusal,
    ahead,
    skewMs: () => skewMs
  }
})
