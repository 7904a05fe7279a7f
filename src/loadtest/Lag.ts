/** Measures the lag of the read model: how long after its acknowledgement a write can be read. */
import { Clock, Duration, Effect, Option, Schedule } from "effect"
import { build, type Histogram } from "hdr-histogram-js"
import type { Position, Receipt } from "../domain/Receipt.ts"
import { elapsedMsUnsafe } from "../infra/config/Elapsed.ts"
import { ReadModel } from "../infra/readmodel/ReadModel.ts"
import type { Acknowledged } from "./Acknowledged.ts"
import type { RunIds } from "./RunIds.ts"

/** How often a write is picked to be watched, and how often the read model is asked for the watched ones. */
export const markEveryMs = 100
const pollEveryMs = 20
/** Writes that are watched at once, so that a read model that is far behind is not burdened with more questions. */
const watchedMax = 200
const accountsAtOnce = 1_000

export interface LagWatch {
  /** Offers a write that was acknowledged at this moment; only some are picked. */
  readonly offerUnsafe: (receipt: Receipt) => void
  /** Watches a write that was acknowledged at this instant of the monotonic clock, in milliseconds. */
  readonly markUnsafe: (position: Position, at: number) => void
  /** The latest lag, or the age of the oldest watched write if that is more; milliseconds. */
  readonly currentMs: () => number | undefined
  readonly histogram: Histogram
  /** Watches until interrupted. */
  readonly watch: Effect.Effect<unknown>
}

export const makeLagWatch = Effect.gen(function* () {
  const readModel = yield* ReadModel
  const clock = yield* Clock.Clock
  const histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: 3_600_000 })
  const nowMs = () => elapsedMsUnsafe(clock)
  let watched: Array<{ readonly position: Position; readonly at: number }> = []
  let markedAt = 0
  let latest: number | undefined

  const poll = Effect.gen(function* () {
    const asked = watched.slice()
    if (asked.length === 0) return
    const behind = yield* readModel.behind(asked.map(({ position }) => position))
    const late = new Set(behind.map(({ account, version }) => `${account}@${version}`))
    const now = nowMs()
    for (const { position, at } of asked) {
      if (late.has(`${position.account}@${position.version}`)) continue
      latest = now - at
      histogram.recordValue(Math.max(1, Math.round(latest)))
    }
    watched = watched.filter(({ position }) => late.has(`${position.account}@${position.version}`))
  })
  const markUnsafe = (position: Position, at: number): void => {
    if (watched.length < watchedMax) watched.push({ position, at })
  }
  return {
    markUnsafe,
    offerUnsafe: (receipt) => {
      const now = nowMs()
      const position = receipt.postings[0]
      if (position === undefined || now - markedAt < markEveryMs || watched.length >= watchedMax) return
      markedAt = now
      markUnsafe(position, now)
    },
    currentMs: () => {
      const oldest = watched[0]
      const waiting = oldest === undefined ? 0 : nowMs() - oldest.at
      return latest === undefined ? waiting || undefined : Math.max(latest, waiting)
    },
    histogram,
    watch: poll.pipe(
      Effect.catch((error) =>
        Effect.logWarning("the lag of the read model could not be read", error.message)
      ),
      Effect.schedule(Schedule.spaced(pollEveryMs))
    )
  } satisfies LagWatch
})

/** Waits until the read model has every acknowledged write. The answer is how many seconds that took, undefined if more than `patience`. */
export const awaitCaughtUp = Effect.fn("LoadTest.awaitCaughtUp")(function* (
  ids: RunIds,
  accounts: number,
  acknowledged: Acknowledged,
  patience: Duration.Input
) {
  const readModel = yield* ReadModel
  const [took, outcome] = yield* Effect.gen(function* () {
    for (let start = 0; start < accounts; start += accountsAtOnce) {
      const positions: Array<Position> = []
      for (let index = start; index < Math.min(accounts, start + accountsAtOnce); index++) {
        const version = acknowledged.versionAt(index)
        if (version > 0) positions.push({ account: ids.account(index), version })
      }
      if (positions.length === 0) continue
      yield* readModel.behind(positions).pipe(
        // A read model that does not answer for a moment counts as late, which `patience` bounds.
        Effect.retry(Schedule.spaced(500)),
        Effect.repeat({ schedule: Schedule.spaced(50), until: (behind) => behind.length === 0 })
      )
    }
  }).pipe(Effect.timeoutOption(patience), Effect.timed)
  return Option.isSome(outcome) ? Duration.toSeconds(took) : undefined
})
