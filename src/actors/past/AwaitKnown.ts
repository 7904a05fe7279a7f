/**
 * Waits until the read model can answer about an instant at which things were recorded: until no writer can still commit
 * at or before it, and everything that was committed by then is projected.
 */
import { Effect, Option, Result } from "effect"
import { NotYetVisible, Unavailable } from "../../domain/Errors.ts"
import { type Instant, printInstant } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore, type StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { AnswerClock } from "../../infra/readmodel/AnswerClock.ts"
import { ProjectionWaiters } from "../../infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../infra/readmodel/ReadModel.ts"
import { eachUnsweptTail, missingIn } from "../projections/ProjectionLag.ts"
import { orUnreadable } from "../relay/TailReader.ts"
import { ClosedTimestamps } from "./ClosedTimestamps.ts"

/** What was found of an instant, and which one it is. */
interface Known<A> {
  readonly knownAt: Instant
  readonly found: A
}

/** Exchanges of tables after each of which a question is asked once more: a rebuild takes far longer than a question. */
const exchangesMax = 2

/**
 * Asks the read model about an instant, the one that is given or now, once everything that was recorded by then is in it, except of
 * accounts that are parked. `ask` says itself which those are, by the statement that reads the rows.
 *
 * It asks again where a rebuild exchanged the tables meanwhile: an account that was parked in the former ones, so that it was not waited
 * for, and is not in the new ones may still lack there what was recorded last.
 */
export const makeAskKnown = Effect.gen(function* () {
  const readModel = yield* ReadModel
  const awaitKnown = yield* makeAwaitKnown
  const generation = Effect.map(readModel.look([]), (looked) => looked.generation)

  return Effect.fnUntraced(function* <A>(
    instant: Instant | undefined,
    ask: (knownAt: Instant) => Effect.Effect<A, StoreUnavailable>
  ): Effect.fn.Return<Known<A>, NotYetVisible | Unavailable> {
    let asked = instant
    for (let exchanges = 0; exchanges <= exchangesMax; exchanges++) {
      const before = yield* Effect.mapError(generation, unavailable)
      const knownAt = yield* awaitKnown(asked)
      const found = yield* Effect.mapError(ask(knownAt), unavailable)
      if ((yield* Effect.mapError(generation, unavailable)) === before) return { knownAt, found }
      asked = knownAt
    }
    const reason = `its tables were exchanged ${exchangesMax + 1} times while it was asked`
    return yield* new Unavailable({ what: "read model", reason })
  })
})

/** Answers the instant that was waited for: the one that is given, or now. */
const makeAwaitKnown = Effect.gen(function* () {
  const store = yield* EventStore
  const readModel = yield* ReadModel
  const waiters = yield* ProjectionWaiters
  const closed = yield* ClosedTimestamps
  const answerNow = yield* AnswerClock
  const { clockSkewMaxMs, queryDeadlineMs } = yield* LedgerConfig
  const { sweepCommitsMax, tokenPollMs } = yield* ReadSideConfig

  /** Waits until the read model has everything that is in the log now. What a commit holds that cannot be read is not known. */
  const awaitReached = Effect.fnUntraced(function* (knownAt: Instant) {
    const swept = yield* readModel.swept
    yield* eachUnsweptTail(
      store,
      swept,
      Effect.fnUntraced(function* ({ writerId, lastSeq }) {
        let after = swept.get(writerId) ?? 0
        while (after < lastSeq) {
          const read = yield* orUnreadable(store.readTail({ writerId, after, limit: sweepCommitsMax }))
          if (Result.isFailure(read)) return yield* notReached(knownAt)
          const rows = read.success
          const last = rows.at(-1)
          if (last === undefined) break
          while ((yield* missingIn(readModel, rows)).length > 0) yield* Effect.sleep(tokenPollMs)
          after = last.seq
        }
      })
    )
  })

  /**
   * As late as this process's clock says, for what it recorded itself is to be in the answer, and within the skew bound of the event
   * store's: by a clock far ahead the instant would not be closed in time, and by one behind the answer would be old.
   */
  const now = Effect.gen(function* () {
    const storeNow = yield* store.heartbeat([])
    return Math.min(Math.max(yield* answerNow, storeNow), storeNow + clockSkewMaxMs)
  }).pipe(
    Effect.mapError(unavailable),
    Effect.timeoutOrElse({
      duration: queryDeadlineMs,
      orElse: () =>
        Effect.fail(
          new Unavailable({ what: "event store", reason: `it gave no answer within ${queryDeadlineMs} ms` })
        )
    })
  )

  return Effect.fnUntraced(function* (
    instant: Instant | undefined
  ): Effect.fn.Return<Instant, NotYetVisible | Unavailable> {
    const knownAt = instant ?? (yield* now)
    // Closed first: no commit that counts can come afterwards, so the tails hold all of them.
    yield* closed.awaitClosed(knownAt)
    const reached = yield* Effect.mapError(waiters.inTime(awaitReached(knownAt), queryDeadlineMs), (error) =>
      error._tag === "NotYetVisible" ? error : unavailable(error)
    )
    if (Option.isNone(reached)) return yield* notReached(knownAt)
    return knownAt
  })
})

const notReached = (knownAt: Instant): NotYetVisible =>
  new NotYetVisible({ wanted: printInstant(knownAt), reached: "an earlier instant" })

const unavailable = (error: StoreUnavailable): Unavailable =>
  new Unavailable({ what: error.store, reason: error.reason })
