/** An account and a version enter; its events above it leave as a stream, page by page as the reader takes them. */
import { Effect, Option, Schedule, Stream } from "effect"
import type { QueryError } from "../../domain/Errors.ts"
import type { HistoryEntry } from "../../domain/Views.ts"
import type { Ledger } from "../../Ledger.ts"

/** Events read from the log at once: what a slow reader costs in memory. */
const pageRows = 200

/**
 * Straight from the log, so nothing is lost, repeated or out of order, whatever happened to the bus. Ends at the last
 * event, or with `followMs` looks again after so long. A page is read when the one before it was taken.
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
