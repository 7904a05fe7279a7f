/**
 * Compares what `npm run bench` printed for two versions of the sources. It reads the printed tables, because an older
 * version prints nothing else.
 */

/** One printed figure. */
export interface Figure {
  readonly name: string
  /** The heading of the column. */
  readonly unit: string
  readonly value: number
}

/** One figure of both versions, over all rounds. */
export interface Comparison {
  readonly name: string
  readonly unit: string
  readonly old: ReadonlyArray<number>
  readonly new: ReadonlyArray<number>
  /** Median of the new version by median of the old one, as time: above 1 the new version is slower. */
  readonly ratio: number
}

/** The columns that are compared. A p99 of a step says more of the machine than of the step. */
const costs = ["µs (median)", "CPU µs a command"]
const rates = ["commands a second"]

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

const cellsOf = (line: string): ReadonlyArray<string> =>
  line
    .split("│")
    .slice(1, -1)
    .map((cell) => cell.trim().replace(/^'(.*)'$/, "$1"))

/** The figures of all tables in a text. In each table the first column is an index, the second one the name. */
export const readFigures = (printed: string): ReadonlyArray<Figure> => {
  const figures: Array<Figure> = []
  let headings: ReadonlyArray<string> = []
  for (const line of printed.split("\n").filter((line) => line.startsWith("│"))) {
    const cells = cellsOf(line)
    if (cells[0] === "(index)") {
      headings = cells
      continue
    }
    for (const [column, unit] of headings.entries()) {
      if (!costs.includes(unit) && !rates.includes(unit)) continue
      figures.push({ name: cells[1] ?? "", unit, value: Number(cells[column]) })
    }
  }
  return figures
}

/**
 * Steps between which work has moved from one version to another: "encode" makes the text that "link" hashes, where "link" had to quote
 * it. What they take together is compared as well, and it is that sum which says whether a version is slower.
 */
const together: Readonly<Record<string, ReadonlyArray<string>>> = {
  "encode and link one event": ["encode the payload of one event", "link one event to the chain"]
}

/** A step of which only the sum with others says whether a version is slower. */
export const isPartOfSum = (name: string): boolean =>
  Object.values(together).some((steps) => steps.includes(name))

/** The figures of a run, and the sums of those that are compared together. */
const withSums = (figures: ReadonlyArray<Figure>): ReadonlyArray<Figure> => [
  ...figures,
  ...Object.entries(together).flatMap(([name, steps]) => {
    const parts = figures.filter((figure) => steps.includes(figure.name))
    const [first] = parts
    if (first === undefined || parts.length < steps.length) return []
    return [{ name, unit: first.unit, value: parts.reduce((sum, { value }) => sum + value, 0) }]
  })
]

const valuesOf = (rounds: ReadonlyArray<ReadonlyArray<Figure>>, { name, unit }: Figure) =>
  rounds.flatMap((figures) =>
    figures.flatMap((figure) => (figure.name === name && figure.unit === unit ? [figure.value] : []))
  )

/** Compares the figures that both versions print. Each round is one run of a version. */
export const compare = (
  oldRounds: ReadonlyArray<ReadonlyArray<Figure>>,
  newRounds: ReadonlyArray<ReadonlyArray<Figure>>
): ReadonlyArray<Comparison> => {
  const [before, after] = [oldRounds.map(withSums), newRounds.map(withSums)]
  return (after[0] ?? []).flatMap((figure) => {
    const { name, unit } = figure
    const [earlier, later] = [valuesOf(before, figure), valuesOf(after, figure)]
    if (earlier.length === 0) return []
    const ratio = median(later) / median(earlier)
    return [{ name, unit, old: earlier, new: later, ratio: rates.includes(unit) ? 1 / ratio : ratio }]
  })
}

/** The names of figures that only one of the versions prints. */
export const unmatched = (
  oldFigures: ReadonlyArray<Figure>,
  newFigures: ReadonlyArray<Figure>
): ReadonlyArray<string> => {
  const namesOf = (figures: ReadonlyArray<Figure>) => new Set(figures.map(({ name }) => name))
  const [before, after] = [namesOf(oldFigures), namesOf(newFigures)]
  return [...before].filter((name) => !after.has(name)).concat([...after].filter((name) => !before.has(name)))
}

const print = (value: number): string =>
  value.toLocaleString("en-US", { maximumFractionDigits: value < 100 ? 2 : 0 })

const printAll = (values: ReadonlyArray<number>): string =>
  `${print(median(values))} (${print(Math.min(...values))} to ${print(Math.max(...values))})`

/** A markdown table with a row for each comparison. */
export const toMarkdown = (comparisons: ReadonlyArray<Comparison>): string =>
  [
    "| step or path | unit | old: median (range) | new: median (range) | time, new / old |",
    "|---|---|--:|--:|--:|",
    ...comparisons.map(
      (row) =>
        `| ${row.name} | ${row.unit} | ${printAll(row.old)} | ${printAll(row.new)} | ${row.ratio.toFixed(3)} |`
    )
  ].join("\n")
