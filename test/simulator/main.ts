/**
 * The simulator's program.
 *
 * - `npm run simulate -- --seeds N [--from F] [--theme T]`: lives N worlds, judges each, shrinks the first that fails, and reports what was reached.
 *   With `--report FILE` several runs are summed up. Fails where a path was never reached that so many worlds should reach.
 * - `npm run simulate -- --seed S [--commands …] [--faults …] [--noise …]`: one world, or what shrinking left of it.
 * - `npm run simulate -- --mutations [--seeds N] [--only NAME] [--theme T]`: puts known faults back, one at a time, and says which seed finds each.
 */
import { parseArgs } from "node:util"
import { judge } from "./Judge.ts"
import { runMutations } from "./mutate.ts"
import { Counts } from "./Outside.ts"
import { planOf, themes } from "./Plan.ts"
import { addTo, neverReached } from "./Reached.ts"
import { type Kept, keep, lineOf, parseNoise, parseNumbers, shrink } from "./Shrink.ts"
import { live } from "./World.ts"

const { values } = parseArgs({
  options: {
    seeds: { type: "string" },
    seed: { type: "string" },
    from: { type: "string" },
    commands: { type: "string" },
    faults: { type: "string" },
    noise: { type: "string" },
    mutations: { type: "boolean" },
    only: { type: "string" },
    /** Worlds that are all about this, or those of the mutations that are looked for there. */
    theme: { type: "string" },
    /** A file that sums up several runs. */
    report: { type: "string" },
    /** For a mutant: prints the first failing seed alone, and shrinks nothing. */
    find: { type: "boolean" }
  }
})

const print = (text: string): void => {
  process.stdout.write(`${text}\n`)
}

const report = (counts: Counts): string => {
  const rows = [...counts.all].toSorted(([a], [b]) => (a < b ? -1 : 1))
  return rows.map(([what, times]) => `${String(times).padStart(9)}  ${what}`).join("\n")
}

const theme = themes.find((one) => one === values.theme)
if (values.theme !== undefined && theme === undefined)
  throw new Error(`"${values.theme}" is no theme; there are ${themes.join(", ")}`)

const one = (seed: number, kept: Kept): void => {
  const history = live(keep(planOf(seed, theme), kept))
  const faults = judge(history)
  print(report(history.counts))
  print(`seed ${seed}: ${history.steps} steps, ${history.lastedMs} virtual ms, trace ${history.hash}`)
  for (const fault of faults) print(fault)
  if (faults.length > 0) process.exitCode = 1
}

const many = (from: number, count: number): void => {
  const reached = new Counts()
  const startedMs = performance.now()
  let steps = 0
  for (let seed = from; seed < from + count; seed++) {
    const history = live(planOf(seed, theme))
    steps += history.steps
    for (const [what, times] of history.counts.all) reached.add(what, times)
    const faults = judge(history)
    if (faults.length === 0) continue
    print(`seed ${seed} fails:`)
    for (const fault of faults.slice(0, 5)) print(`  ${fault}`)
    if (values.find !== true) print(`made smaller: ${lineOf(seed, shrink(seed, theme), theme)}`)
    process.exitCode = 1
    return
  }
  const own = { seeds: count, steps, seconds: (performance.now() - startedMs) / 1_000 }
  print(`${count} seeds from ${from} without a fault: ${steps} steps in ${own.seconds.toFixed(1)} s`)
  const sum = values.report === undefined ? own : addTo(values.report, own, reached)
  print(report(reached))
  if (sum !== own)
    print(`${sum.seeds} seeds in all without a fault: ${sum.steps} steps in ${sum.seconds.toFixed(1)} s`)
  if (theme !== undefined) return
  for (const what of neverReached(reached, sum.seeds)) {
    print(`never reached: ${what}`)
    process.exitCode = 1
  }
}

const number = (text: string | undefined, otherwise: number): number => {
  const found = text === undefined ? otherwise : Number(text)
  if (!Number.isSafeInteger(found) || found < 0) throw new Error(`"${text}" is no whole number`)
  return found
}

if (values.mutations === true) process.exitCode = runMutations(number(values.seeds, 1_000), values, print)
else if (values.seed !== undefined) {
  const { commands, faults, noise } = values
  one(number(values.seed, 0), {
    ...(commands === undefined ? {} : { commands: parseNumbers(commands) }),
    ...(faults === undefined ? {} : { faults: parseNumbers(faults) }),
    ...(noise === undefined ? {} : { noise: parseNoise(noise) })
  })
} else many(number(values.from, 1), number(values.seeds, 100))
