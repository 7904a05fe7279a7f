/** The events of one account as a stream, read from the log page by page as the reader takes them. */
import { Clock, Context, Effect, Option, Stream } from "effect"
import type { WatchAccount } from "./actors/subscriptions/Subscriptions.ts"
import type { QueryError } from "./domain/Errors.ts"
import { AccountId } from "./domain/Ids.ts"
import type { HistoryEntry } from "./domain/Views.ts"
import type { Ledger } from "./Ledger.ts"

/** Events of one page: the memory that a slow reader costs. */
const pageRows = 200

/** How a node tells that an account has a further event. Without a node's, an account is looked at again and again. */
export const AccountWatch = Context.Reference<WatchAccount>("chronicle/AccountWatch", {
  defaultValue: (): WatchAccount => (_, pollMs) => Effect.succeed(Effect.succeed(Effect.sleep(pollMs)))
})

/**
 * Straight from the log, so no event is lost, repeated or out of order, whatever happened to the bus. Ends at the last event; with
 * `followMs` the log is read again when the account has more, at most once in so many milliseconds. A page is read once the page
 * before it was taken.
 */
export const accountEvents = (
  ledger: Pick<Ledger["Service"], "history">,
  asked: { readonly account: string; readonly after: number; readonly followMs: number | undefined },
  watchAccount: WatchAccount
): Stream.Stream<HistoryEntry, QueryError> => {
  const read = (after: number) => ledger.history(asked.account, { after, limit: pageRows })
  const { followMs } = asked
  if (followMs !== undefined) {
    // An id that is none is refused by the first reading.
    const watch = watchAccount(AccountId.make(asked.account, { disableChecks: true }), followMs)
    return followed(watch, asked.after, followMs, read)
  }
  return Stream.paginate(asked.after, (after) =>
    Effect.map(read(after), (page) => {
      const last = page.at(-1)
      const isEnd = last === undefined || page.length < pageRows
      return [page, isEnd ? Option.none() : Option.some(last.version)] as const
    })
  )
}

type ReadPage = (after: number) => Effect.Effect<ReadonlyArray<HistoryEntry>, QueryError>

const followed = (
  watching: ReturnType<WatchAccount>,
  from: number,
  followMs: number,
  read: ReadPage
): Stream.Stream<HistoryEntry, QueryError> =>
  Stream.unwrap(
    Effect.gen(function* () {
      const watch = yield* watching
      let after = from
      let readAt = 0
      /** The last page was full: there may be more. */
      let isFull = true
      /** Until the account has more than what was read last. */
      let wait: Effect.Effect<void> = Effect.void
      const step = Effect.gen(function* () {
        yield* wait
        const now = yield* Clock.currentTimeMillis
        if (readAt + followMs > now && !isFull) yield* Effect.sleep(readAt + followMs - now)
        // Before the log is read, so that an event that comes meanwhile ends the wait after it.
        const changed = yield* watch
        const page = yield* read(after)
        readAt = yield* Clock.currentTimeMillis
        isFull = page.length === pageRows
        wait = isFull ? Effect.void : changed
        after = page.at(-1)?.version ?? after
        return page
      })
      return Stream.fromEffectRepeat(step).pipe(Stream.flatMap(Stream.fromIterable))
    })
  )
