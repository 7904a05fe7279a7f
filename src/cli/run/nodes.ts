/** `migrate`, `serve` and `dev`: bring databases to the current schema, and run a node in the foreground. */
import { Effect, Layer, Redacted } from "effect"
import { type HttpSettings, httpUrlOf, readHttpSettings } from "../../http/server/HttpSettings.ts"
import {
  type ClusterAddress,
  clusterConfig,
  limitsFromEnvironment,
  type Services
} from "../../infra/config/Environment.ts"
import type { NodeRole } from "../../infra/config/NodeRole.ts"
import { DevStack } from "../../infra/dev/DevStack.ts"
import { placeOf } from "../../infra/postgres/Migrations.ts"
import { tuneCollector } from "../../infra/telemetry/Collector.ts"
import { layerTraces } from "../../infra/telemetry/Telemetry.ts"
import * as LedgerNode from "../../LedgerNode.ts"
import { type RpcSettings, readRpcSettings } from "../../rpc/server/RpcSettings.ts"
import type { DevFlags, MigrateFlags, ServeFlags } from "../nodes.ts"
import { makeOutput, printJson } from "../Output.ts"
import { Stopped } from "../stopped.ts"
import { rpcUrlOf, servers } from "./servers.ts"
import { environmentServices, resolveStores } from "./services.ts"

export const migrate = Effect.fnUntraced(function* ({ data, json }: MigrateFlags) {
  const output = makeOutput(json)
  const stores = yield* resolveStores(data)
  const applied = yield* LedgerNode.migrate(stores)
  const said = (ids: ReadonlyArray<number>) =>
    ids.length === 0 ? "is at the current schema" : `was brought to schema ${ids.at(-1)}`
  yield* output.line(`The event store at ${placeOf(stores.eventStoreUrl)} ${said(applied.eventStore)}.`)
  yield* output.line(`The read model at ${placeOf(stores.readModelUrl)} ${said(applied.readModel)}.`)
  if (json) yield* printJson(applied)
}, Effect.scoped)

const urlsOf = (services: Services): ReadonlyArray<readonly [string, string]> => [
  ["CHRONICLE_EVENT_STORE_URL", Redacted.value(services.eventStoreUrl)],
  ["CHRONICLE_READ_MODEL_URL", Redacted.value(services.readModelUrl)],
  ["CHRONICLE_NATS_URL", services.natsUrl]
]

/** Runs a node until it is told to stop, and then answers what it accepted. Runs `started` once it takes commands. */
const runNode = Effect.fnUntraced(
  function* <E>(
    services: Services,
    rpc: RpcSettings,
    http: HttpSettings,
    started: Effect.Effect<void, E>,
    role: NodeRole = "all",
    cluster?: ClusterAddress
  ) {
    tuneCollector()
    const traces = yield* Layer.build(layerTraces(services.nodeName))
    const doors = servers(rpc, http)
    yield* (
      role === "read-side"
        ? Layer.build(Layer.provide(doors, LedgerNode.layerReadSide(services, {}, cluster)))
        : cluster === undefined
          ? Layer.build(Layer.provide(doors, LedgerNode.layer(services, { role })))
          : Layer.build(Layer.provide(doors, LedgerNode.layerCluster(services, cluster, { role })))
    ).pipe(Effect.provide(traces))
    yield* started
    // From here on, being told to stop is a normal end.
    ;(yield* Stopped).code = 0
    return yield* Effect.never
  },
  Effect.scoped,
  Effect.provide(limitsFromEnvironment)
)

/** A line for a shell that opens an account; sent again it answers the same. */
const firstCommand = (http: HttpSettings): string => {
  const token = http.tokens.length === 0 ? "" : ` -H "authorization: Bearer $TOKEN"`
  const body = JSON.stringify({ account: "alice", asset: "USD/2", owner: "Alice" })
  return `curl -sS ${httpUrlOf(http)}/v1/accounts${token} -H 'content-type: application/json' -H 'idempotency-key: open-alice' -d '${body}'`
}

export const serve = Effect.fnUntraced(function* ({ role }: ServeFlags) {
  const services = yield* environmentServices
  const rpc = yield* readRpcSettings
  const http = yield* readHttpSettings
  yield* Effect.logInfo(
    `node ${services.nodeName}${role === "all" ? "" : ` (${role})`}: event store ${placeOf(services.eventStoreUrl)}, read model ${placeOf(services.readModelUrl)}`
  )
  const cluster = yield* clusterConfig
  if (cluster !== undefined) yield* Effect.logInfo(`member of the cluster at ${cluster.host}:${cluster.port}`)
  return yield* runNode(
    services,
    rpc,
    http,
    Effect.logInfo(`ready, RPC at ${rpcUrlOf(rpc)}, HTTP at ${httpUrlOf(http)}: SIGTERM or Ctrl-C ends it`),
    role,
    cluster
  )
})

export const dev = Effect.fnUntraced(function* ({ data }: DevFlags) {
  const output = makeOutput(false)
  const rpc = yield* readRpcSettings
  const http = yield* readHttpSettings
  yield* output.line(`Starting PostgreSQL, JetStream and the event store in ${data} …`)
  const node = Effect.gen(function* () {
    const stack = yield* DevStack
    yield* LedgerNode.migrate(stack)
    for (const note of stack.notes) yield* output.line(`  ${note}`)
    const services = { ...stack, nodeName: "dev" }
    const started = Effect.gen(function* () {
      yield* output.line()
      yield* output.line("The node is up. For other terminals:")
      yield* output.line()
      for (const [variable, url] of urlsOf(services)) yield* output.line(`export ${variable}=${url}`)
      yield* output.line(`export CHRONICLE_RPC_URL=${rpcUrlOf(rpc)}`)
      yield* output.line()
      yield* output.line("A first account, by curl:")
      yield* output.line()
      yield* output.line(firstCommand(http))
      yield* output.line()
      yield* output.line(`Console: ${httpUrlOf(http)}/console`)
      yield* output.line(`Reference: ${httpUrlOf(http)}/docs`)
      yield* output.line(`Health: ${httpUrlOf(http)}/health`)
      yield* output.line("Ctrl-C ends it; the data stay.")
    })
    return yield* runNode(services, rpc, http, started)
  })
  return yield* node.pipe(Effect.provide(DevStack.layer({ dataDir: data })))
})
