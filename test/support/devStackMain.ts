/** A process that runs a development stack on a data directory until it is ended: for tests that kill it. */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { PgClient } from "@effect/sql-pg"
import { Effect, FileSystem } from "effect"
import { Reactivity } from "effect/reactivity"
import { DevStack } from "../../src/infra/dev/DevStack.ts"

const [, , dataDir = "", ready = ""] = process.argv

const main = Effect.gen(function* () {
  const stack = yield* DevStack
  const fs = yield* FileSystem.FileSystem
  const sql = yield* PgClient.makeClient({ url: stack.eventStoreUrl })
  yield* sql`CREATE TABLE IF NOT EXISTS kept (id INT PRIMARY KEY)`
  yield* sql`INSERT INTO kept SELECT count(*) + 1 FROM kept`
  yield* fs.writeFileString(ready, "")
  return yield* Effect.never
})

NodeRuntime.runMain(
  main.pipe(
    Effect.scoped,
    Effect.provide([DevStack.layer({ dataDir }), NodeServices.layer, Reactivity.layer])
  )
)
