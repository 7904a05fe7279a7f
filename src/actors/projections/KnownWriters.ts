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
      let known: ReadonlySet<WriterId> = new Set()
      /** Not registered when they were looked up. A registration is never late, so once is enough. */
      let foreign: Set<WriterId> = new Set()
      const isNew = (writer: WriterId) => !known.has(writer) && !foreign.has(writer)

      const look = Effect.fnUntraced(function* (writers: ReadonlyArray<WriterId>) {
        if (!writers.some(isNew)) return
        known = new Set((yield* store.listWriters).map((row) => row.writerId))
        if (foreign.size > foreignMax) foreign = new Set()
        for (const writer of writers) if (!known.has(writer)) foreign.add(writer)
      }, lock.withPermit)

      return {
        areKnown: (writers) =>
          Effect.map(writers.some(isNew) ? look(writers) : Effect.void, () => (writer) => known.has(writer))
      }
    })
  )
}

const foreignMax = 1_000
