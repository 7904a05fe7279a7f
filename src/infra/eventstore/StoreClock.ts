/**
 * Now by the event store's clock, for what is not recorded: the machine's may be off by minutes, on a node that takes no commands for that and
 * projects and tells webhooks all the same.
 */
import { Clock, Effect, Latch, Option, Semaphore } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { goesOn } from "../telemetry/GoesOn.ts"
import { EventStore } from "./EventStore.ts"

/** The store's clock less time elapsed: about, for it was read between question and answer. */
const readZero = (store: EventStore["Service"], clock: Clock.Clock) =>
  Effect.suspend(() => {
    const askedAtMs = elapsedMsUnsafe(clock)
    return Effect.map(store.heartbeat([]), (storeNow) => storeNow - (askedAtMs + elapsedMsUnsafe(clock)) / 2)
  })

/** How often the store's clock is asked for at most, in milliseconds: in between, time elapsed is added, which hardly drifts. */
const askMs = 5_000

/**
 * Answers the machine's clock, within the skew bound of the store's, for what tells how old events are; undefined before that is known. Asks only
 * while it is asked itself.
 */
export const makeStoreNow = Effect.gen(function* () {
  const store = yield* EventStore
  const clock = yield* Clock.Clock
  const { clockSkewMaxMs } = yield* LedgerConfig
  const isWanted = Latch.makeUnsafe(true)
  /** At its last answer. */
  let zero: number | undefined
  const ask = Effect.gen(function* () {
    yield* isWanted.await
    isWanted.closeUnsafe()
    zero = yield* readZero(store, clock)
  })
  yield* ask.pipe(
    Effect.ignore,
    goesOn("asking for the store's clock"),
    Effect.andThen(Effect.sleep(askMs)),
    Effect.forever,
    Effect.forkScoped
  )
  return (): Instant | undefined => {
    isWanted.openUnsafe()
    if (zero === undefined) return undefined
    const storeNow = Math.round(zero + elapsedMsUnsafe(clock))
    const machineNow = clock.currentTimeMillisUnsafe()
    return Math.min(Math.max(machineNow, storeNow - clockSkewMaxMs), storeNow + clockSkewMaxMs)
  }
})

/** A clock that differs more from the event store's is wrong, in milliseconds; the specification has receivers allow five minutes. */
const offMsMax = 30_000
/** How long the store's clock is believed, how long it is asked for at most, and how soon again where it did not tell, in milliseconds. */
const believedMs = 60_000
const patienceMs = 2_000
const askAgainMs = 5_000

/**
 * The instant that a message to an endpoint says it was sent at: by the machine's clock, or by the event store's where the two are too far
 * apart. Receivers refuse messages that are some minutes off, until the endpoint is disabled. Pauses between attempts end by it as well.
 */
export const makeAttemptClock: Effect.Effect<Effect.Effect<Instant>, never, EventStore> = Effect.gen(
  function* () {
    const clock = yield* Clock.Clock
    const store = yield* EventStore
    /** Undefined until the store has told. */
    let storeZero: number | undefined
    let dueAt = Number.NEGATIVE_INFINITY
    /** No time elapses while a machine is suspended, and its clock goes on: what the store told says nothing of now then. */
    const machineZero = () => clock.currentTimeMillisUnsafe() - elapsedMsUnsafe(clock)
    let machineZeroTold = machineZero()
    const wasSuspended = () => Math.abs(machineZero() - machineZeroTold) > offMsMax

    const isDue = () => elapsedMsUnsafe(clock) > dueAt || (storeZero !== undefined && wasSuspended())
    const note = (told: Option.Option<number>): void => {
      dueAt = elapsedMsUnsafe(clock) + (Option.isSome(told) ? believedMs : askAgainMs)
      if (Option.isSome(told)) {
        storeZero = told.value
        machineZeroTold = machineZero()
      } else if (wasSuspended()) {
        // The connection to the store may have died meanwhile: until it tells, the machine's clock counts.
        storeZero = undefined
      }
    }
    const ask = readZero(store, clock).pipe(
      Effect.timeoutOption(patienceMs),
      Effect.option,
      Effect.map((told) => note(Option.flatten(told)))
    )
    // Messages that start meanwhile wait for the same answer.
    const askOnce = Semaphore.makeUnsafe(1).withPermit(Effect.suspend(() => (isDue() ? ask : Effect.void)))

    return Effect.gen(function* () {
      // Only while messages are sent, so that a node without endpoints asks nothing.
      if (isDue()) yield* askOnce
      const now = clock.currentTimeMillisUnsafe()
      if (storeZero === undefined) return now
      const byStore = Math.round(storeZero + elapsedMsUnsafe(clock))
      return Math.abs(now - byStore) > offMsMax ? byStore : now
    })
  }
)
