/** How the node is, live: throughput and conflicts, lag of the read side, parked accounts, nodes and their shards. */
import { useEffect, useMemo, useState } from "preact/hooks"
import { type Asked, useEvery, useHealth, usePath } from "../asking.ts"
import { count, duration } from "../format.ts"
import { Plot } from "../Plot.tsx"
import {
  AccountLink,
  Badge,
  type Column,
  Empty,
  Facts,
  Failure,
  Section,
  Shown,
  Table,
  Text,
  Time,
  Title,
  valueOf
} from "../parts.tsx"
import { type Reading, ratesOf, runsOf } from "../rates.ts"
import type { Health, Nodes, Parked, Stats } from "../wire.ts"

const everyMs = 2_000
/** Four minutes. */
const readingsMax = 120

const useReadings = ({ answer }: Asked<Stats>): ReadonlyArray<Reading> => {
  const [readings, setReadings] = useState<ReadonlyArray<Reading>>([])
  const stats = valueOf(answer)
  useEffect(() => {
    if (stats !== undefined)
      setReadings((before) => [...before.slice(1 - readingsMax), { at: Date.now(), total: stats.committed }])
  }, [stats])
  return readings
}

const Throughput = ({ stats }: { readonly stats: Asked<Stats> }) => {
  const readings = useReadings(stats)
  const rates = useMemo(() => ratesOf(readings), [readings])
  const series = useMemo(
    () => ({ x: rates.map(({ at }) => at), y: rates.map(({ perSecond }) => perSecond) }),
    [rates]
  )
  const last = rates.at(-1)
  return (
    <Section title="Throughput" aside="commands accepted a second, by this node">
      <p class="big">{last === undefined ? "…" : count(Math.round(last.perSecond * 10) / 10)}</p>
      <Plot series={series} label="Commands a second" />
    </Section>
  )
}

const WriteSide = ({ stats }: { readonly stats: Asked<Stats> }) => (
  <Section title="Commands and commits" aside="of this node, since its start">
    <Shown asked={stats} what="the node">
      {(now) => (
        <Facts
          of={[
            [
              "Event store",
              now.trouble == null ? (
                <Badge tone="good">commits</Badge>
              ) : (
                <>
                  <Badge tone="bad">in trouble</Badge> <Text>{now.trouble}</Text>
                </>
              )
            ],
            ["Accepted", count(now.committed)],
            ["Under way", count(now.inFlight)],
            [
              "Conflicts",
              now.conflicts === 0 ? (
                "none"
              ) : (
                <Badge tone="bad">{`${count(now.conflicts)}: another writer owned the account`}</Badge>
              )
            ],
            ["Repeats found by the commit", count(now.repeats)],
            ["Events", count(now.rows)],
            [
              "Commits",
              `${count(now.batches)}, ${now.batches === 0 ? 0 : count(Math.round((10 * now.rows) / now.batches) / 10)} events each`
            ],
            ["A commit takes", `${now.commitMs.toFixed(2)} ms`],
            ["Outcomes asked for again", count(now.unknown)],
            ["Lanes fenced", count(now.fenced)],
            ["Accounts in memory", count(now.residents)]
          ]}
        />
      )}
    </Shown>
  </Section>
)

type Projection = Health["readSide"]["projections"][number]

const projectionColumns: ReadonlyArray<Column<Projection>> = [
  { head: "Projection", cell: ({ name }) => <Text>{name}</Text> },
  {
    head: "Behind",
    cell: ({ sweep: { lag } }) =>
      lag.events === 0 ? (
        <Badge tone="good">nothing</Badge>
      ) : (
        <Badge tone="warn">{`${lag.isExact ? "" : "about "}${count(lag.events)} events, ${duration(lag.ms)}`}</Badge>
      )
  },
  {
    head: "Compared with the log",
    cell: ({ sweep }) => (sweep.sweptAt === 0 ? "not yet" : <Time at={sweep.sweptAt} />)
  },
  { head: "Lag p50", cell: ({ lagMs }) => duration(lagMs.p50), isNumber: true, isLabelled: true },
  { head: "Lag p99", cell: ({ lagMs }) => duration(lagMs.p99), isNumber: true, isLabelled: true },
  { head: "Parked", cell: ({ sweep }) => count(sweep.parked), isNumber: true, isLabelled: true },
  {
    head: "Partitions here",
    cell: ({ partitions }) => `${partitions.filter(({ isOwned }) => isOwned).length} of ${partitions.length}`,
    isNumber: true,
    isLabelled: true
  }
]

const ReadSide = ({ health }: { readonly health: Asked<Health> }) => (
  <Section title="Read side">
    <Shown asked={health} what="the read side">
      {({ readSide: { ready, reasons, alarms, relay, projections }, bus }) => (
        <>
          <Facts
            of={[
              ["State", ready ? <Badge tone="good">keeps up</Badge> : <Badge tone="bad">not ready</Badge>],
              [
                "JetStream",
                bus.connected ? <Badge tone="good">connected</Badge> : <Badge tone="bad">not connected</Badge>
              ],
              ["Commits not published yet", count(relay.unpublished)],
              ["Restarts of the relay", count(relay.restarts)]
            ]}
          />
          {[...reasons, ...alarms].length > 0 && (
            <ul class="reasons">
              {[...reasons, ...alarms].map((reason) => (
                <li key={reason}>
                  <Text>{reason}</Text>
                </li>
              ))}
            </ul>
          )}
          <Table
            label="Projections"
            columns={projectionColumns}
            rows={projections}
            keyOf={({ name }) => name}
          />
        </>
      )}
    </Shown>
  </Section>
)

const parkedColumns: ReadonlyArray<Column<Parked>> = [
  { head: "Account", cell: ({ account }) => <AccountLink id={account} /> },
  { head: "At version", cell: ({ version }) => version, isNumber: true, isLabelled: true },
  { head: "Since", cell: ({ since }) => <Time at={since} /> },
  { head: "Reason", cell: ({ reason }) => <Text>{reason}</Text> }
]

const ParkedSection = ({ parked }: { readonly parked: Asked<ReadonlyArray<Parked>> }) => (
  <Section title="Parked accounts" aside="the books could not go on with an event of theirs">
    <Shown asked={parked} what="parked accounts">
      {(rows) =>
        rows.length === 0 ? (
          <Empty>No account is parked.</Empty>
        ) : (
          <Table
            label="Parked accounts"
            columns={parkedColumns}
            rows={rows}
            keyOf={({ account }) => account}
          />
        )
      }
    </Shown>
  </Section>
)

type Node = Nodes["nodes"][number] & { readonly of: number; readonly duties: ReadonlyArray<string> }

const nodeColumns: ReadonlyArray<Column<Node>> = [
  {
    head: "Node",
    cell: ({ node, isAsked }) => (
      <>
        <Text>{node}</Text> {isAsked && <Badge tone="calm">answers here</Badge>}
      </>
    )
  },
  {
    head: "Shards",
    cell: ({ shards, of }) => `${count(shards.length)} of ${count(of)}`,
    isNumber: true,
    isLabelled: true
  },
  { head: "Which", cell: ({ shards }) => <span class="muted">{runsOf(shards)}</span> },
  {
    head: "Read side",
    cell: ({ duties }) => <span class="muted">{duties.length === 0 ? "" : `${duties.length} parts`}</span>
  }
]

const NodesSection = ({ nodes }: { readonly nodes: Asked<Nodes> }) => (
  <Section title="Nodes and shards" aside="as the node that answers is connected with them">
    <Shown asked={nodes} what="the nodes">
      {({ nodes: all, shards, unowned, duties = [] }) => {
        const left = duties.filter(({ isUnowned }) => isUnowned)
        const rows = all.map((one) => ({
          ...one,
          of: shards,
          duties: duties
            .filter(({ node, isUnowned }) => node === one.node && !isUnowned)
            .map(({ duty }) => duty)
        }))
        return (
          <>
            <Table label="Nodes" columns={nodeColumns} rows={rows} keyOf={({ node }) => node} />
            {unowned.length > 0 && (
              <p>
                <Badge tone="warn">no known owner</Badge> shards {runsOf(unowned)}
              </p>
            )}
            {left.length > 0 && (
              <p>
                <Badge tone="bad">run by no node</Badge>{" "}
                <Text>{left.map(({ duty }) => duty).join(", ")}</Text>
              </p>
            )}
          </>
        )
      }}
    </Shown>
  </Section>
)

export const OperationsView = () => {
  const stats = usePath<Stats>("/v1/stats")
  const health = useHealth()
  const nodes = usePath<Nodes>("/v1/nodes")
  const parked = usePath<ReadonlyArray<Parked>>("/v1/parked")
  useEvery(everyMs, stats)
  useEvery(everyMs, health)
  useEvery(everyMs, nodes)
  useEvery(5 * everyMs, parked)
  const lost =
    stats.answer?._tag === "Failed" && stats.answer.fault.status === 0 ? stats.answer.fault : undefined
  return (
    <>
      <Title kind="Operations" title="This node, live" />
      {lost === undefined ? (
        <>
          <Throughput stats={stats} />
          <WriteSide stats={stats} />
          <ReadSide health={health} />
          <ParkedSection parked={parked} />
          <NodesSection nodes={nodes} />
        </>
      ) : (
        <Failure fault={lost} askAgain={stats.askAgain} />
      )}
    </>
  )
}
