/** Which lines of a statement a URL asks for. */
import { parsedInstant } from "./format.ts"
import type { Line, Statement } from "./wire.ts"

/** Lines of a page. */
const pageLines = 50

export interface StatementPage {
  readonly from: string
  readonly to: string
  readonly axis: string
  readonly types: ReadonlyArray<string>
  readonly counterparty: string
  readonly cursor: string
  /** Where nothing says what is wanted: the last lines, those above this version. */
  readonly lastFrom: number | undefined
}

/** The bound after an instant: what was recorded at the instant itself is still seen. */
const justAfter = (known: string): string => {
  const at = parsedInstant(known)
  return Number.isNaN(at) ? "" : String(at + 1)
}

/** `version`: the account's, as of what is known. What is known by an instant bounds the lines in recorded order, where no other bound is named. */
export const pageOf = (options: URLSearchParams, version: number): StatementPage => {
  const text = (name: string) => options.get(name) ?? ""
  const types = options.getAll("types").filter((type) => type !== "")
  const isRecorded = text("axis") !== "effective"
  const isAll =
    types.length === 0 && ["from", "to", "counterparty", "page"].every((name) => text(name) === "")
  return {
    from: text("from"),
    to: text("to") !== "" || !isRecorded ? text("to") : justAfter(text("known")),
    axis: text("axis"),
    types,
    counterparty: text("counterparty"),
    cursor: text("page"),
    lastFrom: isAll && isRecorded && version > pageLines ? version - pageLines : undefined
  }
}

export const statementParameters = ({ lastFrom, ...page }: StatementPage) => ({ ...page, limit: pageLines })

/** Most rows of one answer of the API. */
export const pageRowsMax = 1_000

/** Of all lines from some instant on those above a version, with the balance before the first of them. */
export const lastOf = (last: Statement, lines: ReadonlyArray<Line>, after: number): Statement => {
  const rows = lines.filter(({ version }) => version > after)
  const [first] = rows
  if (first === undefined) return { ...last, rows }
  return { ...last, rows, opening: String(BigInt(first.balance) - BigInt(first.amount)) }
}
