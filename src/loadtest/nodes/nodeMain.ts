/**
 * The process of one node of a load test, which `NodeProcess.ts` starts: a member of the cluster that gives itself its
 * part of the load when it is asked to. It reads the environment of `serve`, and its parent ends it by SIGTERM.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Cause, Context, Effect, Exit, Layer, Logger, References } from "effect"
import * as ClusterDoor from "../../actors/cluster/ClusterMember.ts"
import { Dispatcher } from "../../actors/commands/Dispatcher.ts"
import { clusterConfig, limitsFromEnvironment, servicesConfig } from "../../infra/config/Environment.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { tuneCollector } from "../../infra/telemetry/Collector.ts"
import { layerLogs } from "../../infra/telemetry/Logs.ts"
import * as LedgerNode from "../../LedgerNode.ts"
import { limitsFor } from "../LoadTest.ts"
import { stores } from "../Services.ts"
import { serveLoad } from "./NodeLoad.ts"
import type { FromNode, NodeWork, ToNode } from "./Protocol.ts"

const post = (message: FromNode): void => {
  process.send?.(message)
}

const work = JSON.parse(process.argv[2] ?? "{}") as NodeWork // written by NodeProcess.ts

const program = Effect.gen(function* () {
  const services = yield* servicesConfig
  const place = yield* clusterConfig
  if (place === undefined)
    return yield* Effect.die(new Error("a node of a load test needs CHRONICLE_CLUSTER_PORT"))
  const node = services.nodeName
  const dispatcher = work.settings.readSide
    ? Layer.build(LedgerNode.layerCluster(services, place)).pipe(
        Effect.map((context) => Context.get(context, Dispatcher))
      )
    : ClusterDoor.member(node, { ...place, locksUrl: services.readModelUrl })(
        LedgerNode.writeSide(node)
      ).pipe(
        Layer.provide(stores(services)),
        Layer.build,
        Effect.map((context) => Context.get(context, Dispatcher))
      )
  const { accounts } = work.settings
  const limits = limitsFor(
    { ...work.settings, accounts: Math.ceil(accounts / work.nodes) },
    yield* LedgerConfig
  )
  const handle = yield* serveLoad(work, yield* Effect.provideService(dispatcher, LedgerConfig, limits), post)
  const run = Effect.runForkWith(yield* Effect.context())
  process.on("message", (message) => {
    run(handle(message as ToNode)) // sent by NodeProcess.ts
  })
  post({ _tag: "Ready" })
  return yield* Effect.never
}).pipe(
  Effect.scoped,
  Effect.provide(limitsFromEnvironment),
  Effect.provide(layerLogs),
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provideService(References.MinimumLogLevel, work.logLevel)
)

// A node without its parent would run for ever, because only the parent ends it.
process.on("disconnect", () => process.exit(1))

tuneCollector()
NodeRuntime.runMain(program, {
  teardown: (exit, onExit) => onExit(Exit.isSuccess(exit) || Cause.hasInterruptsOnly(exit.cause) ? 0 : 1)
})
