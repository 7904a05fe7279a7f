/** The report of a load: one HTML page that explains itself and needs no network. */
import { availableParallelism, cpus, release, totalmem, type } from "node:os"
import { escapeHtml, linearAxis, logAxis, plot } from "./Charts.ts"
import { figureRows, ms, number } from "./Figures.ts"
import type { NodeFigures } from "./NodeFigures.ts"
import { type InvariantName, invariantNames, type LoadDetails, type LoadOutcome } from "./Outcome.ts"

/** The machine on which the figures were measured, without which they mean nothing. */
const describeMachine = (): ReadonlyArray<readonly [string, string]> => [
  ["processor", `${cpus()[0]?.model ?? "unknown"}, ${availableParallelism()} usable`],
  ["memory", `${(totalmem() / 2 ** 30).toFixed(1)} GiB`],
  ["system", `${type()} ${release()}`],
  ["Node.js", process.version]
]

const promises: Readonly<Record<InvariantName, string>> = {
  I1: "versions of an account are dense",
  I2: "money is conserved",
  I3: "no balance is below its limit",
  I4: "each command has one outcome and is in the log at most once",
  I5: "the hash chain holds",
  I6: "what was acknowledged is in the log",
  I7: "the order of events agrees with real time",
  I8: "the read model is the fold of the log"
}

const style = `
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --line: #d7dce5; --paper: #fff; --a: #2457d6; --b: #c2410c; --c: #0f766e }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #97a1b3; --line: #343b49; --paper: #14171d; --a: #7ba4ff; --b: #fb923c; --c: #5eead4 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 900px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin-top: 2rem } p { color: var(--soft); margin: .2rem 0 }
.figures { display: flex; flex-wrap: wrap; gap: 1.5rem; margin: 1.2rem 0 } .figures b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums }
table { border-collapse: collapse; width: 100% } td { border-top: 1px solid var(--line); padding: .25rem .5rem .25rem 0; vertical-align: top }
td:first-child { color: var(--soft); width: 20rem } td.yes { color: var(--c) } td.no { color: var(--b); font-weight: 600 }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: var(--soft) } .grid { stroke: var(--line); stroke-width: 1 }
.series { fill: none; stroke-width: 2; stroke-linejoin: round } .a { stroke: var(--a) } .b { stroke: var(--b) } .c { stroke: var(--c) }`

const table = (rows: ReadonlyArray<readonly [string, string]>): string =>
  `<table>${rows.map(([name, value]) => `<tr><td>${escapeHtml(name)}</td><td>${escapeHtml(value)}</td></tr>`).join("")}</table>`

export const renderReport = (outcome: LoadOutcome, details: LoadDetails, startedAt: string): string => {
  const { latencyMs, projection } = outcome
  const pace =
    outcome.rate === null ? `${outcome.concurrency} clients` : `${number(outcome.rate)} commands per second`
  const title = `${outcome.scenario}: ${number(outcome.committedPerSecond)} commands per second`
  const figures: ReadonlyArray<readonly [string, string]> = [
    [number(outcome.committedPerSecond), "committed per second"],
    [ms(latencyMs.p50), "answered within, half of them"],
    [ms(latencyMs.p99), "99 % of them"],
    [ms(latencyMs.max), "all of them"],
    [outcome.ok ? "yes" : "NO", "every invariant holds"]
  ]
  const invariants = invariantNames.map((name) => {
    const held = outcome.invariants[name]
    return `<tr><td>${name}: ${promises[name]}</td><td class="${held ? "yes" : "no"}">${held ? "holds" : "BROKEN"}</td></tr>`
  })
  const findings = outcome.findings.map((finding) => `<p>${escapeHtml(finding)}</p>`).join("")
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title><style>${style}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(`${startedAt}, ${pace}, ${number(outcome.seconds)} s, ${outcome.eventStore}, read side ${outcome.readSide}`)}</p>
<div class="figures">${figures.map(([value, name]) => `<div><b>${escapeHtml(value)}</b>${escapeHtml(name)}</div>`).join("")}</div>
<h2>Latency by percentile</h2>
<p>Of every command that was committed or refused by the rules, from the moment at which it was ${outcome.rate === null ? "sent" : "due"}. Both scales are logarithmic.</p>
${percentilePlot(details)}
<h2>Over time</h2>
<p>Commands committed per second</p>${historyPlot(details, "committed per second", "a", (sample) => sample.committedPerSecond)}
<p>p99 of the latency, in milliseconds</p>${historyPlot(details, "p99 ms", "b", (sample) => sample.p99Ms)}
${outcome.overloaded === 0 ? "" : `<p>Commands refused as Overloaded, per second</p>${historyPlot(details, "Overloaded per second", "c", (sample) => sample.overloadedPerSecond)}`}
${projection.lagMsP50 === null ? "" : `<p>Lag of the read model behind the acknowledgement, in milliseconds</p>${historyPlot(details, "lag ms", "c", (sample) => sample.lagMs)}`}
<p>Memory of the process, in MiB</p>${historyPlot(details, "MiB", "a", (sample) => sample.rssMiB)}
<h2>Invariants</h2><table>${invariants.join("")}</table>${findings}
${outcome.nodes.length > 1 ? nodesTable(outcome) : ""}
<h2>Figures</h2>${table(figureRows(outcome))}
<h2>Machine</h2>${table(describeMachine())}
</body></html>
`
}

/** One column for each node, so that their shares can be compared. */
const nodesTable = ({ nodes }: LoadOutcome): string => {
  const rows: ReadonlyArray<readonly [string, (node: NodeFigures) => string]> = [
    ["", ({ name }) => name],
    ["committed per second", ({ committedPerSecond }) => number(committedPerSecond)],
    ["latency p50, p99", ({ latencyMs }) => `${ms(latencyMs.p50)}, ${ms(latencyMs.p99)}`],
    [
      "its commands: all accounts on the node, some leased from others, forwarded",
      ({ ways }) => `${number(ways.here)}, ${number(ways.borrowing)}, ${number(ways.forwarded)}`
    ],
    ["events that it decided", ({ rows }) => number(rows)],
    ["rows of a batch, mean", ({ batch }) => number(batch.meanRows)],
    ["accounts in conflict", ({ conflicts }) => number(conflicts)],
    ["shards when the load began", ({ shards }) => (shards === null ? "" : number(shards))],
    ["processor time", ({ cpuSeconds }) => `${number(cpuSeconds)} s`],
    ["its thread was busy for", ({ eventLoopUtilization }) => `${number(eventLoopUtilization * 100)} %`],
    ["memory at most", ({ rssMiB }) => `${number(rssMiB)} MiB`],
    ["end", ({ ended }) => ended ?? "in order"]
  ]
  const cells = (valueOf: (node: NodeFigures) => string) =>
    nodes.map((node) => `<td>${escapeHtml(valueOf(node))}</td>`).join("")
  return `<h2>Nodes</h2><table>${rows.map(([name, valueOf]) => `<tr><td>${escapeHtml(name)}</td>${cells(valueOf)}</tr>`).join("")}</table>`
}

/** The abscissa is the number of commands of which one is slower, 10 for the p90, because on a logarithmic scale the tail then has as much room as the rest. */
const percentilePlot = ({ percentiles }: LoadDetails): string => {
  // The fastest command of all would only stretch the scale.
  const points = percentiles
    .filter(([percentile]) => percentile > 0)
    .map(([percentile, latency]) => [100 / (100 - percentile), latency] as const)
  const [first] = points
  if (first === undefined) return ""
  const last = points.at(-1)?.[0] ?? 10
  const ticks = [50, 90, 99, 99.9, 99.99, 99.999].filter((one) => 100 / (100 - one) <= last * 1.001)
  const x = {
    label: "percentile",
    from: first[0],
    to: Math.max(last, 10),
    ticks: ticks.map((one) => [100 / (100 - one), `${one} %`] as const),
    isLog: true
  }
  const latencies = points.map(([, latency]) => Math.max(latency, 0.001))
  const y = logAxis("milliseconds", Math.min(...latencies), Math.max(...latencies))
  return plot(x, y, [{ name: "latency", style: "a", points }])
}

const historyPlot = (
  { history }: LoadDetails,
  name: string,
  colour: string,
  valueOf: (sample: LoadDetails["history"][number]) => number | undefined
): string => {
  const points = history.flatMap((sample) => {
    const value = valueOf(sample)
    return value === undefined ? [] : [[sample.at, value] as const]
  })
  const x = linearAxis("seconds", history.at(-1)?.at ?? 1)
  const y = linearAxis(name, Math.max(1, ...points.map(([, value]) => value)))
  return plot(
    { ...x, to: history.at(-1)?.at ?? 1, ticks: x.ticks.filter(([at]) => at <= (history.at(-1)?.at ?? 1)) },
    y,
    [{ name, style: colour, points }]
  )
}
