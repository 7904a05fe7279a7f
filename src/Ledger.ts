/** The ledger as host code sees it: commands enter and receipts leave, questions enter and views leave. */
import { Context, Effect, Layer, Option, Result, Schema, type Stream } from "effect"
import { SecureRandom } from "effect/crypto"
import { Dispatcher, type DispatcherStats } from "./actors/commands/Dispatcher.ts"
import { traced } from "./actors/commands/TracedDispatch.ts"
import { History } from "./actors/past/History.ts"
import { type AsOf, TimeTravel } from "./actors/past/TimeTravel.ts"
import { type DatedTrialBalance, TrialBalance } from "./actors/past/TrialBalance.ts"
import { ProjectionEngine } from "./actors/projections/ProjectionEngine.ts"
import { Reconciler } from "./actors/projections/Reconciler.ts"
import {
  type CommittedEvent,
  type SubscriptionAsked,
  Subscriptions
} from "./actors/subscriptions/Subscriptions.ts"
import type { StatementLine, TransferRow } from "./domain/Books.ts"
import { type Command, type CommandInput, fromHost } from "./domain/Command.ts"
import {
  AccountNotFound,
  type CommandError,
  InvalidCommand,
  type QueryError,
  type Unavailable
} from "./domain/Errors.ts"
import type { Head } from "./domain/Head.ts"
import { AccountId, CommandId, Instant } from "./domain/Ids.ts"
import type { Receipt } from "./domain/Receipt.ts"
import { type AccountView, type HistoryEntry, type PastView, viewOf } from "./domain/Views.ts"
import {
  type Fresh,
  type Page,
  type PageAsked,
  Queries,
  type StatementAsked
} from "./infra/readmodel/Queries.ts"
import type { ContraBalance, TrialLine } from "./infra/readmodel/ReadModel.ts"

/** Which past is asked for: a version of the account, or an instant (epoch milliseconds) at which it was recorded. */
export type Past = { readonly version: number } | { readonly recordedAt: number }

export class Ledger extends Context.Service<
  Ledger,
  {
    /**
     * Answers once the events are durable. Safe to send again with the same `commandId`, whatever came of it: an
     * accepted command answers its first outcome, marked as replayed.
     */
    readonly dispatch: (command: CommandInput) => Effect.Effect<Receipt, CommandError>
    /** An ordered batch: on every account in the given order; one result a command, in the same order. */
    readonly dispatchMany: (
      commands: ReadonlyArray<CommandInput>
    ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>>
    /**
     * From the read model; pass a receipt's `readToken` to see at least that write. Its `completeTo` tells how far
     * behind the log the answer may be.
     */
    readonly balance: (account: string, asked?: Fresh) => Effect.Effect<AccountView, QueryError>
    /** From the account's actor: everything acknowledged before is in it. */
    readonly strongBalance: (account: string) => Effect.Effect<AccountView, QueryError>
    /** From the log: the same answer for ever. */
    readonly balanceAt: (account: string, past: Past) => Effect.Effect<PastView, QueryError>
    /** From the log: events above version `after`, oldest first, at most 1,000 a page. */
    readonly history: (
      account: string,
      page?: { readonly after?: number; readonly limit?: number }
    ) => Effect.Effect<ReadonlyArray<HistoryEntry>, QueryError>
    /** From the read model, by pages, with the running balance. */
    readonly statement: (
      account: string,
      asked?: StatementAsked
    ) => Effect.Effect<Page<StatementLine>, QueryError>
    readonly transfer: (
      commandId: string,
      asked?: Fresh
    ) => Effect.Effect<Option.Option<TransferRow>, QueryError>
    readonly accounts: (asked?: PageAsked) => Effect.Effect<Page<AccountView>, QueryError>
    readonly contraBalances: Effect.Effect<ReadonlyArray<ContraBalance>, QueryError>
    /** The sums of every asset at one instant of the read model; each `total` is zero once it has caught up (I2). */
    readonly trialBalance: Effect.Effect<ReadonlyArray<TrialLine>, QueryError>
    /**
     * The same as of an instant at which things were recorded (default: now), from everything recorded up to then
     * and nothing else: `total` is zero (I2), whatever is committed meanwhile. Waits, bounded, until the instant is
     * closed and the read model has reached it.
     */
    readonly trialBalanceAt: (asked?: {
      readonly recordedAt?: number | undefined
    }) => Effect.Effect<DatedTrialBalance, QueryError>
    /**
     * Every committed event after a cursor, in order on each account, at least once. Never ends by itself; as slow
     * as its consumer.
     */
    readonly subscribe: (asked?: SubscriptionAsked) => Stream.Stream<CommittedEvent, QueryError>
    /** Of the node that is asked; in process it never fails. */
    readonly stats: Effect.Effect<DispatcherStats, QueryError>
  }
>()("chronicle/Ledger") {
  /** Over the services of one node; `LedgerNode.layer` and `LedgerNode.layerMemory` bring them along. */
  static readonly layer = Layer.effect(
    Ledger,
    Effect.suspend(() => make)
  )
}

/** A value of the host as the branded value that a schema accepts, or `InvalidCommand` with its place. */
const checked = <S extends Schema.ConstraintDecoder<unknown>>(path: string, schema: S) => {
  const decode = Schema.decodeUnknownResult(schema)
  return (value: unknown): Effect.Effect<S["Type"], InvalidCommand> =>
    Effect.fromResult(Result.mapError(decode(value), (error) => InvalidCommand.at(path, error.message)))
}
const accountId = checked("account", AccountId)
const commandId = checked("commandId", CommandId)
const instant = checked("recordedAt", Instant)
const version = checked("version", Schema.Int.check(Schema.isGreaterThanOrEqualTo(1)))

const make = Effect.gen(function* () {
  const dispatcher = yield* Dispatcher
  const send = traced(dispatcher)
  const history = yield* History
  const travel = yield* TimeTravel
  const queries = yield* Queries
  const trial = yield* TrialBalance
  const bookkeeping = yield* ProjectionEngine
  const sweep = yield* Reconciler
  const subscriptions = yield* Subscriptions
  const random = yield* SecureRandom.SecureRandom

  // A host without types may pass nothing at all, which lacks an id too.
  const identified = (input: CommandInput | undefined): Effect.Effect<Command, InvalidCommand> =>
    input?.commandId === undefined
      ? Effect.flatMap(random.uuidV7({}), (made) =>
          Effect.fromResult(fromHost({ ...input, commandId: made }))
        )
      : Effect.fromResult(fromHost(input))

  const dispatch = (input: CommandInput): Effect.Effect<Receipt, CommandError> =>
    Effect.suspend(() => dispatcher.refusal(input) ?? Effect.flatMap(identified(input), send.dispatch))

  const dispatchMany = Effect.fnUntraced(function* (inputs: ReadonlyArray<CommandInput>) {
    const parsed = yield* Effect.forEach(inputs, (input) => Effect.result(identified(input)))
    const receipts = yield* send.dispatchMany(
      parsed.flatMap((one) => (Result.isSuccess(one) ? [one.success] : []))
    )
    let next = 0
    return parsed.map((one) => {
      if (Result.isFailure(one)) return Result.fail(one.failure)
      const receipt = receipts[next++]
      if (receipt === undefined) throw new Error("a command of a batch has no result")
      return receipt
    })
  })

  const balance = Effect.fnUntraced(function* (account: string, asked?: Fresh) {
    const id = yield* accountId(account)
    // Before the question: what a sweep finds later need not be in its answer. A parked account stays where it is.
    const reached = bookkeeping.isParkedUnsafe(id) ? 0 : sweep.statusUnsafe().completeTo
    const view = viewOf(yield* queries.balance(id, asked))
    return { ...view, completeTo: Math.max(view.recordedAt, reached) }
  })

  const strongBalance = Effect.fn("Ledger.strongBalance")(function* (account: string) {
    return yield* opened(yield* dispatcher.head(yield* accountId(account)))
  })

  const balanceAt = Effect.fn("Ledger.balanceAt")(function* (account: string, past: Past) {
    const asOf: AsOf =
      "version" in past
        ? { _tag: "Version", version: yield* version(past.version) }
        : { _tag: "RecordedAt", instant: yield* instant(past.recordedAt) }
    const { head, eventsRead } = yield* travel.at(yield* accountId(account), asOf)
    return { ...(yield* opened(head)), eventsRead }
  })

  return {
    dispatch,
    dispatchMany,
    strongBalance,
    balanceAt,
    balance,
    history: (account, page) => Effect.flatMap(accountId(account), (id) => history.events(id, page)),
    statement: (account, asked) => Effect.flatMap(accountId(account), (id) => queries.statement(id, asked)),
    transfer: (id, asked) =>
      Effect.flatMap(commandId(id), (one) => queries.transfer(one, asked)).pipe(
        Effect.map(Option.fromUndefinedOr)
      ),
    accounts: (asked) =>
      Effect.map(queries.accounts(asked), ({ rows, next }) => ({ rows: rows.map(viewOf), next })),
    contraBalances: queries.contraBalances,
    trialBalance: queries.trialBalance,
    trialBalanceAt: Effect.fnUntraced(function* ({ recordedAt } = {}) {
      return yield* trial.at(recordedAt === undefined ? undefined : yield* instant(recordedAt))
    }),
    subscribe: subscriptions.subscribe,
    stats: Effect.sync(() => dispatcher.stats())
  } satisfies Ledger["Service"]
})

const opened = (head: Head): Effect.Effect<AccountView, AccountNotFound | Unavailable> => {
  const { account } = head
  return account._tag === "Opened"
    ? Effect.succeed(viewOf({ ...head, account }))
    : Effect.fail(new AccountNotFound({ account: account.id }))
}
