/** The tails of all writers there ever were, for audits: finished writers are in no listing. */
import { Effect } from "effect"
import type { EventStore } from "./EventStore.ts"
import type { WriterId } from "./EventStoreTypes.ts"

const pageMax = 1_000

/** The number of each writer's last commit, in order of writer id. */
export const everyTail = Effect.fnUntraced(function* (
  store: Pick<EventStore["Service"], "listWriters" | "lastFinished" | "finishedWriters">
) {
  const ends = new Map<WriterId, number>()
  for (const { writerId, lastSeq } of yield* store.listWriters) ends.set(writerId, lastSeq)
  // Afterwards: a writer that is finished in between is in both.
  const upTo = yield* store.lastFinished
  for (let above = 0; above < upTo; ) {
    const page = yield* store.finishedWriters({ above, upTo, limit: pageMax })
    for (const { writerId, lastSeq } of page) ends.set(writerId, lastSeq)
    above = page.at(-1)?.ordinal ?? upTo
  }
  return Array.from(ends, ([writerId, lastSeq]) => ({ writerId, lastSeq })).toSorted((a, b) =>
    a.writerId < b.writerId ? -1 : 1
  )
})
