/**
 * What commands print: lines and tables on stdout, progress on stderr, one JSON value under `--json`. The one way to
 * the terminal, so that no text that others wrote gets there raw.
 */
import { Clock, Console, Context, Effect, Predicate } from "effect"
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

/**
 * Whether `--json` was asked for, and has its value. A command that fails before it has printed one prints its failure as that
 * value: a program that reads the last line would else have to make sense of a sentence on stderr.
 */
export const JsonAnswer = Context.Reference<{ isAsked: boolean; isPrinted: boolean }>(
  "chronicle/cli/JsonAnswer",
  { defaultValue: () => ({ isAsked: false, isPrinted: false }) }
)

/** What every error has of its own class, and no caller asks for. */
const ofEveryError: ReadonlySet<string> = new Set(["cause", "message", "name", "stack"])

const errorOf = (error: unknown, message: string): object => {
  const _tag = Predicate.hasProperty(error, "_tag") ? String(error._tag) : "Defect"
  const fields = Predicate.isObject(error) ? Object.entries(error) : []
  return {
    _tag,
    message,
    ...Object.fromEntries(
      fields
        .filter(([name]) => !ofEveryError.has(name))
        .map(([name, value]) => [name, value instanceof Error ? errorOf(value, value.message) : value])
    )
  }
}

/** `{ error: { _tag, message, … } }`, with the fields of the error as over RPC and HTTP. No answer of a command has an `error`. */
export const failureOf = (error: unknown, message: string): object => ({ error: errorOf(error, message) })

/** The JSON value of `--json`: the last line on stdout; bigints as strings. */
export const printJson = (value: unknown): Effect.Effect<void> =>
  Effect.gen(function* () {
    const answer = yield* JsonAnswer
    answer.isPrinted = true
    const text = JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? inner.toString() : inner))
    yield* Console.log(printableJson(text))
  })
