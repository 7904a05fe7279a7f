/**
 * The rule of ownership: a node answers from memory (decides, rejects, tells a strong balance) only while no other
 * writer can still write to the account. Unique keys keep the log right whatever happens; this rule keeps memory right,
 * which is corrected by the log only when an account is loaded.
 *
 * Wherever an account changes hands, the registry bars it from being loaded (AccountRegistry.ts), and this barrier lifts
 * the bar. It uses what the store knows of all writers: up to which instant each is closed, when it last gave a sign of
 * life, and whether it is fenced. For a bar that came at instant T of the store's clock:
 *
 * - From T on the former owner decides nothing on the account, and a node that it leased the account to decides
 *   nothing after T + `leaseMs`. (Where the account came with its shard, the former owner may have lost the lock unseen, and have been
 *   certain of it for the time of a lease still: then the bar has twice that.) What a node records is ahead of the store's clock by the skew bound at most, and the
 *   store may have several clocks, as far apart (LedgerClock.ts). So everything that another node decided on the account
 *   has a `recordedAt` of at most `endsAt` = T + `leaseMs` + 2 × `clockSkewMaxMs`.
 * - A writer that is closed up to `endsAt` can write none of that any more. Neither can a fenced writer; its node goes on
 *   with a new writer and decides again, which after `endsAt` it cannot do on this account.
 * - So the bar is lifted at the first look at or after `endsAt` at which every writer of another node that is not fenced
 *   is closed up to `endsAt`. A writer that gives no sign of life is fenced then; one that lives and does not close is
 *   fenced a few heartbeats later.
 * - Which writers are of another node is told by their ids. An earlier life of this one, frozen and awake again beside it, registers its
 *   writers under the same name, and is waited for as any other.
 * - What this node itself decided on the account, as one that had leased it, must be out of its own queue.
 *
 * Where no other node writes (each writer of others is fenced and gave no sign of life lately, or is of a node that certainly never
 * held the accounts) `leaseMs` is waited for alone, by this node's own clock of time elapsed. It has to be: a former owner that was
 * cut off from the store for so long is certain of the shard for the time of a lease after the lock has gone, and may be let in again,
 * register a new writer and decide with it. A look after that time finds this writer, and its commits are waited for as above; what it registers later it
 * can decide nothing with. Accounts that no node held before (a shard without a note of a tenure, where all writers are of
 * nodes that never held it) wait for nothing.
 */
import { Effect, Latch, Layer, Schedule } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore, type StoreUnavailable, type WriterRow } from "../../infra/eventstore/EventStore.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import { AccountRegistry, type LoadBar } from "../accounts/AccountRegistry.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import { CommitQueue } from "./CommitQueue.ts"
import { WriterRegistry } from "./WriterRegistry.ts"

/** How often the writers are looked at while accounts are barred, in milliseconds. */
const lookMs = 50
/** Heartbeats after which a writer that gave none is taken for dead, or frozen. */
const silentBeats = 3
/** Heartbeats for which a writer that lives may stay open before it is fenced. */
const patienceBeats = 4

/** A bar, and what has to be over before it is lifted. */
interface Waiting {
  readonly bar: LoadBar
  /** Nothing of other nodes on these accounts has a later `recordedAt`, by the store's clock. */
  readonly endsAt: Instant
  /** The same of this node, by its own clock. */
  readonly ownEndsAt: Instant
  /** From then on no other node decides on these accounts, by time elapsed at this node. */
  readonly undecidedFromMs: number
}

const liftBars = Effect.gen(function* () {
  const store = yield* EventStore
  const registry = yield* AccountRegistry
  const queue = yield* CommitQueue.Service
  const clock = yield* LedgerClock
  const writers = yield* WriterRegistry
  const { clockSkewMaxMs, heartbeatMs } = yield* LedgerConfig
  const { leaseMs } = yield* ClusterConfig
  /** Longer than any lease, so that a writer which is silent for so long had no lease to decide on. */
  const silentMs = Math.max(silentBeats * heartbeatMs, leaseMs + heartbeatMs) + clockSkewMaxMs
  const aheadMaxMs = 2 * clockSkewMaxMs
  const patienceMs = patienceBeats * heartbeatMs
  let waiting: ReadonlyArray<Waiting> = []

  const isSilent = ({ heartbeatAt }: WriterRow, storeNow: Instant) => storeNow - heartbeatAt > silentMs

  /** A writer whose clock is off may say that it is closed up to an instant that is still to come. */
  const closedUpToOf = ({ closedAt }: WriterRow, storeNow: Instant): Instant =>
    closedAt > storeNow + aheadMaxMs ? 0 : closedAt

  /** Fences the writers that keep a bar for too long. Answers up to where all others are closed. */
  const closeWriters = Effect.fnUntraced(function* (
    others: ReadonlyArray<WriterRow>,
    storeNow: Instant,
    earliest: Instant
  ) {
    let closedUpTo = Number.POSITIVE_INFINITY
    for (const writer of others) {
      if (writer.fenced) continue
      const closed = closedUpToOf(writer, storeNow)
      const lateAt = isSilent(writer, storeNow) ? earliest : earliest + patienceMs
      if (closed < earliest && storeNow >= lateAt) {
        yield* Effect.logWarning(
          "fenced a writer of another node, which might still have written to accounts that this node took over",
          writer.writerId
        )
        yield* store.fenceWriter(writer.writerId)
      } else closedUpTo = Math.min(closedUpTo, closed)
    }
    return closedUpTo
  })

  const look: Effect.Effect<void, StoreUnavailable> = Effect.gen(function* () {
    const judged = new Set(waiting)
    // Before the writers are listed: one that registers after that moment is of no use to a former owner.
    const elapsedMs = clock.elapsedUnsafe()
    const storeNow = yield* store.heartbeat([])
    const others = (yield* store.listWriters).filter(({ writerId }) => !writers.isOwn(writerId))
    const isAlone = ({ strangers }: LoadBar): boolean =>
      others.every((writer) => strangers.has(writer.node) || (writer.fenced && isSilent(writer, storeNow)))
    /** An unclean shard without strangers had a holder, also where no writer is left to tell of it. */
    const isNew = ({ strangers }: LoadBar): boolean =>
      strangers.size > 0 && others.every((writer) => strangers.has(writer.node))
    const isAbandoned = ({ bar, undecidedFromMs }: Waiting): boolean =>
      isNew(bar) || (isAlone(bar) && elapsedMs >= undecidedFromMs)
    const earliest = Math.min(...[...judged].map(({ endsAt }) => endsAt))
    const closedUpTo = yield* closeWriters(others, storeNow, earliest)
    const ownOpenSince = queue.openSince() ?? Number.POSITIVE_INFINITY
    const isOver = (one: Waiting): boolean =>
      judged.has(one) &&
      ownOpenSince > one.ownEndsAt &&
      (isAbandoned(one) || (storeNow >= one.endsAt && closedUpTo >= one.endsAt))
    const over = waiting.filter(isOver)
    waiting = waiting.filter((one) => !isOver(one))
    for (const { bar } of over) registry.lift(bar)
  })

  /** The store's clock is asked after the bar was set: what was decided before it is before that moment. */
  const begin = Effect.fnUntraced(function* (bars: ReadonlyArray<LoadBar>) {
    const ownEndsAt = Math.max(clock.nowUnsafe(), queue.openUpTo() ?? 0)
    const barredAtMs = clock.elapsedUnsafe()
    const storeNow = yield* store.heartbeat([]).pipe(Effect.retry(Schedule.spaced(lookMs)), Effect.orDie)
    waiting = waiting.concat(
      bars.map((bar) => ({
        bar,
        endsAt: storeNow + bar.leaseMs + aheadMaxMs,
        ownEndsAt,
        undecidedFromMs: barredAtMs + bar.leaseMs
      }))
    )
  })
  const lookAtAll = look.pipe(
    Effect.catch(({ message }) => Effect.logDebug("writers of other nodes cannot be looked at", message)),
    goesOn("looking at writers")
  )
  const hasBars = Latch.makeUnsafe(false)
  yield* registry.newBars.pipe(
    Effect.flatMap((bars) =>
      begin(bars).pipe(
        // A bar that was given up would never be lifted.
        Effect.tapDefect((defect) => Effect.logError("bars failed to begin and are tried again", defect)),
        Effect.sandbox,
        Effect.retry(Schedule.spaced(lookMs)),
        Effect.orDie
      )
    ),
    Effect.andThen(hasBars.open),
    Effect.forever,
    Effect.forkScoped
  )
  yield* hasBars.await.pipe(
    Effect.andThen(lookAtAll),
    Effect.andThen(
      Effect.suspend(() => (waiting.length === 0 ? hasBars.close : Effect.asVoid(Effect.sleep(lookMs))))
    ),
    Effect.forever,
    Effect.forkScoped
  )
})

/** Lifts the bars of the registry in the scope. */
export const layer = Layer.effectDiscard(liftBars)
