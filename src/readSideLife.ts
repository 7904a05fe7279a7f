/**
 * What the thread of the read side runs, from its start to its end. It has connections of its own to the databases and the bus.
 */
import { flushCompileCache } from "node:module"
import { basename } from "node:path"
import { pathToFileURL } from "node:url"
import { workerData } from "node:worker_threads"
import * as NodeWorkerRunner from "@effect/platform-node/NodeWorkerRunner"
import { Cause, Data, Effect, Layer, Predicate, Redacted, References } from "effect"
import * as CustomProjection from "./actors/projections/CustomProjection.ts"
import * as ReadSide from "./actors/projections/ReadSide.ts"
import { reasonOf } from "./actors/relay/Supervisor.ts"
import * as ReadSideRunner from "./actors/thread/ReadSideRunner.ts"
import { toThrow } from "./actors/thread/ThreadMessages.ts"
import { bundle } from "./Bundle.ts"
import { Bus } from "./infra/bus/Bus.ts"
import { LedgerConfig } from "./infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "./infra/config/ReadSideConfig.ts"
import { SumPrefixes } from "./infra/config/SumPrefixes.ts"
import { WebhookConfig, WebhookPolicy } from "./infra/config/WebhookConfig.ts"
import { isProjection, projectionFault } from "./infra/readmodel/Projection.ts"
import type { ReadSideData } from "./ReadSideData.ts"
import { nameSourcesInStacks } from "./SourcesInStacks.ts"
import * as Stores from "./Stores.ts"
import * as WebhookLayers from "./WebhookLayers.ts"

class ModuleNotLoaded extends Data.TaggedError("ModuleNotLoaded")<{
  readonly module: string
  readonly reason: string
}> {
  override get message() {
    return `${this.module} cannot be loaded: ${this.reason}`
  }

  /** Not in which folder of this machine the module is. */
  get told() {
    return `the module ${basename(this.module)} of a projection cannot be loaded`
  }
}

class ModuleWithoutProjection extends Data.TaggedError("ModuleWithoutProjection")<{
  readonly module: string
  readonly fault: string
}> {
  override get message() {
    return `the default export of ${this.module} is no projection: ${this.fault}`
  }

  get told() {
    return `the default export of ${basename(this.module)} is no projection: ${this.fault}`
  }
}

/** The projection that a module of the host exports. */
const load = Effect.fnUntraced(function* (module: string) {
  const url = module.includes("://") ? module : pathToFileURL(module).href
  const loaded: unknown = yield* Effect.tryPromise({
    try: () => import(url),
    catch: (cause) => new ModuleNotLoaded({ module, reason: reasonOf(Cause.die(cause)) })
  })
  const found = Predicate.hasProperty(loaded, "default") ? loaded.default : undefined
  if (isProjection(found)) return found
  return yield* new ModuleWithoutProjection({ module, fault: projectionFault(found) ?? "" })
})

const data: ReadSideData = workerData // of `LedgerNode`

if (bundle !== undefined) nameSourcesInStacks(bundle)

/** Loaded where it is used: an exporter is a client of HTTP. */
const traces = Layer.unwrap(
  Effect.map(
    Effect.promise(() => import("./infra/telemetry/Telemetry.ts")),
    ({ layerTraces }) => layerTraces(data.nodeName)
  )
)

const program = Effect.gen(function* () {
  const isProjecting = data.role !== "commands"
  const projections = isProjecting ? yield* Effect.forEach(data.projections, load) : []
  // However this life ends, the next one finds the code of its modules. Written is only what is not there yet.
  yield* Effect.sync(flushCompileCache)
  const stores = Stores.layerWithoutWaiters({
    eventStoreUrl: Redacted.make(data.eventStoreUrl),
    readModelUrl: Redacted.make(data.readModelUrl)
  })
  const beside = projections.reduce(
    (all, projection) => Layer.merge(all, CustomProjection.layerOf(projection)),
    Layer.empty as ReturnType<typeof CustomProjection.layerOf>
  )
  const parts: ReadSide.Parts = isProjecting ? ReadSide.layer : ReadSide.relayAlone
  const all = isProjecting ? Layer.merge(beside, WebhookLayers.delivery) : Layer.empty
  return yield* ReadSideRunner.run(Layer.merge(stores, Bus.layer(data.bus)), parts, all)
}).pipe(
  Effect.provide(data.isTraced ? traces : Layer.empty),
  Effect.provide(NodeWorkerRunner.layer),
  Effect.provideService(LedgerConfig, data.ledger),
  Effect.provideService(ReadSideConfig, data.readSide),
  Effect.provideService(SumPrefixes, data.sumPrefixes),
  Effect.provideService(WebhookConfig, data.webhooks),
  Effect.provideService(WebhookPolicy, data.webhookRules),
  Effect.provideService(References.MinimumLogLevel, data.logLevel)
)

// A failure ends the thread, and the other one learns its reason.
void Effect.runPromise(Effect.catchCause(program, (cause) => Effect.die(toThrow(cause)))).then(() =>
  process.exit(0)
)
