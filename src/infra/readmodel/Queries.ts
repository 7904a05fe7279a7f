/**
 * Answers queries from the read model: balances, statements by pages, transfers, sums. A query with a read token waits,
 * bounded, until the read model has reached the write that the token came from.
 */
import { Clock, Context, Effect, Latch, Layer, Option, Result, Schema } from "effect"
import type { HoldRow, OpenedHead, StatementLine, TransferRow } from "../../domain/Books.ts"
import {
  AccountNotFound,
  InvalidCommand,
  NotYetVisible,
  type QueryError,
  Unavailable
} from "../../domain/Errors.ts"
import type { EventType } from "../../domain/Event.ts"
import {
  AccountId,
  AnyCommandId,
  type CommandId,
  type Instant,
  instantMax,
  type Version
} from "../../domain/Ids.ts"
import { intervalFault } from "../../domain/InstantText.ts"
import type { Asset } from "../../domain/Money.ts"
import { lastOfEach, type Position, parseToken, printToken } from "../../domain/Receipt.ts"
import { Counterparty } from "../../domain/Views.ts"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { goesOn } from "../telemetry/GoesOn.ts"
import { AnswerClock } from "./AnswerClock.ts"
import { ProjectionWaiters } from "./ProjectionWaiters.ts"
import {
  type ContraBalance,
  type ExpiryPlace,
  expiringAfter,
  type LinesQuery,
  type ReadHead,
  ReadModel,
  type TimeAxis,
  type TrialLine
} from "./ReadModel.ts"

export interface PageRequest {
  /** `next` of the page before. */
  readonly cursor?: string | undefined
  /** Default 100; never more than `pageMax`. */
  readonly limit?: number | undefined
}

export interface Page<A> {
  readonly rows: ReadonlyArray<A>
  /** The cursor of the next page; undefined where there is none by now. */
  readonly next: string | undefined
}

export interface ReadConsistency {
  /**
   * From a receipt: the answer has at least that write in it, or the query fails with `NotYetVisible`. A transfer, and the lists of accounts and
   * of holds by expiry, wait for it and are not held against it: they may lack it while an account's rows are just read anew.
   */
  readonly readToken?: string | undefined
}

interface AccountsQuery extends PageRequest, ReadConsistency {
  /** Those that begin with it. */
  readonly prefix?: string | undefined
}

export interface StatementQuery extends PageRequest, ReadConsistency {
  /** Recorded (or, by `axis`, effective) at or after `from` and before `to`. */
  readonly from?: Instant | undefined
  readonly to?: Instant | undefined
  /** The order of the lines too; default `recorded`. */
  readonly axis?: TimeAxis | undefined
  /** Lines of these types alone; balances stay those of the account, with all its lines. */
  readonly types?: ReadonlyArray<EventType> | undefined
  /** Lines with this account or contra on the other side. */
  readonly counterparty?: string | undefined
}

interface HoldsQuery extends PageRequest, ReadConsistency {
  /** Those alone that expire before. */
  readonly expiringBefore?: Instant | undefined
}

interface HoldsByExpiryQuery extends PageRequest, ReadConsistency {
  /** Of accounts whose ids begin with it. */
  readonly prefix?: string | undefined
  readonly expiringBefore?: Instant | undefined
}

/** A page of a statement, with the balances at both ends of what was asked for (not of the page). */
interface StatementPage extends Page<StatementLine> {
  readonly asset: Asset
  /** The account's balance before `from` along the axis; zero where there is no `from`. */
  readonly opening: bigint
  /** The account's balance before `to` along the axis; of all its events where there is no `to`. */
  readonly closing: bigint
}

/** Answers are of the `books` projection: an account's row is the fold of its events `1 … account.version` (I8). */
export class Queries extends Context.Service<
  Queries,
  {
    readonly balance: (account: AccountId, asked?: ReadConsistency) => Effect.Effect<ReadHead, QueryError>
    /**
     * In recorded order (of version), or in effective order: each line with the account's balance after it in that
     * order. Pages in effective order are all as of the version that the account was at when the first was asked for.
     */
    readonly statement: (
      account: AccountId,
      asked?: StatementQuery
    ) => Effect.Effect<StatementPage, QueryError>
    /** By the id of its command; undefined when there is none, or it is not visible yet. */
    readonly transfer: (
      id: CommandId,
      asked?: ReadConsistency
    ) => Effect.Effect<TransferRow | undefined, QueryError>
    /** In order of id. */
    readonly accounts: (asked?: AccountsQuery) => Effect.Effect<Page<OpenedHead>, QueryError>
    /** Holds of an account that have not expired, in order of id. */
    readonly holds: (account: AccountId, asked?: HoldsQuery) => Effect.Effect<Page<HoldRow>, QueryError>
    /** Holds of all accounts that are going to expire, in order of when. */
    readonly holdsByExpiry: (asked?: HoldsByExpiryQuery) => Effect.Effect<Page<HoldRow>, QueryError>
    readonly contraBalances: Effect.Effect<ReadonlyArray<ContraBalance>, QueryError>
    readonly trialBalance: Effect.Effect<ReadonlyArray<TrialLine>, QueryError>
    /**
     * Waits until the read model has reached every position of the token, at most `queryDeadlineMs` from when what projects for this
     * process has started.
     */
    readonly awaitToken: (readToken: string) => Effect.Effect<void, QueryError>
  }
>()("chronicle/infra/Queries") {
  static readonly layer = Layer.effect(
    Queries,
    Effect.suspend(() => makeQueries)
  )
}

const rowsDefault = 100

/** More positions than the read token of a command on the most accounts has. */
const positionsMax = 2_500

const makeQueries = Effect.gen(function* () {
  const readModel = yield* ReadModel
  const { pageMax } = yield* ReadSideConfig
  const { awaitToken, visible } = yield* makeAwaitTokens

  const headOf = Effect.fnUntraced(function* (account: AccountId, reached: ReadonlyArray<Position>) {
    const head = (yield* answered(readModel.heads([account]))).get(account)
    yield* Effect.fromResult(notBefore(reached, account, head?.account.version ?? 0))
    return head ?? (yield* new AccountNotFound({ account }))
  })
  const balance = Effect.fn("Queries.balance")((account: AccountId, asked: ReadConsistency = {}) =>
    visible(asked.readToken, (reached) => headOf(account, reached))
  )

  const statement = Effect.fn("Queries.statement")(function* (
    account: AccountId,
    asked: StatementQuery = {}
  ) {
    const { axis = "recorded", cursor, types, counterparty } = asked
    const begin: LinesBegin =
      cursor === undefined ? {} : yield* Effect.fromResult(readLineCursor(axis, cursor))
    const limit = yield* Effect.fromResult(limitOf(asked, pageMax))
    const from = yield* Effect.fromResult(boundOf("from", asked.from))
    const to = yield* Effect.fromResult(boundOf("to", asked.to))
    const fault = intervalFault(from, to)
    if (fault !== undefined) return yield* InvalidCommand.at("from", fault)
    if (counterparty !== undefined && !isCounterparty(counterparty)) {
      return yield* InvalidCommand.at("counterparty", "must be the id of an account or of a contra account")
    }
    const { asset, opening, closing, version, lines } = yield* visible(
      asked.readToken,
      Effect.fnUntraced(function* (reached) {
        // One more than asked tells whether there is a next page.
        const found = yield* answered(
          readModel.statement({ account, axis, from, to, types, counterparty, limit: limit + 1, ...begin })
        )
        yield* Effect.fromResult(notBefore(reached, account, found?.version ?? 0, begin.upTo))
        return found ?? (yield* new AccountNotFound({ account }))
      })
    )
    const page = pageOf(lines, limit, (line) => printLineCursor(axis, line, version))
    return { ...page, asset, opening, closing }
  })

  return {
    balance,
    statement,
    transfer: Effect.fn("Queries.transfer")((id: CommandId, asked: ReadConsistency = {}) =>
      Effect.andThen(awaitToken(asked.readToken), answered(readModel.transfer(id)))
    ),
    accounts: Effect.fn("Queries.accounts")(function* (asked: AccountsQuery = {}) {
      const limit = yield* Effect.fromResult(limitOf(asked, pageMax))
      const after = asked.cursor === undefined ? "" : yield* Effect.fromResult(accountOf(asked.cursor))
      yield* awaitToken(asked.readToken)
      const heads = yield* answered(readModel.accounts({ prefix: asked.prefix, after, limit: limit + 1 }))
      return pageOf(heads, limit, (head) => head.account.id)
    }),
    ...(yield* makeHoldQueries(headOf, awaitToken, visible)),
    contraBalances: answered(readModel.contras).pipe(Effect.withSpan("Queries.contraBalances")),
    trialBalance: answered(readModel.trialBalance).pipe(Effect.withSpan("Queries.trialBalance")),
    awaitToken
  } satisfies Queries["Service"]
})

/**
 * Fails where an answer is of an earlier version than the one that its token was found to have reached: the rows of an account go back where
 * they turn out not to be of the log and are reloaded, or where the read model lost some. `upTo` is the version that is asked for, of which
 * further pages are.
 */
const notBefore = (
  reached: ReadonlyArray<Position>,
  account: AccountId,
  version: Version,
  upTo = Number.POSITIVE_INFINITY
): Result.Result<void, NotYetVisible> => {
  const wanted = reached.find((one) => one.account === account)
  return wanted === undefined || version >= Math.min(wanted.version, upTo)
    ? Result.succeed(undefined)
    : Result.fail(
        new NotYetVisible({ wanted: printToken([wanted]), reached: printToken([{ account, version }]) })
      )
}

const makeHoldQueries = Effect.fnUntraced(function* (
  headOf: (account: AccountId, reached: ReadonlyArray<Position>) => Effect.Effect<OpenedHead, QueryError>,
  awaitToken: AwaitTokens["awaitToken"],
  visible: AwaitTokens["visible"]
) {
  const readModel = yield* ReadModel
  const now = yield* AnswerClock
  const { pageMax } = yield* ReadSideConfig
  return {
    holds: Effect.fn("Queries.holds")(function* (account: AccountId, asked: HoldsQuery = {}) {
      const limit = yield* Effect.fromResult(limitOf(asked, pageMax))
      const before = yield* Effect.fromResult(boundOf("expiringBefore", asked.expiringBefore))
      const after = asked.cursor === undefined ? "" : yield* Effect.fromResult(holdIdOf(asked.cursor))
      const rows = yield* visible(
        asked.readToken,
        Effect.fnUntraced(function* (reached) {
          // The account's own time may be ahead of this node's.
          const { recordedAt } = yield* headOf(account, reached)
          const openAt = Math.max(yield* now, recordedAt)
          const found = yield* answered(readModel.holds({ account, openAt, before, after, limit: limit + 1 }))
          // The rows may have gone back between the two statements.
          if (reached.length > 0) yield* headOf(account, reached)
          return found
        })
      )
      return pageOf(rows, limit, ({ hold }) => hold)
    }),
    holdsByExpiry: Effect.fn("Queries.holdsByExpiry")(function* (asked: HoldsByExpiryQuery = {}) {
      const limit = yield* Effect.fromResult(limitOf(asked, pageMax))
      const before = yield* Effect.fromResult(boundOf("expiringBefore", asked.expiringBefore))
      const place =
        asked.cursor === undefined ? undefined : yield* Effect.fromResult(readExpiryCursor(asked.cursor))
      yield* awaitToken(asked.readToken)
      const open = expiringAfter(yield* now)
      const rows = yield* answered(
        readModel.holdsByExpiry({
          // What expired since the page before is left out.
          after: place !== undefined && place.expiresAt > open.expiresAt ? place : open,
          before: before ?? instantMax + 1,
          prefix: asked.prefix,
          limit: limit + 1
        })
      )
      return pageOf(rows, limit, printExpiryCursor)
    })
  } satisfies Partial<Queries["Service"]>
})

/**
 * Looks into the read model for as long as queries wait. Projectors of this process wake the waiters for their accounts; for accounts that
 * other processes project, one statement a poll serves all waiters.
 */
const keepLooking = Effect.gen(function* () {
  const readModel = yield* ReadModel
  const waiters = yield* ProjectionWaiters
  const { tokenPollMs, tokenSoonMs } = yield* ReadSideConfig

  const look = (awaited: ReadonlyArray<AccountId>) =>
    Effect.gen(function* () {
      if (awaited.length === 0) return
      for (const [account, version] of yield* readModel.versions(awaited))
        waiters.reachedUnsafe(account, version)
    }).pipe(Effect.ignore, goesOn("the look for queries"))
  const isWaiting = Latch.makeUnsafe(false)
  const leave = waiters.onJoinUnsafe(() => isWaiting.openUnsafe())
  yield* Effect.addFinalizer(() => Effect.sync(leave))
  const awaitSome = Effect.suspend(() => {
    if (!waiters.isAwaitedUnsafe()) isWaiting.closeUnsafe()
    return isWaiting.await
  })
  // A waiter that joined between the commit of a batch and `reachedUnsafe` was not woken by it.
  yield* awaitSome.pipe(
    Effect.andThen(Effect.sleep(tokenPollMs)),
    Effect.andThen(Effect.suspend(() => look(waiters.awaitedUnsafe("here")))),
    Effect.forever,
    Effect.forkScoped
  )
  /** Soon after a waiter joined, then at growing intervals, for a write is rarely far behind. No statement without a waiter. */
  const lookElsewhere = Effect.gen(function* () {
    yield* waiters.joinedElsewhere
    let pauseMs = tokenSoonMs
    while (waiters.awaitedUnsafe("elsewhere").length > 0) {
      yield* Effect.sleep(pauseMs)
      if (waiters.hasJoinedElsewhereUnsafe()) {
        yield* waiters.joinedElsewhere
        pauseMs = tokenSoonMs
      } else pauseMs = Math.min(pauseMs * 2, tokenPollMs)
      yield* look(waiters.awaitedUnsafe("elsewhere"))
    }
  })
  yield* lookElsewhere.pipe(Effect.forever, Effect.forkScoped)
})

/**
 * One query waits for no more than one in so many of the positions that may be waited for at once, and for its others after those: a few
 * long tokens would leave no place to all other queries.
 */
const placesOfOne = 500

/** Waits for positions, one of each account. */
const makeAwaitPositions = Effect.gen(function* () {
  const readModel = yield* ReadModel
  const waiters = yield* ProjectionWaiters
  const { tokenWaitersMax } = yield* ReadSideConfig
  const placesMax = Math.max(1, Math.floor(tokenWaitersMax / placesOfOne))
  yield* keepLooking

  /** The positions that are not reached, each with the version that its account is at. */
  const missingOf = Effect.fnUntraced(function* (positions: ReadonlyArray<Position>) {
    const versions = yield* readModel.versions(positions.map((position) => position.account))
    const looked = positions.map((wanted) => ({ wanted, reached: versions.get(wanted.account) ?? 0 }))
    return looked.filter(({ wanted, reached }) => reached < wanted.version)
  })

  /** Answers whether all were reached: not where there is no place to wait. */
  const reachAll = Effect.fnUntraced(function* (missing: ReadonlyArray<Position>) {
    let left = missing
    while (left.length > 0) {
      const waits = yield* Effect.forEach(left.slice(0, placesMax), (position) => waiters.await(position), {
        concurrency: "unbounded"
      })
      if (!waits.every(Option.isSome)) return false
      const others = left.slice(placesMax)
      // Mostly they were reached with those that were waited for.
      left = others.length === 0 ? [] : (yield* missingOf(others)).map(({ wanted }) => wanted)
    }
    return true
  })

  return (
    positions: ReadonlyArray<Position>,
    withinMs: number
  ): Effect.Effect<void, Unavailable | NotYetVisible> =>
    Effect.gen(function* () {
      const missing = (yield* missingOf(positions)).map(({ wanted }) => wanted)
      if (missing.length === 0) return
      const isReached = yield* waiters.inTime(reachAll(missing), withinMs)
      if (Option.contains(isReached, true)) return
      const still = yield* missingOf(missing)
      if (still.length === 0) return
      return yield* new NotYetVisible({
        wanted: printToken(still.map(({ wanted }) => wanted)),
        reached: printToken(still.map(({ wanted, reached }) => ({ ...wanted, version: reached })))
      })
    }).pipe(Effect.catchTag("StoreUnavailable", (error) => Effect.fail(unavailable(error))))
})

interface AwaitTokens {
  readonly awaitToken: (token: string | undefined) => Effect.Effect<void, QueryError>
  /**
   * What `answer` finds once the read token was reached, of which it is given one position of each account. Where it is `NotYetVisible`, as
   * the rows have gone back meanwhile, they are waited for again, within the deadline.
   */
  readonly visible: <A>(
    token: string | undefined,
    answer: (reached: ReadonlyArray<Position>) => Effect.Effect<A, QueryError>
  ) => Effect.Effect<A, QueryError>
}

const makeAwaitTokens = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const { queryDeadlineMs } = yield* LedgerConfig
  const { tokenPollMs } = yield* ReadSideConfig
  const awaitPositions = yield* makeAwaitPositions

  const awaitAll = Effect.fnUntraced(function* (token: string | undefined, withinMs: number) {
    if (token === undefined) return []
    const positions = yield* Effect.fromResult(parseToken(token))
    if (positions.length > positionsMax)
      return yield* InvalidCommand.at("readToken", `has more than ${positionsMax} positions`)
    const last = lastOfEach(positions)
    yield* awaitPositions(last, withinMs)
    return last
  })

  const awaitToken: AwaitTokens["awaitToken"] = (token) => Effect.asVoid(awaitAll(token, queryDeadlineMs))
  const visible: AwaitTokens["visible"] = (token, answer) =>
    Effect.gen(function* () {
      const startedMs = elapsedMsUnsafe(clock)
      let leftMs = queryDeadlineMs
      while (true) {
        const found = yield* Effect.result(answer(yield* awaitAll(token, leftMs)))
        leftMs = queryDeadlineMs - (elapsedMsUnsafe(clock) - startedMs) - tokenPollMs
        if (Result.isSuccess(found) || found.failure._tag !== "NotYetVisible" || leftMs <= 0)
          return yield* Effect.fromResult(found)
        yield* Effect.sleep(tokenPollMs)
      }
    })
  return { awaitToken, visible }
})

const isAccountId = Schema.is(AccountId)
const isCounterparty = Schema.is(Counterparty)

const notACursor = (cursor: string) =>
  InvalidCommand.at("cursor", `"${cursor.slice(0, 40)}" is no cursor of this query`)

/** In recorded order the version of a line; in effective order its instant and version, and the account's version. */
const printLineCursor = (axis: TimeAxis, { effectiveAt, version }: StatementLine, upTo: Version): string =>
  axis === "recorded" ? String(version) : `${effectiveAt}.${version}.${upTo}`

const readLineCursor = (axis: TimeAxis, cursor: string): Result.Result<LinesBegin, InvalidCommand> => {
  const numbers = /^\d{1,15}(\.\d{1,15}){0,2}$/.test(cursor) ? cursor.split(".").map(Number) : []
  const [first = 0, version, upTo] = numbers
  if (axis === "recorded" && numbers.length === 1) {
    return Result.succeed({ after: { version: first, effectiveAt: 0 } })
  }
  return axis === "effective" && version !== undefined && upTo !== undefined && first <= instantMax
    ? Result.succeed({ after: { version, effectiveAt: first }, upTo })
    : Result.fail(notACursor(cursor))
}

/** Where a page of a statement begins, and the version that it is of. */
type LinesBegin = Pick<LinesQuery, "after" | "upTo">

const isHoldId = Schema.is(AnyCommandId)

const holdIdOf = (cursor: string): Result.Result<string, InvalidCommand> =>
  isHoldId(cursor) ? Result.succeed(cursor) : Result.fail(notACursor(cursor))

/** `expiresAt.account.hold`: no account's id has a dot. */
const printExpiryCursor = ({ expiresAt, account, hold }: HoldRow): string => `${expiresAt}.${account}.${hold}`

const readExpiryCursor = (cursor: string): Result.Result<ExpiryPlace, InvalidCommand> => {
  const [, digits = "", account = "", hold = ""] = /^(\d{1,15})\.([^.]+)\.(.+)$/.exec(cursor) ?? []
  const expiresAt = Number(digits)
  return digits !== "" && expiresAt <= instantMax && isAccountId(account) && isHoldId(hold)
    ? Result.succeed({ expiresAt, account, hold })
    : Result.fail(notACursor(cursor))
}

const accountOf = (cursor: string): Result.Result<string, InvalidCommand> =>
  isAccountId(cursor) ? Result.succeed(cursor) : Result.fail(notACursor(cursor))

/** A bound beyond all instants is just behind the last of them, which is before it as the others are. */
const boundOf = (
  path: string,
  bound: number | undefined
): Result.Result<Instant | undefined, InvalidCommand> => {
  if (bound === undefined) return Result.succeed(undefined)
  return Number.isInteger(bound)
    ? Result.succeed(Math.min(Math.max(bound, 0), instantMax + 1))
    : Result.fail(InvalidCommand.at(path, "must be epoch milliseconds, a whole number"))
}

export const limitOf = (
  { limit }: PageRequest,
  max: number,
  otherwise = rowsDefault
): Result.Result<number, InvalidCommand> => {
  if (limit === undefined) return Result.succeed(Math.min(otherwise, max))
  return Number.isInteger(limit) && limit >= 1
    ? Result.succeed(Math.min(limit, max))
    : Result.fail(InvalidCommand.at("limit", "must be a whole number of 1 or more"))
}

const pageOf = <A>(found: ReadonlyArray<A>, limit: number, cursorOf: (row: A) => string): Page<A> => {
  const rows = found.slice(0, limit)
  const last = rows.at(-1)
  return { rows, next: found.length > limit && last !== undefined ? cursorOf(last) : undefined }
}

const unavailable = (error: StoreUnavailable): Unavailable =>
  new Unavailable({ what: error.store, reason: error.reason })

const answered = <A>(self: Effect.Effect<A, StoreUnavailable>): Effect.Effect<A, Unavailable> =>
  Effect.mapError(self, unavailable)
