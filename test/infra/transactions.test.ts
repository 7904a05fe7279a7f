/** A transaction of the read model is done only where the server says that it was committed. */
import { assert, inject, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { begin, ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { freshReadModel } from "../support/readSides.ts"

it.live("one of which a statement failed is told as rolled back, though the server takes its COMMIT", () =>
  Effect.gen(function* () {
    const url = yield* freshReadModel(inject("postgresUrl"))
    yield* Effect.gen(function* () {
      const sql = yield* ReadModelSql
      const write = (text: string) =>
        Effect.scoped(
          Effect.gen(function* () {
            const { run, commit } = yield* begin(sql, 10_000)
            yield* run("INSERT INTO projections (prefix, generation, swapped_at) VALUES ('t_v1', 1, now())")
            yield* Effect.ignore(run(text))
            yield* commit
          })
        )
      const error = yield* Effect.flip(write("SELECT 1 / 0"))
      assert.include(error.message, "rolled back")
      yield* write("SELECT 1")
      const rows = yield* sql.unsafe("SELECT generation FROM projections WHERE prefix = 't_v1'")
      assert.lengthOf(rows, 1)
    }).pipe(Effect.provide(ReadModelSql.layer(Redacted.make(url))))
  })
)
