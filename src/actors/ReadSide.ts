/** A log, a bus and a read model enter; relay, projectors and sweep run, and the queries they feed leave. */
import { Layer } from "effect"
import { Queries } from "../infra/Queries.ts"
import { Bookkeeping } from "./Bookkeeping.ts"
import { KnownWriters } from "./KnownWriters.ts"
import { ProjectionHealth } from "./ProjectionHealth.ts"
import { Projector } from "./Projector.ts"
import { Relay } from "./Relay.ts"
import { Sweep } from "./Sweep.ts"

/** Projectors and sweep: everything that writes the read model. */
const projection = Layer.mergeAll(Projector.layer, Sweep.layer).pipe(
  Layer.provide(KnownWriters.layer),
  Layer.provideMerge(Layer.mergeAll(Bookkeeping.layer, ProjectionHealth.layer))
)

/** Needs `EventStore`, `Bus`, `ReadModel`, `Arrivals`, and the `CommitFeed` that the commit pipeline offers to. */
export const layer = Layer.mergeAll(Relay.layer, projection, Queries.layer)
