/** Runs the reconciliation of a projection with the log as a singleton of the cluster, and tells all nodes its result. */
import { Clock, Context, Effect, Layer, Schema } from "effect"
import { Instant } from "../../domain/Ids.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import type { StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { type ProjectionModel, ReadModel } from "../../infra/readmodel/ReadModel.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import { makeSingleton, Singletons } from "../relay/Singletons.ts"
import { ProjectionEngine } from "./ProjectionEngine.ts"
import { ProjectionHealth, type ReconcileCounts } from "./ProjectionHealth.ts"
import { Lag, makeLag } from "./ProjectionLag.ts"
import { projectionName } from "./Projector.ts"
import { makeReconcileTails, type ReconcileReport, roundsASweep } from "./ReconcileTails.ts"

/** What the owner publishes for the other nodes. */
const Published = Schema.Struct({
  /** When the last round was completed, by the event store's clock (0: none yet). */
  sweptAt: Instant,
  /** What that round left for the bus to bring. */
  lag: Lag,
  completeTo: Schema.optionalKey(Instant),
  /** Accounts that are parked. */
  parked: Schema.Int,
  lastError: Schema.optional(Schema.String)
})

/** What `Published` holds is the owner's, as far as it was heard here; the other counts are this node's. */
export interface ReconcilerStatus extends Readonly<ReconcileCounts> {
  readonly isOwned: boolean
}

export class Reconciler extends Context.Service<
  Reconciler,
  {
    /** One round now over all commits, however young. With `load` false it changes nothing. */
    readonly sweep: (options: { readonly load: boolean }) => Effect.Effect<ReconcileReport, StoreUnavailable>
    readonly statusUnsafe: () => ReconcilerStatus
  }
>()("chronicle/actors/Reconciler") {
  /** Of the books. */
  static readonly layer = Layer.effect(
    Reconciler,
    Effect.gen(function* () {
      return yield* startReconciler(
        projectionName,
        yield* ReadModel,
        yield* ProjectionEngine,
        yield* ProjectionHealth
      )
    })
  )
}

const reconcilerSingleton = (projection: string) =>
  makeSingleton(`${projection}/sweep`, Schema.fromJsonString(Published))

/** The last round of the owner's that was heard of here, by the time elapsed here. */
const makeHeard = (published: () => typeof Published.Type | undefined, clock: Clock.Clock) => {
  let sweptAt: Instant = 0
  let elapsedMs = 0
  return {
    /** What the owner published last. */
    hearUnsafe: () => {
      const heard = published()
      if (heard !== undefined && heard.sweptAt !== 0 && heard.sweptAt !== sweptAt) {
        sweptAt = heard.sweptAt
        elapsedMs = elapsedMsUnsafe(clock)
      }
      return heard
    },
    /** When it was heard of; 0 where none was. */
    elapsedMsUnsafe: () => elapsedMs
  }
}

/** Reconciles regularly while this node owns the singleton; runs in the scope. */
export const startReconciler = Effect.fnUntraced(function* (
  name: string,
  model: ProjectionModel,
  engine: ProjectionEngine["Service"],
  health: ProjectionHealth["Service"]
) {
  const singletons = yield* Singletons
  const { sweepMs, partitions } = yield* LedgerConfig
  const singleton = reconcilerSingleton(name)
  const heardRounds = makeHeard(() => singletons.statusUnsafe(singleton), yield* Clock.Clock)
  /** What this node found itself counts, and not what others said: it owns the rounds, and has made one, or was told to make one just now. */
  let hasLooked = false
  const { sweep, statusUnsafe, forgetUnsafe, regularly } = yield* makeReconcileTails(
    model,
    engine,
    health,
    (counts) => {
      hasLooked = true
      singletons.publishUnsafe(singleton, counts)
    }
  )
  /** What the owner had said before this node learnt last which accounts are parked: it is not true of one that was parked since. */
  let heardCompleteTo: Instant = 0
  /** The round, by when it was completed, since which this node found the read model away: it may have come back with less. */
  let doubtedRound: Instant | undefined

  let isOwned = false
  const own = (isNow: boolean) =>
    Effect.sync(() => {
      if (!isNow && hasLooked) heardCompleteTo = statusUnsafe().completeTo
      isOwned = isNow
      hasLooked &&= isNow
      forgetUnsafe()
      const none = makeLag(0, partitions)
      for (let partition = 0; partition < partitions; partition++) {
        Object.assign(health.ofUnsafe(partition), none.of(partition))
      }
    })
  const whileOwned = Effect.acquireRelease(own(true), () => own(false))
  yield* singletons.run(singleton.name, Effect.andThen(whileOwned, regularly))

  /** Once there is a reason, and not before. */
  const every = <A, E>(pauseMs: number, reason: Effect.Effect<void>, step: Effect.Effect<A, E>) =>
    reason.pipe(
      Effect.andThen(Effect.sleep(pauseMs)),
      Effect.andThen(Effect.ignore(step)),
      goesOn("a look at the log"),
      Effect.forever,
      Effect.forkScoped
    )
  // Every node projects, so every node must know which accounts are parked; the owner learns it in each round.
  yield* every(
    sweepMs,
    Effect.void,
    Effect.suspend(() => {
      const heard = heardRounds.hearUnsafe()
      if (isOwned) return Effect.void
      hasLooked = false
      const believe = Effect.sync(() => {
        heardCompleteTo = heard?.sweptAt === doubtedRound ? 0 : (heard?.completeTo ?? 0)
      })
      const doubt = Effect.sync(() => {
        heardCompleteTo = 0
        doubtedRound = heard?.sweptAt
      })
      return Effect.andThen(engine.refreshParked, believe).pipe(
        Effect.tapError(({ store }) => (store === "read model" ? doubt : Effect.void))
      )
    })
  )
  // … and each compares with the log what it projected itself. What a failure leaves out is found by the walk.
  yield* every(sweepMs / roundsASweep, engine.awaitRecent, engine.verifyRecent)

  return {
    sweep: (options) =>
      Effect.tap(sweep(options), () =>
        Effect.sync(() => {
          hasLooked = true
        })
      ),
    statusUnsafe: () => {
      const status = statusUnsafe()
      const published = heardRounds.hearUnsafe()
      const sweptElapsedMs = Math.max(status.sweptElapsedMs, heardRounds.elapsedMsUnsafe())
      // A new owner goes on from what the last one found, until it has looked itself.
      const completeTo = hasLooked ? status.completeTo : Math.min(published?.completeTo ?? 0, heardCompleteTo)
      if (!isOwned) return { ...status, ...published, isOwned, completeTo, sweptElapsedMs }
      const sweptAt = Math.max(status.sweptAt, published?.sweptAt ?? 0)
      return { ...status, isOwned, sweptAt, sweptElapsedMs, completeTo }
    }
  } satisfies Reconciler["Service"]
})
