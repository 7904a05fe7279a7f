/** Hands the commits of this node to the relay as soon as they are durable, so that it need not read them from the store. */
import { Context, Effect, Latch, Layer } from "effect"
import { bytesOf } from "../../domain/StoredEvent.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import type { Commit, WriterId } from "../../infra/eventstore/EventStore.ts"

/** Events, and what they take, about. */
export interface Size {
  readonly events: number
  readonly bytes: number
}

export const nothing: Size = { events: 0, bytes: 0 }

export const added = (a: Size, b: Size): Size => ({ events: a.events + b.events, bytes: a.bytes + b.bytes })

export const sizeOf = ({ events }: Commit): Size => ({
  events: events.length,
  bytes: events.reduce((sum, row) => sum + bytesOf(row), 0)
})

/** What was offered since the last time. */
interface Offered {
  /** In the order in which they were offered. */
  readonly commits: ReadonlyArray<Commit>
  /** Of each of them. */
  readonly sizes: ReadonlyArray<Size>
  /** The last commit of each writer that found no room, and is to be read from the store. */
  readonly dropped: ReadonlyMap<WriterId, number>
}

/**
 * A shortcut past the store's tail, nothing more: what does not fit is dropped and read from the store later. So
 * the write path never waits for the read side (design §8).
 */
export class CommitFeed extends Context.Service<
  CommitFeed,
  {
    /** Synchronous, never blocks, never fails; drops the commit when the feed is full. */
    readonly offerUnsafe: (commit: Commit) => void
    /** A writer's tail up to this commit is to be read from the store. */
    readonly missedUnsafe: (writer: WriterId, seq: number) => void
    /** Waits until something was offered, and takes none of it. */
    readonly awaitSome: Effect.Effect<void>
    /** Waits until something was offered, then takes all of it. */
    readonly takeAll: Effect.Effect<Offered>
    readonly hasSomeUnsafe: () => boolean
    /** Completes at the next offer after this call; any number may wait. */
    readonly changedUnsafe: () => Effect.Effect<void>
  }
>()("chronicle/actors/CommitFeed") {
  static readonly layer = Layer.effect(
    CommitFeed,
    Effect.gen(function* () {
      const { feedBytesMax, feedEventsMax } = yield* ReadSideConfig
      const wake = Latch.makeUnsafe(false)
      let commits: Array<Commit> = []
      let sizes: Array<Size> = []
      let dropped = new Map<WriterId, number>()
      let held = nothing
      /** One for all that wait; made for the first of them. */
      let change: Latch.Latch | undefined
      const tellChange = (): void => {
        change?.openUnsafe()
        change = undefined
      }
      return {
        changedUnsafe: () => {
          change ??= Latch.makeUnsafe(false)
          return change.await
        },
        offerUnsafe: (commit) => {
          tellChange()
          // One commit always fits into an empty feed, however large it is.
          const size = sizeOf(commit)
          const further = added(held, size)
          if (held.events > 0 && (further.events > feedEventsMax || further.bytes > feedBytesMax)) {
            dropped.set(commit.writerId, commit.seq)
            return
          }
          commits.push(commit)
          sizes.push(size)
          held = further
          wake.openUnsafe()
        },
        missedUnsafe: (writer, seq) => {
          tellChange()
          dropped.set(writer, Math.max(seq, dropped.get(writer) ?? 0))
          wake.openUnsafe()
        },
        awaitSome: Effect.asVoid(wake.await),
        takeAll: Effect.map(wake.await, () => {
          const offered = { commits, sizes, dropped }
          commits = []
          sizes = []
          dropped = new Map()
          held = nothing
          wake.closeUnsafe()
          return offered
        }),
        hasSomeUnsafe: () => wake.isOpen()
      }
    })
  )
}
