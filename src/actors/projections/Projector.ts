/** Deliveries of the bus enter, one supervised fiber a partition of ours; they are projected, then acknowledged. */
import { Clock, Context, Effect, Layer, Result } from "effect"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { Bus, type Delivery } from "../../infra/bus/Bus.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import type { WriterId } from "../../infra/eventstore/EventStore.ts"
import { books } from "../../infra/readmodel/BooksProjection.ts"
import { prefixOf } from "../../infra/readmodel/Projection.ts"
import { ProjectionWaiters } from "../../infra/readmodel/ProjectionWaiters.ts"
import { type Checkpoint, type ProjectionModel, ReadModel } from "../../infra/readmodel/ReadModel.ts"
import { continued } from "../../infra/telemetry/Tracing.ts"
import { Singletons } from "../relay/Singletons.ts"
import { reasonOf, supervise } from "../relay/Supervisor.ts"
import { KnownWriters } from "./KnownWriters.ts"
import { ProjectionEngine } from "./ProjectionEngine.ts"
import { ProjectionHealth } from "./ProjectionHealth.ts"
import { makeWriteBatcher } from "./WriteBatcher.ts"

/** The books' name on the bus; its version is in it, so that another one reads from the beginning. */
export const projectionName = prefixOf(books)

/** One projection and what it works with. */
export interface Projecting {
  /** What the bus knows it by. */
  readonly name: string
  readonly model: ProjectionModel
  readonly bookkeeping: ProjectionEngine["Service"]
  readonly health: ProjectionHealth["Service"]
  /** Where those wait whom the model tells. */
  readonly arrivals: ProjectionWaiters["Service"]
}

/** Starts the fibers of the books; how they are is told by `ProjectionHealth`. */
export class Projector extends Context.Service<Projector, { readonly projection: string }>()(
  "chronicle/actors/Projector"
) {
  static readonly layer = Layer.effect(
    Projector,
    Effect.gen(function* () {
      const [model, bookkeeping, health] = [
        yield* ReadModel,
        yield* ProjectionEngine,
        yield* ProjectionHealth
      ]
      const arrivals = yield* ProjectionWaiters
      yield* startProjectors({ name: projectionName, model, bookkeeping, health, arrivals })
      return { projection: projectionName }
    })
  )
}

/** The duty to project one partition. */
export const projectorDuty = (projection: string, partition: number): string => `${projection}/${partition}`

/** One supervised fiber for each partition that is this node's, for as long as it is; in the scope. */
export const startProjectors = Effect.fnUntraced(function* (projecting: Projecting) {
  const { partitions } = yield* LedgerConfig
  const duties = yield* Singletons
  const flush = yield* makeWriteBatcher(projecting.bookkeeping)
  for (let partition = 0; partition < partitions; partition++) {
    yield* duties.run(projectorDuty(projecting.name, partition), tenure(projecting, flush, partition))
  }
})

type Flush = Effect.Success<ReturnType<typeof makeWriteBatcher>>

/** From when the partition comes to this node until it goes. */
const tenure = (projecting: Projecting, flush: Flush, partition: number) =>
  Effect.gen(function* () {
    const state = projecting.health.ofUnsafe(partition)
    const own = (isOwned: boolean) =>
      Effect.sync(() => {
        state.isOwned = isOwned
        state.lastError = undefined
        projecting.arrivals.bringUnsafe(partition, isOwned)
      })
    yield* Effect.acquireRelease(own(true), () => own(false))
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
    )
  })

/** What was taken and is not answered; it may be written though its fiber was told to stop. */
interface Held {
  deliveries: ReadonlyArray<Delivery>
  isWritten: boolean
}

/**
 * One life of a partition's fiber: ends with the first error, having acknowledged nothing that is not written. What it
 * had taken goes back to the bus then, for the next life or the next owner.
 */
const project = Effect.fnUntraced(function* (
  { name, model, health }: Projecting,
  flush: Flush,
  partition: number,
  alive: () => void
) {
  const bus = yield* Bus
  const writers = yield* KnownWriters
  const { projectEventsMax, ackWaitMs } = yield* ReadSideConfig
  const state = health.ofUnsafe(partition)
  state.position = (yield* model.checkpoints).get(partition)?.position ?? 0
  // Before the subscription, so that what goes back at the end does not come to it again.
  const held = yield* Effect.acquireRelease(
    Effect.sync((): Held => ({ deliveries: [], isWritten: false })),
    ({ deliveries, isWritten }) =>
      Effect.sync(() => {
        for (const delivery of deliveries) isWritten ? delivery.ackUnsafe() : delivery.nakUnsafe()
      })
  )
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
    Object.assign(held, { deliveries, isWritten: false })
    const { rows, faulty, foreign } = yield* sort(deliveries, writers.areKnown)
    const checkpoint = checkpointOf(partition, deliveries, rows)
    const onWritten = (): void => {
      held.isWritten = true
    }
    const done = yield* flush.project(rows, checkpoint, onWritten).pipe(
      continued({
        name: "project",
        kind: "consumer",
        rows: () => rows,
        attributes: { "chronicle.projection": name, "chronicle.partition": partition }
      })
    )
    for (const delivery of deliveries) delivery.ackUnsafe()
    held.deliveries = []
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
