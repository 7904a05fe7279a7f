/** The contract of the read model in memory and on PostgreSQL, and what holds for a database alone. */
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Layer, Logger, Redacted, Result } from "effect"
import { post } from "../../src/domain/Books.ts"
import { emptyHead } from "../../src/domain/Head.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { EventWriter, openAccount } from "../support/eventWriter.ts"
import { freshReadModel } from "../support/readSides.ts"
import { readModelContract } from "./readModelContract.ts"

const sqlLayer = Layer.unwrap(
  Effect.map(freshReadModel(inject("postgresUrl")), (url) =>
    ReadModel.layer.pipe(Layer.provide(ReadModelSql.layer(Redacted.make(url))))
  )
).pipe(Layer.provide(ProjectionWaiters.layer))

readModelContract("memory", ReadModel.layerMemory.pipe(Layer.provide(ProjectionWaiters.layer)))
readModelContract("PostgreSQL", sqlLayer)

describe("the read model on PostgreSQL alone", () => {
  it.live("refuses rows that it cannot hold", () =>
    Effect.gen(function* () {
      const readModel = yield* ReadModel
      const [row] = new EventWriter().commit(openAccount("a")).events
      assert.isDefined(row)
      if (row === undefined) return
      const { head, line } = Result.getOrThrow(post(emptyHead(row.accountId), row))
      const error = yield* Effect.flip(
        readModel.apply({
          moves: [{ from: 0, head }],
          lines: [{ ...line, description: "a\u0000b" }],
          transfers: [],
          contras: [],
          holds: [],
          checkpoints: []
        })
      )
      assert.strictEqual(error._tag, "RowsRefused")
      assert.strictEqual((yield* readModel.heads([row.accountId])).size, 0)
    }).pipe(Effect.provide(sqlLayer))
  )

  it.live("says why it is unavailable", () => {
    const said: Array<string> = []
    return Effect.gen(function* () {
      const readModel = yield* ReadModel
      const error = yield* Effect.flip(readModel.parked)
      assert.strictEqual(error._tag, "StoreUnavailable")
      assert.match(error.message, /^read model: cannot connect: .*127\.0\.0\.1/)
      assert.strictEqual(error.reason, "cannot connect (ECONNREFUSED)")
      yield* Effect.flip(readModel.parked)
      assert.deepStrictEqual(said, [error.message], "to the log too, once")
    }).pipe(
      Effect.provide(
        ReadModel.layer.pipe(
          Layer.provide([
            ReadModelSql.layer(Redacted.make("postgresql://nobody@127.0.0.1:1/nothing")),
            ProjectionWaiters.layer
          ]),
          Layer.merge(Logger.layer([Logger.make(({ message }) => said.push(String(message)))]))
        )
      )
    )
  })
})
