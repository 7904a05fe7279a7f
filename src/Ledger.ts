/** The ledger as host code sees it: commands are answered with receipts, queries with views. */
import { Context, Effect, Layer, Option, type Result } from "effect"
import { SecureRandom } from "effect/crypto"
import { Dispatcher } from "./actors/commands/Dispatcher.ts"
import { traced } from "./actors/commands/TracedDispatch.ts"
import { History } from "./actors/past/History.ts"
import { type AsOf, TimeTravel } from "./actors/past/TimeTravel.ts"
import { TrialBalance } from "./actors/past/TrialBalance.ts"
import { ProjectionEngine } from "./actors/projections/ProjectionEngine.ts"
import { Reconciler } from "./actors/projections/Reconciler.ts"
import { Subscriptions } from "./actors/subscriptions/Subscriptions.ts"
import { dispatchChecked, makeReadCommand } from "./CommandMethods.ts"
import type { CommandInput } from "./domain/Command.ts"
import { AccountNotFound, type CommandError, type InvalidCommand, type Unavailable } from "./domain/Errors.ts"
import type { Head } from "./domain/Head.ts"
import type { Receipt } from "./domain/Receipt.ts"
import { type AccountView, viewOf } from "./domain/Views.ts"
import { Queries } from "./infra/readmodel/Queries.ts"
import { methodsOf, type QueryAnswers, type QueryMethods } from "./QueryMethods.ts"

export type { Past } from "./LedgerQueries.ts"

interface LedgerService extends QueryMethods {
  /**
   * Answers once the events are durable. Safe to send again with the same `commandId`, whatever came of it: an
   * accepted command answers its first outcome, marked as replayed.
   */
  readonly dispatch: (command: CommandInput) => Effect.Effect<Receipt, CommandError>
  /**
   * An ordered batch: on every account in the given order; one result a command, in the same order. Fails as a whole
   * only where it is given no list.
   */
  readonly dispatchMany: (
    commands: ReadonlyArray<CommandInput>
  ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>, InvalidCommand>
}

export class Ledger extends Context.Service<Ledger, LedgerService>()("chronicle/Ledger") {
  /** Over the services of one node; `LedgerNode.layer` and `LedgerNode.layerMemory` bring them along. */
  static readonly layer = Layer.effect(
    Ledger,
    Effect.suspend(() => make)
  )
}

const makeCommands = Effect.gen(function* () {
  const dispatcher = yield* Dispatcher
  const send = traced(dispatcher)
  const read = makeReadCommand(yield* SecureRandom.SecureRandom)

  const dispatch = (input: CommandInput): Effect.Effect<Receipt, CommandError> =>
    Effect.suspend(() => dispatcher.precheck(input) ?? Effect.flatMap(read(input), send.dispatch))

  const dispatchMany = (inputs: ReadonlyArray<CommandInput>) =>
    dispatchChecked(inputs, read, send.dispatchMany)

  return { dispatch, dispatchMany }
})

const makeAnswers = Effect.gen(function* () {
  const dispatcher = yield* Dispatcher
  const history = yield* History
  const travel = yield* TimeTravel
  const queries = yield* Queries
  const trial = yield* TrialBalance
  const engine = yield* ProjectionEngine
  const reconciler = yield* Reconciler
  const subscriptions = yield* Subscriptions

  return {
    balance: Effect.fnUntraced(function* ({ account, ...options }) {
      // Taken before the query: what a later comparison with the log finds need not be in the answer. A parked
      // account stays where it is.
      const reached = engine.isParkedUnsafe(account) ? 0 : reconciler.statusUnsafe().completeTo
      const view = viewOf(yield* queries.balance(account, options))
      return { ...view, completeTo: Math.max(view.recordedAt, reached) }
    }),
    strongBalance: Effect.fn("Ledger.strongBalance")(function* ({ account }) {
      return yield* opened(yield* dispatcher.head(account))
    }),
    balanceAt: Effect.fn("Ledger.balanceAt")(function* ({ account, version, recordedAt = 0 }) {
      // Exactly one of the two was given.
      const asOf: AsOf =
        version === undefined ? { _tag: "RecordedAt", instant: recordedAt } : { _tag: "Version", version }
      const { head, eventsRead } = yield* travel.at(account, asOf)
      return { ...(yield* opened(head)), eventsRead }
    }),
    history: ({ account, ...page }) => history.events(account, page),
    statement: ({ account, ...options }) => queries.statement(account, options),
    transfer: ({ commandId, ...options }) =>
      Effect.map(queries.transfer(commandId, options), Option.fromUndefinedOr),
    accounts: (page) =>
      Effect.map(queries.accounts(page), ({ rows, next }) => ({ rows: rows.map(viewOf), next })),
    contraBalances: () => queries.contraBalances,
    trialBalance: () => queries.trialBalance,
    trialBalanceAt: ({ recordedAt }) => trial.at(recordedAt),
    stats: () => Effect.sync(() => dispatcher.stats()),
    subscribe: subscriptions.subscribe
  } satisfies QueryAnswers
})

const make = Effect.gen(function* () {
  return { ...(yield* makeCommands), ...methodsOf(yield* makeAnswers) }
})

const opened = (head: Head): Effect.Effect<AccountView, AccountNotFound | Unavailable> => {
  const { account } = head
  return account._tag === "Opened"
    ? Effect.succeed(viewOf({ ...head, account }))
    : Effect.fail(new AccountNotFound({ account: account.id }))
}
