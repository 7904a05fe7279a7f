/** `statement` of an account, printed by pages or exported whole, and `trial-balance` of the ledger. */
import { Data, Effect, Option } from "effect"
import { type Instant, printInstant } from "../../domain/Ids.ts"
import { intervalFault } from "../../domain/InstantText.ts"
import { formatMoney } from "../../domain/Money.ts"
import type { QueryMethods } from "../../QueryMethods.ts"
import { OptionsInvalid } from "../failures.ts"
import { grouped, makeOutput, printJson } from "../Output.ts"
import type { StatementFlags, SumFlags, TrialBalanceFlags } from "../statement.ts"
import { asking } from "./ask.ts"
import { exportStatement, goesToStdout } from "./export.ts"

const pageRowsDefault = 50

type StatementPage = Effect.Success<ReturnType<QueryMethods["statement"]>>

/** The lines of a page, with the opening balance on the first page and the closing balance on the last. */
const rowsOf = (
  page: StatementPage,
  asked: {
    readonly from: Option.Option<Instant>
    readonly to: Option.Option<Instant>
    readonly by: StatementFlags["by"]
    readonly isFirst: boolean
  }
): ReadonlyArray<ReadonlyArray<string>> => {
  /** A node of an older version tells neither the asset nor these balances. */
  const balanceRow = (name: string, instant: Option.Option<Instant>, balance: bigint | undefined) => {
    const time = Option.match(instant, { onNone: () => "", onSome: printInstant })
    return balance === undefined || page.asset === undefined
      ? []
      : [["", time, name, "", "", formatMoney(balance, page.asset), ""]]
  }
  return [
    ...(asked.isFirst ? balanceRow("opening balance", asked.from, page.opening) : []),
    ...page.rows.map((line) => [
      String(line.version),
      // The one that the lines are in the order of, and that `from` and `to` bound.
      printInstant(asked.by === "effective" ? line.effectiveAt : line.recordedAt),
      line.type,
      line.counterparty ?? "",
      formatMoney(line.amount, line.asset),
      formatMoney(line.balance, line.asset),
      line.description ?? ""
    ]),
    ...(page.next === undefined ? balanceRow("closing balance", asked.to, page.closing) : [])
  ]
}

export const statement = Effect.fnUntraced(function* (input: StatementFlags) {
  const { account, from, to, by, types, counterparty, cursor, limit, format, out, token, data, json } = input
  const output = makeOutput(json)
  if (Option.isSome(format) !== Option.isSome(out)) {
    return yield* new OptionsInvalid({ reason: "--export and --out belong together" })
  }
  // Passed over, an export would have more lines than were asked for.
  if (Option.isSome(format) && (Option.isSome(cursor) || Option.isSome(limit)))
    return yield* new OptionsInvalid({ reason: "--cursor and --limit are of pages; --export has all lines" })
  if (intervalFault(Option.getOrUndefined(from), Option.getOrUndefined(to)) !== undefined)
    return yield* new OptionsInvalid({ reason: "--from must not be later than --to" })
  const asked = {
    from: Option.getOrUndefined(from),
    to: Option.getOrUndefined(to),
    axis: by,
    types: types.length === 0 ? undefined : types,
    counterparty: Option.getOrUndefined(counterparty),
    readToken: Option.getOrUndefined(token)
  }
  if (Option.isSome(format) && Option.isSome(out)) {
    const file = out.value
    if (json && (yield* goesToStdout(file)))
      return yield* new OptionsInvalid({ reason: "--json needs stdout for itself; --out has to be a file" })
    const { isFile, lines } = yield* asking(data, (books) =>
      exportStatement(books, account, format.value, file, asked)
    )
    // A pipe or a device may be stdout, where nothing else may stand behind them.
    if (isFile) yield* output.line(`${grouped(lines)} lines are in ${file}.`)
    if (json) yield* printJson({ file, lines })
    return
  }
  const page = yield* asking(data, (books) =>
    books.statement(account, {
      ...asked,
      cursor: Option.getOrUndefined(cursor),
      limit: Option.getOrElse(limit, () => pageRowsDefault)
    })
  )
  yield* output.table(rowsOf(page, { from, to, by, isFirst: Option.isNone(cursor) }), "rlllrrl")
  if (page.next !== undefined) yield* output.line(`  … more: --cursor ${page.next}`)
  if (json) yield* printJson(page)
})

/** The books do not balance as of that instant: a sum is not zero. */
class NotBalanced extends Data.TaggedError("NotBalanced")<{ readonly assets: ReadonlyArray<string> }> {
  override get message() {
    return `the books do not balance in ${this.assets.join(", ")}`
  }
}

export const trialBalance = Effect.fnUntraced(function* ({ known, at, data, json }: TrialBalanceFlags) {
  if (Option.isSome(known) && Option.isSome(at))
    return yield* new OptionsInvalid({ reason: "--known and --at exclude each other" })
  const output = makeOutput(json)
  const trial = yield* asking(data, (books) =>
    books.trialBalanceAt({ knownAt: Option.getOrUndefined(Option.orElse(known, () => at)) })
  )
  yield* output.line(`As of ${printInstant(trial.recordedAt)}:`)
  yield* output.table(
    trial.lines.map(({ asset, accounts, contras, total }) => [
      asset,
      formatMoney(accounts, asset),
      formatMoney(contras, asset),
      formatMoney(total, asset)
    ]),
    "lrrr"
  )
  if (trial.parked > 0) yield* output.line(`  ${trial.parked} accounts are parked and not all in it.`)
  if (json) yield* printJson(trial)
  const off = trial.lines.filter((line) => line.total !== 0n)
  if (off.length > 0) yield* new NotBalanced({ assets: off.map((line) => line.asset) })
})

export const sum = Effect.fnUntraced(function* ({ prefix, asset, at, known, data, json }: SumFlags) {
  const output = makeOutput(json)
  const found = yield* asking(data, (books) =>
    books.sum(prefix, {
      asset: Option.getOrUndefined(asset),
      effectiveAt: Option.getOrUndefined(at),
      knownAt: Option.getOrUndefined(known)
    })
  )
  const counted = found.effectiveAt === undefined ? "" : `, what counts by ${printInstant(found.effectiveAt)}`
  yield* output.line(`As known at ${printInstant(found.knownAt)}${counted}:`)
  yield* output.table(
    found.sums.map((one) => [
      one.asset,
      formatMoney(one.balance, one.asset),
      `${grouped(one.accounts)} ${one.accounts === 1 ? "account" : "accounts"}`
    ]),
    "lrr"
  )
  if (found.parked > 0) yield* output.line(`  ${found.parked} accounts are parked and not all in it.`)
  if (json) yield* printJson(found)
})
