/**
 * `npm run bench:compare -- --old DIR [--new DIR] [--rounds 3] [--ratio-max 1.03]`: runs `npm run bench` in two checkouts
 * in turn, and prints the medians and their ratios as a markdown table. Taking turns matters, because a machine is faster
 * in one minute than in another; so does a machine that is otherwise idle. With `--ratio-max` it ends with 1 if any row
 * is slower by more; of steps between which work has moved, their sum counts.
 */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Option, Path, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { compare, type Figure, isPartOfSum, readFigures, toMarkdown, unmatched } from "./Comparison.ts"

/** One run of the benchmarks of a checkout, with the Node.js that the checkout carries. */
const runBench = Effect.fnUntraced(function* (directory: string) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const printed = yield* spawner.string(
    ChildProcess.make("npm", ["run", "--silent", "bench"], { cwd: directory, stderr: "inherit" })
  )
  const figures = readFigures(printed)
  if (figures.length === 0) {
    return yield* Effect.die(new Error(`npm run bench printed no figures in ${directory}:\n${printed}`))
  }
  return figures
})

const program = Command.make(
  "bench:compare",
  {
    old: Flag.Directory("old", { mustExist: true }).pipe(
      Flag.withDescription("A checkout of the old version, with its dependencies installed")
    ),
    new: Flag.Directory("new", { mustExist: true }).pipe(
      Flag.withDescription("A checkout of the new version; default: this directory"),
      Flag.withDefault(".")
    ),
    rounds: Flag.Int("rounds").pipe(
      Flag.withSchema(Schema.Finite.check(Schema.isBetween({ minimum: 1, maximum: 100 }))),
      Flag.withDescription("Runs of each version; default 3"),
      Flag.withDefault(3)
    ),
    ratioMax: Flag.Finite("ratio-max").pipe(
      Flag.withDescription("The ratio of the medians, new by old, from which on a row counts as slower"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* (options) {
    const path = yield* Path.Path
    const versions = { old: path.resolve(options.old), new: path.resolve(options.new) }
    const rounds: Record<keyof typeof versions, Array<ReadonlyArray<Figure>>> = { old: [], new: [] }
    for (let round = 1; round <= options.rounds; round++) {
      // The version that begins changes with each round, so that neither always runs on the warmer machine.
      for (const version of round % 2 === 1 ? (["old", "new"] as const) : (["new", "old"] as const)) {
        yield* Console.error(`round ${round} of ${options.rounds}: ${version}`)
        rounds[version].push(yield* runBench(versions[version]))
      }
    }
    const comparisons = compare(rounds.old, rounds.new)
    yield* Console.log(toMarkdown(comparisons))
    const alone = unmatched(rounds.old[0] ?? [], rounds.new[0] ?? [])
    if (alone.length > 0) yield* Console.log(`\nMeasured in one version only: ${alone.join("; ")}.`)
    if (Option.isNone(options.ratioMax)) return
    const { value: ratioMax } = options.ratioMax
    const slower = comparisons.filter(({ name, ratio }) => ratio > ratioMax && !isPartOfSum(name))
    if (slower.length === 0) return yield* Console.log(`\nNo row is slower by more than ${ratioMax}.`)
    yield* Console.log(`\nSlower by more than ${ratioMax}: ${slower.map(({ name }) => name).join("; ")}.`)
    process.exitCode = 1
  })
).pipe(Command.withDescription("Compare npm run bench of two checkouts, in turn"))

NodeRuntime.runMain(
  Command.run(program, { version: "1" }).pipe(Effect.scoped, Effect.provide(NodeServices.layer))
)
