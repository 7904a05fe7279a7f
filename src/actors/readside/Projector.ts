/** Deliveries of the bus enter, one supervised fiber a partition; they are projected, then acknowledged. */
import { Clock, Context, Effect, Layer, Result } from "effect"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { books } from "../../infra/BooksProjection.ts"
import { Bus, type Delivery } from "../../infra/Bus.ts"
import type { WriterId } from "../../infra/EventStore.ts"
import { LedgerConfig } from "../../infra/LedgerConfig.ts"
import { prefixOf } from "../../infra/Projection.ts"
import { type Checkpoint, type ProjectionModel, ReadModel } from "../../infra/ReadModel.ts"
import { ReadSideConfig } from "../../infra/ReadSideConfig.ts"
import { continued } from "../../infra/Tracing.ts"
import { Bookkeeping } from "./Bookkeeping.ts"
import { makeFlush } from "./Flush.ts"
import { KnownWriters } from "./KnownWriters.ts"
import { ProjectionHealth } from "./ProjectionHealth.ts"
import { reasonOf, supervise } from "./Supervisor.ts"

/** The books' name on the bus; its version is in it, so that another one reads from the beginning. */
export const projectionName = prefixOf(books)

/** One projection and what it works with. */
export interface Projecting {
  /** What the bus knows it by. */
  readonly name: string
  readonly model: ProjectionModel
  readonly bookkeeping: Bookkeeping["Service"]
  readonly health: ProjectionHealth["Service"]
}

/** Starts the fibers of the books; how they are is told by `ProjectionHealth`. */
export class Projector extends Context.Service<Projector, { readonly projection: string }>()(
  "chronicle/actors/Projector"
) {
  static readonly layer = Layer.effect(
    Projector,
    Effect.gen(function* () {
      const [model, bookkeeping, health] = [yield* ReadModel, yield* Bookkeeping, yield* ProjectionHealth]
      yield* startProjectors({ name: projectionName, model, bookkeeping, health })
      return { projection: projectionName }
    })
  )
}

/** One supervised fiber a partition, for as long as the scope lives. */
export const startProjectors = Effect.fnUntraced(function* (projecting: Projecting) {
  const { partitions } = yield* LedgerConfig
  const flush = yield* makeFlush(projecting.bookkeeping)
  for (let partition = 0; partition < partitions; partition++) {
    const state = projecting.health.ofUnsafe(partition)
    yield* supervise(
      (alive) => Effect.scoped(project(projecting, flush, partition, alive)),
      (cause) =>
        Effect.suspend(() => {
          const reason = reasonOf(cause)
          const isNews = reason !== state.lastError
          state.lastError = reason
          state.restarts++
          return isNews
            ? Effect.logWarning(`projector ${projecting.name} ${partition} begins again: ${reason}`)
            : Effect.void
        })
    ).pipe(Effect.forkScoped)
  }
})

/** One life of a partition's fiber: ends with the first error, having acknowledged nothing that is not written. */
const project = Effect.fnUntraced(function* (
  { name, model, health }: Projecting,
  flush: Effect.Success<ReturnType<typeof makeFlush>>,
  partition: number,
  alive: () => void
) {
  const bus = yield* Bus
  const writers = yield* KnownWriters
  const { projectEventsMax, ackWaitMs } = yield* ReadSideConfig
  const state = health.ofUnsafe(partition)
  state.position = (yield* model.checkpoints).get(partition)?.position ?? 0
  const subscription = yield* bus.subscribe({ projection: name, partition })
  // What the last life died of would have been delivered again by then: it is over, even if nothing comes.
  yield* Effect.forkScoped(
    Effect.delay(
      Effect.sync(() => {
        state.lastError = undefined
      }),
      ackWaitMs
    )
  )

  return yield* Effect.gen(function* () {
    const deliveries = yield* subscription.take(roomFor(projectEventsMax))
    const { rows, faulty, foreign } = yield* sort(deliveries, writers.areKnown)
    const checkpoint = checkpointOf(partition, deliveries, rows)
    const done = yield* flush.project(rows, checkpoint).pipe(
      continued({
        name: "project",
        kind: "consumer",
        rows: () => rows,
        attributes: { "chronicle.projection": name, "chronicle.partition": partition }
      })
    )
    for (const delivery of deliveries) delivery.ackUnsafe()
    if (isRewound(state.position, deliveries)) {
      state.rewinds++
      yield* Effect.logWarning(`projector ${partition}: the stream began again; the log fills what it lacks`)
    }
    state.position = checkpoint.position
    state.events += done.events
    state.repeats += done.repeats
    state.gaps += done.gaps
    state.faulty += done.faulty + faulty
    state.foreign += foreign
    state.lastError = undefined
    if (done.events > 0) {
      health.lagUnsafe(partition, Math.max(0, (yield* Clock.currentTimeMillis) - checkpoint.recordedAt))
    }
    alive()
  }).pipe(Effect.forever)
})

/** Accepts deliveries until they hold about so many events. */
const roomFor = (eventsMax: number) => {
  let events = 0
  return ({ message }: Delivery): boolean => {
    events += Result.isSuccess(message) ? message.success.events.length : 0
    return events <= eventsMax
  }
}

/** The rows worth projecting: of messages that can be read, from writers that this log knows. */
const sort = Effect.fnUntraced(function* <E>(
  deliveries: ReadonlyArray<Delivery>,
  areKnown: (writers: ReadonlyArray<WriterId>) => Effect.Effect<(writer: WriterId) => boolean, E>
) {
  const messages = deliveries.flatMap(({ message }) => (Result.isSuccess(message) ? [message.success] : []))
  const isKnown = yield* areKnown(messages.map((message) => message.writerId))
  const own = messages.filter((message) => isKnown(message.writerId))
  return {
    rows: own.flatMap((message) => message.events),
    faulty: deliveries.length - messages.length,
    foreign: messages.length - own.length
  }
})

const checkpointOf = (
  partition: number,
  deliveries: ReadonlyArray<Delivery>,
  rows: ReadonlyArray<StoredEvent>
): Checkpoint => ({
  partition,
  position: deliveries.reduce((position, delivery) => Math.max(position, delivery.position), 0),
  recordedAt: rows.reduce((recordedAt, row) => Math.max(recordedAt, row.recordedAt), 0)
})

/** Lower numbers than before, though never delivered before. */
const isRewound = (position: number, deliveries: ReadonlyArray<Delivery>): boolean =>
  deliveries.length > 0 && deliveries.every((one) => !one.isRepeated && one.position <= position)
