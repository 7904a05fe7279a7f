/** The log and the read model at their URLs: what every part of a node stands on, in whichever thread. */
import { Effect, Layer } from "effect"
import type { Services } from "./infra/config/Environment.ts"
import { EventStore } from "./infra/eventstore/EventStore.ts"
import { Snapshots } from "./infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "./infra/eventstore/SqlClients.ts"
import * as Migrations from "./infra/postgres/Migrations.ts"
import { ProjectionWaiters } from "./infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "./infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "./infra/readmodel/ReadModelSql.ts"

export type StoreUrls = Pick<Services, "eventStoreUrl" | "readModelUrl">

const checkLogSchema = ({ eventStoreUrl }: StoreUrls) => Migrations.checkAt("event-store", eventStoreUrl)

/**
 * Needs the queries that wait for the read model; fails where a database cannot be reached or has another schema. `logSchema` looks at
 * that of the log: a node that starts asks a store that does not answer again, and a question of the command line does not.
 */
export const layerWithoutWaiters = (services: StoreUrls, logSchema = checkLogSchema(services)) =>
  Layer.unwrap(
    Effect.gen(function* () {
      yield* logSchema
      yield* Migrations.checkAt("read-model", services.readModelUrl)
      return Layer.mergeAll(EventStore.layer, Snapshots.layer, ReadModel.layer).pipe(
        Layer.provideMerge(EventStoreClient.layer(services.eventStoreUrl)),
        Layer.provideMerge(ReadModelSql.layer(services.readModelUrl))
      )
    })
  )

/** Fails where one cannot be reached or has another schema. */
export const layer = (services: StoreUrls, logSchema = checkLogSchema(services)) =>
  Layer.provideMerge(layerWithoutWaiters(services, logSchema), ProjectionWaiters.layer)
