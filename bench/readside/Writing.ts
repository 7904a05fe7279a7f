/**
 * What a transaction of the books costs PostgreSQL, by the ways in which its planner may find the rows. The server runs on this machine:
 * the figures are of the processor time of its process, on Linux, and hold on a busy machine too.
 */
import { PgClient } from "@effect/sql-pg"
import { Effect, FileSystem, type Redacted } from "effect"
import { Reactivity } from "effect/reactivity"
import { toBatch } from "../../src/actors/projections/ProjectionBatch.ts"
import { fold, type OpenedHead } from "../../src/domain/Books.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { books } from "../../src/infra/readmodel/BooksProjection.ts"
import { prefixOf } from "../../src/infra/readmodel/Projection.ts"
import { byKeys } from "../../src/infra/readmodel/ReadModelSql.ts"
import { makeProjectionWrites } from "../../src/infra/readmodel/ReadModelWrites.ts"
import { deposit, EventWriter, openAccount, transfer } from "../../test/support/eventWriter.ts"
import { median } from "../Comparison.ts"
import { say } from "./Targets.ts"

const accounts = 10_000
const partitions = 16
const openedAtOnce = 500
const ids = Array.from({ length: accounts }, (_, index) => `acc-${index}`)

/** Events of a transaction. */
const sizes = [2, 50, 250, 1_000]
const eventsASize = 10_000
const roundsMax = 100

const { plan_cache_mode: _, jit: __, ...joins } = byKeys
const ways: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "a plan for each batch": { plan_cache_mode: "force_custom_plan" },
  "a plan for each batch, rows by their keys": { ...joins, plan_cache_mode: "force_custom_plan" },
  "one plan, rows by their keys": { ...byKeys, jit: "on" },
  "one plan, rows by their keys, not compiled": byKeys
}

/** One connection, and the processor time of the server's process for it, in microseconds. */
const connect = Effect.fnUntraced(function* (
  url: Redacted.Redacted,
  startupParameters: Readonly<Record<string, string>>
) {
  const fs = yield* FileSystem.FileSystem
  const sql = yield* PgClient.make({
    url,
    maxConnections: 1,
    startupParameters: { synchronous_commit: "off", ...startupParameters }
  })
  const [row] = yield* sql<{ readonly pid: number }>`SELECT pg_backend_pid() AS pid`
  const model = yield* makeProjectionWrites(sql, books, prefixOf(books))
  const cpuUs = Effect.map(
    fs.readFileString(`/proc/${row?.pid}/schedstat`),
    (text) => Number(text.split(" ")[0]) / 1e3
  )
  return { model, cpuUs }
})

export const measureWrites = Effect.fnUntraced(
  function* (url: Redacted.Redacted) {
    const connections = yield* Effect.forEach(Object.entries(ways), ([way, settings]) =>
      Effect.map(connect(url, settings), (connection) => ({ way, ...connection }))
    )
    const writer = new EventWriter()
    const heads = new Map<AccountId, OpenedHead>()
    const batchOf = (rows: ReadonlyArray<StoredEvent>) => {
      const { posted } = fold(heads, rows)
      for (const { head } of posted) heads.set(head.account.id, head)
      return toBatch(posted, [], partitions, { generation: 0, sumPrefixes: [] })
    }
    const [first] = connections
    for (let start = 0; start < accounts; start += openedAtOnce) {
      const opened = ids.slice(start, start + openedAtOnce)
      const { events } = writer.commit(...opened.flatMap((id) => [openAccount(id), deposit(id, 1_000_000n)]))
      yield* first?.model.apply(batchOf(events)) ?? Effect.void
    }
    let drawn = 0
    const next = (size: number) => {
      const transfers = Array.from({ length: size / 2 }, () => {
        const number = ++drawn
        const from = (number * 7_919) % accounts
        return transfer(ids[from] ?? "", ids[(from + 1 + (number % 97)) % accounts] ?? "", 1n)
      })
      return batchOf(writer.commit(...transfers).events)
    }
    for (const size of sizes) {
      const took = new Map(connections.map(({ way }) => [way, [] as number[]]))
      const rounds = Math.min(roundsMax, eventsASize / size)
      // In turn, so that what else the machine does meets all of them.
      for (let round = 0; round < rounds; round++) {
        for (const { way, model, cpuUs } of connections) {
          const batch = next(size)
          const before = yield* cpuUs
          yield* model.apply(batch)
          took.get(way)?.push((yield* cpuUs) - before)
        }
      }
      for (const [way, all] of took) {
        const us = median(all)
        yield* say(
          `${size} events, ${way}: ${us.toFixed(0)} µs a transaction, ${(us / size).toFixed(1)} an event`
        )
      }
    }
    return []
  },
  Effect.scoped,
  Effect.provide(Reactivity.layer)
)
