/**
 * Tells messages of this ledger from those of another one on the same bus: a message counts only if its writer is
 * registered in this event store.
 */
import { Clock, Context, Effect, Layer, Semaphore } from "effect"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { forgetOldest } from "../../infra/config/ForgetOldest.ts"
import { EventStore, type StoreUnavailable, type WriterId } from "../../infra/eventstore/EventStore.ts"

export class KnownWriters extends Context.Service<
  KnownWriters,
  {
    /** Asks the store about writers that are not known yet. A writer registers before its first commit. */
    readonly areKnown: (
      writers: ReadonlyArray<WriterId>
    ) => Effect.Effect<(writer: WriterId) => boolean, StoreUnavailable>
  }
>()("chronicle/actors/KnownWriters") {
  static readonly layer = Layer.effect(
    KnownWriters,
    Effect.gen(function* () {
      const store = yield* EventStore
      const lock = yield* Semaphore.make(1)
      /** The longest unused first. */
      const known = new Set<WriterId>()
      const clock = yield* Clock.Clock
      /**
       * Not registered when they were looked up, and when that was, by time elapsed. A writer registers before anything of it can be
       * on the bus; but a name that was only claimed once must not count as that of a stranger for ever.
       */
      const foreign = new Map<WriterId, number>()
      const isNew = (writer: WriterId) => {
        if (known.has(writer)) return false
        const lookedAt = foreign.get(writer)
        return lookedAt === undefined || elapsedMsUnsafe(clock) - lookedAt >= foreignMs
      }

      const look = Effect.fnUntraced(function* (writers: ReadonlyArray<WriterId>) {
        if (!writers.some(isNew)) return
        const unknown = [...new Set(writers.filter(isNew))]
        const registered = yield* store.registeredWriters(unknown)
        if (foreign.size > foreignMax) foreign.clear()
        for (const writer of unknown) {
          foreign.delete(writer)
          if (registered.has(writer)) known.add(writer)
          else foreign.set(writer, elapsedMsUnsafe(clock))
        }
        forgetOldest(known, knownMax)
      }, lock.withPermit)

      return {
        areKnown: (writers) =>
          Effect.map(writers.some(isNew) ? look(writers) : Effect.void, () => (writer) => known.has(writer))
      }
    })
  )
}

/** Writers of this ledger, and of others, that are kept in memory; those of the messages at hand come on top. */
const knownMax = 10_000
const foreignMax = 1_000
/** For so long a writer that was not registered is not looked up again, in milliseconds. */
const foreignMs = 10_000
