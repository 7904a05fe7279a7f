/**
 * `npm run bench`: prints what each step of a command costs, and what a command costs through a whole node. The texts of
 * rows and columns are what `npm run bench:compare` finds the same figure of another version by.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Logger } from "effect"
import { Bench } from "tinybench"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import { addActors, addDomain } from "./domain.ts"
import { type FastPath, type FastPathOptions, measureFastPath } from "./fastPath.ts"

const millisEach = 400

const steps = Effect.promise(async () => {
  const bench = new Bench({ time: millisEach, warmupTime: 150 })
  addDomain(bench)
  addActors(bench)
  await bench.run()
  return bench.tasks.map(({ name, result }) => {
    if (result.state !== "completed") throw new Error(`"${name}" was not measured: ${result.state}`)
    const { p50, p99 } = result.latency
    return { step: name, "µs (median)": (p50 * 1_000).toFixed(2), "µs (p99)": (p99 * 1_000).toFixed(2) }
  })
})

const paths: ReadonlyArray<FastPathOptions> = [
  { scenario: "transfers-uniform", commands: 50_000, concurrency: 1_024, batch: 1 },
  { scenario: "transfers-hot", commands: 50_000, concurrency: 1_024, batch: 1 },
  { scenario: "deposits-hot", commands: 50_000, concurrency: 1_024, batch: 1 },
  { scenario: "transfers-uniform", commands: 50_000, concurrency: 20, batch: 50 }
]

const toRow = (path: FastPath) => ({
  "through a node, no database": path.name,
  "CPU µs a command": path.cpuUsPerCommand.toFixed(1),
  "commands a second": Math.round(path.perSecond),
  "rows a batch": Math.round(path.meanRows)
})

const program = Effect.gen(function* () {
  yield* Console.table(yield* steps)
  const measured: Array<FastPath> = []
  for (const path of paths) {
    const result = yield* measureFastPath(path)
    if (result !== undefined) measured.push(result)
  }
  yield* Console.table(measured.map(toRow))
})

tuneCollector()
NodeRuntime.runMain(program.pipe(Effect.provide(Layer.succeed(Logger.LogToStderr, true))))
