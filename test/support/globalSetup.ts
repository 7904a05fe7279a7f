/** Starts one PostgreSQL and one JetStream server for the whole test run, as `postgresUrl` and `natsUrl`. */
import { NodeServices } from "@effect/platform-node"
import { Context, Effect, Layer, ManagedRuntime, Path, Redacted } from "effect"
import type { TestProject } from "vitest/node"
import { startPostgres } from "../../src/infra/dev/EmbeddedPostgres.ts"
import { startNats } from "../../src/infra/dev/NatsServer.ts"
import { openPostgresFiles } from "../../src/infra/dev/PostgresFiles.ts"
import { findPostgresPrograms } from "../../src/infra/dev/PostgresPrograms.ts"
import { findServerUser } from "../../src/infra/dev/ServerUser.ts"
import { makeTemplates } from "./databases.ts"
import { copyPostgresFiles } from "./postgresFiles.ts"
import { serverFiles } from "./serverFiles.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** A superuser's URL of the database `postgres`; make databases of your own there. */
    readonly postgresUrl: string
    /** JetStream is on; use names of your own for streams. */
    readonly natsUrl: string
    /** A directory with the files of a PostgreSQL that has not run yet, to be copied. */
    readonly postgresFiles: string
  }
}

class TestServers extends Context.Service<
  TestServers,
  { readonly postgresUrl: string; readonly natsUrl: string; readonly postgresFiles: string }
>()("chronicle/test/TestServers") {
  /** What is given is used; what is not is started in a temporary directory that goes with the scope. */
  static readonly layer = (given: {
    readonly postgresUrl: string | undefined
    readonly natsUrl: string | undefined
  }) =>
    Layer.effect(
      TestServers,
      Effect.gen(function* () {
        const filesOf = yield* serverFiles("chronicle-test-")
        const { dirname } = yield* Path.Path
        const pristine = filesOf("pristine")
        const as = yield* findServerUser(dirname(pristine.directory))
        const { initdb } = yield* findPostgresPrograms(as)
        yield* openPostgresFiles({ ...pristine, initdb, durable: false, as })
        const own = filesOf("postgres")
        const postgres = copyPostgresFiles(pristine.directory, own.directory).pipe(
          Effect.andThen(startPostgres({ ...own, durable: false, databases: [] })),
          Effect.map(({ urlOf }) => Redacted.value(urlOf("postgres"))),
          Effect.tap(makeTemplates)
        )
        const nats = startNats(filesOf("nats")).pipe(Effect.map(({ url }) => url))
        return yield* Effect.all(
          {
            postgresFiles: Effect.succeed(pristine.directory),
            postgresUrl: given.postgresUrl === undefined ? postgres : Effect.succeed(given.postgresUrl),
            natsUrl: given.natsUrl === undefined ? nats : Effect.succeed(given.natsUrl)
          },
          { concurrency: "unbounded" }
        )
      })
    ).pipe(Layer.provide(NodeServices.layer))
}

export default async function (project: TestProject) {
  const runtime = ManagedRuntime.make(
    TestServers.layer({
      postgresUrl: process.env.CHRONICLE_TEST_POSTGRES_URL,
      natsUrl: process.env.CHRONICLE_TEST_NATS_URL
    })
  )
  const servers = await runtime.runPromise(TestServers)
  project.provide("postgresUrl", servers.postgresUrl)
  project.provide("natsUrl", servers.natsUrl)
  project.provide("postgresFiles", servers.postgresFiles)
  return () => runtime.dispose()
}
