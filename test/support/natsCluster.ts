/** Three NATS servers in one cluster, by the shipped docker/nats.conf, each of which may be ended and started again. */
import { readFileSync } from "node:fs"
import { Effect, Exit, FileSystem, Path, Ref, Schedule, Scope } from "effect"
import { connect } from "nats"
import { startDaemon } from "../../src/infra/dev/Daemon.ts"
import { findNats } from "../../src/infra/dev/NatsServer.ts"
import { ownPort } from "./ports.ts"

const shipped = readFileSync(new URL("../../docker/nats.conf", import.meta.url), "utf8")
const [password, clusterPassword] = ["n-of-a-test", "n-of-the-routes"]
const within = { schedule: Schedule.spaced("100 millis"), times: 600 }

interface Ports {
  readonly client: number
  readonly http: number
  readonly route: number
}

/** The shipped file, on this machine's loopback; a server before 2.10 refuses a file with the field by which it syncs. */
const configurationOf = (ports: Ports, storeDir: string, syncs: boolean): string => {
  const replacements = [
    ["0.0.0.0:4222", `127.0.0.1:${ports.client}`],
    ["0.0.0.0:8222", `127.0.0.1:${ports.http}`],
    ["0.0.0.0:6222", `127.0.0.1:${ports.route}`],
    ["/data", storeDir],
    ...(syncs ? [] : [["sync_interval: always", ""] as const])
  ] as const
  return replacements.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`docker/nats.conf has no ${from}`)
    return text.replace(from, to)
  }, shipped)
}

/** As the health check of docker-compose.yml asks: JetStream has caught up with the cluster. */
const healthy = ({ http }: Ports) =>
  Effect.promise(() =>
    fetch(`http://127.0.0.1:${http}/healthz`).then(
      ({ ok }) => ok,
      () => false
    )
  )

export interface ClusterServer {
  readonly name: string
  /** With the password. */
  readonly url: string
  /** SIGKILL. */
  readonly kill: Effect.Effect<void>
  /** On the same ports and files; does not wait for the others. */
  readonly start: Effect.Effect<void>
}

/** A server that is started in the scope; each run of it has a scope of its own below. */
const makeServer = Effect.fnUntraced(function* (
  directory: string,
  ports: ReadonlyArray<Ports>,
  index: number
) {
  const fs = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const { program, syncsAlways } = yield* findNats(join(directory, "version.log"))
  const own = ports[index] ?? (yield* Effect.die("no such server"))
  const name = `nats-${index + 1}`
  const file = join(directory, `${name}.conf`)
  yield* fs.writeFileString(file, configurationOf(own, join(directory, name), syncsAlways))
  const routes = ports.map(({ route }, at) => [
    `NATS_ROUTE_${at + 1}`,
    `nats://cluster:${clusterPassword}@127.0.0.1:${route}`
  ])
  const parent = yield* Effect.scope
  const run = Effect.gen(function* () {
    const scope = yield* Scope.fork(parent)
    const daemon = yield* startDaemon({
      service: name,
      program,
      args: ["-c", file],
      env: {
        NATS_SERVER_NAME: name,
        NATS_PASSWORD: password,
        NATS_CLUSTER_PASSWORD: clusterPassword,
        ...Object.fromEntries(routes)
      },
      pidFile: join(directory, `${name}.pid`),
      logFile: join(directory, `${name}.log`),
      stopSignal: "SIGTERM",
      stopWithinMs: 10_000,
      startWithinMs: 60_000,
      isReady: ({ output }) => Effect.succeed(output.includes("Server is ready"))
    }).pipe(Scope.provide(scope))
    return { daemon, scope }
  })
  const context = yield* Effect.context<Effect.Services<typeof run>>()
  const started = Effect.orDie(Effect.provideContext(run, context))
  const current = yield* Ref.make(yield* started)
  const server: ClusterServer = {
    name,
    url: `nats://chronicle:${password}@127.0.0.1:${own.client}`,
    kill: Effect.gen(function* () {
      const { daemon, scope } = yield* Ref.get(current)
      yield* daemon.kill
      yield* Scope.close(scope, Exit.void)
    }),
    start: Effect.flatMap(started, (next) => Ref.set(current, next))
  }
  return { server, healthy: healthy(own) }
})

/** Started in the scope; ready once each server is. */
export const startNatsCluster = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-test-nats-cluster-" })
  const ports = yield* Effect.forEach([1, 2, 3], () =>
    Effect.all({ client: ownPort, http: ownPort, route: ownPort })
  )
  const made = yield* Effect.forEach(ports, (_, index) => makeServer(directory, ports, index), {
    concurrency: "unbounded"
  })
  const servers = made.map(({ server }) => server)
  const isHealthy = Effect.map(Effect.all(made.map((one) => one.healthy)), (all) => all.every((ok) => ok))
  const settled = isHealthy.pipe(
    Effect.filterOrFail((ok) => ok),
    Effect.retry(within),
    Effect.orDie
  )
  yield* settled
  const url = servers.map((server) => server.url).join(",")
  return {
    url,
    servers,
    /** Waits until each server is well, and has what the others have. */
    settled,
    /** The server that leads the stream; asks again while none does. */
    leaderOf: (stream: string) =>
      Effect.acquireUseRelease(
        connectTo(url),
        (connection) =>
          Effect.tryPromise(async () => {
            const { cluster } = await (await connection.jetstreamManager()).streams.info(stream)
            return servers.find(({ name }) => name === cluster?.leader) ?? Promise.reject("no leader")
          }),
        (connection) => Effect.promise(() => connection.close())
      ).pipe(Effect.retry(within), Effect.orDie)
  }
})

/** A connection of one's own to a cluster's URL, past the ledger's. */
export const connectTo = (url: string) => {
  const urls = url.split(",").map((one) => new URL(one))
  const { password: pass = "", username: user = "" } = urls[0] ?? {}
  return Effect.promise(() => connect({ servers: urls.map(({ host }) => host), user, pass }))
}
