/** Questions about the `books` projection in PostgreSQL: constant SQL, one statement each. */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Effect, Exit, Latch, Request, RequestResolver } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import type { ReadSideLimits } from "../config/ReadSideConfig.ts"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { columns, int8Value, minorUnits, text, textArray } from "../postgres/Columns.ts"
import { statementOf, toStatement } from "./AccountStatement.ts"
import { contraEntries } from "./BooksProjection.ts"
import { inPrefix, prefixParams } from "./IdRanges.ts"
import { sumOf, toSums } from "./PrefixSums.ts"
import type { ReadHead, ReadModelReads, TrialLine } from "./ReadModel.ts"
import {
  balanceColumns,
  contraBalanceColumns,
  holdColumns,
  toHead,
  transferColumns
} from "./ReadModelRows.ts"
import { makeQuery } from "./ReadModelSql.ts"
import { skippedChanges } from "./SkippedChanges.ts"

/** The row of a parked account may go back while it is read anew; its parking is there before that, and until all of it is there again. */
const isParked = (account: string) =>
  `EXISTS (SELECT 1 FROM books_v1_parked_accounts p WHERE p.account = ${account})`

const heads = `
  SELECT ${balanceColumns.list}, ${isParked("wanted.id")} FROM unnest($1::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT * FROM books_v1_balances b WHERE b.account = wanted.id LIMIT 1) AS found`

const head = `SELECT ${balanceColumns.list}, ${isParked("b.account")} FROM books_v1_balances b WHERE account = $1`

const versions = `
  SELECT wanted.id, found.version FROM unnest($1::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT b.version FROM books_v1_balances b WHERE b.account = wanted.id LIMIT 1) AS found`

const accounts = `
  SELECT ${balanceColumns.list} FROM books_v1_balances
  WHERE account > $1 AND ${inPrefix("account", 2)} ORDER BY account LIMIT $4`

const transfer = `SELECT ${transferColumns.list} FROM books_v1_transfers WHERE id = $1`

const holds = `
  SELECT ${holdColumns.list} FROM books_v1_holds
  WHERE account = $1 AND hold > $2 AND (expires_at IS NULL OR expires_at > $3)
    AND ($4::timestamptz IS NULL OR expires_at < $4) ORDER BY hold LIMIT $5`

const holdsByExpiry = `
  SELECT ${holdColumns.list} FROM books_v1_holds
  WHERE (expires_at, account, hold) > ($1, $2, $3) AND expires_at < $4 AND ${inPrefix("account", 5)}
  ORDER BY expires_at, account, hold LIMIT $7`

/** One statement, one snapshot: between two, an account may be parked and its rows read anew, or be exchanged by a rebuild. */
const expiringHolds = `
  SELECT ${holdColumns.list},
    ${isParked("h.account")},
    ARRAY(SELECT s.version::text FROM books_v1_skipped s WHERE s.account = h.account)
  FROM books_v1_holds h WHERE (expires_at, account, hold) > ($1, $2, $3) AND expires_at < $4
  ORDER BY expires_at, account, hold LIMIT $5`

const contras = `
  SELECT contra, asset, sum(balance)::text FROM books_v1_contra GROUP BY contra, asset ORDER BY contra, asset`

const trial = `
  SELECT asset, sum(inside)::text, sum(outside)::text FROM (
    SELECT asset, sum(balance) AS inside, 0 AS outside FROM books_v1_balances GROUP BY asset
    UNION ALL
    SELECT asset, 0, sum(balance) FROM books_v1_contra GROUP BY asset
  ) AS sides GROUP BY asset ORDER BY asset COLLATE "C"`

/**
 * One statement, one snapshot: the sums as they are, less what was recorded after the instant, and how many accounts are parked. Of the
 * assets that accounts had by then alone: an asset that came later would be a further line in the answer to the same question (I9).
 */
const trialAt = `
  SELECT parked.count, asset, inside, outside FROM (SELECT count(*) FROM books_v1_parked_accounts) AS parked
  LEFT JOIN (
    SELECT asset, sum(inside)::text AS inside, sum(outside)::text AS outside FROM (
      SELECT asset, sum(balance) AS inside, 0 AS outside, count(*) AS accounts FROM books_v1_balances GROUP BY asset
      UNION ALL
      SELECT asset, -sum(amount), coalesce(sum(amount) FILTER (
        WHERE type IN ('Deposited', 'Withdrawn') OR (type = 'HoldCaptured' AND counterparty LIKE 'external:%')
      ), 0), -count(*) FILTER (WHERE type = 'AccountOpened')
      FROM books_v1_statement_lines WHERE recorded_at > $1 GROUP BY asset
      UNION ALL
      SELECT asset, -sum(amount), 0, 0 FROM (${skippedChanges("true")}) AS skipped WHERE counted_from > $1 GROUP BY asset
      UNION ALL
      SELECT entry.asset, 0, -sum(entry.amount), 0 FROM books_v1_statement_lines l, ${contraEntries("l")}
      WHERE l.recorded_at > $1 AND l.contras IS NOT NULL GROUP BY entry.asset
      UNION ALL
      SELECT asset, 0, sum(balance), 0 FROM books_v1_contra GROUP BY asset
    ) AS sides GROUP BY asset
    HAVING sum(accounts) > 0 OR sum(inside) <> 0 OR sum(outside) <> 0
  ) AS lines ON true ORDER BY asset COLLATE "C"`

const trialColumns = columns<Omit<TrialLine, "total">>({
  asset: ["asset", text<Asset>()],
  accounts: ["inside", minorUnits],
  contras: ["outside", minorUnits]
})

const toTrialLine = (row: ReadonlyArray<unknown>, offset = 0): TrialLine => {
  const sums = trialColumns.decode(row, offset)
  return { ...sums, total: sums.accounts + sums.contras }
}

type Query = (
  text: string,
  params: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, StoreUnavailable>

const makeHoldReads = (query: Query): Pick<ReadModelReads, "holds" | "holdsByExpiry" | "expiringHolds"> => ({
  holds: ({ account, after = "", openAt, before, limit }) =>
    Effect.map(
      query(holds, [
        PgTypes.text(account),
        PgTypes.text(after),
        PgTypes.timestamptz(openAt),
        before === undefined ? null : PgTypes.timestamptz(before),
        int8Value(limit)
      ]),
      (rows) => rows.map((row) => holdColumns.decode(row))
    ),
  holdsByExpiry: ({ after, before, prefix = "", limit }) =>
    Effect.map(
      query(holdsByExpiry, [
        PgTypes.timestamptz(after.expiresAt),
        PgTypes.text(after.account),
        PgTypes.text(after.hold),
        PgTypes.timestamptz(before),
        ...prefixParams(prefix),
        int8Value(limit)
      ]),
      (rows) => rows.map((row) => holdColumns.decode(row))
    ),
  expiringHolds: ({ after, before, limit }) =>
    Effect.map(
      query(expiringHolds, [
        PgTypes.timestamptz(after.expiresAt),
        PgTypes.text(after.account),
        PgTypes.text(after.hold),
        PgTypes.timestamptz(before),
        int8Value(limit)
      ]),
      (rows) =>
        rows.map((row) => ({
          ...holdColumns.decode(row),
          isParked: row[holdColumns.size] === true,
          skipped: (row[holdColumns.size + 1] as ReadonlyArray<string>).map(Number) // an array of texts
        }))
    )
})

export const makeBooksReads = (
  sql: PgClient,
  limits: Pick<
    ReadSideLimits,
    "pageMax" | "headStatementsMax" | "sumAccountsMax" | "connectMs" | "readModelStatementMs"
  >
): ReadModelReads => {
  const query: Query = makeQuery(sql, limits)

  const headsOf = (accounts: ReadonlyArray<AccountId>) => {
    const [only] = accounts
    const rows =
      only !== undefined && accounts.length === 1
        ? query(head, [PgTypes.text(only)])
        : query(heads, [textArray(accounts)])
    return Effect.map(rows, (found) => new Map(found.map(toReadHead).map((one) => [one.account.id, one])))
  }
  /** By far the most frequent question of all. */
  const headOf = makeHeadLookup(headsOf, {
    statementsMax: limits.headStatementsMax,
    accountsMax: limits.pageMax
  })

  return {
    heads: (accounts) => {
      const [only] = accounts
      return only !== undefined && accounts.length === 1
        ? Effect.map(headOf(only), (found) => new Map(found === undefined ? [] : [[only, found]]))
        : headsOf(accounts)
    },
    versions: (accounts) =>
      Effect.map(
        query(versions, [textArray(accounts)]),
        // One of `accounts`.
        (rows) => new Map(rows.map((row) => [row[0] as AccountId, Number(row[1])]))
      ),
    accounts: ({ prefix = "", after, limit }) =>
      Effect.map(query(accounts, [PgTypes.text(after), ...prefixParams(prefix), int8Value(limit)]), (rows) =>
        rows.map((row) => toHead(row))
      ),
    sum: (asked) => {
      const { text, params } = sumOf(asked, limits.sumAccountsMax)
      return Effect.map(query(text, params), toSums)
    },
    statement: (asked) => {
      const { text, params } = statementOf(asked)
      return Effect.map(query(text, params), toStatement)
    },
    transfer: (id) =>
      Effect.map(query(transfer, [PgTypes.text(id)]), ([row]) =>
        row === undefined ? undefined : transferColumns.decode(row)
      ),
    ...makeHoldReads(query),
    contras: Effect.map(query(contras, []), (rows) => rows.map((row) => contraBalanceColumns.decode(row))),
    trialBalance: Effect.map(query(trial, []), (rows) => rows.map((row) => toTrialLine(row))),
    trialBalanceAt: (instant) =>
      Effect.map(query(trialAt, [PgTypes.timestamptz(instant)]), (rows) => ({
        sums: rows.filter((row) => row[1] !== null).map((row) => toTrialLine(row, 1)),
        parked: Number(rows[0]?.[0])
      }))
  }
}

const toReadHead = (row: ReadonlyArray<unknown>): ReadHead => ({
  ...toHead(row),
  isParked: row[balanceColumns.size] === true
})

interface HeadOf extends Request.Request<ReadHead | undefined, StoreUnavailable> {
  readonly _tag: "HeadOf"
  readonly account: AccountId
}
const HeadOf = Request.tagged<HeadOf>("HeadOf")

type Heads = ReadonlyMap<AccountId, ReadHead>

/**
 * Looks up the head of one account, by one statement for all fibers that ask while others are under way. As with
 * commits there is no timer: a question is sent at once where a statement may start, and the busier the database, the
 * more questions share one. None joins a statement that was sent before, so each answer has all that was written
 * before its question.
 */
export const makeHeadLookup = (
  look: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<Heads, StoreUnavailable>,
  limits: { readonly statementsMax: number; readonly accountsMax: number }
): ((account: AccountId) => Effect.Effect<ReadHead | undefined, StoreUnavailable>) => {
  const free = Latch.makeUnsafe(true)
  let running = 0
  const begin = Effect.sync(() => {
    running++
    if (running >= limits.statementsMax) free.closeUnsafe()
  })
  const end = Effect.sync(() => {
    running--
    if (running < limits.statementsMax) free.openUnsafe()
  })
  const resolver = RequestResolver.make<HeadOf>((asked) =>
    Effect.acquireUseRelease(
      begin,
      () =>
        Effect.map(look([...new Set(asked.map(({ request }) => request.account))]), (heads) =>
          answer(asked, heads)
        ),
      () => end
    )
  ).pipe(
    // The fibers that are awake say what they ask for before the first of them is answered.
    RequestResolver.setDelayEffect(Effect.andThen(Effect.yieldNow, free.await)),
    RequestResolver.batchN(limits.accountsMax)
  )
  return (account) => Effect.request(HeadOf({ account }), resolver)
}

const answer = (asked: ReadonlyArray<Request.Entry<HeadOf>>, heads: Heads): void => {
  for (const entry of asked) entry.completeUnsafe(Exit.succeed(heads.get(entry.request.account)))
}
