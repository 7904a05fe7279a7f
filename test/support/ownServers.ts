/** Servers of one test alone: a PostgreSQL and a JetStream server, which may be ended and started again at will, or the latter alone. */
import { NodeServices } from "@effect/platform-node"
import { inject } from "@effect/vitest"
import { Context, Effect, Exit, FileSystem, Layer, Redacted, Ref, Schedule, Scope } from "effect"
import { startPostgres } from "../../src/infra/dev/EmbeddedPostgres.ts"
import { type NatsServer, startNats } from "../../src/infra/dev/NatsServer.ts"
import { freshAtSchema, freshEventStore } from "./databases.ts"
import { copyPostgresFiles } from "./postgresFiles.ts"
import { serverFiles } from "./serverFiles.ts"

export class OwnServers extends Context.Service<
  OwnServers,
  {
    readonly eventStoreUrl: Redacted.Redacted
    readonly readModelUrl: Redacted.Redacted
    readonly nats: NatsServer
    /** Ends the process, in order or as a crash would; `meanwhile`, then starts another on the same data and port. */
    readonly restartPostgres: (
      how: "in order" | "killed",
      meanwhile?: Effect.Effect<void>
    ) => Effect.Effect<void>
  }
>()("chronicle/test/OwnServers") {
  static readonly layer = Layer.effect(
    OwnServers,
    Effect.suspend(() => make)
  ).pipe(Layer.provide(NodeServices.layer))
}

/**
 * A JetStream server of one test alone, whose streams may so have the names that a program gives them, and databases on the PostgreSQL
 * that all tests share: one of their own would take two seconds of a core.
 */
export class OwnBus extends Context.Service<
  OwnBus,
  {
    readonly eventStoreUrl: Redacted.Redacted
    readonly readModelUrl: Redacted.Redacted
    readonly nats: NatsServer
  }
>()("chronicle/test/OwnBus") {
  static readonly layer = Layer.effect(
    OwnBus,
    Effect.gen(function* () {
      const [eventStoreUrl, readModelUrl, nats] = yield* Effect.all(
        [
          freshEventStore(inject("postgresUrl")),
          freshAtSchema("read-model")(inject("postgresUrl")),
          Effect.flatMap(ownFiles, (filesOf) => startNats(filesOf("nats")))
        ],
        { concurrency: "unbounded" }
      )
      return {
        eventStoreUrl: Redacted.make(eventStoreUrl),
        readModelUrl: Redacted.make(readModelUrl),
        nats
      }
    })
  ).pipe(Layer.provide(NodeServices.layer))
}

const ownFiles = serverFiles("chronicle-own-")

const make = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const filesOf = yield* ownFiles
  const files = filesOf("postgres")
  yield* copyPostgresFiles(inject("postgresFiles"), files.directory)
  const context = yield* Effect.context<NodeServices.NodeServices | Scope.Scope>()
  const parent = Context.get(context, Scope.Scope)
  const launch = Effect.fnUntraced(function* (port: number | undefined) {
    const scope = yield* Scope.fork(parent)
    const server = yield* startPostgres({
      ...files,
      port,
      durable: false,
      databases: ["events", "read_model"]
    }).pipe(Scope.provide(scope))
    return { scope, ...server }
  }, Effect.provideContext(context))

  const [first, nats] = yield* Effect.all([launch(undefined), startNats(filesOf("nats"))], {
    concurrency: "unbounded"
  })
  const running = yield* Ref.make(first)
  return {
    eventStoreUrl: first.urlOf("events"),
    readModelUrl: first.urlOf("read_model"),
    nats,
    restartPostgres: (how: "in order" | "killed", meanwhile: Effect.Effect<void> = Effect.void) =>
      Effect.gen(function* () {
        if (how === "killed") process.kill(Number(yield* fs.readFileString(files.pidFile)), "SIGKILL")
        yield* Scope.close((yield* Ref.get(running)).scope, Exit.void)
        yield* meanwhile
        // The children of one that was killed may hold the port for a moment.
        const next = Effect.retry(launch(first.port), { schedule: Schedule.spaced("100 millis"), times: 300 })
        yield* Ref.set(running, yield* next)
      }).pipe(Effect.orDie)
  }
})
