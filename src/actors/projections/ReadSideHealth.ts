/** What relay, projectors and sweeps tell of themselves enters; whether the read side keeps up, and why not, leaves. */
import { Clock, Context, Effect, Layer } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { Relay, type RelayStatus } from "../relay/Relay.ts"
import { type DutyState, Singletons } from "../relay/Singletons.ts"
import { type ProjectionState, Projections } from "./ProjectionRegistry.ts"

export interface ReadSideReport {
  /** Every fiber goes on, and no projection is behind the bound. */
  readonly ready: boolean
  /** Each thing that is wrong, for people. */
  readonly reasons: ReadonlyArray<string>
  readonly relay: RelayStatus
  readonly projections: ReadonlyArray<ProjectionState>
  /** Of a member of a cluster: who has which of the work that one node does for all. None on a node alone. */
  readonly duties: ReadonlyArray<DutyState>
}

export class ReadSideHealth extends Context.Service<
  ReadSideHealth,
  { readonly report: Effect.Effect<ReadSideReport> }
>()("chronicle/actors/ReadSideHealth") {
  static readonly layer = Layer.effect(
    ReadSideHealth,
    Effect.gen(function* () {
      const relay = yield* Relay
      const projections = yield* Projections
      const duties = yield* Singletons
      const { sweepMs } = yield* LedgerConfig
      const { readyLagEventsMax, readyLagMsMax } = yield* ReadSideConfig
      const startedAt = yield* Clock.currentTimeMillis

      const behind = ({ name, sweep }: ProjectionState): ReadonlyArray<string> => {
        const { events, ms, isExact } = sweep.lag
        const isBehind = events > readyLagEventsMax || ms > readyLagMsMax
        return isBehind ? [`${name} is ${isExact ? "" : "about "}${events} events and ${ms} ms behind`] : []
      }

      /** The lag is known by the sweep alone: where none comes to its end, nobody knows it. */
      const unswept = ({ name, sweep }: ProjectionState, now: Instant): ReadonlyArray<string> => {
        const silentMs = now - Math.max(startedAt, sweep.sweptAt)
        return silentMs > sweepMs + readyLagMsMax
          ? [`${name} has not been compared with the log for ${silentMs} ms`]
          : []
      }

      const failing = ({ name, sweep, partitions }: ProjectionState): ReadonlyArray<string> => [
        ...(sweep.lastError === undefined ? [] : [`${name}, sweep: ${sweep.lastError}`]),
        ...partitions.flatMap(({ partition, lastError }) =>
          lastError === undefined ? [] : [`${name}, partition ${partition}: ${lastError}`]
        )
      ]

      /** What others have is theirs to tell of; what nobody has, nobody else would. */
      const unowned = (): ReadonlyArray<string> => {
        const trouble = duties.troubleUnsafe()
        return [
          ...(trouble === undefined ? [] : [`who has which part of the read side is not known: ${trouble}`]),
          ...duties
            .statesUnsafe()
            .filter(({ isNobodys }) => isNobodys)
            .map(({ duty, silentMs }) => `nobody has had ${duty} for ${silentMs} ms`)
        ]
      }

      return {
        report: Effect.map(Clock.currentTimeMillis, (now) => {
          const states = projections.statesUnsafe()
          const relayed = relay.statusUnsafe()
          const reasons = [
            ...(relayed.lastError === undefined ? [] : [`relay: ${relayed.lastError}`]),
            ...unowned(),
            ...states.flatMap((state) => [...failing(state), ...behind(state), ...unswept(state, now)])
          ]
          return {
            ready: reasons.length === 0,
            reasons,
            relay: relayed,
            projections: states,
            duties: duties.statesUnsafe()
          }
        })
      }
    })
  )
}
