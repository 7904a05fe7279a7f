/** The loads of `npm run bench:latency`, and the bars that their figures are held against. */
import type { LoadOutcome } from "../../src/loadtest/Outcome.ts"

/** A checkout that takes the loads. */
export interface Version {
  readonly name: "old" | "new"
  readonly directory: string
}

/** What `loadtest --json` prints; an earlier version may lack some of it. */
export type Outcome = LoadOutcome

type Outcomes = ReadonlyMap<string, Outcome>

export interface Load {
  readonly name: string
  readonly scenario: "transfers-uniform" | "transfers-hot" | "mixed-zipf"
  readonly readSide: "on" | "off"
  readonly pace: "open" | "closed"
  /** Of a closed loop. */
  readonly callers?: number
  /** Commands a second of an open loop, from what was measured before it. */
  readonly rateOf?: (before: Outcomes) => number
}

const closed = (
  name: string,
  callers: number,
  readSide: Load["readSide"],
  scenario: Load["scenario"] = "transfers-uniform"
): Load => ({ name, scenario, readSide, pace: "closed", callers })

const open = (name: string, readSide: Load["readSide"], rateOf: (before: Outcomes) => number): Load => ({
  name,
  scenario: "transfers-uniform",
  readSide,
  pace: "open",
  rateOf
})

/** In the order in which they are run. */
export const loads: ReadonlyArray<Load> = [
  closed("saturated off", 1_024, "off"),
  closed("saturated on", 1_024, "on"),
  closed("hot on", 1_024, "on", "transfers-hot"),
  closed("cold off", 1_024, "off", "mixed-zipf"),
  closed("16 callers off", 16, "off"),
  closed("16 callers on", 16, "on"),
  open("half on", "on", (before) => Math.round((before.get("saturated on")?.committedPerSecond ?? 2) / 2)),
  open("1,000 off", "off", () => 1_000),
  open("1,000 on", "on", () => 1_000),
  open("5,000 off", "off", () => 5_000),
  open("5,000 on", "on", () => 5_000)
]

/** Everything that was measured of one version. */
export interface Figures {
  readonly outcomes: Map<string, Outcome>
  /** Cores by program. */
  idle: Readonly<Record<string, number>>
  helpSeconds: number
}

interface Bar {
  readonly what: string
  readonly measured: string
  readonly bar: string
  readonly aim: string
}

const ratio = (over: number | null | undefined, under: number | null | undefined): string =>
  typeof over === "number" && typeof under === "number" && under > 0 ? (over / under).toFixed(2) : "-"

const coresOf = (outcome: Outcome | undefined): number | undefined =>
  outcome === undefined
    ? undefined
    : Object.values(outcome.cpu.seconds).reduce((sum, used) => sum + used, 0) / outcome.seconds

/** Microseconds of processor that a command took in a program. */
const usOf = (outcome: Outcome | undefined, program: string): number | undefined =>
  outcome === undefined ? undefined : ((outcome.cpu.seconds[program] ?? 0) * 1e6) / outcome.committed

/** The figures of a version as a table; `before` are those of the old one. */
export const barsOf = (
  { outcomes, idle, helpSeconds }: Figures,
  before: Figures | undefined
): ReadonlyArray<Bar> => {
  const of = (name: string) => outcomes.get(name)
  const row = (what: string, measured: string, bar: string, aim: string): Bar => ({
    what,
    measured,
    bar,
    aim
  })
  const rate = (name: string) => of(name)?.committedPerSecond
  const p50 = (name: string) => of(name)?.latencyMs.p50
  const thread = (name: string) => of(name)?.commandThreadCpuUsPerCommand
  const half = of("half on")
  const perCommand = (program: string) =>
    `${usOf(of("saturated off"), program)?.toFixed(1) ?? "-"} µs, ${ratio(usOf(of("saturated off"), program), usOf(before?.outcomes.get("saturated off"), program))}`
  return [
    row(
      "open loop at half of the saturated rate, read side on: command p99 / lag p99, ms",
      `${half?.latencyMs.p99 ?? "-"} / ${half?.projection.lagMsP99 ?? "-"} at ${half?.rate ?? "-"} a second`,
      "40 / 250",
      "20 / 100"
    ),
    row(
      "command p50, read side on over off, at 1,000 and 5,000 a second",
      `${ratio(p50("1,000 on"), p50("1,000 off"))} and ${ratio(p50("5,000 on"), p50("5,000 off"))}`,
      "1.3",
      "1.1"
    ),
    row(
      "processor of the thread of commands a command, on over off, at 5,000 a second",
      ratio(thread("5,000 on"), thread("5,000 off")),
      "1.2",
      "1.05"
    ),
    row(
      "saturated, read side on over off",
      `${ratio(rate("saturated on"), rate("saturated off"))} (${rate("saturated on")} of ${rate("saturated off")} a second)`,
      "0.55",
      "0.7"
    ),
    row(
      "16 callers, read side on over off",
      `${ratio(rate("16 callers on"), rate("16 callers off"))} (${rate("16 callers on")} of ${rate("16 callers off")} a second)`,
      "0.8",
      "0.95"
    ),
    row(
      "saturated, read side off: processor of the node a command, and over the old",
      perCommand("node-1"),
      "0.8",
      "0.6"
    ),
    row("the same of PostgreSQL", perCommand("postgres"), "0.9", "0.7"),
    row("hot over uniform, read side on", ratio(rate("hot on"), rate("saturated on")), "0.8", "0.95"),
    row(
      "all processes at 1,000 a second, read side on, cores, and over the old",
      `${coresOf(of("1,000 on"))?.toFixed(2) ?? "-"}, ${ratio(coresOf(of("1,000 on")), coresOf(before?.outcomes.get("1,000 on")))}`,
      "0.5",
      "0.33"
    ),
    row("an idle node, read side on, cores by program", JSON.stringify(idle), "node 0.01", "0.003"),
    row(
      "longest wait at saturation over p50: uniform; cold accounts",
      `${of("saturated off")?.fairness ?? "-"}; ${of("cold off")?.fairness ?? "-"}`,
      "4; 6",
      "3; 4"
    ),
    row("`chronicle --help`, seconds", helpSeconds.toFixed(2), "0.3", "0.15")
  ]
}
