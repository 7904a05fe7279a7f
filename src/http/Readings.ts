/** What the actors tell of themselves enters; each number with its name, its labels and its meaning leaves. */
import type { DispatcherStats } from "../actors/commands/Dispatcher.ts"
import type { DispatcherMeters } from "../actors/commands/InFlightCommands.ts"
import type { LocalNode } from "../actors/commands/LocalNode.ts"
import type { ProjectionState } from "../actors/projections/ProjectionRegistry.ts"
import type { ReadSideReport } from "../actors/projections/ReadSideHealth.ts"

/** Units are in the name, as Prometheus wants it: seconds, bytes, `_total` for what only grows. */
export interface Reading {
  readonly name: string
  readonly help: string
  readonly kind: "counter" | "gauge"
  readonly value: number
  readonly labels?: Readonly<Record<string, string>>
}

type Labels = Readonly<Record<string, string>>

const counter = (name: string, value: number, help: string, labels: Labels = {}): Reading => ({
  name: `chronicle_${name}_total`,
  help,
  kind: "counter",
  value,
  labels
})
const gauge = (name: string, value: number, help: string, labels: Labels = {}): Reading => ({
  name: `chronicle_${name}`,
  help,
  kind: "gauge",
  value,
  labels
})

const seconds = (millis: number): number => millis / 1_000
const flag = (is: boolean): number => (is ? 1 : 0)

/** Always there, so that an alarm on them has something to look at before the first of them happens. */
const usualRefusals = ["InsufficientFunds", "Overloaded", "Unavailable", "Indeterminate", "Defect"]

export const writeSideReadings = (
  stats: DispatcherStats,
  meters: DispatcherMeters,
  leases: ReturnType<LocalNode["Service"]["leases"]>
): ReadonlyArray<Reading> => {
  const { outcomes, phases } = meters
  const commands = "Commands this node answered as the owner of their first account, by outcome"
  const tags = new Set([...usualRefusals, ...outcomes.refused.keys()])
  const underWay = "Commands accepted and not answered: waiting for an account, for a lane, or for the store"
  return [
    counter("commands", outcomes.accepted, commands, { outcome: "accepted" }),
    counter("commands", outcomes.replayed, commands, { outcome: "replayed" }),
    counter("commands", outcomes.joined, commands, { outcome: "joined" }),
    ...[...tags].map((error) =>
      counter("refused", outcomes.refused.get(error) ?? 0, "Commands refused or failed, by error", { error })
    ),
    gauge("under_way", phases.waiting, underWay, { phase: "waiting" }),
    gauge("under_way", phases.queued, underWay, { phase: "queued" }),
    gauge("under_way", phases.flying, underWay, { phase: "flying" }),
    gauge("in_flight", stats.inFlight, "The same, with those that were sent to other nodes"),
    gauge("commit_queue", meters.queued, "Decided commands that wait for a lane, evicted ones included"),
    gauge("account_mailbox_max", meters.accountMost, "Most commands under way on one account"),
    gauge("oldest_command_seconds", seconds(meters.oldestMs), "Age of the oldest command under way"),
    gauge("residents", stats.residents, "Accounts in memory"),
    gauge(
      "borrowed_accounts",
      leases.borrowed,
      "Accounts of other nodes that this one decides on, or waits for"
    ),
    counter("loans_lapsed", leases.lapsed, "Accounts that were lent and not given back in time"),
    counter("commits", stats.batches, "Commits that are durable"),
    counter("commits_behind", stats.behind, "Sendings behind a batch that was not durable yet"),
    counter("events", stats.rows, "Events in them"),
    counter("conflicts", stats.conflicts, "Split brain: accounts that another writer wrote to"),
    counter("repeats", stats.repeats, "Commands found in the log by the commit itself"),
    counter("unknown_commits", stats.unknown, "Sendings whose outcome had to be asked for again"),
    counter("fenced", stats.fenced, "Lanes whose writer was fenced"),
    gauge("clock_skew_seconds", seconds(meters.clockSkewMs), "This node's clock against the event store's"),
    gauge(
      "recorded_ahead_seconds",
      seconds(meters.recordedAheadMs),
      "How far what this node records now is ahead of the event store's clock"
    ),
    gauge("event_store_up", flag(stats.trouble === undefined), "0 while the event store does not commit")
  ]
}

export const readSideReadings = (report: ReadSideReport, isBusUp: boolean): ReadonlyArray<Reading> => {
  const { relay, projections, ready } = report
  return [
    gauge("read_side_ready", flag(ready), "0 while /ready would say 503 because of the read side"),
    gauge("bus_up", flag(isBusUp), "0 while there is no connection to NATS"),
    counter("relayed_events", relay.events, "Events the bus acknowledged"),
    counter("relayed_from_store", relay.eventsFromStore, "Of these, read from the log"),
    gauge("relay_lag_commits", relay.unpublished, "Commits of all writers that are not on the bus yet"),
    counter("restarts", relay.restarts, "Fibers that died and began again", { fiber: "relay" }),
    gauge("duties_unowned", report.duties.filter((one) => one.isNobodys).length, "Work that no node does"),
    ...projections.flatMap(projectionReadings)
  ]
}

const projectionReadings = ({
  name,
  sweep,
  partitions,
  divergence
}: ProjectionState): ReadonlyArray<Reading> => {
  const projection = name
  const died = partitions.reduce((sum, { restarts }) => sum + restarts, 0)
  const restarts = "Fibers that died and began again"
  return [
    counter("restarts", sweep.restarts, restarts, { fiber: "sweep", projection }),
    counter("restarts", died, restarts, { fiber: "projector", projection }),
    gauge("parked_accounts", sweep.parked, "Accounts that the projection cannot bring forward", {
      projection
    }),
    gauge("swept_at_seconds", seconds(sweep.sweptAt), "When the last sweep ended", {
      projection
    }),
    counter("swept_events", sweep.loaded, "Events that came from the log because the bus had lost them", {
      projection
    }),
    counter(
      "projection_diverged",
      divergence.accounts,
      "Times an account's rows were not of the log (forged message, lost commits)",
      {
        projection
      }
    ),
    gauge("projection_behind_events_sum", sweep.lag.events, "Events that all partitions lack", {
      projection
    }),
    ...partitions.flatMap((one) => {
      const labels = { projection, partition: String(one.partition) }
      return [
        gauge(
          "projection_lag_seconds",
          seconds(one.lagMs),
          "From recording to projection, last batch",
          labels
        ),
        gauge("projection_owned", flag(one.isOwned), "1 where this node projects the partition", labels),
        gauge("projection_behind_events", one.behindEvents, "Events of the log that it lacks", labels),
        gauge("projection_behind_seconds", seconds(one.behindMs), "How long the oldest waits", labels),
        counter("projected_events", one.events, "Events this process projected", labels),
        counter("projection_gaps", one.gaps, "Times the log was read for what the bus left out", labels),
        counter("projection_faulty", one.faulty, "Messages or events that were not what they say", labels),
        counter("projection_foreign", one.foreign, "Messages of another ledger's writers", labels),
        counter("projection_rewinds", one.rewinds, "Times the stream began again", labels)
      ]
    })
  ]
}
