/** How a node answers the commands and queries of `Ledger`, each from the part of the node that knows. */
import { Effect, Layer, Option, Semaphore, Stream } from "effect"
import { SecureRandom } from "effect/crypto"
import { Placement, type Placing } from "./actors/accounts/Placement.ts"
import { Audit, type AuditProgress } from "./actors/audit/Audit.ts"
import { Dispatcher } from "./actors/commands/Dispatcher.ts"
import { traced } from "./actors/commands/TracedDispatch.ts"
import { findCommand } from "./actors/past/FindCommand.ts"
import { History } from "./actors/past/History.ts"
import { Sums } from "./actors/past/Sums.ts"
import { type AsOf, TimeTravel } from "./actors/past/TimeTravel.ts"
import { TrialBalance } from "./actors/past/TrialBalance.ts"
import { Completeness } from "./actors/projections/Completeness.ts"
import { type SingletonState, Singletons } from "./actors/relay/Singletons.ts"
import { unwrapSource } from "./actors/subscriptions/ItemSource.ts"
import { Subscriptions } from "./actors/subscriptions/Subscriptions.ts"
import {
  dispatchChecked,
  type GroupMemberInput,
  type GroupOptions,
  makeReadCommand,
  toGroup
} from "./CommandMethods.ts"
import type { HoldRow } from "./domain/Books.ts"
import type { CommandInput } from "./domain/Command.ts"
import { AccountNotFound, type CommandError, Overloaded, Unavailable } from "./domain/Errors.ts"
import type { Head } from "./domain/Head.ts"
import type { AccountId, Instant } from "./domain/Ids.ts"
import type { Receipt } from "./domain/Receipt.ts"
import { type AccountView, holdViewOf, listedViewOf, viewOf } from "./domain/Views.ts"
import { EventStore } from "./infra/eventstore/EventStore.ts"
import { AnswerClock } from "./infra/readmodel/AnswerClock.ts"
import { type Page, Queries, type ReadConsistency } from "./infra/readmodel/Queries.ts"
import { ReadModel } from "./infra/readmodel/ReadModel.ts"
import { Ledger } from "./LedgerService.ts"
import { methodsOf, type QueryAnswers } from "./QueryMethods.ts"

export type { Past } from "./LedgerQueries.ts"
export { Ledger } from "./LedgerService.ts"

/** Over the services of one node; `LedgerNode.layer` and `LedgerNode.layerMemory` bring them along. */
export const layer = Layer.effect(
  Ledger,
  Effect.suspend(() => make)
)

const makeCommands = Effect.gen(function* () {
  const dispatcher = yield* Dispatcher
  const send = traced(dispatcher)
  const read = makeReadCommand(yield* SecureRandom.SecureRandom)

  const dispatch = (input: CommandInput): Effect.Effect<Receipt, CommandError> =>
    Effect.suspend(() => dispatcher.precheck(input) ?? Effect.flatMap(read(input), send.dispatch))

  const dispatchMany = (inputs: ReadonlyArray<CommandInput>) =>
    dispatchChecked(inputs, read, send.dispatchMany)

  return {
    dispatch,
    dispatchMany,
    dispatchAll: (commands: ReadonlyArray<GroupMemberInput>, options?: GroupOptions) =>
      dispatch(toGroup(commands, options))
  }
})

/** A second audit would take the connections and the processor of the commands, and tell nothing that the first does not. */
const auditsMax = 1
/** When a caller may ask for an audit again while another runs, in milliseconds. */
const auditRetryMs = 5_000

/** Accounts that one answer lists; of more parked ones, something else is wrong than each of them. */
const parkedMax = 1_000

type OnAuditProgress = (progress: AuditProgress) => void

const makeVerify = Effect.fnUntraced(function* (onProgress?: OnAuditProgress) {
  const audit = yield* Audit
  const readModel = yield* ReadModel
  const permits = Semaphore.makeUnsafe(auditsMax)

  const verify = Effect.fnUntraced(function* (account: AccountId | undefined) {
    const report = yield* audit.verify({
      ...(account === undefined ? {} : { account }),
      ...(onProgress === undefined ? {} : { onProgress })
    })
    if (account !== undefined && report.events === 0 && report.ok)
      return yield* new AccountNotFound({ account })
    const skipped = yield* readModel.skipped
    return { ...report, skipped: skipped.filter((row) => account === undefined || row.account === account) }
  })

  return Effect.fn("Ledger.verify")(function* ({ account }: { readonly account?: AccountId | undefined }) {
    const done = yield* permits
      .withPermitsIfAvailable(1)(verify(account))
      .pipe(
        Effect.catchTag("StoreUnavailable", ({ told }) =>
          Effect.fail(new Unavailable({ what: "the audit", reason: told }))
        )
      )
    if (Option.isSome(done)) return done.value
    return yield* new Overloaded({ what: "the audit of this node", retryAfterMs: auditRetryMs })
  })
})

/** A balance of the read model, and whether its account was parked as it was read. */
const makeReadBalance = Effect.gen(function* () {
  const queries = yield* Queries
  const now = yield* AnswerClock
  return Effect.fnUntraced(function* ({
    account,
    ...options
  }: ReadConsistency & { readonly account: AccountId }) {
    const head = yield* queries.balance(account, options)
    return { view: viewOf(head, notBefore(head, yield* now)), isParked: head.isParked }
  })
})

/** What the log and the read model answer by themselves, whether a node runs or not. */
const makeStoreAnswers = Effect.fnUntraced(function* (onAuditProgress?: OnAuditProgress) {
  const history = yield* History
  const travel = yield* TimeTravel
  const queries = yield* Queries
  const trial = yield* TrialBalance
  const store = yield* EventStore
  const sums = yield* Sums
  const readModel = yield* ReadModel
  const now = yield* AnswerClock
  const readBalance = yield* makeReadBalance

  return {
    balance: (payload) => Effect.map(readBalance(payload), ({ view }) => view),
    balanceAt: Effect.fn("Ledger.balanceAt")(function* ({ account, version, recordedAt = 0 }) {
      // Exactly one of the two was given.
      const asOf: AsOf =
        version === undefined ? { _tag: "RecordedAt", instant: recordedAt } : { _tag: "Version", version }
      const { head } = yield* travel.at(account, asOf)
      const view = yield* opened(head, version === undefined ? recordedAt : head.recordedAt)
      return {
        ...view,
        eventsRead: view.version,
        ...(version === undefined ? { knownAt: recordedAt } : {})
      }
    }),
    history: ({ account, ...page }) => history.events(account, page),
    statement: ({ account, ...options }) => queries.statement(account, options),
    holds: ({ account, ...options }) => Effect.map(queries.holds(account, options), toHoldViews),
    holdsByExpiry: (options) => Effect.map(queries.holdsByExpiry(options), toHoldViews),
    transfer: ({ commandId, ...options }) =>
      Effect.map(queries.transfer(commandId, options), Option.fromUndefinedOr),
    find: ({ commandId }) => findCommand(store, commandId),
    accounts: (page) =>
      Effect.zipWith(queries.accounts(page), now, ({ rows, next }, at) => ({
        rows: rows.map((head) => listedViewOf(head, notBefore(head, at))),
        next
      })),
    sum: ({ prefix, ...options }) => sums.sum(prefix, options),
    contraBalances: () => queries.contraBalances,
    trialBalance: () => queries.trialBalance,
    parked: () =>
      Effect.mapError(
        readModel.firstParked(parkedMax),
        ({ store: what, reason }) => new Unavailable({ what, reason })
      ),
    trialBalanceAt: ({ recordedAt }) => trial.at(recordedAt),
    verify: yield* makeVerify(onAuditProgress)
  } satisfies Partial<QueryAnswers>
})

/** What a node answers from its read side and the log, whether it takes commands or not. */
const makeReadSideAnswers = Effect.gen(function* () {
  const stores = yield* makeStoreAnswers()
  const readBalance = yield* makeReadBalance
  const completeness = yield* Completeness
  const subscriptions = yield* Subscriptions
  return {
    ...stores,
    balance: Effect.fnUntraced(function* (payload) {
      // Taken before the query: what a later comparison with the log finds need not be in the answer.
      const reached = completeness.completeToUnsafe()
      const { view, isParked } = yield* readBalance(payload)
      return { ...view, completeTo: isParked ? view.recordedAt : Math.max(view.recordedAt, reached) }
    }),
    subscribe: subscriptions.subscribe
  } satisfies Partial<QueryAnswers>
})

const makeAnswers = Effect.gen(function* () {
  const dispatcher = yield* Dispatcher
  const placement = yield* Placement
  const singletons = yield* Singletons
  const now = yield* AnswerClock
  return {
    ...(yield* makeReadSideAnswers),
    strongBalance: Effect.fn("Ledger.strongBalance")(function* ({ account }) {
      const { head, at } = yield* dispatcher.head(account)
      // Of its owner's clock, so that it is told of the same holds whichever node is asked.
      return yield* opened(head, at ?? notBefore(head, yield* now))
    }),
    stats: () => Effect.sync(() => dispatcher.stats()),
    nodes: () =>
      Effect.sync(() => ({
        ...nodesOf(dispatcher.node, placement),
        duties: singletons.statesUnsafe().map(toDuty)
      }))
  } satisfies QueryAnswers
})

const toDuty = ({ name, node, silentMs, isUnowned }: SingletonState) => ({
  duty: name,
  ...(node === undefined ? {} : { node }),
  silentMs: Math.round(silentMs),
  isUnowned
})

const withoutCommands = Effect.suspend(() =>
  Effect.fail(
    new Unavailable({
      what: "this node",
      reason: "it runs the read side alone: send commands, and questions to them, to a node of commands"
    })
  )
)

/** Of a node of the read side alone. */
export const layerWithoutCommands = Layer.effect(
  Ledger,
  Effect.gen(function* () {
    const answers = {
      ...(yield* makeReadSideAnswers),
      strongBalance: () => withoutCommands,
      stats: () => withoutCommands,
      nodes: () => withoutCommands
    }
    return {
      dispatch: () => withoutCommands,
      dispatchMany: (commands) =>
        dispatchChecked(
          commands,
          () => withoutCommands,
          () => Effect.succeed([])
        ),
      dispatchAll: () => withoutCommands,
      ...methodsOf(answers, unwrapSource)
    }
  })
)

/** This node and those that it is connected with. A shard that moves is claimed by neither for a moment, or by both. */
const nodesOf = (own: string, placement: Placing) => {
  const { rule, owned } = placement.ownedShards()
  const nodes = [
    { node: own, isAsked: true, shards: owned },
    ...placement.others().map((one) => ({ ...one, isAsked: false }))
  ]
  const known = new Set(nodes.flatMap((one) => one.shards))
  const numbers = Array.from({ length: rule.shards }, (_, index) => index + 1)
  return { shards: rule.shards, nodes, unowned: numbers.filter((shard) => !known.has(shard)) }
}

const withoutNode = Effect.suspend(() =>
  Effect.fail(new Unavailable({ what: "the stores", reason: "this is a question to a running node" }))
)

/** The questions alone, over the stores alone: for the command line where no node answers. */
export const makeStoreQueries = (onAuditProgress: OnAuditProgress) =>
  Effect.map(makeStoreAnswers(onAuditProgress), (answers) =>
    methodsOf(
      {
        ...answers,
        strongBalance: () => withoutNode,
        stats: () => withoutNode,
        nodes: () => withoutNode,
        subscribe: () => Stream.fromEffect(withoutNode)
      },
      unwrapSource
    )
  )

const make = Effect.gen(function* () {
  return { ...(yield* makeCommands), ...methodsOf(yield* makeAnswers, unwrapSource) }
})

const toHoldViews = ({ rows, next }: Page<HoldRow>) => ({ rows: rows.map(holdViewOf), next })

/** The instant of an answer about an account, whose own time may be ahead of this node's. */
const notBefore = ({ recordedAt }: Head, now: Instant): Instant => Math.max(now, recordedAt)

const opened = (head: Head, at: Instant): Effect.Effect<AccountView, AccountNotFound | Unavailable> => {
  const { account } = head
  return account._tag === "Opened"
    ? Effect.succeed(viewOf({ ...head, account }, at))
    : Effect.fail(new AccountNotFound({ account: account.id }))
}
