/** The events of one account straight from the log, page by page, each checked against the hash chain. */
import { Context, Effect, Layer, Result } from "effect"
import { AccountNotFound, InvalidCommand, type QueryError, Unavailable } from "../../domain/Errors.ts"
import { isLinked } from "../../domain/HashChain.ts"
import type { AccountId, Version } from "../../domain/Ids.ts"
import { entryOf } from "../../domain/StoredEvent.ts"
import { type HistoryEntry, pageRowsMax } from "../../domain/Views.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { limitOf } from "../../infra/readmodel/Queries.ts"

export class History extends Context.Service<
  History,
  {
    /** Events above version `after` (default 0), oldest first, at most `limit` (default and most 1,000). */
    readonly events: (
      account: AccountId,
      page?: { readonly after?: Version | undefined; readonly limit?: number | undefined }
    ) => Effect.Effect<ReadonlyArray<HistoryEntry>, QueryError>
  }
>()("chronicle/actors/History") {
  static readonly layer = Layer.effect(
    History,
    Effect.gen(function* () {
      const store = yield* EventStore
      const events = Effect.fn("History.events")(
        function* (
          account: AccountId,
          page: { readonly after?: Version | undefined; readonly limit?: number | undefined } = {}
        ) {
          const after = page.after ?? 0
          if (!Number.isSafeInteger(after) || after < 0)
            return yield* InvalidCommand.at("after", "must be a version: a whole number of 0 or more")
          const limit = yield* Effect.fromResult(limitOf(page, pageRowsMax, pageRowsMax))
          // One more before the page: its hash is what the first event of the page is chained to.
          const from = Math.max(0, after - 1)
          const first = { account, version: 1 }
          const rows = yield* store.readStream({ account, after: from, limit: limit + (after - from) })
          // Behind the last event: whether there is such an account at all is not said by that.
          const isThere = rows.length > 0 || (after > 0 && (yield* store.readEvents([first])).length > 0)
          if (!isThere) return yield* new AccountNotFound({ account })
          const entries: Array<HistoryEntry> = []
          let previous = ""
          for (const row of rows) {
            const isWhole = (row.version === 1 || previous !== "") && isLinked(previous, row)
            previous = row.hash
            if (row.version <= after) continue
            if (!isWhole) {
              const reason = `the chain is broken at version ${row.version}: run verify`
              return yield* new Unavailable({ what: `account ${account}`, reason })
            }
            const entry = entryOf(row)
            if (Result.isFailure(entry))
              return yield* new Unavailable({ what: `account ${account}`, reason: entry.failure.message })
            entries.push(entry.success)
          }
          return entries
        },
        Effect.catchTag("StoreUnavailable", (error) =>
          Effect.fail(new Unavailable({ what: error.store, reason: error.reason }))
        )
      )
      return { events }
    })
  )
}
