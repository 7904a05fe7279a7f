/**
 * One supervised fiber a partition and projection: takes deliveries from the bus, projects them, and acknowledges them
 * once they are written. Each partition is a singleton of the cluster.
 */
import { Cause, Effect, Layer, Result } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { Bus, type Delivery } from "../../infra/bus/Bus.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { StoreUnavailable, type WriterId } from "../../infra/eventstore/EventStore.ts"
import { makeStoreNow } from "../../infra/eventstore/StoreClock.ts"
import { isOfRows } from "../../infra/postgres/SqlState.ts"
import { books } from "../../infra/readmodel/BooksProjection.ts"
import { prefixOf } from "../../infra/readmodel/Projection.ts"
import { ProjectedSignal } from "../../infra/readmodel/ProjectionWaiters.ts"
import { type Checkpoint, type ProjectionModel, ReadModel } from "../../infra/readmodel/ReadModel.ts"
import { continued } from "../../infra/telemetry/Tracing.ts"
import { Singletons } from "../relay/Singletons.ts"
import { reasonOf, supervise, toldOf } from "../relay/Supervisor.ts"
import { KnownWriters } from "./KnownWriters.ts"
import { ProjectionEngine, type ProjectionResult } from "./ProjectionEngine.ts"
import { ProjectionHealth } from "./ProjectionHealth.ts"
import { makeWriteBatcher, type WriteBatcher } from "./WriteBatcher.ts"

/** The name of the books on the bus. It contains the version, so that another version reads from the beginning. */
export const projectionName = prefixOf(books)

type StoreNow = Effect.Success<typeof makeStoreNow>

/** One projection and the services it works with. */
interface RunningProjectors {
  /** Its name on the bus. */
  readonly name: string
  readonly model: ProjectionModel
  readonly engine: ProjectionEngine["Service"]
  readonly health: ProjectionHealth["Service"]
  /** To the queries that wait for what the model writes. */
  readonly signal: ProjectedSignal["Service"]
}

/** Runs the fibers of the books; `ProjectionHealth` tells how they are. */
export const booksProjectors = Layer.effectDiscard(
  Effect.gen(function* () {
    yield* startProjectors({
      name: projectionName,
      model: yield* ReadModel,
      engine: yield* ProjectionEngine,
      health: yield* ProjectionHealth,
      signal: yield* ProjectedSignal
    })
  })
)

/** The singleton that projects one partition. */
export const projectorSingleton = (projection: string, partition: number): string =>
  `${projection}/${partition}`

/** One supervised fiber for each partition that this node owns, for as long as it owns it; in the scope. */
export const startProjectors = Effect.fnUntraced(function* (projectors: RunningProjectors) {
  const { partitions } = yield* LedgerConfig
  const singletons = yield* Singletons
  const batcher = yield* makeWriteBatcher(projectors.engine, projectors.signal)
  const storeNow = yield* makeStoreNow
  for (let partition = 0; partition < partitions; partition++) {
    yield* singletons.run(
      projectorSingleton(projectors.name, partition),
      whileOwned(projectors, batcher, storeNow, partition)
    )
  }
})

/** Runs from when the partition comes to this node until it goes. */
const whileOwned = (
  projectors: RunningProjectors,
  batcher: WriteBatcher,
  storeNow: StoreNow,
  partition: number
) =>
  Effect.gen(function* () {
    const state = projectors.health.ofUnsafe(partition)
    const own = (isOwned: boolean) =>
      Effect.sync(() => {
        state.isOwned = isOwned
        state.lastError = undefined
        projectors.signal.setProjectedHereUnsafe(partition, isOwned)
      })
    const { unackedMax } = yield* ReadSideConfig
    const blame = makeBlame(unackedMax)
    yield* Effect.acquireRelease(own(true), () => own(false))
    yield* supervise(
      (alive) => Effect.scoped(project(projectors, batcher, storeNow, partition, blame, alive)),
      (cause) =>
        Effect.suspend(() => {
          const reason = toldOf(cause)
          const isNews = reason !== state.lastError
          state.lastError = reason
          state.restarts++
          return isNews
            ? Effect.logWarning(
                `the projector of partition ${partition} of ${projectors.name} is restarted: ${reasonOf(cause)}`
              )
            : Effect.void
        })
    )
  })

/** A delivery that failed so often alone, for what it holds, is faulty. */
const faultyAfter = 5

/** Whether a failure says something of what was taken: not where a store is away, has too much to do, or refuses a login or a right. */
const isOfContent = (cause: Cause.Cause<unknown>): boolean => {
  const error = Cause.squash(cause)
  return !Cause.hasInterrupts(cause) && (!(error instanceof StoreUnavailable) || isOfRows(error.state))
}

/**
 * Finds which of the deliveries fails, where all that were taken with it do: after such a failure one is taken alone, and twice as many after
 * each success. One that fails alone again and again would hold up its partition until the bus discards it, which is a day; the log
 * has what it should have brought, and the sweep reads it there.
 */
const makeBlame = (deliveriesMax: number) => {
  /** So many are taken at once, at most. */
  let size = deliveriesMax
  /** How often each failed alone, by position. */
  const failures = new Map<number, number>()
  return {
    /** Accepts as many as are taken now, until they hold about `eventsMax` events. */
    accepts: (eventsMax: number): ((delivery: Delivery) => boolean) => {
      const hasRoom = roomFor(eventsMax)
      const positions = new Set<number>()
      return (delivery) => hasRoom(delivery) && positions.add(delivery.position).size <= size
    },
    noteSuccess: (deliveries: ReadonlyArray<Delivery>): void => {
      size = Math.min(deliveriesMax, size * 2)
      for (const { position } of deliveries) failures.delete(position)
    },
    /** Answers whether it was one alone, and is faulty. */
    noteFailure: (deliveries: ReadonlyArray<Delivery>): boolean => {
      size = 1
      const [position, ...others] = new Set(deliveries.map((one) => one.position))
      if (position === undefined || others.length > 0) return false
      const times = (failures.get(position) ?? 0) + 1
      if (times < faultyAfter) failures.set(position, times)
      else failures.delete(position)
      return times === faultyAfter
    }
  }
}

/** Deliveries that were taken and are not answered yet; they may be written although their fiber was interrupted. */
interface Unanswered {
  deliveries: ReadonlyArray<Delivery>
  isWritten: boolean
}

/**
 * One run of a partition's fiber. It ends with the first error, having acknowledged nothing that is not written; what
 * it had taken goes back to the bus, for the next run or the next owner.
 */
const project = Effect.fnUntraced(function* (
  { name, model, health }: RunningProjectors,
  batcher: WriteBatcher,
  storeNow: StoreNow,
  partition: number,
  blame: ReturnType<typeof makeBlame>,
  alive: () => void
) {
  const bus = yield* Bus
  const writers = yield* KnownWriters
  const { projectEventsMax, ackWaitMs } = yield* ReadSideConfig
  const { clockSkewMaxMs } = yield* LedgerConfig
  const state = health.ofUnsafe(partition)
  state.position = (yield* model.checkpoints).get(partition)?.position ?? 0
  // Acquired before the subscription: this finalizer runs after its end, or the deliveries would come back to it.
  const held = yield* Effect.acquireRelease(
    Effect.sync((): Unanswered => ({ deliveries: [], isWritten: false })),
    ({ deliveries, isWritten }) =>
      Effect.sync(() => {
        for (const delivery of deliveries) isWritten ? delivery.ackUnsafe() : delivery.nakUnsafe()
      })
  )
  const subscription = yield* bus.subscribe({ projection: name, partition })
  // The delivery that the last run died of would have come again by then: the error is over, even if nothing comes.
  yield* Effect.forkScoped(
    Effect.delay(
      Effect.sync(() => {
        state.lastError = undefined
      }),
      ackWaitMs
    )
  )

  return yield* Effect.gen(function* () {
    const deliveries = yield* subscription.take(blame.accepts(projectEventsMax))
    Object.assign(held, { deliveries, isWritten: false })
    const { rows, faulty, foreign } = yield* sort(deliveries, writers.areKnown)
    // Both clocks may be off by the bound, this machine's and that of the node that recorded.
    const checkpoint = checkpointOf(partition, deliveries, rows, (storeNow() ?? 0) + 2 * clockSkewMaxMs)
    const onWritten = (): void => {
      held.isWritten = true
    }
    const done = yield* batcher.project(rows, checkpoint, onWritten).pipe(
      continued({
        name: "project",
        kind: "consumer",
        rows: () => rows,
        attributes: { "chronicle.projection": name, "chronicle.partition": partition }
      })
    )
    for (const delivery of deliveries) delivery.ackUnsafe()
    held.deliveries = []
    blame.noteSuccess(deliveries)
    if (isRewound(state.position, deliveries)) {
      state.rewinds++
      yield* Effect.logWarning(
        `the bus's stream of partition ${partition} of ${name} began again (wiped, restored or replaced): ` +
          "what it lacks is read from the log"
      )
    }
    count(state, done, { faulty, foreign })
    state.position = checkpoint.position
    const now = done.events > 0 && checkpoint.recordedAt > 0 ? storeNow() : undefined
    if (now !== undefined) health.lagUnsafe(partition, Math.max(0, now - checkpoint.recordedAt))
    alive()
  }).pipe(
    Effect.forever,
    Effect.tapCause((cause) => (isOfContent(cause) ? leaveFaulty(held, blame, state, cause) : Effect.void))
  )
})

type Counts = ReturnType<ProjectionHealth["Service"]["ofUnsafe"]>

/** What was written of a batch, and what of it was not even tried. */
const count = (
  state: Counts,
  done: ProjectionResult,
  left: { readonly faulty: number; readonly foreign: number }
): void => {
  state.events += done.events
  state.repeats += done.repeats
  state.gaps += done.gaps
  state.faulty += done.faulty + left.faulty
  state.foreign += left.foreign
  state.lastError = undefined
}

/** Acknowledges what was taken, where that is one delivery that cannot be projected. */
const leaveFaulty = (
  held: Unanswered,
  blame: ReturnType<typeof makeBlame>,
  state: Counts,
  cause: Cause.Cause<unknown>
) =>
  Effect.suspend(() => {
    const { deliveries } = held
    if (!blame.noteFailure(deliveries)) return Effect.void
    for (const delivery of deliveries) delivery.ackUnsafe()
    held.deliveries = []
    state.faulty++
    return Effect.logError(
      `message ${deliveries[0]?.position} of partition ${state.partition} failed ${faultyAfter} times and is left to the sweep: ${reasonOf(cause)}`
    )
  })

/** Accepts deliveries until they hold about `eventsMax` events. */
const roomFor = (eventsMax: number) => {
  let events = 0
  return ({ message }: Delivery): boolean => {
    if (Result.isSuccess(message)) for (const part of message.success.parts) events += part.events.length
    return events <= eventsMax
  }
}

/** The rows of messages that can be read, of the writers that this log knows. */
const sort = Effect.fnUntraced(function* <E>(
  deliveries: ReadonlyArray<Delivery>,
  areKnown: (writers: ReadonlyArray<WriterId>) => Effect.Effect<(writer: WriterId) => boolean, E>
) {
  const messages = deliveries.flatMap(({ message }) => (Result.isSuccess(message) ? [message.success] : []))
  const parts = messages.flatMap((message) => message.parts)
  const isKnown = yield* areKnown(parts.map((part) => part.writerId))
  const own = parts.filter((part) => isKnown(part.writerId))
  return {
    rows: own.flatMap((part) => part.events),
    faulty: deliveries.length - messages.length,
    foreign: parts.length - own.length
  }
})

/**
 * Where the partition is once the rows are written. An instant later than `latest` is none at which anything was recorded: it is of a row that
 * is not believed yet, and would have the sweep take for lost all that the bus is still to bring. Before the store's clock is known
 * nothing is said of it.
 */
const checkpointOf = (
  partition: number,
  deliveries: ReadonlyArray<Delivery>,
  rows: ReadonlyArray<StoredEvent>,
  latest: Instant
): Checkpoint => ({
  partition,
  position: deliveries.reduce((position, delivery) => Math.max(position, delivery.position), 0),
  recordedAt: rows.reduce(
    (reached, { recordedAt }) => (recordedAt > latest ? reached : Math.max(reached, recordedAt)),
    0
  )
})

/** The bus numbers deliveries lower than before, although they were never delivered before. */
const isRewound = (position: number, deliveries: ReadonlyArray<Delivery>): boolean =>
  deliveries.length > 0 && deliveries.every((one) => !one.isRepeated && one.position <= position)
