/** How PostgreSQL is told to run the statements of each pool. */
import type { PgClient } from "@effect/sql-pg"
import { assert, inject, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { ProjectionSql, ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"

const settingOf = (sql: PgClient.PgClient, name: string) =>
  Effect.map(sql.unsafe(`SHOW ${name}`).values, ([row]) => row?.[0])

it.live("no pool lets PostgreSQL compile its statements", () => {
  const url = Redacted.make(inject("postgresUrl"))
  return Effect.gen(function* () {
    const { commits, reads } = yield* EventStoreClient
    const pools = { commits, reads, questions: yield* ReadModelSql, projections: yield* ProjectionSql }
    for (const [name, sql] of Object.entries(pools))
      assert.strictEqual(yield* settingOf(sql, "jit"), "off", name)
  }).pipe(Effect.provide([EventStoreClient.layer(url), ReadModelSql.layer(url)]))
})
