/** Saves snapshots of accounts, in batches and after the reply, so that loading a long account reads few events. */
import { Context, Effect, Latch, Layer } from "effect"
import type { Head } from "../../domain/Head.ts"
import { Snapshots } from "../../infra/eventstore/Snapshots.ts"

const backlogMax = 5_000
/** Heads of one statement, and open holds of all of them, about: to write a head of a thousand holds takes 5 ms, in one turn with the others. */
const batchMax = 500
const batchHoldsMax = 10_000

/** How many of the heads, from the first, one statement may carry; one at least. */
const sizeOfBatch = (heads: ReadonlyArray<Head>): number => {
  let holds = 0
  const over = heads.findIndex(({ account }, nth) => {
    if (account._tag === "Opened") holds += account.holds.length
    return nth === batchMax || (nth > 0 && holds > batchHoldsMax)
  })
  return over < 0 ? heads.length : over
}

export class Snapshotter extends Context.Service<
  Snapshotter,
  {
    /** Never blocks; a snapshot may be lost without harm. */
    readonly offerUnsafe: (head: Head) => void
  }
>()("chronicle/actors/Snapshotter") {
  static readonly layer = Layer.effect(
    Snapshotter,
    Effect.gen(function* () {
      const snapshots = yield* Snapshots
      const wake = Latch.makeUnsafe(false)
      let backlog: Array<Head> = []

      const saveSome = Effect.gen(function* () {
        yield* wake.await
        const batch = backlog.splice(0, sizeOfBatch(backlog))
        if (backlog.length === 0) wake.closeUnsafe()
        yield* snapshots.save(batch)
      })
      yield* saveSome.pipe(
        Effect.catch((error) => Effect.logWarning("snapshots were not saved", error.message)),
        Effect.catchDefect((defect) => Effect.logError("snapshots could not be saved", defect)),
        Effect.forever,
        Effect.forkScoped
      )
      return {
        offerUnsafe: (head) => {
          if (backlog.length >= backlogMax) backlog = []
          backlog.push(head)
          wake.openUnsafe()
        }
      }
    })
  )
}
