/** A projection of the host: faults in its SQL park the account alone, and one account can be reloaded. */

import { PgTypes } from "@effect/sql-pg"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Result } from "effect"
import { makeProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { splitStatements } from "../../src/infra/postgres/SqlStatements.ts"
import type { Projection, Written } from "../../src/infra/readmodel/Projection.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import type { BooksBatch } from "../../src/infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { makeProjectionWrites } from "../../src/infra/readmodel/ReadModelWrites.ts"
import { execute } from "../support/databases.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"
import { freshReadModel, limitsOf } from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

const tables = `
  CREATE TABLE host_v1_balances (LIKE books_v1_balances INCLUDING ALL);
  CREATE TABLE host_v1_swept (LIKE books_v1_swept INCLUDING ALL);
  CREATE TABLE host_v1_parked_accounts (LIKE books_v1_parked_accounts INCLUDING ALL);
  CREATE TABLE host_v1_skipped (LIKE books_v1_skipped INCLUDING ALL);
  CREATE TABLE host_v1_checkpoints (LIKE books_v1_checkpoints INCLUDING ALL);
  CREATE TABLE host_v1_own (account text PRIMARY KEY, value numeric, note text);
  CREATE INDEX host_v1_own_note ON host_v1_own (note);
  CREATE FUNCTION fails(state text) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'the host says no' USING ERRCODE = state; END $$`

/** Writes one row an account; for the account `poison` by the given expression, which the database refuses. */
const hostOf = (poison: string): Projection => ({
  name: "host",
  version: 1,
  tables: ["own"],
  write: (prefix, { moves }: BooksBatch): ReadonlyArray<Written> => [
    {
      text: `INSERT INTO ${prefix}_own (account, value)
        SELECT id, CASE WHEN id = 'poison' THEN ${poison} ELSE 1 END FROM unnest($1::text[]) AS u(id)
        ON CONFLICT (account) DO UPDATE SET value = host_v1_own.value + 1`,
      params: [
        Result.getOrThrow(
          PgTypes.array(
            moves.map(({ head }) => head.account.id),
            PgTypes.OID.text
          )
        )
      ]
    }
  ]
})

const sqlLayer = Layer.unwrap(
  Effect.gen(function* () {
    const url = yield* freshReadModel(inject("postgresUrl"))
    yield* execute(url, ...splitStatements(tables))
    return ReadModelSql.layer(Redacted.make(url))
  })
)

const services = Layer.mergeAll(sqlLayer, EventStore.layerMemory, ProjectionWaiters.layer).pipe(
  Layer.provideMerge(limitsOf({}))
)

const faults: ReadonlyArray<readonly [fault: string, expression: string, told: RegExp]> = [
  ["divides by zero", "1 / (length(id) - 6)", /division by zero/],
  ["casts a text that is no number", "id::numeric", /invalid input syntax/],
  ["takes one row of several", "(SELECT n FROM generate_series(1, length(id)) AS n)", /more than one row/],
  ...["P0001", "22012", "22P02", "40001", "40P01", "42P01", "53300", "57014", "XX000"].map(
    (state) => [`raises ${state}`, `fails('${state}')`, /the host says no/] as const
  )
]

describe("a projection of the host", () => {
  for (const [fault, expression, told] of faults) {
    it.live(`that ${fault} has its account parked`, () =>
      Effect.gen(function* () {
        const sql = yield* ReadModelSql
        const model = yield* makeProjectionWrites(sql, hostOf(expression), "host_v1")
        const engine = yield* makeProjectionEngine(model)
        const eventWriter = new EventWriter()
        const ids = ["a", "poison", "z"]
        const { events } = eventWriter.commit(
          ...ids.map((id) => openAccount(id)),
          ...ids.map((id) => deposit(id, 5n))
        )
        yield* engine.project(events, [])
        const [parked, ...others] = yield* model.parked
        assert.lengthOf(others, 0)
        assert.deepInclude(parked, { account: accountId("poison"), version: 1 })
        assert.match(parked?.reason ?? "", told)
        assert.deepStrictEqual(
          yield* model.versions(ids.map(accountId)),
          new Map([
            [accountId("a"), 2],
            [accountId("z"), 2]
          ])
        )
      }).pipe(Effect.provide(services))
    )
  }

  it.live("writes nothing where its accounts were moved", () =>
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const model = yield* makeProjectionWrites(sql, hostOf("1"), "host_v1")
      const engine = yield* makeProjectionEngine(model)
      const eventWriter = new EventWriter()
      yield* engine.project(eventWriter.commit(openAccount("a")).events, [])
      const { heads } = yield* model.look([accountId("a")])
      const moves = [...heads.values()].map((head) => ({ from: 0, head }))
      const batch = { moves, lines: [], transfers: [], contras: [], holds: [], checkpoints: [] }
      assert.isFalse(yield* model.apply(batch))
    }).pipe(Effect.provide(services))
  )

  it.live("with erase takes back what the events of one account wrote", () =>
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const erase: Projection["erase"] = (prefix, { account }) => [
        { text: `DELETE FROM ${prefix}_own WHERE account = $1`, params: [PgTypes.text(account)] }
      ]
      const model = yield* makeProjectionWrites(sql, { ...hostOf("1"), erase }, "host_v1")
      const engine = yield* makeProjectionEngine(model)
      const eventWriter = new EventWriter()
      yield* engine.project(eventWriter.commit(openAccount("a"), openAccount("z")).events, [])
      const held = { account: accountId("a"), version: 1, hash: eventWriter.headOf(accountId("a")).hash }
      const none = { moves: [], lines: [], transfers: [], contras: [], holds: [], checkpoints: [] }
      assert.isFalse(yield* model.reload({ ...held, version: 2 }, 0, none))
      assert.isTrue(yield* model.reload(held, 0, none))
      assert.deepStrictEqual(yield* sql.unsafe("SELECT account FROM host_v1_own").values, [["z"]])
      assert.deepStrictEqual(
        yield* model.versions([accountId("a"), accountId("z")]),
        new Map([[accountId("z"), 1]])
      )
    }).pipe(Effect.provide(services))
  )

  it.live("without erase says that it must be rebuilt", () =>
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const model = yield* makeProjectionWrites(sql, hostOf("1"), "host_v1")
      const batch = { moves: [], lines: [], transfers: [], contras: [], holds: [], checkpoints: [] }
      const held = { account: accountId("a"), version: 1, hash: "" }
      const error = yield* Effect.flip(model.reload(held, 0, batch))
      assert.strictEqual(error._tag, "ReloadUnsupported")
      assert.include(error.message, "rebuild it")
    }).pipe(Effect.provide(services))
  )

  it.live("whose table is missing parks no account", () =>
    Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const model = yield* makeProjectionWrites(sql, hostOf("(SELECT 1 FROM nowhere)"), "host_v1")
      const engine = yield* makeProjectionEngine(model)
      const { events } = new EventWriter().commit(openAccount("a"))
      const error = yield* Effect.flip(engine.project(events, []))
      assert.match(error.message, /nowhere/)
      assert.lengthOf(yield* model.parked, 0)
    }).pipe(Effect.provide(services))
  )
})
