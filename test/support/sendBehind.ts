/** Sends a commit that is chained behind another, up to where it waits for its verdict, which the test gives. */
import { Deferred, Effect, Fiber } from "effect"
import type { Commit } from "../../src/infra/eventstore/EventStore.ts"
import type { Store } from "./ledgerWorld.ts"

export const sendBehind = Effect.fnUntraced(function* (store: Store, commit: Commit) {
  const word = yield* Deferred.make<boolean>()
  const isAsked = yield* Deferred.make<void>()
  // Asked for when the rows are written.
  const mayCommit = Effect.andThen(Deferred.succeed(isAsked, undefined), Deferred.await(word))
  const fiber = yield* Effect.forkChild(store.commit(commit, mayCommit), { startImmediately: true })
  // One that ends before is no commit that waits.
  yield* Effect.raceFirst(
    Deferred.await(isAsked),
    Effect.flatMap(Fiber.join(fiber), ({ _tag }) => Effect.die(new Error(`not asked for a word: ${_tag}`)))
  )
  return { word, fiber }
})
