/** The accounts of a run enter; every row the log holds of them is shown to the acknowledged ones. */
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
      // Reading changes nothing: a store that is busy for a moment need not end a run of an hour.
      const page = yield* Effect.retry(store.readStreams(from, rowsMax), readAgain)
      for (const row of page) acknowledged.logged(row)
      rows += page.length
      const last = page.at(-1)
      if (page.length < rowsMax || last === undefined) break
      // Rows come in order of account: those that appeared are read, but for the last one, which may go on.
      const appeared = new Set(page.map((row) => row.accountId))
      from = from.flatMap((one) => {
        if (one.account === last.accountId) return [{ account: one.account, after: last.version }]
        return appeared.has(one.account) ? [] : [one]
      })
    }
  }
  acknowledged.conclude()
  return rows
})
