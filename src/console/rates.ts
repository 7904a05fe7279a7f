/** How often things happen, from counters that only grow, as they are read every few seconds. */

export interface Reading {
  readonly at: number
  readonly total: number
}

/** Between each reading and the one before, a second. A counter that fell began anew, with its node. */
export const ratesOf = (
  readings: ReadonlyArray<Reading>
): ReadonlyArray<{ readonly at: number; readonly perSecond: number }> =>
  readings.flatMap(({ at, total }, index) => {
    const before = readings[index - 1]
    if (before === undefined || at <= before.at) return []
    const more = total < before.total ? total : total - before.total
    return [{ at, perSecond: (more * 1_000) / (at - before.at) }]
  })

/** Runs of shards: `1–12, 15`. */
export const runsOf = (numbers: ReadonlyArray<number>): string => {
  const runs: Array<[from: number, to: number]> = []
  for (const number of numbers.toSorted((a, b) => a - b)) {
    const last = runs.at(-1)
    if (last !== undefined && last[1] === number - 1) last[1] = number
    else runs.push([number, number])
  }
  return runs.map(([from, to]) => (from === to ? String(from) : `${from}–${to}`)).join(", ")
}
