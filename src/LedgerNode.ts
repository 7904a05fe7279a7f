/** The layers of one whole node of the ledger, write side and read side, alone or as a member of a cluster. */
import * as WorkerThreads from "node:worker_threads"
import { Context, Effect, Layer, type Redacted, References } from "effect"
import { SecureRandom } from "effect/crypto"
import { AccountPages, AccountWatch } from "./AccountEvents.ts"
import { LedgerClock } from "./actors/accounts/LedgerClock.ts"
import { layerOwningNone } from "./actors/accounts/Placement.ts"
import { Snapshotter } from "./actors/accounts/Snapshotter.ts"
import { Audit } from "./actors/audit/Audit.ts"
import * as ClusterMember from "./actors/cluster/ClusterMember.ts"
import * as ClusterSingletons from "./actors/cluster/ClusterSingletons.ts"
import { Dispatcher } from "./actors/commands/Dispatcher.ts"
import { CommitFeed } from "./actors/commit/CommitFeed.ts"
import * as ExpiryNotices from "./actors/notices/ExpiryNotices.ts"
import * as AnswersByStore from "./actors/past/AnswersByStore.ts"
import { ClosedTimestamps } from "./actors/past/ClosedTimestamps.ts"
import { History } from "./actors/past/History.ts"
import { Sums } from "./actors/past/Sums.ts"
import { TimeTravel } from "./actors/past/TimeTravel.ts"
import { TrialBalance } from "./actors/past/TrialBalance.ts"
import { KnownWriters } from "./actors/projections/KnownWriters.ts"
import * as ReadSide from "./actors/projections/ReadSide.ts"
import { ReadSideHealth } from "./actors/projections/ReadSideHealth.ts"
import { Subscriptions } from "./actors/subscriptions/Subscriptions.ts"
import { hardLimitMib } from "./actors/thread/HeapWatch.ts"
import * as ReadSideThread from "./actors/thread/ReadSideThread.ts"
import { cacheFolder } from "./CacheFolder.ts"
import { Bus } from "./infra/bus/Bus.ts"
import * as ClusterRunner from "./infra/cluster/ClusterRunner.ts"
import { type ClusterAddress, numbersFault, type Services } from "./infra/config/Environment.ts"
import { LedgerConfig, ledgerLimits } from "./infra/config/LedgerConfig.ts"
import { limitsFault } from "./infra/config/Limits.ts"
import type { NodeRole } from "./infra/config/NodeRole.ts"
import { faultOfThread, ReadSideConfig } from "./infra/config/ReadSideConfig.ts"
import { SumPrefixes } from "./infra/config/SumPrefixes.ts"
import { WebhookConfig, WebhookPolicy, webhookLimits } from "./infra/config/WebhookConfig.ts"
import { awaitLogSchema, awaitStore } from "./infra/eventstore/AwaitStore.ts"
import { EventStore, type StoreUnavailable } from "./infra/eventstore/EventStore.ts"
import { Snapshots } from "./infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "./infra/eventstore/SqlClients.ts"
import * as Migrations from "./infra/postgres/Migrations.ts"
import { AnswerClock } from "./infra/readmodel/AnswerClock.ts"
import { type ProjectedSignal, ProjectionWaiters } from "./infra/readmodel/ProjectionWaiters.ts"
import { Queries } from "./infra/readmodel/Queries.ts"
import { ReadModel } from "./infra/readmodel/ReadModel.ts"
import type { ProjectionSql, ReadModelSql } from "./infra/readmodel/ReadModelSql.ts"
import { isTraced } from "./infra/telemetry/Logs.ts"
import * as Ledger from "./Ledger.ts"
import { busOf, placesOf, type ReadSideData } from "./ReadSideData.ts"
import { entryOfReadSide } from "./ReadSideEntry.ts"
import * as Stores from "./Stores.ts"
import * as WebhookLayers from "./WebhookLayers.ts"

/** How a node is made up. */
export interface NodeOptions {
  /** What it does; default `all`. A node of the read side alone is a layer of its own, `layerReadSide`. */
  readonly role?: Exclude<NodeRole, "read-side">
  /**
   * Where relay, projectors and reconciler run: in a thread of their own, which never makes a command wait (default), or
   * here, in the thread of the commands, where a bundler has left the package no file to start a thread from.
   */
  readonly readSide?: "thread" | "here"
  /**
   * Further projections that run in that thread: modules (URLs or absolute paths) with a `Projection` as their default
   * export. Their tables are migrated already.
   */
  readonly projections?: ReadonlyArray<string>
}

/**
 * The write side of a node: the way of a command from the dispatcher to the commit, and what the relay is told of it.
 * Every program that runs a node is wired by this list, tests and the load test included.
 */
export const writeSide = (node: string) =>
  Dispatcher.layer(node).pipe(
    Layer.provideMerge(Layer.mergeAll(Snapshotter.layer, LedgerClock.layer, CommitFeed.layer))
  )

/**
 * The environment of the process, and where the thread keeps V8's compiled code, unless that is named there already. Node.js reads it before
 * it loads a module: a thread that is started anew under load takes half the processor then.
 */
const threadEnvironment = (): NodeJS.ProcessEnv => ({ NODE_COMPILE_CACHE: cacheFolder, ...process.env })

/** The read side of a node, from the relay to the projected rows, in a thread of its own. */
export const readSideThread = (
  services: Services,
  options: Omit<NodeOptions, "role"> & { readonly role?: NodeRole } = {}
) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const readSide = yield* ReadSideConfig
      // V8 would end the whole process, where the thread's heap has no room for its first objects.
      const fault = faultOfThread(readSide)
      if (fault !== undefined) return yield* Effect.die(new Error(fault))
      const data: ReadSideData = {
        ...placesOf(services),
        role: options.role ?? "all",
        ledger: yield* LedgerConfig,
        readSide,
        sumPrefixes: yield* SumPrefixes,
        webhooks: yield* WebhookConfig,
        webhookRules: yield* WebhookPolicy,
        logLevel: yield* References.MinimumLogLevel,
        isTraced: yield* Effect.withFiber((fiber) => Effect.succeed(isTraced(fiber))),
        projections: options.projections ?? []
      }
      const spawn = () =>
        new WorkerThreads.Worker(entryOfReadSide(data.projections), {
          workerData: data,
          env: threadEnvironment(),
          name: "chronicle-read-side",
          resourceLimits: { maxOldGenerationSizeMb: hardLimitMib(readSide.readSideHeapMib) }
        })
      return ReadSideHealth.layer.pipe(
        Layer.provideMerge(Layer.merge(ReadSideThread.layer(spawn), KnownWriters.layer))
      )
    })
  )

/** Questions about the past, from the log and the read model: need no node. */
const past = Layer.mergeAll(
  TimeTravel.layer,
  History.layer,
  Sums.layer,
  TrialBalance.layer,
  Audit.layer
).pipe(Layer.provideMerge(ClosedTimestamps.layer))

export const stores = (services: Stores.StoreUrls) =>
  Stores.layer(services, awaitLogSchema(services.eventStoreUrl))

/** Everything a question needs, and nothing that writes: for the command line beside running nodes. */
export const layerReader = (services: Stores.StoreUrls) =>
  Layer.unwrap(
    Effect.as(
      numbersAreRight(),
      Layer.mergeAll(past, Queries.layer).pipe(
        Layer.provideMerge(Layer.provideMerge(Snapshotter.layer, Stores.layer(services)))
      )
    )
  )

/** Brings both databases to this program's schema; safe to run twice, and by two nodes at once. */
export const migrate = (services: {
  readonly eventStoreUrl: Redacted.Redacted
  readonly readModelUrl: Redacted.Redacted
}) =>
  Effect.all({
    eventStore: Migrations.migrate("event-store", services.eventStoreUrl),
    readModel: Migrations.migrate("read-model", services.readModelUrl)
  })

/** A node answers about "now" by the clock that it decides by. */
const answersByLedgerClock = Layer.effect(
  AnswerClock,
  Effect.map(LedgerClock, (clock) => Effect.sync(clock.nowUnsafe))
)

/** What follows an account is woken by the subscriptions' reading of the log, and bounded together with them. */
const accountWatch = Layer.effectContext(
  Effect.map(Subscriptions, ({ joinPaged, watchAccount }) =>
    Context.make(AccountWatch, watchAccount).pipe(Context.add(AccountPages, joinPaged))
  )
)

/** Several of them have the name of a limit of the ledger. */
const ofWebhooks = (fault: string | undefined): string | undefined =>
  fault === undefined ? undefined : `a limit of webhooks, ${fault}`

/** Those of the environment were refused before; a host may give any numbers. */
const numbersAreRight = (services: Pick<Services, "natsReplicas"> = {}, place?: ClusterAddress) =>
  Effect.gen(function* () {
    const fault =
      numbersFault(services, place) ??
      limitsFault(ledgerLimits, yield* LedgerConfig) ??
      ofWebhooks(limitsFault(webhookLimits, yield* WebhookConfig))
    if (fault !== undefined) return yield* Effect.die(new TypeError(fault))
  })

/** What was admitted is answered before the read side ends, so that the relay publishes the last commits too. */
const settlesFirst = Layer.effectDiscard(
  Effect.flatMap(Dispatcher, ({ localNode }) => Effect.addFinalizer(() => localNode.close))
)

/** The ledger that a write side and a read side make, over whatever stores they are given. */
const joined = <A, E, R, A2, E2, R2>(
  nodeName: string,
  readSide: Layer.Layer<A, E, R>,
  outside: Layer.Layer<A2, E2, R2>
) =>
  Layer.mergeAll(Ledger.layer, ExpiryNotices.layer, settlesFirst).pipe(
    Layer.provideMerge(accountWatch),
    Layer.provideMerge(Layer.mergeAll(Subscriptions.layer, Queries.layer)),
    Layer.provideMerge(readSide),
    Layer.provideMerge(past),
    Layer.provide(answersByLedgerClock),
    Layer.provideMerge(writeSide(nodeName)),
    Layer.provideMerge(outside),
    Layer.provide(SecureRandom.layerWebCrypto)
  )

/**
 * One node over whatever stores and bus it is given: its write side, its read side in the same thread, and the ledger they
 * make.
 */
export const over = <E, R>(
  nodeName: string,
  outside: Layer.Layer<EventStore | Snapshots | ReadModel | ProjectionWaiters | ProjectedSignal | Bus, E, R>
) => Layer.unwrap(Effect.as(numbersAreRight(), joined(nodeName, ReadSide.layer, outside)))

/** The read side of a node: in a thread of its own, in this one, or elsewhere, by the options. */
const readSideOf = (
  services: Services,
  options: Omit<NodeOptions, "role"> & { readonly role?: NodeRole }
): Layer.Layer<
  Layer.Success<ReturnType<typeof readSideThread>>,
  never,
  Layer.Services<typeof ReadSide.layer> | ProjectionWaiters
> =>
  options.readSide === "here"
    ? options.role === "commands"
      ? ReadSide.relayAlone
      : ReadSide.layer
    : readSideThread(services, options)

/** What a host adds here uses a bus of its own where that of the read side is in the other thread. */
const outsideOf = (services: Services, { readSide }: NodeOptions) => {
  const bus = busOf(services)
  return Layer.merge(readSide === "here" ? Bus.layer(bus) : Bus.layerLazy(bus), stores(services))
}

/** The webhooks of a node: what delivers them runs where its read side does. */
const webhooksOf = ({ readSide, role }: Omit<NodeOptions, "role"> & { readonly role?: NodeRole }) =>
  (readSide === "here" && role !== "commands"
    ? Layer.merge(WebhookLayers.operations, WebhookLayers.delivery)
    : WebhookLayers.operations
  ).pipe(Layer.provide(SecureRandom.layerWebCrypto))

/** One node over CockroachDB (or PostgreSQL), PostgreSQL and NATS; the databases migrated already. */
export const layer = (services: Services, options: NodeOptions = {}) =>
  Layer.unwrap(
    Effect.as(
      numbersAreRight(services),
      Layer.provideMerge(
        webhooksOf(options),
        joined(services.nodeName, readSideOf(services, options), outsideOf(services, options))
      )
    )
  )

/**
 * A node of the read side alone: it projects what other nodes commit, and answers questions. A command is `Unavailable`
 * there. With a place it shares the read side with the others of its cluster.
 */
export const layerReadSide = (
  services: Services,
  options: Omit<NodeOptions, "role"> = {},
  place?: ClusterAddress
) => Layer.unwrap(Effect.as(numbersAreRight(services, place), readSideAlone(services, options, place)))

const readSideAlone = (
  services: Services,
  options: Omit<NodeOptions, "role">,
  place: ClusterAddress | undefined
) =>
  Layer.merge(Ledger.layerWithoutCommands, webhooksOf({ ...options, role: "read-side" })).pipe(
    Layer.provideMerge(accountWatch),
    Layer.provideMerge(Layer.mergeAll(Subscriptions.layer, Queries.layer)),
    Layer.provideMerge(readSideOf(services, { ...options, role: "read-side" })),
    Layer.provideMerge(past),
    Layer.provide(AnswersByStore.layer),
    Layer.provideMerge(Layer.mergeAll(Snapshotter.layer, CommitFeed.layer, layerOwningNone)),
    Layer.provideMerge(place === undefined ? Layer.empty : readSideMember(services, place)),
    Layer.provideMerge(outsideOf(services, options))
  )

/** Its part of what the read side does once in a cluster. */
const readSideMember = (services: Services, place: ClusterAddress) =>
  ClusterSingletons.layer(services.nodeName).pipe(
    Layer.provide(ClusterRunner.layer({ ...place, locksUrl: services.readModelUrl, role: "read-side" }))
  )

/** The shards that a member is given wait for it: it joins once the log can be read. Fails as `stores` does. */
const logIsReadable = ({ eventStoreUrl }: Services) =>
  Effect.andThen(
    awaitLogSchema(eventStoreUrl),
    Effect.flatMap(EventStore, ({ listWriters }) => awaitStore(listWriters)).pipe(
      Effect.provide(EventStore.layer.pipe(Layer.provide(EventStoreClient.layer(eventStoreUrl))), {
        local: true
      })
    )
  )

/**
 * The same, as a member of the cluster of all nodes over these services: each account and each part of the read side
 * is owned by one of them, and a command or a question may be given to any. At the end what was admitted is
 * answered, and the others take the accounts over.
 */
export const layerCluster = (services: Services, place: ClusterAddress, options: NodeOptions = {}) =>
  Layer.unwrap(
    Effect.as(
      Effect.andThen(numbersAreRight(services, place), logIsReadable(services)),
      ClusterMember.member(services.nodeName, {
        ...place,
        locksUrl: services.readModelUrl,
        role: options.role ?? "all"
      })(
        Layer.provideMerge(
          webhooksOf(options),
          joined(
            services.nodeName,
            readSideOf(services, options),
            // Out to the host as well: further projections are spread over the nodes as the books are.
            ClusterSingletons.layer(services.nodeName).pipe(Layer.provideMerge(outsideOf(services, options)))
          )
        )
      )
    )
  )

/** One node with everything in this process's memory: for tests of host code. Forgets all at the end. */
export const layerMemory: Layer.Layer<
  Exclude<Layer.Success<ReturnType<typeof layer>>, EventStoreClient | ReadModelSql | ProjectionSql>,
  StoreUnavailable
> = Layer.provideMerge(
  Layer.provide(WebhookLayers.memory, SecureRandom.layerWebCrypto),
  over(
    "memory",
    Layer.mergeAll(
      Bus.layerMemory,
      EventStore.layerMemory,
      Snapshots.layerMemory,
      ReadModel.layerMemory
    ).pipe(Layer.provideMerge(ProjectionWaiters.layer))
  )
)
