/** The event store in this process's memory, by the contract that the databases keep: for tests and simulation. */
import { Clock, Effect } from "effect"
import type { AccountId, CommandId, Instant } from "../../domain/Ids.ts"
import { holdInPayload, type StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventStore } from "./EventStore.ts"
import {
  type Commit,
  CommitOutcome,
  type CommitRow,
  type FinishedWriter,
  type WriterId
} from "./EventStoreTypes.ts"
import { findDuplicateKey, heldBack, numberUsedTwice } from "./SqlCommit.ts"
import { toCommitRow } from "./SqlRows.ts"

interface Writer {
  readonly node: string
  readonly startedAt: Instant
  closedAt: Instant
  heartbeatAt: Instant
}

/** Rows in order of a number that mostly grows; a search is a bisection. */
class Ordered<A> {
  readonly rows: Array<A> = []
  private readonly numberOf: (row: A) => number

  constructor(numberOf: (row: A) => number) {
    this.numberOf = numberOf
  }

  /** The index of the first row with a greater number. */
  private indexAbove(number: number): number {
    let low = 0
    let high = this.rows.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const row = this.rows[middle]
      if (row !== undefined && this.numberOf(row) <= number) low = middle + 1
      else high = middle
    }
    return low
  }

  add(row: A): void {
    this.rows.splice(this.indexAbove(this.numberOf(row)), 0, row)
  }

  at(number: number): A | undefined {
    const row = this.rows[this.indexAbove(number) - 1]
    return row !== undefined && this.numberOf(row) === number ? row : undefined
  }

  above(number: number, limit: number): ReadonlyArray<A> {
    const start = this.indexAbove(number)
    return this.rows.slice(start, start + limit)
  }

  get last(): A | undefined {
    return this.rows.at(-1)
  }
}

/** What the tables hold. */
class Tables {
  readonly streams = new Map<AccountId, Ordered<StoredEvent>>()
  readonly commands = new Map<CommandId, StoredEvent>()
  readonly tails = new Map<WriterId, Ordered<CommitRow>>()
  readonly writers = new Map<WriterId, Writer>()
  readonly cursors = new Map<WriterId, number>()
  /** In order of their numbers, which begin with 1. */
  readonly finished: Array<FinishedWriter> = []

  at(account: AccountId, version: number): StoredEvent | undefined {
    return this.streams.get(account)?.at(version)
  }

  append(row: CommitRow, events: ReadonlyArray<StoredEvent>): void {
    orMake(this.tails, row.writerId, (one) => one.seq).add(row)
    for (const event of events) {
      orMake(this.streams, event.accountId, (one) => one.version).add(event)
      if (event.ordinal === 0) this.commands.set(event.commandId, event)
    }
  }
}

const orMake = <K, A>(map: Map<K, Ordered<A>>, key: K, numberOf: (row: A) => number): Ordered<A> => {
  const found = map.get(key) ?? new Ordered(numberOf)
  map.set(key, found)
  return found
}

/** The outcome of a commit that cannot be written; undefined where nothing stands in its way. */
const findConflict = (tables: Tables, commit: Commit, row: CommitRow): CommitOutcome | undefined => {
  const own = tables.tails.get(commit.writerId)?.at(commit.seq)
  if (own !== undefined) {
    if (own.rows === 0) return CommitOutcome.Fenced()
    const isSame =
      own.rows === row.rows &&
      commit.events.every((event) => tables.at(event.accountId, event.version)?.hash === event.hash)
    if (isSame) return CommitOutcome.Committed()
    throw numberUsedTwice(commit)
  }
  const fault = findDuplicateKey(commit)
  if (fault !== undefined) throw new Error(fault)
  const versions = commit.events
    .filter((event) => tables.at(event.accountId, event.version) !== undefined)
    .map((event) => ({ account: event.accountId, version: event.version }))
  const commands = commit.events
    .filter((event) => event.ordinal === 0 && tables.commands.has(event.commandId))
    .map((event) => event.commandId)
  return versions.length + commands.length > 0 ? CommitOutcome.Conflict({ versions, commands }) : undefined
}

/** Synchronous, hence atomic: no other fiber sees a part of a commit. */
const commitTo = (tables: Tables, commit: Commit): CommitOutcome => {
  const row = toCommitRow(commit)
  const outcome = findConflict(tables, commit, row)
  if (outcome !== undefined) return outcome
  tables.append(row, commit.events)
  return CommitOutcome.Committed()
}

/** As on a database, conflicts are found before `mayCommit` answers, and looked for once more afterwards. */
const commitBehind = (tables: Tables, commit: Commit, mayCommit: Effect.Effect<boolean>) =>
  Effect.suspend(() => {
    const outcome = findConflict(tables, commit, toCommitRow(commit))
    if (outcome !== undefined) return Effect.succeed(outcome)
    return Effect.map(mayCommit, (may) => (may ? commitTo(tables, commit) : heldBack))
  })

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

export const makeMemory = Effect.sync((): EventStore["Service"] => {
  const tables = new Tables()
  return {
    product: Effect.succeed("memory"),
    // A broken rule thrown inside `sync` is a defect, as it is with the database.
    commit: (commit, mayCommit) =>
      mayCommit === undefined
        ? Effect.sync(() => commitTo(tables, commit))
        : commitBehind(tables, commit, mayCommit),
    ...reads(tables),
    ...writers(tables)
  }
})

const reads = (tables: Tables) =>
  ({
    readStream: ({ account, after, upTo, limit }) =>
      Effect.sync(() =>
        (tables.streams.get(account)?.above(after, limit) ?? []).filter(
          (row) => upTo === undefined || row.version <= upTo
        )
      ),
    readStreams: (from, limit) =>
      Effect.sync(() =>
        from
          .toSorted((a, b) => byText(a.account, b.account))
          .flatMap((one) => tables.streams.get(one.account)?.above(one.after, limit) ?? [])
          .slice(0, limit)
      ),
    readEvents: (keys) =>
      Effect.sync(() =>
        keys
          .flatMap((key) => tables.at(key.account, key.version) ?? [])
          .toSorted((a, b) => byText(a.accountId, b.accountId) || a.version - b.version)
      ),
    readHold: ({ account, hold, after, upTo }) =>
      Effect.sync(() =>
        (tables.streams.get(account)?.above(after, upTo - after) ?? []).filter(
          ({ type, payload, version }) =>
            version <= upTo && type.startsWith("Hold") && payload.includes(holdInPayload(hold))
        )
      ),
    findCommands: (commands) =>
      Effect.sync(() =>
        commands
          .flatMap((command) => tables.commands.get(command) ?? [])
          .toSorted((a, b) => byText(a.commandId, b.commandId))
      ),
    scan: ({ after, limit }) =>
      Effect.sync(() => {
        const found: Array<StoredEvent> = []
        for (const account of [...tables.streams.keys()]
          .filter((id) => id >= after.account)
          .toSorted(byText)) {
          if (found.length >= limit) break
          const above = account === after.account ? after.version : 0
          found.push(...(tables.streams.get(account)?.above(above, limit - found.length) ?? []))
        }
        return found
      }),
    readTail: ({ writerId, after, limit }) =>
      Effect.sync(() => tables.tails.get(writerId)?.above(after, limit) ?? [])
  }) satisfies Partial<EventStore["Service"]>

const isRegistered = (tables: Tables, writer: WriterId): boolean =>
  tables.writers.has(writer) || tables.finished.some(({ writerId }) => writerId === writer)

const writers = (tables: Tables) =>
  ({
    registerWriter: ({ writerId, node, closedAt }) =>
      Effect.map(Clock.currentTimeMillis, (heartbeatAt) => {
        if (isRegistered(tables, writerId)) return
        tables.writers.set(writerId, { node, startedAt: heartbeatAt, closedAt, heartbeatAt })
      }),
    heartbeat: (beats) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        for (const beat of beats) {
          const writer = tables.writers.get(beat.writerId)
          if (writer === undefined) continue
          writer.heartbeatAt = now
          writer.closedAt = Math.max(writer.closedAt, beat.closedAt)
        }
        return now
      }),
    listWriters: Effect.sync(() =>
      [...tables.writers]
        .map(([writerId, { startedAt: _, ...writer }]) => {
          const last = tables.tails.get(writerId)?.last
          return { writerId, ...writer, lastSeq: last?.seq ?? 0, fenced: last?.rows === 0 }
        })
        .toSorted((a, b) => byText(a.writerId, b.writerId))
    ),
    fenceWriter: (writerId) =>
      Effect.sync(() => {
        const last = tables.tails.get(writerId)?.last
        if (last?.rows === 0) return last.seq
        const seq = (last?.seq ?? 0) + 1
        tables.append({ writerId, seq, recordedAt: last?.recordedAt ?? 0, rows: 0, keys: [] }, [])
        return seq
      }),
    finishWriters: ({ silentMs, limit }) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const found = [...tables.writers]
          .filter(([writerId, { heartbeatAt }]) => {
            const last = tables.tails.get(writerId)?.last
            const isPublished = last !== undefined && (tables.cursors.get(writerId) ?? 0) >= last.seq
            return last?.rows === 0 && isPublished && heartbeatAt < now - silentMs
          })
          .toSorted(([a, one], [b, other]) => one.heartbeatAt - other.heartbeatAt || byText(a, b))
          .slice(0, limit)
        for (const [writerId, { startedAt }] of found) {
          const lastSeq = tables.tails.get(writerId)?.last?.seq ?? 0
          tables.finished.push({ ordinal: tables.finished.length + 1, writerId, lastSeq, startedAt })
          tables.writers.delete(writerId)
          tables.cursors.delete(writerId)
        }
        return found.length
      }),
    lastFinished: Effect.sync(() => tables.finished.length),
    finishedWriters: ({ above, upTo, limit }) =>
      Effect.sync(() => tables.finished.slice(above, Math.min(upTo, above + limit))),
    registeredWriters: (writers) =>
      Effect.sync(() => new Set(writers.filter((writer) => isRegistered(tables, writer)))),
    relayCursors: Effect.sync(() => new Map(tables.cursors)),
    moveRelayCursors: (moved) =>
      Effect.sync(() => {
        for (const [writer, seq] of moved) {
          tables.cursors.set(writer, Math.max(seq, tables.cursors.get(writer) ?? seq))
        }
      })
  }) satisfies Partial<EventStore["Service"]>
