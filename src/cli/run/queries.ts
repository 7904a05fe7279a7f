/** `balance` and `history` of an account, read from the stores: no node need run. */
import { Effect, Option } from "effect"
import { History } from "../../actors/past/History.ts"
import { type AsOf, TimeTravel } from "../../actors/past/TimeTravel.ts"
import { AccountNotFound, Unavailable } from "../../domain/Errors.ts"
import { amountOf } from "../../domain/Event.ts"
import { type AccountId, printInstant } from "../../domain/Ids.ts"
import { formatMoney } from "../../domain/Money.ts"
import { type AccountView, historyPageMax, viewOf } from "../../domain/Views.ts"
import { limitsFromEnvironment } from "../../infra/config/Environment.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { Queries } from "../../infra/readmodel/Queries.ts"
import * as LedgerNode from "../../LedgerNode.ts"
import { OptionsInvalid } from "../failures.ts"
import { makeOutput, printJson } from "../Output.ts"
import type { BalanceFlags, HistoryFlags } from "../queries.ts"
import { resolveStores } from "./services.ts"

/** Runs over the log and the read model where `--data` or the environment says they are. */
export const reading = <A, E, R>(data: Option.Option<string>, self: Effect.Effect<A, E, R>) =>
  Effect.flatMap(resolveStores(data), (stores) => Effect.provide(self, LedgerNode.layerReader(stores))).pipe(
    Effect.scoped,
    Effect.provide(limitsFromEnvironment)
  )

export const balance = Effect.fnUntraced(function* ({
  account,
  at,
  version,
  token,
  data,
  json
}: BalanceFlags) {
  // Ignoring one of them would answer another question than the one that was asked.
  if ([Option.isSome(at), Option.isSome(version), Option.isSome(token)].filter(Boolean).length > 1)
    return yield* new OptionsInvalid({ reason: "--at, --version and --token exclude each other" })
  const asOf: AsOf | undefined = Option.isSome(version)
    ? { _tag: "Version", version: version.value }
    : Option.isSome(at)
      ? { _tag: "RecordedAt", instant: at.value }
      : undefined
  const output = makeOutput(json)
  yield* reading(
    data,
    Effect.gen(function* () {
      const view = yield* asOf === undefined
        ? current(account, Option.getOrUndefined(token))
        : past(account, asOf)
      const behind = asOf === undefined ? yield* behindOf(view) : undefined
      yield* output.table([
        ["account", view.account],
        ["balance", formatMoney(view.balance, view.asset)],
        ["available", formatMoney(view.available, view.asset)],
        ["status", view.status],
        ["owner", view.owner],
        ["version", String(view.version)],
        ["recorded", printInstant(view.recordedAt)],
        ["hash", view.hash],
        ...(behind === undefined
          ? []
          : [["behind the log", `${behind < historyPageMax ? "" : "at least "}${behind} events`] as const])
      ])
      if (json) yield* printJson({ ...view, ...(behind === undefined ? {} : { behind }) })
    })
  )
})

const current = Effect.fnUntraced(function* (id: AccountId, token: string | undefined) {
  const queries = yield* Queries
  return viewOf(yield* queries.balance(id, { readToken: token }))
})

/** Number of events that the log has beyond the answer, whether they can be read or not; at most a page is counted. */
const behindOf = Effect.fnUntraced(function* ({ account, version }: AccountView) {
  const log = yield* EventStore
  return (yield* log.readStream({ account, after: version, limit: historyPageMax })).length
})

const past = Effect.fnUntraced(function* (id: AccountId, asOf: AsOf) {
  const travel = yield* TimeTravel
  const { head, eventsRead } = yield* travel.at(id, asOf)
  if (head.account._tag === "Absent") return yield* new AccountNotFound({ account: id })
  return { ...viewOf({ ...head, account: head.account }), eventsRead } satisfies AccountView & {
    readonly eventsRead: number
  }
})

/** Amounts of events are in minor units of the account's asset, which its first event names. */
const assetOf = Effect.fnUntraced(function* (account: AccountId) {
  const log = yield* History
  const [first] = yield* log.events(account, { limit: 1 })
  if (first?.event._tag === "AccountOpened") return first.event.asset
  return yield* new Unavailable({
    what: `account ${account}`,
    reason: "its first event does not open it: run verify"
  })
})

export const history = Effect.fnUntraced(function* ({ account, after, limit, data, json }: HistoryFlags) {
  const output = makeOutput(json)
  yield* reading(
    data,
    Effect.gen(function* () {
      const log = yield* History
      const entries = yield* log.events(account, { after, limit })
      const asset = yield* assetOf(account)
      yield* output.table(
        entries.map(({ version, recordedAt, event, commandId, hash }) => [
          String(version),
          printInstant(recordedAt),
          event._tag,
          formatMoney(amountOf(event), asset),
          commandId,
          hash.slice(0, 12)
        ]),
        "rllrll"
      )
      const last = entries.at(-1)
      if (last !== undefined && entries.length === Math.min(limit, historyPageMax))
        yield* output.line(`  … there may be more: --after ${last.version}`)
      if (json) yield* printJson(entries.map((entry) => ({ ...entry, asset })))
    })
  )
})
