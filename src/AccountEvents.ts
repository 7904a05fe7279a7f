/** The events of one account as a stream, read from the log page by page as the reader takes them. */
import { Effect, Option, Schedule, Stream } from "effect"
import type { QueryError } from "./domain/Errors.ts"
import type { HistoryEntry } from "./domain/Views.ts"
import type { Ledger } from "./Ledger.ts"

/** Events of one page: the memory that a slow reader costs. */
const pageRows = 200

/**
 * Straight from the log, so no event is lost, repeated or out of order, whatever happened to the bus. Ends at the last event; with
 * `followMs` the log is read again after that many milliseconds instead. A page is read once the page before it was taken.
 */
export const accountEvents = (
  ledger: Pick<Ledger["Service"], "history">,
  asked: { readonly account: string; readonly after: number; readonly followMs: number | undefined }
): Stream.Stream<HistoryEntry, QueryError> => {
  const read = (after: number) => ledger.history(asked.account, { after, limit: pageRows })
  const { followMs } = asked
  const readOrWait = (after: number): Effect.Effect<ReadonlyArray<HistoryEntry>, QueryError> =>
    followMs === undefined
      ? read(after)
      : Effect.repeat(read(after), {
          until: (page: ReadonlyArray<HistoryEntry>) => page.length > 0,
          schedule: Schedule.spaced(followMs)
        })
  return Stream.paginate(asked.after, (after) =>
    Effect.map(readOrWait(after), (page) => {
      const last = page.at(-1)
      const isEnd = last === undefined || (followMs === undefined && page.length < pageRows)
      return [page, isEnd ? Option.none() : Option.some(last.version)] as const
    })
  )
}
