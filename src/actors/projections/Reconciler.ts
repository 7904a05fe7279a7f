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

type Heard = typeof Published.Type | undefined

/** How complete the read model is, by the rounds of this node, or by those that its owner told of. `found` is what the last round here found. */
const makeCompleteTo = (found: () => Instant) => {
  /** A round was made here: this node owns them, or was told to make one just now. What others said before counts no more. */
  let hasLooked = false
  /** What the owner had said before this node learnt last which accounts are parked: it is not true of one that was parked since. */
  let heardCompleteTo: Instant = 0
  /**
   * Rounds that are still to be heard of since this node found the read model away, which may have come back with less: the next one may
   * have begun before. And the last that was heard of, by when it was completed.
   */
  let roundsToHear = 0
  let lastRound: Instant | undefined
  return {
    lookedUnsafe: (): void => {
      hasLooked = true
    },
    ownedUnsafe: (isOwned: boolean): void => {
      if (!isOwned && hasLooked) heardCompleteTo = found()
      hasLooked &&= isOwned
    },
    /** Others make the rounds. */
    hearUnsafe: (): void => {
      hasLooked = false
    },
    /** This node has learnt since it heard that which accounts are parked. */
    believeUnsafe: (heard: Heard): void => {
      if (roundsToHear > 0 && heard?.sweptAt !== lastRound) roundsToHear--
      lastRound = heard?.sweptAt
      heardCompleteTo = roundsToHear > 0 ? 0 : (heard?.completeTo ?? 0)
    },
    doubtUnsafe: (heard: Heard): void => {
      heardCompleteTo = 0
      roundsToHear = 2
      lastRound = heard?.sweptAt
    },
    /** A new owner goes on from what the last one found, until it has looked itself. */
    ofUnsafe: (published: Heard): Instant =>
      hasLooked ? found() : Math.min(published?.completeTo ?? 0, heardCompleteTo)
  }
}

/** Once there is a reason, and not before. */
const every = <A, E>(pauseMs: number, reason: Effect.Effect<void>, step: Effect.Effect<A, E>) =>
  reason.pipe(
    Effect.andThen(Effect.sleep(pauseMs)),
    Effect.andThen(Effect.ignore(step)),
    goesOn("a look at the log"),
    Effect.forever,
    Effect.forkScoped
  )

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
  const { sweep, statusUnsafe, forgetUnsafe, regularly } = yield* makeReconcileTails(
    name,
    model,
    engine,
    health,
    (counts) => {
      completeTo.lookedUnsafe()
      singletons.publishUnsafe(singleton, counts)
    }
  )
  const completeTo = makeCompleteTo(() => statusUnsafe().completeTo)

  let isOwned = false
  const own = (isNow: boolean) =>
    Effect.sync(() => {
      isOwned = isNow
      completeTo.ownedUnsafe(isNow)
      forgetUnsafe()
      const none = makeLag(0, partitions)
      for (let partition = 0; partition < partitions; partition++) {
        Object.assign(health.ofUnsafe(partition), none.of(partition))
      }
    })
  const whileOwned = Effect.acquireRelease(own(true), () => own(false))
  yield* singletons.run(singleton.name, Effect.andThen(whileOwned, regularly))

  // Every node projects, so every node must know which accounts are parked; the owner learns it in each round.
  yield* every(
    sweepMs,
    Effect.void,
    Effect.suspend(() => {
      const heard = heardRounds.hearUnsafe()
      if (isOwned) return Effect.void
      completeTo.hearUnsafe()
      return Effect.andThen(
        engine.refreshParked,
        Effect.sync(() => completeTo.believeUnsafe(heard))
      ).pipe(
        Effect.tapError(({ store }) =>
          Effect.sync(() => {
            if (store === "read model") completeTo.doubtUnsafe(heard)
          })
        )
      )
    })
  )
  // … and each compares with the log what it projected itself. What a failure leaves out is found by the walk.
  yield* every(sweepMs / roundsASweep, engine.awaitRecent, engine.verifyRecent)

  return {
    sweep: (options) => Effect.tap(sweep(options), () => Effect.sync(completeTo.lookedUnsafe)),
    statusUnsafe: () => {
      const published = heardRounds.hearUnsafe()
      const status = { ...statusUnsafe(), completeTo: completeTo.ofUnsafe(published), isOwned }
      const sweptElapsedMs = Math.max(status.sweptElapsedMs, heardRounds.elapsedMsUnsafe())
      if (!isOwned) return { ...status, ...published, completeTo: status.completeTo, sweptElapsedMs }
      return { ...status, sweptAt: Math.max(status.sweptAt, published?.sweptAt ?? 0), sweptElapsedMs }
    }
  } satisfies Reconciler["Service"]
})
