/**
 * The endpoints of webhooks, in tables of the read model's database that no rebuild touches. What a person decides is on disk
 * when the statement ends, as is how far an endpoint was told.
 *
 * Each change that a delivery under way must not overlook counts `revision` up. A delivery begins by doing so itself, and writes only
 * while the revision is its own: of two nodes that both deliver for a moment, the one that began later goes on.
 */
import { PgTypes } from "@effect/sql-pg"
import type { PgClient } from "@effect/sql-pg/PgClient"
import { Context, Effect, Layer, Redacted } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import type { WebhookFailure, WebhookState } from "../../domain/Webhook.ts"
import { ReadSideConfig, type ReadSideLimits } from "../config/ReadSideConfig.ts"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import {
  asText,
  columns,
  int8,
  int8Value,
  nullable,
  text,
  timestamptz,
  toInstant
} from "../postgres/Columns.ts"
import { boundOf, inTransaction, makeQuery, ReadModelSql } from "../readmodel/ReadModelSql.ts"

/** A secret, which no log prints. */
type Secret = Redacted.Redacted

/** How far an endpoint was told, and what came of the attempts at the event whose turn it is. */
export interface WebhookProgress {
  readonly state: WebhookState
  /** Why it is disabled. */
  readonly reason: string | null
  /** Of a subscription: everything before it was told. */
  readonly cursor: string
  /**
   * The last event that it is past, `account@version` and its hash; null before the first. Within a commit the cursor stands before that, and this says
   * up to which of its events all was told.
   */
  readonly lastEvent: string | null
  readonly delivered: number
  readonly deliveredAt: Instant | null
  readonly attempts: number
  readonly nextAttemptAt: Instant | null
  readonly waitingSince: Instant | null
  /** The latest first. */
  readonly failures: ReadonlyArray<WebhookFailure>
}

export interface WebhookRow extends WebhookProgress {
  readonly id: string
  readonly url: string
  readonly prefix: string
  readonly types: ReadonlyArray<string>
  readonly description: string
  readonly createdAt: Instant
  readonly secret: Secret
  readonly formerSecret: Secret | null
  readonly formerUntil: Instant | null
  readonly revision: number
}

/** Attempts since the last time that they were written down. */
interface AttemptCounts {
  readonly delivered: number
  readonly failed: number
}

/** Of all endpoints together. */
export interface WebhookSummary extends AttemptCounts {
  readonly endpoints: Readonly<Record<WebhookState, number>>
  /** Of the active ones: when the oldest event was recorded that one of them was not told; null where there is none. */
  readonly waitingSince: Instant | null
}

type Changed = Pick<WebhookRow, "id" | "revision" | "state">

export class WebhookStore extends Context.Service<
  WebhookStore,
  {
    /** False, and nothing written, where there are `max` already. Of a row that is there it is true, and nothing is written. */
    readonly create: (row: WebhookRow, max: number) => Effect.Effect<boolean, StoreUnavailable>
    /** In order of when they were made. */
    readonly list: Effect.Effect<ReadonlyArray<WebhookRow>, StoreUnavailable>
    readonly find: (id: string) => Effect.Effect<WebhookRow | undefined, StoreUnavailable>
    /** Makes an endpoint active, its next attempt at once, or paused; the row after it, undefined where there is none. */
    readonly setState: (
      id: string,
      state: Exclude<WebhookState, "disabled">
    ) => Effect.Effect<WebhookRow | undefined, StoreUnavailable>
    /** The present secret becomes the former one. Where it is that very secret already, nothing is changed. */
    readonly rotate: (
      id: string,
      secret: Secret,
      formerUntil: Instant
    ) => Effect.Effect<WebhookRow | undefined, StoreUnavailable>
    /** False where there is none. */
    readonly remove: (id: string) => Effect.Effect<boolean, StoreUnavailable>
    /** The state of every endpoint, by which a delivery begins or ends. */
    readonly states: Effect.Effect<ReadonlyArray<Changed>, StoreUnavailable>
    /** Begins a delivery of an active endpoint that is at this revision: the row at the next one. */
    readonly begin: (id: string, revision: number) => Effect.Effect<WebhookRow | undefined, StoreUnavailable>
    /** False, and nothing written, where the endpoint is at another revision or gone. */
    readonly save: (
      row: Pick<WebhookRow, "id" | "revision">,
      progress: WebhookProgress,
      counts: AttemptCounts
    ) => Effect.Effect<boolean, StoreUnavailable>
    readonly summary: Effect.Effect<WebhookSummary, StoreUnavailable>
  }
>()("chronicle/infra/WebhookStore") {
  /** Over PostgreSQL, migrated already. */
  static readonly layer = Layer.effect(
    WebhookStore,
    Effect.gen(function* () {
      return makeSql(yield* ReadModelSql, yield* ReadSideConfig)
    })
  )

  /** In this process's memory, by the same contract; starts empty each time it is built. */
  static readonly layerMemory = Layer.effect(WebhookStore, Effect.sync(makeMemory))
}

const json = <A>() =>
  asText<A>(
    (value) => JSON.stringify(value),
    (written) => JSON.parse(written) as A // written by the line above
  )
const secretText = asText<Secret>(Redacted.value, Redacted.make)
const formerText = asText<Secret | null>(
  (secret) => (secret === null ? "" : Redacted.value(secret)),
  (written) => (written === "" ? null : Redacted.make(written))
)

const progressTable = {
  state: ["state", text<WebhookState>()],
  reason: ["reason", nullable(text())],
  cursor: ["log_cursor", text()],
  lastEvent: ["last_event", nullable(text())],
  delivered: ["delivered", int8],
  deliveredAt: ["delivered_at", nullable(timestamptz)],
  attempts: ["attempts", int8],
  nextAttemptAt: ["next_attempt_at", nullable(timestamptz)],
  waitingSince: ["waiting_since", nullable(timestamptz)],
  failures: ["failures", json<ReadonlyArray<WebhookFailure>>()]
} as const

const progressColumns = columns<WebhookProgress>(progressTable)
const rowColumns = columns<WebhookRow>({
  id: ["id", text()],
  url: ["url", text()],
  prefix: ["prefix", text()],
  types: ["types", json<ReadonlyArray<string>>()],
  description: ["description", text()],
  createdAt: ["created_at", timestamptz],
  secret: ["secret", secretText],
  formerSecret: ["former_secret", formerText],
  formerUntil: ["former_until", nullable(timestamptz)],
  revision: ["revision", int8],
  ...progressTable
})

/** The pool's commits are not waited for, since the log has what it writes. These rows are nowhere else. */
const durably = `WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true))`

const statements = {
  lock: "LOCK TABLE webhooks IN SHARE ROW EXCLUSIVE MODE",
  durable: "SET LOCAL synchronous_commit = on",
  create: `
    INSERT INTO webhooks (${rowColumns.list}) SELECT ${rowColumns.placeholders(2)}
    WHERE (SELECT count(*) FROM webhooks) < $1 ON CONFLICT (id) DO NOTHING`,
  list: `SELECT ${rowColumns.list} FROM webhooks ORDER BY created_at, id`,
  find: `SELECT ${rowColumns.list} FROM webhooks WHERE id = $1`,
  setState: `${durably}
    UPDATE webhooks SET state = $2, reason = NULL, attempts = 0, next_attempt_at = NULL, revision = revision + 1
    FROM durable WHERE id = $1 RETURNING ${rowColumns.list}`,
  rotate: `${durably}
    UPDATE webhooks SET former_secret = secret, secret = $2, former_until = $3, revision = revision + 1
    FROM durable WHERE id = $1 AND secret <> $2 RETURNING ${rowColumns.list}`,
  remove: `${durably} DELETE FROM webhooks USING durable WHERE id = $1 RETURNING id`,
  states: "SELECT id, revision, state FROM webhooks ORDER BY created_at, id",
  begin: `
    UPDATE webhooks SET revision = revision + 1
    WHERE id = $1 AND revision = $2 AND state = 'active' RETURNING ${rowColumns.list}`,
  save: `${durably}, saved AS (
      UPDATE webhooks SET (${progressColumns.list}) = ROW (${progressColumns.placeholders(5)})
      FROM durable WHERE id = $1 AND revision = $2 RETURNING id
    ), counted AS (
      UPDATE webhook_totals SET delivered = delivered + $3, failed = failed + $4 FROM saved WHERE $3 + $4 > 0
    )
    SELECT id FROM saved`,
  summary: `
    SELECT t.delivered, t.failed,
      count(*) FILTER (WHERE w.state = 'active'), count(*) FILTER (WHERE w.state = 'paused'),
      count(*) FILTER (WHERE w.state = 'disabled'), min(w.waiting_since) FILTER (WHERE w.state = 'active')
    FROM webhook_totals t LEFT JOIN webhooks w ON true GROUP BY t.delivered, t.failed`
}

function makeSql(sql: PgClient, limits: ReadSideLimits): WebhookStore["Service"] {
  const query = makeQuery(sql, limits)
  const one = (statement: string, params: ReadonlyArray<unknown>) =>
    Effect.map(query(statement, params), ([row]) => (row === undefined ? undefined : rowColumns.decode(row)))

  return {
    create: (row, max) =>
      inTransaction(sql, boundOf(limits), (run) =>
        Effect.gen(function* () {
          yield* run(statements.durable)
          yield* run(statements.lock)
          yield* run(statements.create, [int8Value(max), ...rowColumns.values(row)])
          return (yield* run(statements.find, [PgTypes.text(row.id)])).length === 1
        })
      ),
    list: Effect.map(query(statements.list), (rows) => rows.map((row) => rowColumns.decode(row))),
    find: (id) => one(statements.find, [PgTypes.text(id)]),
    setState: (id, state) => one(statements.setState, [PgTypes.text(id), PgTypes.text(state)]),
    rotate: Effect.fnUntraced(function* (id, secret, formerUntil) {
      const rotated = yield* one(statements.rotate, [
        PgTypes.text(id),
        PgTypes.text(Redacted.value(secret)),
        PgTypes.timestamptz(formerUntil)
      ])
      return rotated ?? (yield* one(statements.find, [PgTypes.text(id)]))
    }),
    remove: (id) => Effect.map(query(statements.remove, [PgTypes.text(id)]), ({ length }) => length === 1),
    states: Effect.map(query(statements.states), (rows) =>
      rows.map(([id, revision, state]) => ({
        id: String(id),
        revision: Number(revision),
        state: state as WebhookState // as it was written
      }))
    ),
    begin: (id, revision) => one(statements.begin, [PgTypes.text(id), int8Value(revision)]),
    save: ({ id, revision }, progress, { delivered, failed }) =>
      Effect.map(
        query(statements.save, [
          PgTypes.text(id),
          int8Value(revision),
          int8Value(delivered),
          int8Value(failed),
          ...progressColumns.values(progress)
        ]),
        ({ length }) => length === 1
      ),
    summary: Effect.map(query(statements.summary), ([row = []]) => {
      const [delivered, failed, active, paused, disabled, waitingSince = null] = row
      return {
        delivered: Number(delivered ?? 0),
        failed: Number(failed ?? 0),
        endpoints: {
          active: Number(active ?? 0),
          paused: Number(paused ?? 0),
          disabled: Number(disabled ?? 0)
        },
        waitingSince: waitingSince === null ? null : toInstant(waitingSince)
      }
    })
  }
}

function makeMemory(): WebhookStore["Service"] {
  const rows = new Map<string, WebhookRow>()
  const totals = { delivered: 0, failed: 0 }
  const change = (id: string, made: (row: WebhookRow) => Partial<WebhookRow> | undefined) =>
    Effect.sync(() => {
      const row = rows.get(id)
      const changes = row === undefined ? undefined : made(row)
      if (row === undefined || changes === undefined) return undefined
      const next = { ...row, ...changes }
      rows.set(id, next)
      return next
    })

  return {
    create: (row, max) =>
      Effect.sync(() => {
        if (rows.has(row.id)) return true
        if (rows.size >= max) return false
        rows.set(row.id, row)
        return true
      }),
    list: Effect.sync(() => [...rows.values()]),
    find: (id) => Effect.sync(() => rows.get(id)),
    setState: (id, state) =>
      change(id, ({ revision }) => ({
        state,
        reason: null,
        attempts: 0,
        nextAttemptAt: null,
        revision: revision + 1
      })),
    rotate: (id, secret, formerUntil) =>
      change(id, (row) =>
        Redacted.value(row.secret) === Redacted.value(secret)
          ? {}
          : { formerSecret: row.secret, secret, formerUntil, revision: row.revision + 1 }
      ),
    remove: (id) => Effect.sync(() => rows.delete(id)),
    states: Effect.sync(() => [...rows.values()].map(({ id, revision, state }) => ({ id, revision, state }))),
    begin: (id, revision) =>
      change(id, (row) =>
        row.revision === revision && row.state === "active" ? { revision: revision + 1 } : undefined
      ),
    save: ({ id, revision }, progress, { delivered, failed }) =>
      Effect.map(
        change(id, (row) => (row.revision === revision ? progress : undefined)),
        (saved) => {
          if (saved === undefined) return false
          totals.delivered += delivered
          totals.failed += failed
          return true
        }
      ),
    summary: Effect.sync(() => {
      const all = [...rows.values()]
      const count = (state: WebhookState) => all.filter((row) => row.state === state).length
      const waiting = all.flatMap(({ state, waitingSince }) =>
        state === "active" && waitingSince !== null ? [waitingSince] : []
      )
      return {
        ...totals,
        endpoints: { active: count("active"), paused: count("paused"), disabled: count("disabled") },
        waitingSince: waiting.length === 0 ? null : Math.min(...waiting)
      }
    })
  }
}
