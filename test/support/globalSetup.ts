/** Starts one PostgreSQL and one JetStream server for the whole test run, as `postgresUrl` and `natsUrl`. */
import { NodeServices } from "@effect/platform-node"
import { Context, Effect, Layer, ManagedRuntime, Redacted } from "effect"
import type { TestProject } from "vitest/node"
import { startPostgres } from "../../src/infra/dev/EmbeddedPostgres.ts"
import { startNats } from "../../src/infra/dev/NatsServer.ts"
import { makeTemplates } from "./databases.ts"
import { serverFiles } from "./serverFiles.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** A superuser's URL of the database `postgres`; make databases of your own there. */
    readonly postgresUrl: string
    /** JetStream is on; use names of your own for streams. */
    readonly natsUrl: string
  }
}

class TestServers extends Context.Service<
  TestServers,
  { readonly postgresUrl: string; readonly natsUrl: string }
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
        const postgres = startPostgres({ ...filesOf("postgres"), durable: false, databases: [] }).pipe(
          Effect.map(({ urlOf }) => Redacted.value(urlOf("postgres"))),
          Effect.tap(makeTemplates)
        )
        const nats = startNats(filesOf("nats")).pipe(Effect.map(({ url }) => url))
        return yield* Effect.all(
          {
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
  return () => runtime.dispose()
}
