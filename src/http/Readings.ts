/** What a node measures of itself as Prometheus readings: each number with its name, its labels and its meaning. */
import type { DispatcherStats } from "../actors/commands/Dispatcher.ts"
import type { DispatcherMeters } from "../actors/commands/InFlightCommands.ts"
import type { LocalNode } from "../actors/commands/LocalNode.ts"
import type { ProjectionState } from "../actors/projections/ProjectionRegistry.ts"
import type { ReadSideReport } from "../actors/projections/ReadSideHealth.ts"
import type { ThreadStatus } from "../actors/projections/ThreadStatus.ts"
import type { WebhookSummary } from "../infra/webhooks/WebhookStore.ts"

/** Units are in the name, as is the custom of Prometheus: seconds, bytes, `_total` for what only grows. */
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

/** Errors that are reported from the start, so that an alarm on them has a value before the first of them happens. */
const usualRefusals = ["InsufficientFunds", "Overloaded", "Unavailable", "Indeterminate", "Defect"]

/** The commands of the node: how they ended, and those under way. */
const commandReadings = (stats: DispatcherStats, meters: DispatcherMeters): ReadonlyArray<Reading> => {
  const { outcomes, phases } = meters
  const commands = "Commands this node answered as the owner of their first account, by outcome"
  const tags = new Set([...usualRefusals, ...outcomes.refused.keys()])
  const underWay =
    "Commands accepted and not answered yet: waiting for an account, for a lane, or for the store"
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
    gauge(
      "in_flight",
      stats.inFlight,
      "Commands accepted and not answered yet, with those sent to other nodes"
    ),
    gauge(
      "commit_queue",
      meters.queued,
      "Decided commands that wait for a lane, with those to be decided again"
    ),
    gauge(
      "account_mailbox_max",
      meters.accountMost,
      "Commands under way on the account that has most of them"
    ),
    gauge("oldest_command_seconds", seconds(meters.oldestMs), "Age of the oldest command under way")
  ]
}

type Leases = ReturnType<LocalNode["Service"]["leases"]>

/** Accounts in memory, the commits of the node, its clock and its event store. */
const commitReadings = (
  stats: DispatcherStats,
  meters: DispatcherMeters,
  leases: Leases
): ReadonlyArray<Reading> => [
  gauge("residents", stats.residents, "Accounts in memory"),
  gauge("borrowed_accounts", leases.held, "Accounts leased from other nodes, or asked for"),
  counter(
    "loans_lapsed",
    leases.expired,
    "Leases to other nodes that expired before the account was given back"
  ),
  counter("commits", stats.batches, "Batches committed to the event store"),
  counter("commits_behind", stats.behind, "Batches sent while their predecessor was not yet committed"),
  counter("events", stats.rows, "Events committed to the event store"),
  counter(
    "conflicts",
    stats.conflicts,
    "Accounts on which a commit met events of another writer (split brain)"
  ),
  counter("repeats", stats.repeats, "Repeated commands that only the commit itself found in the log"),
  counter(
    "unknown_commits",
    stats.unknown,
    "Batches sent again because the connection was lost before their outcome was known"
  ),
  counter("fenced", stats.fenced, "Times a commit lane began again because its writer was fenced"),
  gauge(
    "clock_skew_seconds",
    seconds(meters.clockSkewMs),
    "How far this node's clock is off the event store's, either way"
  ),
  gauge(
    "recorded_ahead_seconds",
    seconds(meters.recordedAheadMs),
    "How far what this node records now is ahead of the event store's clock"
  ),
  gauge(
    "event_store_up",
    flag(stats.trouble === undefined),
    "1 while the event store commits, 0 while it does not"
  )
]

export const writeSideReadings = (
  stats: DispatcherStats,
  meters: DispatcherMeters,
  leases: Leases
): ReadonlyArray<Reading> => [...commandReadings(stats, meters), ...commitReadings(stats, meters, leases)]

export const readSideReadings = (report: ReadSideReport): ReadonlyArray<Reading> => {
  const { relay, projections, ready, thread } = report
  return [
    gauge(
      "read_side_ready",
      flag(ready),
      "1 while the read side keeps up, 0 while /ready answers 503 because of it"
    ),
    gauge("bus_up", flag(relay.isBusConnected), "1 while NATS is connected, 0 while it is not"),
    counter("relayed_events", relay.events, "Events published and acknowledged by the bus"),
    counter("relayed_from_store", relay.eventsFromStore, "Published events that had to be read from the log"),
    gauge("relay_lag_commits", relay.unpublished, "Commits of all writers that are not published yet"),
    counter("restarts", relay.restarts, "Times a fiber failed and was restarted", { fiber: "relay" }),
    gauge(
      "duties_unowned",
      report.duties.filter((one) => one.isUnowned).length,
      "Singletons (relay, partitions, reconcilers) that no node runs"
    ),
    ...(thread === undefined ? [] : threadReadings(thread)),
    ...projections.flatMap(projectionReadings)
  ]
}

/** What the HTTP server refused or closed at a bound of its own. */
export const httpReadings = (
  counts: ReadonlyArray<readonly [bound: string, count: number]>
): ReadonlyArray<Reading> =>
  counts.map(([bound, count]) =>
    counter(
      "http_refused",
      count,
      "Connections, requests, streams and answers that the HTTP server refused or ended at a bound, by bound",
      { bound }
    )
  )

/** Readings of all webhooks of the ledger; each node reads them from the same rows. */
export const webhookReadings = (
  { delivered, failed, endpoints, waitingSince }: WebhookSummary,
  now: number
): ReadonlyArray<Reading> => {
  const attempts = "Attempts to tell webhooks of an event, by all nodes together, by outcome"
  return [
    counter("webhook_attempts", delivered, attempts, { outcome: "delivered" }),
    counter("webhook_attempts", failed, attempts, { outcome: "failed" }),
    ...Object.entries(endpoints).map(([state, count]) =>
      gauge("webhook_endpoints", count, "Webhooks of the ledger, by state", { state })
    ),
    gauge(
      "webhook_lag_seconds",
      waitingSince === null ? 0 : Math.max(0, seconds(now - waitingSince)),
      "Age of the oldest event that an active webhook has not taken yet"
    )
  ]
}

/** Of the thread that the read side runs in; none where it runs in that of the commands. */
const threadReadings = (thread: ThreadStatus): ReadonlyArray<Reading> => [
  gauge(
    "read_side_thread_up",
    flag(thread.state === "up"),
    "1 while the thread of the read side gives signs of life, 0 while it starts, hangs or is down"
  ),
  gauge(
    "read_side_thread_silent_seconds",
    seconds(thread.silentMs),
    "Time since the last sign of life of the thread of the read side"
  ),
  counter(
    "read_side_thread_restarts",
    thread.restarts,
    "Times the thread of the read side ended and was started anew"
  ),
  gauge(
    "read_side_thread_heap_used_bytes",
    thread.heapBytes,
    "Memory of the objects in the heap of the thread of the read side"
  ),
  ...(thread.cpuSeconds === undefined
    ? []
    : [
        counter(
          "read_side_thread_cpu_seconds",
          thread.cpuSeconds,
          "Processor time of the thread of the read side since it was started"
        )
      ])
]

const projectionReadings = ({
  name,
  sweep,
  partitions,
  divergence
}: ProjectionState): ReadonlyArray<Reading> => {
  const projection = name
  const died = partitions.reduce((sum, { restarts }) => sum + restarts, 0)
  const restarts = "Times a fiber failed and was restarted"
  return [
    counter("restarts", sweep.restarts, restarts, { fiber: "sweep", projection }),
    counter("restarts", died, restarts, { fiber: "projector", projection }),
    gauge(
      "parked_accounts",
      sweep.parked,
      "Accounts parked because the projection failed on one of their events",
      {
        projection
      }
    ),
    gauge(
      "swept_at_seconds",
      seconds(sweep.sweptAt),
      "Unix time at which the read model was last compared with the log",
      {
        projection
      }
    ),
    counter("swept_events", sweep.loaded, "Events loaded from the log because the bus did not deliver them", {
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
    gauge(
      "projection_behind_events_sum",
      sweep.lag.events,
      "Events of the log that are not projected yet, in all partitions",
      {
        projection
      }
    ),
    ...partitions.flatMap((partition) => partitionReadings(projection, partition))
  ]
}

const partitionReadings = (
  projection: string,
  one: ProjectionState["partitions"][number]
): ReadonlyArray<Reading> => {
  const labels = { projection, partition: String(one.partition) }
  return [
    gauge(
      "projection_lag_seconds",
      seconds(one.lagMs),
      "Time from recording to projection, in the last batch",
      labels
    ),
    gauge("projection_owned", flag(one.isOwned), "1 if this node projects the partition", labels),
    gauge(
      "projection_behind_events",
      one.behindEvents,
      "Events of the log that are not projected yet",
      labels
    ),
    gauge(
      "projection_behind_seconds",
      seconds(one.behindMs),
      "How long the oldest event that is not projected has been waiting",
      labels
    ),
    counter("projected_events", one.events, "Events projected by this process", labels),
    counter("projection_gaps", one.gaps, "Times the log was read to fill a gap that the bus left", labels),
    counter(
      "projection_faulty",
      one.faulty,
      "Messages that cannot be read, and events that do not continue the chain of their account",
      labels
    ),
    counter(
      "projection_foreign",
      one.foreign,
      "Messages refused because their writer is not of this ledger",
      labels
    ),
    counter(
      "projection_rewinds",
      one.rewinds,
      "Times the stream was found wiped or rewound, and was read anew",
      labels
    )
  ]
}
