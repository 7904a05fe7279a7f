/** The tails of all writers enter; their commits leave one after another, each account's in order of version. */
import { Effect } from "effect"
import type { AccountId, Version } from "../../domain/Ids.ts"
import type { ReadSideLimits } from "../../infra/config/ReadSideConfig.ts"
import { type Commit, type CommitRow, EventStore, type WriterId } from "../../infra/eventstore/EventStore.ts"
import { readRows } from "../relay/TailReader.ts"
import type { LogCursor } from "./LogCursor.ts"

export interface PlacedCommit {
  readonly commit: Commit
  /** How far all tails are read once it is dealt with. */
  readonly cursor: LogCursor
}

/**
 * A version is only committed after the one before it, by whichever writer, so a commit may go when no commit that
 * was read ahead has an earlier version of one of its accounts. Looking ahead by `subscribeCommitsMax` commits a
 * writer suffices: what a writer may still have to send when another goes on with its account fits in the commands
 * in flight, a few dozen commits. Events are read for those alone that go.
 */
export const makeTails = (
  store: EventStore["Service"],
  limits: Pick<ReadSideLimits, "subscribeCommitsMax" | "subscribeEventsMax">,
  start: LogCursor
) => {
  const cursor = new Map(start)
  const ahead = new Map<WriterId, Array<CommitRow>>()
  /** Writers that have more to say than was read ahead of them. */
  let unread: ReadonlySet<WriterId> = new Set()

  const refill = Effect.gen(function* () {
    const more = new Set<WriterId>()
    for (const { writerId, lastSeq } of yield* store.listWriters) {
      const rows = ahead.get(writerId) ?? []
      const after = rows.at(-1)?.seq ?? cursor.get(writerId) ?? 0
      const limit = limits.subscribeCommitsMax - rows.length
      if (after < lastSeq && limit > 0) {
        const tail = yield* store.readTail({ writerId, after, limit })
        // What was committed since the writers were listed may follow upon commits of tails that are not read again.
        rows.push(...tail.filter((row) => row.seq <= lastSeq))
        ahead.set(writerId, rows)
      }
      const last = rows.at(-1)
      if (last !== undefined && last.seq < lastSeq) more.add(writerId)
    }
    unread = more
  })

  const next = Effect.gen(function* () {
    yield* refill
    const rows = takeReady(ahead, unread, limits.subscribeEventsMax)
    const commits = yield* readRows(rows).pipe(
      Effect.provideService(EventStore, store),
      // What was taken is read again by the next call, or by whoever resumes.
      Effect.tapError(() => Effect.sync(() => ahead.clear()))
    )
    const byKey = new Map(commits.map((commit) => [`${commit.writerId} ${commit.seq}`, commit]))
    const placed: Array<PlacedCommit> = []
    for (const { writerId, seq } of rows) {
      cursor.set(writerId, seq)
      const commit = byKey.get(`${writerId} ${seq}`)
      if (commit !== undefined) placed.push({ commit, cursor: new Map(cursor) })
    }
    return placed
  })
  return { next }
}

/**
 * Takes rows off the fronts, oldest first, that no earlier version of an account is waiting behind; as long as the
 * next row of every writer that has more is known.
 */
const takeReady = (
  ahead: ReadonlyMap<WriterId, Array<CommitRow>>,
  unread: ReadonlySet<WriterId>,
  eventsMax: number
): ReadonlyArray<CommitRow> => {
  const waiting = new Map<AccountId, Array<Version>>()
  for (const rows of ahead.values()) {
    for (const { keys } of rows) {
      for (const [account, first] of keys) {
        const firsts = waiting.get(account)
        if (firsts === undefined) waiting.set(account, [first])
        else firsts.push(first)
      }
    }
  }
  for (const firsts of waiting.values()) if (firsts.length > 1) firsts.sort((a, b) => b - a)
  const isReady = ({ keys }: CommitRow) =>
    keys.every(([account, first]) => (waiting.get(account)?.at(-1) ?? first) >= first)

  const taken: Array<CommitRow> = []
  let events = 0
  while (events < eventsMax && unread.values().every((writer) => (ahead.get(writer)?.length ?? 0) > 0)) {
    const fronts = [...ahead.values()].flatMap((rows) => rows.slice(0, 1))
    const oldestFirst = fronts.toSorted((a, b) => a.recordedAt - b.recordedAt)
    // The one that was committed first is always ready; only in a broken log there is none, and that must not stop it.
    const ready = oldestFirst.find(isReady) ?? oldestFirst[0]
    if (ready === undefined) return taken
    ahead.get(ready.writerId)?.shift()
    for (const [account] of ready.keys) waiting.get(account)?.pop()
    taken.push(ready)
    events += ready.rows
  }
  return taken
}
