/**
 * Reads the next commits of one writer back from the log, with their events. The log is the outbox: whatever the
 * commit feed dropped, or a dead node left unpublished, is read here.
 */
import { Effect } from "effect"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { type Commit, type CommitRow, EventStore, type WriterId } from "../../infra/eventstore/EventStore.ts"

/** Commit rows of one query. */
const commitsMax = 100

interface Tail {
  readonly commits: ReadonlyArray<Commit>
  /** The number of the last commit row that was read, fences included; undefined at the end of the tail. */
  readonly last: number | undefined
}

/** At least one commit, if there is one, and about as many as hold `eventsMax` events. */
export const readCommits = Effect.fnUntraced(function* (from: {
  readonly writerId: WriterId
  readonly after: number
  readonly eventsMax: number
}) {
  const store = yield* EventStore
  const tail = yield* store.readTail({ writerId: from.writerId, after: from.after, limit: commitsMax })
  const rows = upToEvents(tail, from.eventsMax)
  const commits = yield* readRows(rows)
  return { commits, last: rows.at(-1)?.seq } satisfies Tail
})

/** The events of these commit rows, in their order. Fence rows have none and are left out. */
export const readRows = Effect.fnUntraced(function* (rows: ReadonlyArray<CommitRow>) {
  const store = yield* EventStore
  const keys = rows.flatMap((row) => row.keys.flatMap(versionsOf))
  const events = new Map<string, StoredEvent>()
  for (const event of keys.length === 0 ? [] : yield* store.readEvents(keys)) {
    events.set(`${event.accountId}@${event.version}`, event)
  }
  const commits: Array<Commit> = []
  for (const row of rows) {
    const found = row.keys
      .flatMap(versionsOf)
      .flatMap(({ account, version }) => events.get(`${account}@${version}`) ?? [])
    if (found.length !== row.rows) {
      yield* Effect.logError(
        `the log is broken: commit ${row.writerId}:${row.seq} names ${row.rows} events, ${found.length} are there`
      )
    }
    if (found.length > 0) commits.push({ writerId: row.writerId, seq: row.seq, events: found })
  }
  return commits
})

const upToEvents = (rows: ReadonlyArray<CommitRow>, eventsMax: number): ReadonlyArray<CommitRow> => {
  let events = 0
  const end = rows.findIndex((row, index) => {
    events += row.rows
    return index > 0 && events > eventsMax
  })
  return end === -1 ? rows : rows.slice(0, end)
}

const versionsOf = ([account, first, last]: CommitRow["keys"][number]) =>
  Array.from({ length: last - first + 1 }, (_, index) => ({ account, version: first + index }))
