/** `accounts`, `balance`, `find` and `history`: what a node or the stores answer, for a person or as JSON. */
import { Data, Effect, Option, Result } from "effect"
import { amountOf } from "../../domain/Event.ts"
import { printInstant } from "../../domain/Ids.ts"
import { formatMoney } from "../../domain/Money.ts"
import { type AccountView, pageRowsMax } from "../../domain/Views.ts"
import type { QueryMethods } from "../../QueryMethods.ts"
import { OptionsInvalid } from "../failures.ts"
import { makeOutput, printJson } from "../Output.ts"
import type { AccountsFlags, BalanceFlags, FindFlags, HistoryFlags, HoldListFlags } from "../queries.ts"
import { asking } from "./ask.ts"

export const accounts = Effect.fnUntraced(function* ({
  prefix,
  cursor,
  limit,
  token,
  data,
  json
}: AccountsFlags) {
  const output = makeOutput(json)
  const page = yield* asking(data, (books) =>
    books.accounts({
      prefix: Option.getOrUndefined(prefix),
      cursor: Option.getOrUndefined(cursor),
      limit,
      readToken: Option.getOrUndefined(token)
    })
  )
  yield* output.table(
    page.rows.map(({ account, balance, available, asset, status, owner }) => [
      account,
      formatMoney(balance, asset),
      formatMoney(available, asset),
      status,
      owner
    ]),
    "lrrll"
  )
  if (page.next !== undefined) yield* output.line(`  … more: --cursor ${page.next}`)
  if (json) yield* printJson(page)
})

export const holdList = Effect.fnUntraced(function* (flags: HoldListFlags) {
  const { account, prefix, before, cursor, limit, token, data, json } = flags
  if (Option.isSome(account) && Option.isSome(prefix))
    return yield* new OptionsInvalid({ reason: "give an account or --prefix, not both" })
  const output = makeOutput(json)
  const asked = {
    expiringBefore: Option.getOrUndefined(before),
    cursor: Option.getOrUndefined(cursor),
    limit,
    readToken: Option.getOrUndefined(token)
  }
  const page = yield* asking(data, (books) =>
    Option.isSome(account)
      ? books.holds(account.value, asked)
      : books.holdsByExpiry({ ...asked, prefix: Option.getOrUndefined(prefix) })
  )
  yield* output.table(
    page.rows.map(({ account: of, asset, id, remaining, amount, expiresAt, to }) => [
      expiresAt === undefined ? "never" : printInstant(expiresAt),
      of,
      id,
      formatMoney(remaining, asset),
      `of ${formatMoney(amount, asset)}`,
      to ?? ""
    ]),
    "lllrrl"
  )
  if (page.next !== undefined) yield* output.line(`  … more: --cursor ${page.next}`)
  if (json) yield* printJson(page)
})

export const balance = Effect.fnUntraced(function* ({
  account,
  known,
  at,
  version,
  token,
  data,
  json
}: BalanceFlags) {
  // Ignoring one of them would answer another question than the one that was asked.
  const isGiven = [Option.isSome(known), Option.isSome(at), Option.isSome(version), Option.isSome(token)]
  if (isGiven.filter(Boolean).length > 1)
    return yield* new OptionsInvalid({ reason: "--known, --at, --version and --token exclude each other" })
  const instant = Option.orElse(known, () => at)
  const output = makeOutput(json)
  const { view, behind } = yield* asking(
    data,
    Effect.fnUntraced(function* (books) {
      if (Option.isSome(version) || Option.isSome(instant))
        return { view: yield* books.balanceAt(account, pastOf(version, instant)), behind: undefined }
      const view = yield* books.balance(account, { readToken: Option.getOrUndefined(token) })
      return { view, behind: yield* behindOf(books, view) }
    })
  )
  yield* output.table([
    ["account", view.account],
    ["balance", formatMoney(view.balance, view.asset)],
    ...((view.held ?? 0n) === 0n ? [] : [["held", formatMoney(view.held ?? 0n, view.asset)] as const]),
    ["available", formatMoney(view.available, view.asset)],
    ["status", statusText(view)],
    ["owner", view.owner],
    ["version", String(view.version)],
    ["recorded", printInstant(view.recordedAt)],
    ["hash", view.hash],
    ...(behind === undefined ? [] : [["behind the log", describeBehind(behind)] as const])
  ])
  if (json) yield* printJson({ ...view, ...(behind === undefined ? {} : { behind: behind.events }) })
})

/** Exit code 1 where no command of that id was accepted. */
class CommandNotFound extends Data.TaggedError("CommandNotFound")<{ readonly commandId: string }> {
  override get message() {
    return `no command ${this.commandId} was accepted`
  }
}

export const find = Effect.fnUntraced(function* ({ command, data, json }: FindFlags) {
  const output = makeOutput(json)
  const found = yield* asking(data, (books) => books.find(command))
  if (Option.isNone(found)) return yield* new CommandNotFound({ commandId: command })
  const { commandId, isPartial, legs, recordedAt, effectiveAt, reversals, reverses } = found.value
  yield* output.table([
    ["command", commandId],
    ["recorded", printInstant(recordedAt)],
    ["effective", printInstant(effectiveAt)],
    ...legs.map((leg) => {
      const { account, version, event, hash } = leg
      const dated = leg.effectiveAt === undefined ? "" : `effective ${printInstant(leg.effectiveAt)}, `
      return [
        account,
        `${event._tag} at version ${version}, ${amountOf(event)} minor units, ${dated}hash ${hash}`
      ]
    }),
    ...(isPartial === true ? [["further", "on accounts that the token may not name"]] : []),
    ...(reverses === undefined ? [] : [["reverses", `${reverses.original} (n = ${reverses.n})`]]),
    ...reversals.map((id) => ["reversed by", id])
  ])
  if (json) yield* printJson(found.value)
})

const statusText = ({ status, frozen }: AccountView): string =>
  frozen === undefined || frozen === "both" ? status : `${status} for ${frozen}`

const pastOf = (version: Option.Option<number>, known: Option.Option<number>) =>
  Option.isSome(version) ? { version: version.value } : { knownAt: Option.getOrElse(known, () => 0) }

/** What the log has beyond an answer of the read model: at most a page is counted; null where the log cannot be read. */
interface Behind {
  readonly events: number | null
  readonly reason: string
}

const behindOf = (books: QueryMethods, { account, version }: AccountView): Effect.Effect<Behind> =>
  books.history(account, { after: version, limit: pageRowsMax }).pipe(
    Effect.result,
    Effect.map((later) =>
      Result.isSuccess(later)
        ? { events: later.success.length, reason: "" }
        : { events: null, reason: later.failure.message }
    )
  )

const describeBehind = ({ events, reason }: Behind): string =>
  events === null
    ? `by how much is not known: ${reason}`
    : `${events < pageRowsMax ? "" : "at least "}${events} events`

export const history = Effect.fnUntraced(function* ({ account, after, limit, data, json }: HistoryFlags) {
  const output = makeOutput(json)
  const { entries, asset } = yield* asking(
    data,
    Effect.fnUntraced(function* (books) {
      const entries = yield* books.history(account, { after, limit })
      // Amounts of events are in minor units of the account's asset.
      return { entries, asset: (yield* books.balanceAt(account, { version: 1 })).asset }
    })
  )
  yield* output.table(
    entries.map(({ version, recordedAt, event, commandId, context, hash }) => [
      String(version),
      printInstant(recordedAt),
      event._tag,
      formatMoney(amountOf(event), asset),
      commandId,
      context?.caller ?? "",
      hash.slice(0, 12)
    ]),
    "rllrlll"
  )
  const last = entries.at(-1)
  if (last !== undefined && entries.length === limit)
    yield* output.line(`  … there may be more: --after ${last.version}`)
  if (json) yield* printJson(entries.map((entry) => ({ ...entry, asset })))
})
