/** A log, a bus and a read model enter; relay, projectors and sweep run, and the queries they feed leave. */
import { Effect, Layer } from "effect"
import { Queries } from "../../infra/readmodel/Queries.ts"
import { Relay } from "../relay/Relay.ts"
import { Subscriptions } from "../subscriptions/Subscriptions.ts"
import { KnownWriters } from "./KnownWriters.ts"
import { ProjectionEngine } from "./ProjectionEngine.ts"
import { ProjectionHealth } from "./ProjectionHealth.ts"
import { Projections, register } from "./ProjectionRegistry.ts"
import { Projector, projectionName } from "./Projector.ts"
import { ReadSideHealth } from "./ReadSideHealth.ts"
import { Reconciler } from "./Reconciler.ts"

/** Projectors and sweep of the books: everything that writes them. */
const books = Layer.mergeAll(Projector.layer, Reconciler.layer).pipe(
  Layer.provideMerge(Layer.mergeAll(ProjectionEngine.layer, ProjectionHealth.layer))
)

const booksRegistered = Layer.effectDiscard(
  Effect.gen(function* () {
    yield* register({ name: projectionName, health: yield* ProjectionHealth, sweep: yield* Reconciler })
  })
).pipe(Layer.provideMerge(books))

/** Needs `EventStore`, `Bus`, `ReadModel`, `Arrivals`, and the `CommitFeed` that the commit pipeline offers to. */
export const layer = Layer.mergeAll(ReadSideHealth.layer, Queries.layer, Subscriptions.layer).pipe(
  Layer.provideMerge(Layer.mergeAll(Relay.layer, booksRegistered)),
  Layer.provideMerge(Layer.mergeAll(Projections.layer, KnownWriters.layer))
)
