/** The layers of one whole node of the ledger, write side and read side, alone or as a member of a cluster. */
import { Effect, Layer, type Redacted } from "effect"
import { SecureRandom } from "effect/crypto"
import { LedgerClock } from "./actors/accounts/LedgerClock.ts"
import { Snapshotter } from "./actors/accounts/Snapshotter.ts"
import { Audit } from "./actors/audit/Audit.ts"
import * as ClusterMember from "./actors/cluster/ClusterMember.ts"
import * as ClusterSingletons from "./actors/cluster/ClusterSingletons.ts"
import { Dispatcher } from "./actors/commands/Dispatcher.ts"
import { CommitFeed } from "./actors/commit/CommitFeed.ts"
import * as ExpiryNotices from "./actors/notices/ExpiryNotices.ts"
import { ClosedTimestamps } from "./actors/past/ClosedTimestamps.ts"
import { History } from "./actors/past/History.ts"
import { Sums } from "./actors/past/Sums.ts"
import { TimeTravel } from "./actors/past/TimeTravel.ts"
import { TrialBalance } from "./actors/past/TrialBalance.ts"
import * as ReadSide from "./actors/projections/ReadSide.ts"
import { Subscriptions } from "./actors/subscriptions/Subscriptions.ts"
import { Bus } from "./infra/bus/Bus.ts"
import type { ClusterAddress, Services } from "./infra/config/Environment.ts"
import { EventStore } from "./infra/eventstore/EventStore.ts"
import { Snapshots } from "./infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "./infra/eventstore/SqlClients.ts"
import * as Migrations from "./infra/postgres/Migrations.ts"
import { ProjectionWaiters } from "./infra/readmodel/ProjectionWaiters.ts"
import { Queries } from "./infra/readmodel/Queries.ts"
import { ReadModel } from "./infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "./infra/readmodel/ReadModelSql.ts"
import * as Ledger from "./Ledger.ts"

/**
 * The write side of a node: the way of a command from the dispatcher to the commit, and what the relay is told of it.
 * Every program that runs a node is wired by this list, tests and the load test included.
 */
export const writeSide = (node: string) =>
  Dispatcher.layer(node).pipe(
    Layer.provideMerge(Layer.mergeAll(Snapshotter.layer, LedgerClock.layer, CommitFeed.layer))
  )

/** The read side of a node: from the relay to the projected rows, and what subscribers are told. */
export const readSide = Layer.mergeAll(ReadSide.layer, Subscriptions.layer)

/** Questions about the past, from the log and the read model: need no node. */
const past = Layer.mergeAll(
  TimeTravel.layer,
  History.layer,
  Sums.layer,
  TrialBalance.layer,
  Audit.layer
).pipe(Layer.provideMerge(ClosedTimestamps.layer))

/** The log and the read model at their URLs; fails where one cannot be reached or has another schema. */
export const stores = (services: Pick<Services, "eventStoreUrl" | "readModelUrl">) =>
  Layer.unwrap(
    Effect.gen(function* () {
      yield* Migrations.checkAt("event-store", services.eventStoreUrl)
      yield* Migrations.checkAt("read-model", services.readModelUrl)
      return Layer.mergeAll(EventStore.layer, Snapshots.layer, ReadModel.layer).pipe(
        Layer.provideMerge(EventStoreClient.layer(services.eventStoreUrl)),
        Layer.provideMerge(Layer.mergeAll(ReadModelSql.layer(services.readModelUrl), ProjectionWaiters.layer))
      )
    })
  )

/** Everything a question needs, and nothing that writes: for the command line beside running nodes. */
export const layerReader = (services: Pick<Services, "eventStoreUrl" | "readModelUrl">) =>
  Layer.mergeAll(past, Queries.layer).pipe(
    Layer.provideMerge(Layer.provideMerge(Snapshotter.layer, stores(services)))
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

/** One node over whatever stores and bus it is given: its write side, its read side, and the ledger they make. */
export const over = <E, R>(
  nodeName: string,
  outside: Layer.Layer<EventStore | Snapshots | ReadModel | ProjectionWaiters | Bus, E, R>
) =>
  Layer.merge(Ledger.layer, ExpiryNotices.layer).pipe(
    Layer.provideMerge(readSide),
    Layer.provideMerge(past),
    Layer.provideMerge(writeSide(nodeName)),
    Layer.provideMerge(outside),
    Layer.provide(SecureRandom.layerWebCrypto)
  )

const outsideOf = (services: Services) =>
  Layer.merge(Bus.layer({ url: services.natsUrl, replicas: services.natsReplicas ?? 1 }), stores(services))

/** One node over CockroachDB (or PostgreSQL), PostgreSQL and NATS; the databases migrated already. */
export const layer = (services: Services) => over(services.nodeName, outsideOf(services))

/**
 * The same, as a member of the cluster of all nodes over these services: each account and each part of the read side
 * is owned by one of them, and a command or a question may be given to any. At the end what was admitted is
 * answered, and the others take the accounts over.
 */
export const layerCluster = (services: Services, place: ClusterAddress) =>
  ClusterMember.member(services.nodeName, { ...place, locksUrl: services.readModelUrl })(
    over(
      services.nodeName,
      // Out to the host as well: further projections are spread over the nodes as the books are.
      ClusterSingletons.layer(services.nodeName).pipe(Layer.provideMerge(outsideOf(services)))
    )
  )

/** One node with everything in this process's memory: for tests of host code. Forgets all at the end. */
export const layerMemory = over(
  "memory",
  Layer.mergeAll(Bus.layerMemory, EventStore.layerMemory, Snapshots.layerMemory, ReadModel.layerMemory).pipe(
    Layer.provideMerge(ProjectionWaiters.layer)
  )
)
