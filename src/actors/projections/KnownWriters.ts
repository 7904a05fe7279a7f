/**
 * Tells messages of this ledger from those of another one on the same bus: a message counts only if its writer is
 * registered in this event store.
 */
import { Context, Effect, Layer, Semaphore } from "effect"
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
      /** Not registered when they were looked up. A registration is never late, so once is enough. */
      let foreign: Set<WriterId> = new Set()
      const isNew = (writer: WriterId) => !known.has(writer) && !foreign.has(writer)

      const look = Effect.fnUntraced(function* (writers: ReadonlyArray<WriterId>) {
        if (!writers.some(isNew)) return
        const unknown = [...new Set(writers.filter(isNew))]
        const registered = yield* store.registeredWriters(unknown)
        if (foreign.size > foreignMax) foreign = new Set()
        for (const writer of unknown) (registered.has(writer) ? known : foreign).add(writer)
        for (const writer of known) {
          if (known.size <= knownMax) break
          known.delete(writer)
        }
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
