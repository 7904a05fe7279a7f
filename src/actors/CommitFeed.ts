/** Commits of this node enter right after they are durable; the relay takes them out, or reads the store instead. */
import { Context, Effect, Latch, Layer } from "effect"
import type { Commit } from "../infra/EventStore.ts"
import { ReadSideConfig } from "../infra/ReadSideConfig.ts"

/**
 * A shortcut past the store's tail, nothing more: what does not fit is dropped, and the relay finds it by the
 * gap in `seq`. So the write path never waits for the read side (design §8).
 */
export class CommitFeed extends Context.Service<
  CommitFeed,
  {
    /** Synchronous, never blocks, never fails; drops the commit when the feed is full. */
    readonly offerUnsafe: (commit: Commit) => void
    /** Waits until something is there, then takes all of it, in the order it was offered. */
    readonly takeAll: Effect.Effect<ReadonlyArray<Commit>>
    /** Commits dropped since the start. */
    readonly droppedUnsafe: () => number
  }
>()("chronicle/actors/CommitFeed") {
  static readonly layer = Layer.effect(
    CommitFeed,
    Effect.gen(function* () {
      const { feedEventsMax } = yield* ReadSideConfig
      const wake = Latch.makeUnsafe(false)
      let commits: Array<Commit> = []
      let events = 0
      let dropped = 0
      return {
        offerUnsafe: (commit) => {
          // One commit always fits into an empty feed, however large it is.
          if (events > 0 && events + commit.events.length > feedEventsMax) {
            dropped++
            return
          }
          commits.push(commit)
          events += commit.events.length
          wake.openUnsafe()
        },
        takeAll: Effect.map(wake.await, () => {
          const taken = commits
          commits = []
          events = 0
          wake.closeUnsafe()
          return taken
        }),
        droppedUnsafe: () => dropped
      }
    })
  )
}
