/** Whether the read side keeps up, and if not, why: the report behind `/health`, `/ready` and the metrics. */
import { Clock, Context, Effect, Layer } from "effect"
import { printInstant } from "../../domain/Ids.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { Relay, type RelayStatus } from "../relay/Relay.ts"
import { type SingletonState, Singletons } from "../relay/Singletons.ts"
import { ProjectionRegistry, type ProjectionState } from "./ProjectionRegistry.ts"
import { ReadSideThreadStatus, type ThreadStatus } from "./ThreadStatus.ts"

/** A singleton under the names that `/health` publishes. */
interface DutyState {
  readonly duty: string
  readonly node: string | undefined
  readonly isOwn: boolean
  readonly silentMs: number
  readonly isUnowned: boolean
}

export interface ReadSideReport {
  /** Every fiber makes progress, and no projection is behind the bound. */
  readonly ready: boolean
  /** Each fault, for people. */
  readonly reasons: ReadonlyArray<string>
  /** What should be looked into, although the read side keeps up: what was mended since the start, and accounts that are parked. */
  readonly alarms: ReadonlyArray<string>
  readonly relay: RelayStatus
  readonly projections: ReadonlyArray<ProjectionState>
  /** Of a member of a cluster: which node runs which singleton. Empty on a single node. */
  readonly duties: ReadonlyArray<DutyState>
  /** Of the thread that the read side runs in; undefined where that is the thread of the commands. */
  readonly thread: ThreadStatus | undefined
}

export class ReadSideHealth extends Context.Service<
  ReadSideHealth,
  { readonly report: Effect.Effect<ReadSideReport> }
>()("chronicle/actors/ReadSideHealth") {
  static readonly layer = Layer.effect(
    ReadSideHealth,
    Effect.gen(function* () {
      const relay = yield* Relay
      const projections = yield* ProjectionRegistry
      const singletons = yield* Singletons
      const { sweepMs } = yield* LedgerConfig
      const limits = yield* ReadSideConfig
      const threadStatus = yield* ReadSideThreadStatus
      const clock = yield* Clock.Clock
      const startedMs = elapsedMsUnsafe(clock)

      return {
        report: Effect.sync(() => {
          const states = projections.statesUnsafe()
          const relayed = relay.statusUnsafe()
          const owners = singletons.statesUnsafe()
          const thread = threadStatus()
          const reasons = [
            ...threadReasons(thread),
            ...(relayed.lastError === undefined ? [] : [`relay: ${relayed.lastError}`]),
            ...unownedReasons(owners, singletons.troubleUnsafe()),
            ...states.flatMap((state) => [
              ...errorReasons(state),
              ...divergenceReasons(state),
              ...lagReasons(state, limits),
              ...silenceReasons(
                state,
                // Not by `sweptAt`: a clock that is off would say of every other node that it is silent, or hide that it is.
                Math.round(elapsedMsUnsafe(clock) - Math.max(startedMs, state.sweep.sweptElapsedMs)),
                { silentMsMax: sweepMs + limits.readyLagMsMax }
              )
            ])
          ]
          return {
            ready: reasons.length === 0,
            reasons,
            alarms: [
              ...threadAlarms(thread),
              ...states.flatMap((state) => [...divergenceAlarms(state), ...parkedAlarms(state)])
            ],
            relay: relayed,
            projections: states,
            duties: owners.map(toDutyState),
            thread
          }
        })
      }
    })
  )
}

const toDutyState = ({ name, ...state }: SingletonState): DutyState => ({ duty: name, ...state })

const threadReasons = (thread: ThreadStatus | undefined): ReadonlyArray<string> => {
  if (thread === undefined || thread.state === "up") return []
  const after = thread.lastEnd === undefined ? "" : ` after it ended: ${thread.lastEnd}`
  switch (thread.state) {
    case "starting":
      return [`the thread of the read side is starting${after}`]
    case "silent":
      return [`the thread of the read side has given no sign of life for ${thread.silentMs} ms`]
    case "down":
      return [`the thread of the read side is down${after}`]
  }
}

const threadAlarms = (thread: ThreadStatus | undefined): ReadonlyArray<string> => {
  if (thread === undefined || thread.restarts === 0) return []
  const times = thread.restarts === 1 ? "once" : `${thread.restarts} times`
  return [`the thread of the read side was started anew ${times}, last because: ${thread.lastEnd}`]
}

const lagReasons = (
  { name, sweep }: ProjectionState,
  bounds: { readonly readyLagEventsMax: number; readonly readyLagMsMax: number }
): ReadonlyArray<string> => {
  const { events, ms, isExact } = sweep.lag
  const isBehind = events > bounds.readyLagEventsMax || ms > bounds.readyLagMsMax
  return isBehind ? [`${name} is ${isExact ? "" : "about "}${events} events and ${ms} ms behind`] : []
}

/** Only the reconciler knows the lag: where it does not complete a round, the lag is not known. */
const silenceReasons = (
  { name }: ProjectionState,
  silentMs: number,
  { silentMsMax }: { readonly silentMsMax: number }
): ReadonlyArray<string> =>
  silentMs > silentMsMax ? [`${name} has not been compared with the log for ${silentMs} ms`] : []

const errorReasons = ({ name, sweep, partitions }: ProjectionState): ReadonlyArray<string> => [
  ...(sweep.lastError === undefined ? [] : [`reconciler of ${name}: ${sweep.lastError}`]),
  ...partitions.flatMap(({ partition, lastError }) =>
    lastError === undefined ? [] : [`${name}, partition ${partition}: ${lastError}`]
  )
]

const divergenceReasons = ({ name, divergence }: ProjectionState): ReadonlyArray<string> =>
  divergence.unhealed.map(
    (account) =>
      `${name}: the rows of account ${account} are not in the log, and cannot be reloaded: rebuild ${name}`
  )

/** One account that cannot be projected holds up no other, and makes no node unready. */
const parkedAlarms = ({ name, sweep: { parked } }: ProjectionState): ReadonlyArray<string> =>
  parked === 0
    ? []
    : [
        `${name}: ${parked === 1 ? "an account is" : `${parked} accounts are`} parked: chronicle parked says why`
      ]

const divergenceAlarms = ({ name, divergence }: ProjectionState): ReadonlyArray<string> => {
  const { accounts, last, disbelieved, lastDisbelieved } = divergence
  const alarms: Array<string> = []
  if (lastDisbelieved !== undefined) {
    const { account, version, at } = lastDisbelieved
    alarms.push(
      `${name}: the bus contradicted the log ${disbelieved === 1 ? "once" : `${disbelieved} times`}, which was not believed, ` +
        `last for ${account} at version ${version}, ${printInstant(at)}: check who may publish to NATS`
    )
  }
  if (last !== undefined) {
    alarms.push(
      `${name}: rows of ${accounts === 1 ? "an account" : `accounts, ${accounts} times,`} stood for events that are not in the log, ` +
        `last ${last.account} at version ${last.version}, ${printInstant(last.at)}: check who may publish to NATS, ` +
        "and whether the event store lost commits in a failover"
    )
  }
  return alarms
}

/** Each node reports the errors of its own singletons; an unowned one has no node that would. */
const unownedReasons = (
  owners: ReadonlyArray<SingletonState>,
  trouble: string | undefined
): ReadonlyArray<string> => [
  ...(trouble === undefined
    ? []
    : [`it is not known which node runs which part of the read side: ${trouble}`]),
  ...owners
    .filter(({ isUnowned }) => isUnowned)
    .map(({ name, silentMs }) => `no node has run ${name} for ${silentMs} ms`)
]
