/**
 * `npm run bench:idle [-- --old DIR]`: what a node costs that has nothing to do. The processor of its threads, of PostgreSQL and of JetStream
 * while `chronicle serve` idles, in rounds; with `--old` an earlier checkout takes its turn. Then once more with a count of the timers that wake
 * each thread, and of the statements that it sends.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, FileSystem, Logger, Option, Path, Redacted, References, Schedule } from "effect"
import { Command, Flag } from "effect/cli"
import * as LedgerNode from "../src/LedgerNode.ts"
import { ownStack } from "../src/loadtest/Services.ts"
import { median } from "./Comparison.ts"
import type { Counts } from "./idle/Counts.ts"
import { processorSeconds, secondsOfPrograms } from "./ProcessThreads.ts"
import { startNode } from "./servedNode.ts"

interface Version {
  readonly name: string
  readonly directory: string
}

/** What the first sweeps, the collector and the compiler still do once it is ready. */
const settleSeconds = 15

const awaitReady = (http: number) =>
  Effect.promise(() =>
    fetch(`http://127.0.0.1:${http}/ready`).then(
      ({ status }) => status === 200,
      () => false
    )
  ).pipe(Effect.repeat({ schedule: Schedule.spaced(500), until: (isReady) => isReady }))

const programs = ["node: commands", "node: read side", "node: others", "PostgreSQL", "JetStream"] as const
type Program = (typeof programs)[number]
type Cores = Readonly<Record<Program, number>>

const secondsNow = (pid: number): Cores => {
  const node = processorSeconds(pid)
  const others = secondsOfPrograms(process.pid)
  return {
    "node: commands": node.main,
    "node: read side": node.readSide,
    "node: others": node.others,
    PostgreSQL: others("postgres"),
    JetStream: others("nats-server")
  }
}

const idleNode = Effect.fnUntraced(function* <A>(
  { directory }: Version,
  variables: Readonly<Record<string, string>>,
  options: ReadonlyArray<string>,
  measured: (pid: number) => Effect.Effect<A>
) {
  const stack = yield* ownStack
  yield* LedgerNode.migrate(stack)
  const ports = [stack.eventStoreUrl, stack.readModelUrl].map((url) => new URL(Redacted.value(url)).port)
  const { pid, http } = yield* startNode(
    stack,
    { CHRONICLE_BENCH_POSTGRES: ports.join(","), ...variables },
    directory,
    { options }
  )
  yield* awaitReady(http)
  yield* Effect.sleep(settleSeconds * 1_000)
  return yield* measured(pid)
}, Effect.scoped)

const coresOf = (version: Version, seconds: number) =>
  idleNode(version, {}, [], (pid) =>
    Effect.gen(function* () {
      const before = secondsNow(pid)
      yield* Effect.sleep(seconds * 1_000)
      const after = secondsNow(pid)
      const took = (name: Program) => (after[name] - before[name]) / seconds
      return {
        "node: commands": took("node: commands"),
        "node: read side": took("node: read side"),
        "node: others": took("node: others"),
        PostgreSQL: took("PostgreSQL"),
        JetStream: took("JetStream")
      } satisfies Cores
    })
  )

const countsIn = (folder: string): ReadonlyMap<string, Counts> =>
  new Map(
    readdirSync(folder).map((name) => [
      name.replace(".json", ""),
      JSON.parse(readFileSync(join(folder, name), "utf8")) // written by counting.ts
    ])
  )

const rates = (
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
  seconds: number
) =>
  Object.entries(after)
    .map(([what, times]) => [what, (times - (before[what] ?? 0)) / seconds] as const)
    .filter(([, rate]) => rate > 0)
    .toSorted((a, b) => b[1] - a[1])

/** Prints what each thread did a second, what it did most first. */
const printCounts = Effect.fnUntraced(function* (version: Version, seconds: number) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const folder = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-bench-idle-" })
  const preload = path.resolve("bench/idle/counting.ts")
  const [before, after] = yield* idleNode(
    version,
    { CHRONICLE_BENCH_COUNTS: folder },
    ["--import", preload],
    () =>
      Effect.gen(function* () {
        const first = countsIn(folder)
        yield* Effect.sleep(seconds * 1_000)
        return [first, countsIn(folder)] as const
      })
  )
  for (const [thread, counts] of after) {
    for (const kind of ["set", "fired", "statements", "writes"] as const) {
      const all = rates(before.get(thread)?.[kind] ?? {}, counts[kind], seconds)
      const sum = all.reduce((total, [, rate]) => total + rate, 0)
      yield* Console.log(`\n${version.name}, ${thread}, ${kind}: ${sum.toFixed(2)} a second`)
      for (const [what, rate] of all)
        yield* Console.log(`  ${rate.toFixed(2)}  ${what.replaceAll(/\s+/g, " ").trim().slice(0, 150)}`)
    }
  }
}, Effect.scoped)

interface Sizes {
  readonly seconds: number
  readonly rounds: number
  readonly old: Option.Option<string>
}

const main = Effect.fnUntraced(function* ({ seconds, rounds, old }: Sizes) {
  const path = yield* Path.Path
  const now: Version = { name: "new", directory: path.resolve(".") }
  const versions = Option.match(old, {
    onNone: () => [now],
    onSome: (directory): ReadonlyArray<Version> => [{ name: "old", directory: path.resolve(directory) }, now]
  })
  const measured = new Map<Version, Array<Cores>>(versions.map((version) => [version, []]))
  for (let round = 0; round < rounds; round++) {
    for (const version of round % 2 === 0 ? versions : versions.toReversed()) {
      const cores = yield* coresOf(version, seconds)
      measured.get(version)?.push(cores)
      yield* Console.error(
        `${version.name}, round ${round + 1}: ${programs.map((name) => `${name} ${cores[name].toFixed(4)}`).join(", ")}`
      )
    }
  }
  yield* Console.log(
    `\ncores of an idle node, median (least to most) of ${rounds} rounds of ${seconds} s\n\n| | ${versions.map(({ name }) => name).join(" | ")} |\n|---|${"---|".repeat(versions.length)}`
  )
  const row = (what: string, of: (cores: Cores) => number) => {
    const cells = versions.map((version) => {
      const values = (measured.get(version) ?? []).map(of)
      return `${median(values).toFixed(4)} (${Math.min(...values).toFixed(4)} to ${Math.max(...values).toFixed(4)})`
    })
    return Console.log(`| ${what} | ${cells.join(" | ")} |`)
  }
  for (const name of programs) yield* row(name, (cores) => cores[name])
  yield* row(
    "the node",
    (cores) => cores["node: commands"] + cores["node: read side"] + cores["node: others"]
  )
  for (const version of versions) yield* printCounts(version, seconds)
})

const flags = {
  seconds: Flag.Int("seconds").pipe(
    Flag.withDescription("That a node is watched, after 15 for its start; default 60"),
    Flag.withDefault(60)
  ),
  rounds: Flag.Int("rounds").pipe(Flag.withDescription("Default 3"), Flag.withDefault(3)),
  old: Flag.Directory("old", { mustExist: true }).pipe(
    Flag.withDescription("A checkout of an earlier version, with its dependencies installed"),
    Flag.optional
  )
}

Command.make("bench:idle", flags, main).pipe(
  Command.run({ version: "1" }),
  Effect.provide(NodeServices.layer),
  Effect.provideService(Logger.LogToStderr, true),
  Effect.provideService(References.MinimumLogLevel, "Error"),
  NodeRuntime.runMain
)
