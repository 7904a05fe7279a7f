/** Questions about the `books` projection enter; rows leave. Constant SQL, one statement each. */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Effect, Exit, Latch, Request, RequestResolver } from "effect"
import type { OpenedHead } from "../../domain/Books.ts"
import type { AccountId, Instant } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import type { ReadSideLimits } from "../config/ReadSideConfig.ts"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { int8Value, textArray } from "../postgres/Columns.ts"
import type { ReadModelReads, TrialLine } from "./ReadModel.ts"
import {
  headColumns,
  lineColumns,
  toBigint,
  toHead,
  toLine,
  toTransfer,
  transferColumns
} from "./ReadModelRows.ts"
import { toUnavailable, valuesOf } from "./ReadModelSql.ts"

const heads = `
  SELECT ${headColumns} FROM unnest($1::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT * FROM books_v1_balances b WHERE b.account = wanted.id LIMIT 1) AS found`

const head = `SELECT ${headColumns} FROM books_v1_balances WHERE account = $1`

const versions = `
  SELECT wanted.id, found.version FROM unnest($1::text[]) AS wanted(id)
  CROSS JOIN LATERAL (SELECT b.version FROM books_v1_balances b WHERE b.account = wanted.id LIMIT 1) AS found`

const lines = `
  SELECT ${lineColumns} FROM books_v1_statement_lines
  WHERE account = $1 AND version > $2 AND ($4::text[] IS NULL OR type = ANY($4))
  ORDER BY version LIMIT $3`

const versionMax = "9223372036854775807"

/**
 * The last version recorded before an instant, by halving: instants never go back along an account, so it costs
 * some twenty look-ups of the primary key however long the account is, and no index on time at each write.
 */
const versionBefore = (
  instant: string
) => `(CASE WHEN ${instant} = '-infinity' THEN 0 WHEN ${instant} = 'infinity' THEN ${versionMax} ELSE (
  WITH RECURSIVE halves(low, high) AS (
    SELECT 0::int8, coalesce((SELECT version FROM books_v1_balances WHERE account = $1), 0)
    UNION ALL
    SELECT CASE WHEN isBefore THEN middle ELSE low END, CASE WHEN isBefore THEN high ELSE middle - 1 END
    FROM halves CROSS JOIN LATERAL (SELECT (low + high + 1) / 2 AS middle) AS m
    CROSS JOIN LATERAL (
      SELECT coalesce((
        SELECT l.recorded_at < ${instant} FROM books_v1_statement_lines l
        WHERE l.account = $1 AND l.version <= middle AND l.version > low ORDER BY l.version DESC LIMIT 1
      ), true) AS isBefore
    ) AS looked
    WHERE low < high
  ) SELECT low FROM halves WHERE low = high) END)`

/** `$5` and `$6` are always given: the ends of time where nobody asked for less. */
const recordedLines = `
  SELECT ${lineColumns} FROM books_v1_statement_lines
  WHERE account = $1 AND version > greatest($2, ${versionBefore("$5::text::timestamptz")}) AND version <= ${versionBefore("$6::text::timestamptz")}
    AND ($4::text[] IS NULL OR type = ANY($4))
  ORDER BY version LIMIT $3`

/** What counts when it was recorded is found by halving; the rest has a small index of its own. */
const effectiveLines = `
  SELECT * FROM (
    (SELECT ${lineColumns} FROM books_v1_statement_lines
     WHERE account = $1 AND version > greatest($2, ${versionBefore("$5::text::timestamptz")}) AND version <= ${versionBefore("$6::text::timestamptz")}
       AND effective_at = recorded_at AND ($4::text[] IS NULL OR type = ANY($4))
     ORDER BY version LIMIT $3)
    UNION ALL
    (SELECT ${lineColumns} FROM books_v1_statement_lines
     WHERE account = $1 AND version > $2 AND effective_at <> recorded_at
       AND effective_at >= $5::text::timestamptz AND effective_at < $6::text::timestamptz AND ($4::text[] IS NULL OR type = ANY($4))
     ORDER BY version LIMIT $3)
  ) AS both_kinds ORDER BY version LIMIT $3`

const contras = `
  SELECT contra, asset, sum(balance)::text FROM books_v1_contra GROUP BY contra, asset ORDER BY contra, asset`

const trial = `
  SELECT asset, sum(inside)::text, sum(outside)::text FROM (
    SELECT asset, sum(balance) AS inside, 0 AS outside FROM books_v1_balances GROUP BY asset
    UNION ALL
    SELECT asset, 0, sum(balance) FROM books_v1_contra GROUP BY asset
  ) AS sides GROUP BY asset ORDER BY asset COLLATE "C"`

/** One statement, one snapshot: the sums as they are, less what was recorded after the instant. */
const trialAt = `
  SELECT asset, sum(inside)::text, sum(outside)::text FROM (
    SELECT asset, sum(balance) AS inside, 0 AS outside FROM books_v1_balances GROUP BY asset
    UNION ALL
    SELECT asset, -sum(amount), coalesce(sum(amount) FILTER (WHERE type IN ('Deposited', 'Withdrawn')), 0)
    FROM books_v1_statement_lines WHERE recorded_at > $1 GROUP BY asset
    UNION ALL
    SELECT asset, 0, sum(balance) FROM books_v1_contra GROUP BY asset
  ) AS sides GROUP BY asset ORDER BY asset COLLATE "C"`

const toTrialLine = (row: ReadonlyArray<unknown>): TrialLine => {
  const accounts = toBigint(row[1])
  const contras = toBigint(row[2])
  // Branded when it was written.
  return { asset: row[0] as Asset, accounts, contras, total: accounts + contras }
}

/** PostgreSQL's own ends of time, where nobody asked for less. */
const boundOf = (instant: Instant | undefined, end: "-infinity" | "infinity") =>
  instant === undefined ? PgTypes.text(end) : PgTypes.text(new Date(instant).toISOString())

export const makeBooksReads = (
  sql: PgClient,
  limits: Pick<ReadSideLimits, "pageMax" | "headStatementsMax">
): ReadModelReads => {
  const query = (text: string, params: ReadonlyArray<unknown>) =>
    Effect.mapError(valuesOf(sql, text, params), toUnavailable)

  const headsOf = (accounts: ReadonlyArray<AccountId>) => {
    const [only] = accounts
    const rows =
      only !== undefined && accounts.length === 1
        ? query(head, [PgTypes.text(only)])
        : query(heads, [textArray(accounts)])
    return Effect.map(rows, (found) => new Map(found.map(toHead).map((one) => [one.account.id, one])))
  }
  /** By far the most frequent question of all. */
  const headOf = makeHeadAsker(headsOf, {
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
    accounts: ({ after, limit }) =>
      Effect.map(
        query(`SELECT ${headColumns} FROM books_v1_balances WHERE account > $1 ORDER BY account LIMIT $2`, [
          PgTypes.text(after),
          int8Value(limit)
        ]),
        (rows) => rows.map(toHead)
      ),
    lines: ({ account, after, limit, from, to, types, axis }) => {
      const asked = [
        PgTypes.text(account),
        int8Value(after),
        int8Value(limit),
        types === undefined ? null : textArray(types)
      ]
      const range = [boundOf(from, "-infinity"), boundOf(to, "infinity")]
      const rows =
        from === undefined && to === undefined
          ? query(lines, asked)
          : query(axis === "effective" ? effectiveLines : recordedLines, [...asked, ...range])
      return Effect.map(rows, (found) => found.map(toLine))
    },
    transfer: (id) =>
      Effect.map(
        query(`SELECT ${transferColumns} FROM books_v1_transfers WHERE id = $1`, [PgTypes.text(id)]),
        (rows) => rows.map(toTransfer)[0]
      ),
    contras: Effect.map(query(contras, []), (rows) =>
      rows.map((row) => ({
        contra: String(row[0]),
        asset: row[1] as Asset, // branded when it was written
        balance: toBigint(row[2])
      }))
    ),
    trialBalance: Effect.map(query(trial, []), (rows) => rows.map(toTrialLine)),
    trialBalanceAt: (instant) =>
      Effect.map(query(trialAt, [PgTypes.timestamptz(instant)]), (rows) => rows.map(toTrialLine))
  }
}

interface HeadAsked extends Request.Request<OpenedHead | undefined, StoreUnavailable> {
  readonly _tag: "HeadAsked"
  readonly account: AccountId
}
const HeadAsked = Request.tagged<HeadAsked>("HeadAsked")

type Heads = ReadonlyMap<AccountId, OpenedHead>

/**
 * As with commits, no timer: a question goes at once where a statement may start, and the busier the more go
 * together. None joins a statement that has begun, so each sees all that was written before it was asked.
 */
export const makeHeadAsker = (
  look: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<Heads, StoreUnavailable>,
  limits: { readonly statementsMax: number; readonly accountsMax: number }
): ((account: AccountId) => Effect.Effect<OpenedHead | undefined, StoreUnavailable>) => {
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
  const resolver = RequestResolver.make<HeadAsked>((asked) =>
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
  return (account) => Effect.request(HeadAsked({ account }), resolver)
}

const answer = (asked: ReadonlyArray<Request.Entry<HeadAsked>>, heads: Heads): void => {
  for (const entry of asked) entry.completeUnsafe(Exit.succeed(heads.get(entry.request.account)))
}
