/** The duty to sweep a projection's tails enters; one node does it, and all of them tell what was found. */
import { Context, Effect, Layer, Option, Schema } from "effect"
import { Instant } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import type { StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { ReadModel } from "../../infra/readmodel/ReadModel.ts"
import { Singletons } from "../relay/Singletons.ts"
import { ProjectionEngine } from "./ProjectionEngine.ts"
import { ProjectionHealth } from "./ProjectionHealth.ts"
import { Lag, makeLag } from "./ProjectionLag.ts"
import { projectionName } from "./Projector.ts"
import {
  makeReconcileTails,
  type ReconcileCounts,
  type ReconcileReport,
  type Swept
} from "./ReconcileTails.ts"

export { makeReconcileTails as makeSweep, type ReconcileReport as SweepReport } from "./ReconcileTails.ts"

/** What one node's sweep finds out for all nodes. */
const Found = Schema.Struct({
  /** When the last sweep came to its end (0: none yet). */
  sweptAt: Instant,
  /** What it found to be waiting for the bus to bring it. */
  lag: Lag,
  completeTo: Schema.optionalKey(Instant),
  /** Accounts that are parked. */
  parked: Schema.Int,
  lastError: Schema.optional(Schema.String)
})
const FoundText = Schema.fromJsonString(Found)
const toText = Schema.encodeSync(FoundText)
const fromText = Schema.decodeOption(FoundText)

/** What was found is of the node whose duty the sweep is, as far as it is known here; the rest is this node's. */
export interface ReconcilerStatus extends Readonly<ReconcileCounts> {
  readonly isOwned: boolean
}

export class Reconciler extends Context.Service<
  Reconciler,
  {
    /** One sweep now over all commits, however young. With `load` false it only looks. */
    readonly sweep: (options: { readonly load: boolean }) => Effect.Effect<ReconcileReport, StoreUnavailable>
    readonly statusUnsafe: () => ReconcilerStatus
  }
>()("chronicle/actors/Reconciler") {
  /** Of the books. */
  static readonly layer = Layer.effect(
    Reconciler,
    Effect.gen(function* () {
      const [model, bookkeeping, health] = [
        yield* ReadModel,
        yield* ProjectionEngine,
        yield* ProjectionHealth
      ]
      return yield* startReconciler(projectionName, { model, bookkeeping, health })
    })
  )
}

export const sweepDuty = (projection: string): string => `${projection}/sweep`

/** Regular where it is this node's duty; runs in the scope. */
export const startReconciler = Effect.fnUntraced(function* (name: string, swept: Swept) {
  const duties = yield* Singletons
  const { sweepMs, partitions } = yield* LedgerConfig
  const duty = sweepDuty(name)
  const tell = (status: ReconcileCounts) => duties.tellUnsafe(duty, toText(status))
  const { sweep, statusUnsafe, forgetUnsafe, regularly } = yield* makeReconcileTails(swept, tell)

  /** Read once, however often it is asked for. */
  let read: { readonly text: string; readonly found: typeof Found.Type | undefined } | undefined
  const foundIn = (text: string) => {
    if (read?.text !== text) read = { text, found: Option.getOrUndefined(fromText(text)) }
    return read.found
  }

  let isOwned = false
  const own = (isNow: boolean) =>
    Effect.sync(() => {
      isOwned = isNow
      forgetUnsafe()
      for (let partition = 0; partition < partitions; partition++) {
        Object.assign(swept.health.ofUnsafe(partition), makeLag(0, partitions).of(partition))
      }
    })
  const tenure = Effect.acquireRelease(own(true), () => own(false))
  yield* duties.run(duty, Effect.andThen(tenure, regularly))

  // Which accounts are parked, everybody who projects must know.
  yield* Effect.suspend(() => (isOwned ? Effect.void : swept.bookkeeping.refreshParked)).pipe(
    Effect.ignore,
    Effect.delay(sweepMs),
    Effect.forever,
    Effect.forkScoped
  )

  return {
    sweep,
    statusUnsafe: () => {
      const status = statusUnsafe()
      const told = duties.toldUnsafe(duty)
      const found = told === undefined ? undefined : foundIn(told)
      // Who has just taken it over goes on from what the last owner found.
      return isOwned
        ? {
            ...status,
            isOwned,
            sweptAt: Math.max(status.sweptAt, found?.sweptAt ?? 0),
            completeTo: Math.max(status.completeTo, found?.completeTo ?? 0)
          }
        : { ...status, ...found, isOwned }
    }
  } satisfies Reconciler["Service"]
})
