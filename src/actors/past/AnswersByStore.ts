/**
 * The instant that an answer about "now" is of, on a node of the read side alone: by the machine's clock within the skew bound of the
 * event store's, as on a node of commands, whose heartbeats do the same.
 */
import { Effect, Layer, Schedule } from "effect"
import { awaitStore } from "../../infra/eventstore/AwaitStore.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { AnswerClock } from "../../infra/readmodel/AnswerClock.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"

/** How often the store's clock is asked for, in milliseconds: in between the bound goes by time elapsed, which hardly drifts. */
const askMs = 5_000

export const layer = Layer.effect(
  AnswerClock,
  Effect.gen(function* () {
    const store = yield* EventStore
    const clock = yield* LedgerClock
    const bind = Effect.suspend(() => {
      const askedAtMs = clock.elapsedUnsafe()
      return Effect.map(store.heartbeat([]), (storeNow) => clock.boundUnsafe(storeNow, askedAtMs))
    })
    // Before anything asks the clock: the machine's may be ahead, and what it said once stands.
    yield* awaitStore(bind)
    yield* bind.pipe(
      Effect.ignore,
      goesOn("asking for the store's clock"),
      Effect.repeat(Schedule.spaced(askMs)),
      Effect.delay(askMs),
      Effect.forkScoped
    )
    return Effect.sync(clock.nowUnsafe)
  })
).pipe(Layer.provide(LedgerClock.layer))
