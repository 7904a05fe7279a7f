/**
 * What commands print: lines and tables on stdout, progress on stderr, one JSON value under `--json`. The one way to
 * the terminal, so that no text that others wrote gets there raw.
 */
import { Clock, Console, Effect } from "effect"
import { CliOutput } from "effect/cli"
import { printable, printableJson } from "../domain/Printable.ts"

/** Lines on stdout for a person; none under `--json`, where stdout is for the JSON value alone. */
export interface Output {
  readonly line: (text?: string) => Effect.Effect<void>
  readonly heading: (text: string) => Effect.Effect<void>
  readonly table: (rows: ReadonlyArray<ReadonlyArray<string>>, aligned?: string) => Effect.Effect<void>
}

export const makeOutput = (isSilent: boolean): Output => {
  const line = (text = "") => (isSilent ? Effect.void : Console.log(printable(text)))
  return {
    line,
    heading: (text) =>
      Effect.andThen(line(), line(`── ${text} ${"─".repeat(Math.max(2, 72 - widthOf(text)))}`)),
    table: (rows, aligned = "") =>
      Effect.forEach(tableLines(rows, aligned), (row) => line(row), { discard: true })
  }
}

/** The columns that a printed text takes on a terminal: none for a combining mark, two for a wide character. */
const widthOf = (text: string): number => CliOutput.displayWidth(text)

/** Columns as wide as their widest cell; `aligned` has one letter a column, `r` for right. */
export const tableLines = (
  cells: ReadonlyArray<ReadonlyArray<string>>,
  aligned: string
): ReadonlyArray<string> => {
  const rows = cells.map((row) => row.map(printable))
  const widths: Array<number> = []
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, widthOf(cell))
  }
  return rows.map((row) =>
    `  ${row
      .map((cell, column) => {
        const blanks = " ".repeat((widths[column] ?? 0) - widthOf(cell))
        return aligned[column] === "r" ? blanks + cell : cell + blanks
      })
      .join("  ")}`.trimEnd()
  )
}

/** How often a progress line is printed where there is no terminal, and drawn again where there is, in ms. */
const printEveryMs = 1_000
const drawEveryMs = 100

/** One progress line on stderr: drawn in place on a terminal, a line a second elsewhere. */
export const makeProgress = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const isTerminal = process.stderr.isTTY === true
  // The first line waits too: what ends at once needs no progress.
  let shownAt = clock.currentTimeMillisUnsafe()
  const showUnsafe = (raw: string): void => {
    const text = printable(raw)
    const now = clock.currentTimeMillisUnsafe()
    if (now - shownAt < (isTerminal ? drawEveryMs : printEveryMs)) return
    shownAt = now
    process.stderr.write(isTerminal ? `\r\u001b[2K${text}` : `${text}\n`)
  }
  return {
    showUnsafe,
    show: (text: string) => Effect.sync(() => showUnsafe(text)),
    /** Takes the line away from a terminal. */
    clear: Effect.sync(() => {
      if (isTerminal) process.stderr.write("\r\u001b[2K")
    })
  }
})

/** Numbers as `2,634`. */
export const grouped = (value: number): string => value.toLocaleString("en-US")

/** The JSON value of `--json`: the last line on stdout; bigints as strings. */
export const printJson = (value: unknown): Effect.Effect<void> =>
  Console.log(
    printableJson(JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? inner.toString() : inner)))
  )
