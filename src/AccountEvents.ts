/**
 * The events of one account as a stream: read from the log page by page as the reader takes them, and once it has caught up, from what
 * a node reads of the log's end for all its readers.
 */
import { Array as Arr, Clock, Context, Effect, Option, Stream } from "effect"
import { handOnNothing, streamOf } from "./actors/subscriptions/ItemSource.ts"
import type { SharedEvent } from "./actors/subscriptions/SharedEvent.ts"
import type {
  AccountTail,
  PagedReader,
  Subscriptions,
  WatchAccount
} from "./actors/subscriptions/Subscriptions.ts"
import { InvalidCommand, type QueryError } from "./domain/Errors.ts"
import { AccountId } from "./domain/Ids.ts"
import type { HistoryEntry } from "./domain/Views.ts"
import type { Ledger } from "./Ledger.ts"

/** Most events of one page: the memory that a slow reader costs. */
const pageRows = 200

/** How a node brings what an account gets. Without a node's, an account is looked at again and again. */
export const AccountWatch = Context.Reference<WatchAccount>("chronicle/AccountWatch", {
  defaultValue: (): WatchAccount => (_, pollMs) =>
    Effect.succeed(
      Effect.succeed({ next: Effect.as(Effect.sleep(pollMs), undefined), handOn: handOnNothing })
    )
})

type JoinPaged = Subscriptions["Service"]["joinPaged"]

/** How a node bounds what all readers of histories keep together. Without a node's, each has whole pages. */
export const AccountPages = Context.Reference<JoinPaged>("chronicle/AccountPages", {
  defaultValue: (): JoinPaged =>
    Effect.succeed({ eventsMaxUnsafe: () => pageRows, setBehindUnsafe: () => {} })
})

/**
 * Each event is the log's, in order and linked with the one before it, so none is lost or repeated, whatever happened to the bus. Ends at
 * the last event; with `followMs` it goes on, unless `after` is no version that the account has, and the log is read at most once in so many milliseconds. A page is read once the page
 * before it was taken.
 */
export const accountEvents = (
  ledger: Pick<Ledger["Service"], "history">,
  asked: { readonly account: string; readonly after: number; readonly followMs: number | undefined },
  watchAccount: WatchAccount,
  joinPaged: JoinPaged
): Stream.Stream<HistoryEntry, QueryError> => {
  const { account, after, followMs } = asked
  const pagesOf =
    (reader: PagedReader): ReadPage =>
    (from) =>
      Effect.suspend(() => {
        const limit = Math.min(pageRows, reader.eventsMaxUnsafe())
        return Effect.map(ledger.history(account, { after: from, limit }), (rows) => ({
          rows,
          isLast: rows.length < limit
        }))
      })
  if (followMs !== undefined) {
    // An id that is none is refused by the first reading.
    const watch = watchAccount(AccountId.make(account, { disableChecks: true }), followMs)
    return followed(watch, after, followMs, joinPaged, pagesOf)
  }
  return Stream.unwrap(
    Effect.map(joinPaged, (reader) => {
      const read = pagesOf(reader)
      return Stream.paginate(after, (from) =>
        Effect.map(read(from), ({ isLast, rows }) => {
          const last = rows.at(-1)
          return [rows, last === undefined || isLast ? Option.none() : Option.some(last.version)] as const
        })
      )
    })
  )
}

interface HistoryPage {
  readonly rows: ReadonlyArray<HistoryEntry>
  /** The account has no event behind it. */
  readonly isLast: boolean
}

type ReadPage = (after: number) => Effect.Effect<HistoryPage, QueryError>

/** The entries of an account that a node has read already, where they follow upon the last one without a gap. */
const followOn = (
  last: HistoryEntry,
  events: ReadonlyArray<SharedEvent>
): ReadonlyArray<HistoryEntry> | undefined => {
  const entries: Array<HistoryEntry> = []
  let { hash, version } = last
  for (const event of events) {
    if (event.row.version <= version) continue
    const entry = event.row.version === version + 1 ? event.entryAfter(hash) : undefined
    if (entry === undefined) return undefined
    entries.push(entry)
    ;({ hash, version } = entry)
  }
  return entries
}

/**
 * With the last event that its reader says it has. Where the account has none of that version, the reader has seen another log, as
 * one that was restored to an earlier state, and would miss what comes until then.
 */
const readFirst = Effect.fnUntraced(function* (read: ReadPage, from: number) {
  const page = yield* read(Math.max(0, from - 1))
  return page.rows.length > 0 || from === 0
    ? page
    : yield* InvalidCommand.at(
        "after",
        `is beyond the last event of the account, which has no version ${from}`
      )
})

const followed = (
  watching: ReturnType<WatchAccount>,
  from: number,
  followMs: number,
  joinPaged: JoinPaged,
  pagesOf: (reader: PagedReader) => ReadPage
): Stream.Stream<HistoryEntry, QueryError> =>
  streamOf(
    Effect.gen(function* () {
      const watch = yield* watching
      const reader = yield* joinPaged
      const read = pagesOf(reader)
      let last: HistoryEntry | undefined
      let readAt = 0
      /** What the account got since the log was read; undefined while the log has more. */
      let more: AccountTail | undefined
      /** What it got does not follow upon what the reader has. */
      let isBroken = false

      const readOn = Effect.gen(function* () {
        const now = yield* Clock.currentTimeMillis
        // Never for longer, also where the clock was set back meanwhile.
        if (readAt + followMs > now && more !== undefined)
          yield* Effect.sleep(Math.min(followMs, readAt + followMs - now))
        // Before the log is read, so that an event that comes meanwhile is among them.
        const changed = yield* watch
        reader.setBehindUnsafe(true)
        const { isLast, rows } = yield* last === undefined ? readFirst(read, from) : read(last.version)
        readAt = yield* Clock.currentTimeMillis
        more = isLast ? changed : undefined
        if (last !== undefined || from === 0) return rows
        const [known, ...others] = rows
        last = known
        return others
      })
      /** It has taken what was read for it: where that was all, nothing is kept for it any more. */
      const noteTaken = Effect.sync(() => reader.setBehindUnsafe(more === undefined))
      const step = Effect.gen(function* () {
        yield* noteTaken
        const events = more === undefined || isBroken ? undefined : yield* more.next
        const entries = events === undefined || last === undefined ? undefined : followOn(last, events)
        isBroken = false
        return entries ?? (yield* readOn)
      })
      const next: Effect.Effect<Arr.NonEmptyReadonlyArray<HistoryEntry>, QueryError> = Effect.flatMap(
        step,
        (entries) => {
          if (!Arr.isReadonlyArrayNonEmpty(entries)) return next
          last = Arr.lastNonEmpty(entries)
          return Effect.succeed(entries)
        }
      )
      return {
        next,
        handOn: (take) =>
          Effect.suspend(() => {
            if (more === undefined) return Effect.void
            reader.setBehindUnsafe(false)
            return more.handOn((events) => {
              const entries = last === undefined ? undefined : followOn(last, events)
              isBroken = entries === undefined
              if (entries === undefined) return false
              if (!Arr.isReadonlyArrayNonEmpty(entries)) return true
              last = Arr.lastNonEmpty(entries)
              return take(entries)
            })
          })
      }
    })
  )
