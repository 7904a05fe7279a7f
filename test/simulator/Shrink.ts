/**
 * Makes a failing plan smaller: removes commands, then faults, for as long as it still fails, and prints the options of a
 * command line that repeats the rest.
 */
import { judge } from "./Judge.ts"
import { type Noise, noises, type Plan, planOf, type Theme } from "./Plan.ts"
import { live } from "./World.ts"

/** What of a seed's plan is kept; absent: all of it. */
export interface Kept {
  readonly commands?: ReadonlyArray<number>
  readonly faults?: ReadonlyArray<number>
  readonly noise?: ReadonlyArray<Noise>
}

export const keep = (plan: Plan, kept: Kept): Plan => ({
  ...plan,
  steps:
    kept.commands === undefined
      ? plan.steps
      : plan.steps.filter((_, index) => kept.commands?.includes(index)),
  disruptions:
    kept.faults === undefined
      ? plan.disruptions
      : plan.disruptions.filter((_, index) => kept.faults?.includes(index)),
  noise:
    kept.noise === undefined
      ? plan.noise
      : Object.fromEntries(
          Object.entries(plan.noise).filter(([kind]) => kept.noise?.some((one) => one === kind))
        )
})

/** The faults of a world, judged. */
export const faultsOfPlan = (plan: Plan): ReadonlyArray<string> => judge(live(plan))

/** Leaves out runs of the list, long ones first, for as long as what remains still fails. */
const reduce = <A>(list: ReadonlyArray<A>, fails: (rest: ReadonlyArray<A>) => boolean): ReadonlyArray<A> => {
  let left = list
  for (let size = Math.ceil(list.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let start = 0; start < left.length; ) {
      const rest = [...left.slice(0, start), ...left.slice(start + size)]
      if (fails(rest)) left = rest
      else start += size
    }
  }
  return left
}

/** The kind of a fault: which invariant, so that shrinking does not wander off to another one. */
const kindOf = (fault: string | undefined): string => /^\w+/.exec(fault ?? "")?.[0] ?? ""

export const shrink = (seed: number, theme?: Theme): Kept => {
  const plan = planOf(seed, theme)
  const kind = kindOf(faultsOfPlan(plan)[0])
  const fails = (kept: Kept) => faultsOfPlan(keep(plan, kept)).some((fault) => kindOf(fault) === kind)
  const commands = reduce([...plan.steps.keys()], (rest) => fails({ commands: rest }))
  const faults = reduce([...plan.disruptions.keys()], (rest) => fails({ commands, faults: rest }))
  const noise = reduce(
    noises.filter((one) => plan.noise[one] !== undefined),
    (rest) => fails({ commands, faults, noise: rest })
  )
  return { commands, faults, noise }
}

/** Numbers in order, runs of them as `3-7`. */
const printNumbers = (numbers: ReadonlyArray<number>): string => {
  const runs: Array<[first: number, last: number]> = []
  for (const number of numbers) {
    const run = runs.at(-1)
    if (run !== undefined && run[1] === number - 1) run[1] = number
    else runs.push([number, number])
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",") || "none"
}

export const parseNumbers = (text: string): ReadonlyArray<number> =>
  text === "none"
    ? []
    : text.split(",").flatMap((run) => {
        const [first = 0, last = first] = run.split("-").map(Number)
        return Array.from({ length: last - first + 1 }, (_, index) => first + index)
      })

export const parseNoise = (text: string): ReadonlyArray<Noise> =>
  noises.filter((one) => text.split(",").includes(one))

/** The command line that repeats a world. */
export const lineOf = (seed: number, kept: Kept, theme?: Theme): string =>
  [
    `npm run simulate -- --seed ${seed}`,
    ...(theme === undefined ? [] : [`--theme ${theme}`]),
    ...(kept.commands === undefined ? [] : [`--commands ${printNumbers(kept.commands)}`]),
    ...(kept.faults === undefined ? [] : [`--faults ${printNumbers(kept.faults)}`]),
    ...(kept.noise === undefined ? [] : [`--noise ${kept.noise.join(",") || "none"}`])
  ].join(" ")
