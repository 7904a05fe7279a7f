/** `statement` of an account, printed by pages or exported whole, and `trial-balance` of the ledger. */
import { Data, Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { TrialBalance } from "../actors/past/TrialBalance.ts"
import { type Instant, printInstant } from "../domain/Ids.ts"
import { formatMoney } from "../domain/Money.ts"
import { LineType } from "../domain/Views.ts"
import { Queries, type StatementPage } from "../infra/readmodel/Queries.ts"
import { exportStatement } from "./export.ts"
import { grouped, makeOutput, printJson } from "./Output.ts"
import { account, positive, reading, readToken } from "./queries.ts"
import { checkInterval, dataFlag, instantFlag, jsonFlag, OptionsInvalid } from "./serviceOptions.ts"

/** The lines of a page, with the opening balance on the first page and the closing balance on the last. */
const rowsOf = (
  page: StatementPage,
  asked: {
    readonly from: Option.Option<Instant>
    readonly to: Option.Option<Instant>
    readonly isFirst: boolean
  }
): ReadonlyArray<ReadonlyArray<string>> => {
  const balanceRow = (name: string, instant: Option.Option<Instant>, balance: bigint) => {
    const time = Option.match(instant, { onNone: () => "", onSome: printInstant })
    return ["", time, name, "", "", formatMoney(balance, page.asset), ""]
  }
  return [
    ...(asked.isFirst ? [balanceRow("opening balance", asked.from, page.opening)] : []),
    ...page.rows.map((line) => [
      String(line.version),
      printInstant(line.effectiveAt),
      line.type,
      line.counterparty ?? "",
      formatMoney(line.amount, line.asset),
      formatMoney(line.balance, line.asset),
      line.description ?? ""
    ]),
    ...(page.next === undefined ? [balanceRow("closing balance", asked.to, page.closing)] : [])
  ]
}

const statementFlags = {
  account,
  from: instantFlag("from", "At or after"),
  to: instantFlag("to", "Before"),
  by: Flag.Literals("by", ["recorded", "effective"]).pipe(
    Flag.withDescription(
      "The order of the lines and their balances, and the time that --from and --to mean: when it was recorded, or for when it counts"
    ),
    Flag.withDefault("recorded")
  ),
  types: Flag.Literals("type", LineType.literals).pipe(
    Flag.withDescription("Lines of this type alone; may be given several times"),
    Flag.atLeast(0)
  ),
  counterparty: Flag.String("counterparty").pipe(
    Flag.withDescription("Lines with this account or contra account on the other side alone"),
    Flag.optional
  ),
  cursor: Flag.String("cursor").pipe(Flag.withDescription("`next` of the page before"), Flag.optional),
  limit: Flag.Int("limit").pipe(
    Flag.withDescription("Lines of a page"),
    Flag.withSchema(positive),
    Flag.withDefault(50)
  ),
  format: Flag.Literals("export", ["csv", "json"]).pipe(
    Flag.withDescription("Write all of it to the file of --out"),
    Flag.optional
  ),
  out: Flag.Path("out").pipe(Flag.withDescription("The file of --export"), Flag.optional),
  token: readToken,
  data: dataFlag,
  json: jsonFlag
}

export const statement = Command.make(
  "statement",
  statementFlags,
  Effect.fnUntraced(function* (input) {
    const { account, from, to, by, types, counterparty, cursor, limit, format, out, token, data, json } =
      input
    const output = makeOutput(json)
    if (Option.isSome(format) !== Option.isSome(out)) {
      return yield* new OptionsInvalid({ reason: "--export and --out belong together" })
    }
    yield* checkInterval(from, to)
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
      const lines = yield* reading(data, exportStatement(account, format.value, file, asked))
      yield* output.line(`${grouped(lines)} lines are in ${file}.`)
      if (json) yield* printJson({ file, lines })
      return
    }
    yield* reading(
      data,
      Effect.gen(function* () {
        const queries = yield* Queries
        const page = yield* queries.statement(account, {
          ...asked,
          cursor: Option.getOrUndefined(cursor),
          limit
        })
        yield* output.table(rowsOf(page, { from, to, isFirst: Option.isNone(cursor) }), "rlllrrl")
        if (page.next !== undefined) yield* output.line(`  … more: --cursor ${page.next}`)
        if (json) yield* printJson(page)
      })
    )
  })
).pipe(
  Command.withDescription(
    "The statement of an account with opening, running and closing balance: by pages, or all of it to a file"
  )
)

/** The books do not balance as of that instant: a sum is not zero. */
class NotBalanced extends Data.TaggedError("NotBalanced")<{ readonly assets: ReadonlyArray<string> }> {
  override get message() {
    return `the books do not balance in ${this.assets.join(", ")}`
  }
}

export const trialBalance = Command.make(
  "trial-balance",
  {
    at: instantFlag("at", "Of everything recorded up to then; now by default"),
    data: dataFlag,
    json: jsonFlag
  },
  Effect.fnUntraced(function* ({ at, data, json }) {
    const output = makeOutput(json)
    const trial = yield* reading(
      data,
      Effect.flatMap(TrialBalance, (balance) => balance.at(Option.getOrUndefined(at)))
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
).pipe(Command.withDescription("What all accounts and the world outside hold, as of an instant; zero in sum"))
