/**
 * Reads the next commits of one writer back from the log, with their events. The log is the outbox: whatever the
 * commit feed dropped, or a dead node left unpublished, is read here. A row that cannot be read, as where a page of the database's disk is
 * bad, fails the statement for all that are read with it, now and the next time; so the others are read without it.
 */
import { Cause, Effect, Result } from "effect"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import {
  type Commit,
  type CommitRow,
  EventStore,
  StoreUnavailable,
  type WriterId
} from "../../infra/eventstore/EventStore.ts"
import { isOfRows } from "../../infra/postgres/SqlState.ts"

/** Commit rows of one query. */
const commitsMax = 100

interface Tail {
  readonly commits: ReadonlyArray<Commit>
  /** The number of the last commit row that was read, fences included; undefined at the end of the tail. */
  readonly last: number | undefined
}

interface From {
  readonly writerId: WriterId
  readonly after: number
  readonly eventsMax: number
}

/**
 * At least one commit, if there is one, and about as many as hold `eventsMax` events. A commit that cannot be read is left out: the sweep
 * brings what can be read of its accounts, and those behind it need not wait until the log is mended.
 */
export const readCommits = Effect.fnUntraced(function* (from: From) {
  const found = yield* orUnreadable(readSome(from, commitsMax))
  if (Result.isSuccess(found)) return found.success
  const one = yield* orUnreadable(readSome(from, 1))
  if (Result.isSuccess(one)) return one.success
  const next = from.after + 1
  yield* Effect.logError(
    `commit ${from.writerId}:${next} cannot be read, and is left to the sweep: ${one.failure}`
  )
  return { commits: [], last: next } satisfies Tail
})

const readSome = Effect.fnUntraced(function* ({ writerId, after, eventsMax }: From, limit: number) {
  const store = yield* EventStore
  const tail = yield* store.readTail({ writerId, after, limit })
  const rows = upToEvents(tail, eventsMax)
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

/** Why what stands there cannot be read; undefined where the log is away, or has too much to do. A row that is none of the log's is a defect of its reader. */
const whyUnreadable = (cause: Cause.Cause<StoreUnavailable>): string | undefined => {
  if (Cause.hasInterrupts(cause)) return undefined
  const error = Cause.squash(cause)
  if (!(error instanceof StoreUnavailable)) return String(error)
  return isOfRows(error.state) ? error.reason : undefined
}

/** What is read, or why it cannot be. */
export const orUnreadable = <A, R>(
  read: Effect.Effect<A, StoreUnavailable, R>
): Effect.Effect<Result.Result<A, string>, StoreUnavailable, R> =>
  Effect.catchCause(Effect.map(read, Result.succeed), (cause) => {
    const why = whyUnreadable(cause)
    return why === undefined ? Effect.failCause(cause) : Effect.succeed(Result.fail(why))
  })

/** Reads as many rows as `rowsMax` and the first bad one allow, half as many each time; answers why where not even `rowsMin` can be read. */
export const readToBadRow = <Row, R>(
  read: (rowsMax: number) => Effect.Effect<ReadonlyArray<Row>, StoreUnavailable, R>,
  rowsMax: number,
  rowsMin = 1
): Effect.Effect<
  Result.Result<{ readonly rows: ReadonlyArray<Row>; readonly rowsMax: number }, string>,
  StoreUnavailable,
  R
> =>
  Effect.flatMap(orUnreadable(read(rowsMax)), (found) => {
    if (Result.isSuccess(found)) return Effect.succeed(Result.succeed({ rows: found.success, rowsMax }))
    const half = rowsMax >> 1
    return half < rowsMin ? Effect.succeed(Result.fail(found.failure)) : readToBadRow(read, half, rowsMin)
  })

interface Unreadable<Key> {
  readonly key: Key
  readonly reason: string
}

interface Around<Key, Row> {
  readonly rows: ReadonlyArray<Row>
  readonly unreadable: ReadonlyArray<Unreadable<Key>>
}

/** Reads what stands at all keys, at once as a rule; keys that cannot be read together are halved until the guilty one is alone, which is told. */
export const readAround = <Key, Row>(
  keys: ReadonlyArray<Key>,
  read: (keys: ReadonlyArray<Key>) => Effect.Effect<ReadonlyArray<Row>, StoreUnavailable>
): Effect.Effect<Around<Key, Row>, StoreUnavailable> => {
  const [key, ...others] = keys
  if (key === undefined) return Effect.succeed({ rows: [], unreadable: [] })
  return Effect.flatMap(
    orUnreadable(read(keys)),
    (found): Effect.Effect<Around<Key, Row>, StoreUnavailable> => {
      if (Result.isSuccess(found)) return Effect.succeed({ rows: found.success, unreadable: [] })
      if (others.length === 0)
        return Effect.succeed({ rows: [], unreadable: [{ key, reason: found.failure }] })
      const middle = keys.length >> 1
      return Effect.zipWith(
        readAround(keys.slice(0, middle), read),
        readAround(keys.slice(middle), read),
        (first, second) => ({
          rows: [...first.rows, ...second.rows],
          unreadable: [...first.unreadable, ...second.unreadable]
        })
      )
    }
  )
}
