/**
 * The whole read side of one node as one list of layers: relay, projectors and reconciler of the books, and what they say
 * of themselves. It runs in the thread of the commands, or in one of its own (`src/actors/thread`).
 */
import { Effect, Layer } from "effect"
import { Relay } from "../relay/Relay.ts"
import { Completeness } from "./Completeness.ts"
import { KnownWriters } from "./KnownWriters.ts"
import { ProjectionEngine } from "./ProjectionEngine.ts"
import { ProjectionHealth } from "./ProjectionHealth.ts"
import { ProjectionRegistry, register } from "./ProjectionRegistry.ts"
import { booksProjectors, projectionName } from "./Projector.ts"
import { ReadSideHealth } from "./ReadSideHealth.ts"
import { Reconciler } from "./Reconciler.ts"
import * as SumsKeeper from "./SumsKeeper.ts"

/** Everything that writes the books. */
const books = Layer.mergeAll(booksProjectors, Reconciler.layer, SumsKeeper.layer).pipe(
  Layer.provideMerge(Layer.mergeAll(ProjectionEngine.layer, ProjectionHealth.layer))
)

const booksRegistered = Layer.effectDiscard(
  Effect.gen(function* () {
    yield* register({
      name: projectionName,
      health: yield* ProjectionHealth,
      reconciler: yield* Reconciler,
      engine: yield* ProjectionEngine
    })
  })
).pipe(Layer.provideMerge(books))

/** Of a node that leaves projecting to others: it publishes its own commits, and the tails that dead nodes left behind. */
export const relayAlone = Layer.mergeAll(ReadSideHealth.layer, Completeness.layerUnknown).pipe(
  Layer.provideMerge(Relay.layer),
  Layer.provideMerge(Layer.mergeAll(ProjectionRegistry.layer, KnownWriters.layer))
)

/** Either of these lists. */
export type Parts = Layer.Layer<Layer.Success<typeof relayAlone>, never, Layer.Services<typeof layer>>

/** Needs `EventStore`, `Bus`, `ReadModel`, `ProjectedSignal`, and the `CommitFeed` of the commit pipeline. */
export const layer = Layer.mergeAll(ReadSideHealth.layer, Completeness.layer).pipe(
  Layer.provideMerge(Layer.mergeAll(Relay.layer, booksRegistered)),
  Layer.provideMerge(Layer.mergeAll(ProjectionRegistry.layer, KnownWriters.layer))
)
