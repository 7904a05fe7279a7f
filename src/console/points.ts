/** The points of a plot over time: which versions stand for a long account, and one point an instant. */

export interface Point {
  readonly at: number
  /** The balance from then on, in minor units. */
  readonly balance: bigint
}

/** Versions from the first to the last, both included. */
export const sampledVersions = (last: number, most: number): ReadonlyArray<number> => {
  if (last <= most) return Array.from({ length: last }, (_, index) => index + 1)
  const versions = Array.from({ length: most }, (_, index) =>
    Math.round(1 + (index * (last - 1)) / (most - 1))
  )
  return [...new Set(versions)]
}

/** The last of the points at each instant, in order of time. */
export const settled = (points: ReadonlyArray<Point>): ReadonlyArray<Point> => {
  const ordered = points.toSorted((a, b) => a.at - b.at)
  return ordered.filter(({ at }, index) => ordered[index + 1]?.at !== at)
}
