/** Reads every event of a run's accounts from the log, so that it can be compared with what was acknowledged. */
import { Effect, Schedule } from "effect"
import { EventStore, type StreamFrom } from "../infra/eventstore/EventStore.ts"
import type { Acknowledged } from "./Acknowledged.ts"
import type { RunIds } from "./RunIds.ts"

const accountsAtOnce = 500
const rowsMax = 5_000
const readAgain = { schedule: Schedule.spaced(500), times: 20 }

export const compareLog = Effect.fn("LoadTest.compareLog")(function* (
  ids: RunIds,
  accounts: number,
  acknowledged: Acknowledged
) {
  const store = yield* EventStore
  let rows = 0
  for (let start = 0; start < accounts; start += accountsAtOnce) {
    const count = Math.min(accountsAtOnce, accounts - start)
    let from: ReadonlyArray<StreamFrom> = Array.from({ length: count }, (_, offset) => ({
      account: ids.account(start + offset),
      after: 0
    }))
    for (;;) {
      // A store that is busy for a moment must not end a run of an hour.
      const page = yield* Effect.retry(store.readStreams(from, rowsMax), readAgain)
      for (const row of page) acknowledged.logged(row)
      rows += page.length
      const last = page.at(-1)
      if (page.length < rowsMax || last === undefined) break
      // Rows come in the order of accounts: each account on this page is read to its end, except for the last one.
      const appeared = new Set(page.map((row) => row.accountId))
      from = from.flatMap((stream) => {
        if (stream.account === last.accountId) return [{ account: stream.account, after: last.version }]
        return appeared.has(stream.account) ? [] : [stream]
      })
    }
  }
  acknowledged.conclude()
  return rows
})
