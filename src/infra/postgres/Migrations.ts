/**
 * Brings a database to the schema of this program by numbered SQL files, or says why that cannot be. Nodes refuse to start
 * on another schema than their own, so that none of them reads or writes rows that it does not know.
 */
import { createHash } from "node:crypto"
import { fileURLToPath } from "node:url"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { PgClient } from "@effect/sql-pg"
import { Clock, Data, Effect, FileSystem, Option, type PlatformError, Redacted, Schedule } from "effect"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import { isLasting, sqlStateOf, troubleOf } from "./SqlState.ts"
import { splitStatements } from "./SqlStatements.ts"

/** Which tables: a folder of `migrations/`, or those of one more projection. All kinds may share one database. */
export type SchemaKind = "event-store" | "read-model" | `projection ${string}`

/** The database was brought to a schema that this program does not know: run a newer program. */
export class SchemaTooNew extends Data.TaggedError("SchemaTooNew")<{
  readonly kind: SchemaKind
  readonly found: number
  readonly known: number
}> {
  override get message() {
    return `the ${this.kind} database has schema ${this.found}, this program knows up to ${this.known}: start a newer version of it`
  }

  get told() {
    return this.message
  }
}

/** The database lacks migrations of this program: run `chronicle migrate`. */
export class SchemaTooOld extends Data.TaggedError("SchemaTooOld")<{
  readonly kind: SchemaKind
  readonly missing: ReadonlyArray<number>
}> {
  override get message() {
    return `the ${this.kind} database lacks migrations ${this.missing.join(", ")}: run "chronicle migrate" first`
  }

  get told() {
    return this.message
  }
}

/** A migration was changed after it had been applied. */
export class SchemaChanged extends Data.TaggedError("SchemaChanged")<{
  readonly kind: SchemaKind
  readonly id: number
  readonly name: string
}> {
  override get message() {
    return `migration ${this.id} (${this.name}) of the ${this.kind} database is not the one that was applied`
  }

  get told() {
    return this.message
  }
}

/** A statement of a migration failed, the database could not be reached, or a file could not be read. */
export class MigrationFailed extends Data.TaggedError("MigrationFailed")<{
  readonly kind: SchemaKind
  readonly step: string
  /** All that is known, for logs and the operator. */
  readonly reason: string
  /** The same for callers: not where the database or a file is, nor the server's own words. */
  readonly toldReason: string
  /** The database did not answer, or refused for what else went on just then: the same may be asked again. */
  readonly isUnanswered?: boolean
  /** There was no connection, nor a word of the server: the URL may be wrong, or the server is down. */
  readonly isUnreached?: boolean
}> {
  override get message() {
    return `the ${this.kind} database failed at ${this.step}: ${this.reason}`
  }

  /** The message as callers may know it. */
  get told() {
    return `the ${this.kind} database: ${this.toldReason}`
  }
}

export interface Migration {
  readonly id: number
  readonly name: string
  readonly statements: ReadonlyArray<string>
  /** SHA-256 over the statements without comments, so that a comment may be corrected later. */
  readonly checksum: string
}

interface Applied {
  readonly id: number
  readonly checksum: string
}

const folderOf = (kind: SchemaKind): string =>
  fileURLToPath(new URL(`../../../migrations/${kind}`, import.meta.url))

/** Reads `0001_name.sql`, `0002_…` from a folder, in order of number. */
export const loadMigrations = (
  folder: string
): Effect.Effect<ReadonlyArray<Migration>, PlatformError.PlatformError> =>
  Effect.gen(function* () {
    const fs = yield* FileSystem.FileSystem
    const files = (yield* fs.readDirectory(folder)).filter((file) => /^\d+_.+\.sql$/.test(file)).toSorted()
    return yield* Effect.forEach(files, (file) =>
      Effect.map(fs.readFileString(`${folder}/${file}`), (text): Migration => {
        const statements = splitStatements(text)
        return {
          id: Number(file.slice(0, file.indexOf("_"))),
          name: file.slice(file.indexOf("_") + 1, -".sql".length),
          statements,
          checksum: createHash("sha256").update(statements.join(";\n")).digest("hex")
        }
      })
    )
  }).pipe(Effect.provide(NodeFileSystem.layer))

/**
 * SQLSTATEs of an idempotent statement that two nodes run at once: the object appeared in between, the other changed the
 * catalogue row, or (CockroachDB) the other's schema change is not finished yet.
 */
const racedStates = new Set(["23505", "42P07", "42710", "42701", "40001", "40P01", "XX000", "55000"])

const retryRaces = <A, R>(self: Effect.Effect<A, SqlError, R>) =>
  Effect.retry(self, {
    schedule: Schedule.spaced("100 millis"),
    times: 50,
    while: (error) => racedStates.has(sqlStateOf(error) ?? "")
  })

const reasonsOf = (error: SqlError) => {
  const { reason: toldReason, detail: reason } = troubleOf(error)
  return { reason, toldReason }
}

const failedAt = (kind: SchemaKind, step: string) =>
  Effect.mapError(
    (error: SqlError) =>
      new MigrationFailed({
        kind,
        step,
        ...reasonsOf(error),
        ...(isLasting(sqlStateOf(error)) ? {} : { isUnanswered: true })
      })
  )

/** The host of a database may die without a word, and a table may be locked: what is asked then ends with an error. */
const within = (kind: SchemaKind, step: string, boundMs: number) =>
  Effect.timeoutOrElse({
    duration: boundMs,
    orElse: () =>
      Effect.fail(
        new MigrationFailed({
          kind,
          step,
          reason: `no answer within ${boundMs} ms`,
          toldReason: `no answer within ${boundMs} ms`,
          isUnanswered: true
        })
      )
  })

/** How long the migrator waits for a statement of its own, in milliseconds: another node's may be under way. */
const ownStatementMs = 30_000

const appliedIn = (kind: SchemaKind) =>
  Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => sql<Applied>`SELECT id, checksum FROM chronicle_migrations WHERE kind = ${kind} ORDER BY id`
  )

/** The migrations that a database lacks; fails where this program must not touch it. */
const compare = (
  kind: SchemaKind,
  known: ReadonlyArray<Migration>,
  applied: ReadonlyArray<Applied>
): Effect.Effect<ReadonlyArray<Migration>, SchemaTooNew | SchemaChanged> => {
  const checksums = new Map(applied.map((row) => [Number(row.id), row.checksum]))
  const newest = Math.max(0, ...known.map((migration) => migration.id))
  const found = Math.max(0, ...checksums.keys())
  if (found > newest) return Effect.fail(new SchemaTooNew({ kind, found, known: newest }))
  const changed = known.find((migration) => {
    const checksum = checksums.get(migration.id)
    return checksum !== undefined && checksum !== migration.checksum
  })
  if (changed !== undefined) {
    return Effect.fail(new SchemaChanged({ kind, id: changed.id, name: changed.name }))
  }
  return Effect.succeed(known.filter((migration) => !checksums.has(migration.id)))
}

const isCockroach = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  Effect.map(sql<{ version: string }>`SELECT version() AS version`, (rows) =>
    /cockroach/i.test(rows[0]?.version ?? "")
  )
)

const read = (kind: SchemaKind, folder: string) => {
  const failed = (reason: string, toldReason: string) =>
    new MigrationFailed({ kind, step: "reading the files", reason, toldReason })
  const twice = "two files have the same number"
  return loadMigrations(folder).pipe(
    Effect.mapError((error) => failed(error.message, "the files of its migrations cannot be read")),
    Effect.filterOrFail(
      (known) => new Set(known.map((migration) => migration.id)).size === known.length,
      () => failed(twice, twice)
    )
  )
}

/**
 * Applies the missing migrations and answers their ids. Statements run one by one and are idempotent, so that a node that
 * dies half-way, a second node at the same moment and a second run all end at the same schema. There is no lock, because
 * no lock works on both engines. The migrator's own statements are bounded, and none of a migration is, because an index on a full
 * table takes long.
 */
export const run = Effect.fn("Migrations.run")(function* (kind: SchemaKind, folder = folderOf(kind)) {
  const sql = yield* SqlClient.SqlClient
  const known = yield* read(kind, folder)
  const bounded =
    (step: string) =>
    <A, R>(self: Effect.Effect<A, SqlError, R>) =>
      self.pipe(failedAt(kind, step), within(kind, step, ownStatementMs))
  const cockroach = yield* isCockroach.pipe(bounded("asking for the version"))
  yield* sql`CREATE TABLE IF NOT EXISTS chronicle_migrations (
    kind text NOT NULL, id int8 NOT NULL, name text NOT NULL, checksum text NOT NULL,
    applied_at timestamptz NOT NULL, PRIMARY KEY (kind, id))`.pipe(
    retryRaces,
    bounded("creating chronicle_migrations")
  )
  const compared = Effect.flatMap(appliedIn(kind).pipe(bounded("reading chronicle_migrations")), (applied) =>
    compare(kind, known, applied)
  )
  const missing = yield* compared
  for (const migration of missing) {
    const step = `migration ${migration.id} (${migration.name})`
    for (const statement of migration.statements) {
      // CockroachDB compares bytes in any case, and v21.1 refuses the clause.
      const text = cockroach ? statement.replaceAll(' COLLATE "C"', "") : statement
      yield* sql.unsafe(text).unprepared.pipe(retryRaces, failedAt(kind, step))
    }
    const now = new Date(yield* Clock.currentTimeMillis)
    yield* sql`INSERT INTO chronicle_migrations (kind, id, name, checksum, applied_at)
      VALUES (${kind}, ${migration.id}, ${migration.name}, ${migration.checksum}, ${now})
      ON CONFLICT (kind, id) DO NOTHING`.pipe(retryRaces, bounded(step))
  }
  // Another program may have recorded another text under the same number meanwhile.
  yield* compared
  return missing.map((migration) => migration.id)
})

interface ConnectionBounds {
  /** Of opening the connection, in milliseconds. */
  readonly connectMs: number
  /** After which the server cancels a statement, in milliseconds; undefined: never. */
  readonly statementMs?: number
}

/** How long a check may take: as long as anything else that is asked of the same database. */
const checkBounds = Effect.fnUntraced(function* (kind: SchemaKind) {
  if (kind === "event-store") {
    const { storeConnectMs, storeStatementMs } = yield* LedgerConfig
    return { connectMs: storeConnectMs, statementMs: storeStatementMs }
  }
  const { connectMs, readModelStatementMs } = yield* ReadSideConfig
  return { connectMs, statementMs: readModelStatementMs }
})

/** Fails unless the database is exactly at the program's schema; changes nothing. */
export const check = Effect.fn("Migrations.check")(function* (kind: SchemaKind, folder = folderOf(kind)) {
  const known = yield* read(kind, folder)
  const step = "reading chronicle_migrations"
  const { connectMs, statementMs } = yield* checkBounds(kind)
  const applied = yield* appliedIn(kind).pipe(
    Effect.catchIf(
      (error) => sqlStateOf(error) === "42P01",
      () => Effect.succeed([])
    ),
    failedAt(kind, step),
    // It may have to open a connection, and the server gives a statement up before that.
    within(kind, step, connectMs + statementMs)
  )
  const missing = yield* compare(kind, known, applied)
  if (missing.length > 0) {
    return yield* new SchemaTooOld({ kind, missing: missing.map((migration) => migration.id) })
  }
})

/** Where a database is, for messages: its URL without user and password. */
export const placeOf = (url: Redacted.Redacted): string =>
  Option.match(Option.fromNullishOr(URL.parse(Redacted.value(url))), {
    onNone: () => "a URL that cannot be read",
    onSome: ({ protocol, host, pathname }) => `${protocol}//${host}${pathname}`
  })

/** How long opening the migrator's connection may take, in milliseconds. */
const migratorConnectMs = 5_000

/** One connection; that of the migrator has no statement timeout, because an index on a full table takes long. */
const alone =
  (kind: SchemaKind, url: Redacted.Redacted, { connectMs, statementMs }: ConnectionBounds) =>
  <A, E>(self: Effect.Effect<A, E, SqlClient.SqlClient>) => {
    const failed = (
      reason: string,
      toldReason: string,
      why: Pick<MigrationFailed, "isUnanswered" | "isUnreached">
    ) =>
      new MigrationFailed({
        kind,
        step: `connecting to ${placeOf(url)}`,
        reason: `${reason}. Is it running, and the URL right?`,
        toldReason,
        ...why
      })
    const unreachable = (error: SqlError) => {
      const state = sqlStateOf(error)
      const refused = isLasting(state) ? {} : { isUnanswered: true }
      const why = state === undefined ? { isUnreached: true } : refused
      const { reason, toldReason } = reasonsOf(error)
      return failed(reason, toldReason, why)
    }
    const silent = `no answer within ${connectMs} ms`
    // The client opens no connection before it is first used.
    const connected = Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.scoped(sql.reserve)).pipe(
      Effect.mapError(unreachable),
      Effect.timeoutOrElse({
        duration: connectMs,
        orElse: () => Effect.fail(failed(silent, silent, { isUnanswered: true }))
      })
    )
    return Effect.andThen(connected, self).pipe(
      Effect.provide(
        PgClient.layer({
          url,
          maxConnections: 1,
          // Behind the bound above, which tells a server that says nothing from one that cannot be reached.
          connectTimeout: 2 * connectMs,
          // A host that dies while a long statement runs is found dead by this alone.
          keepAlive: "5 seconds",
          applicationName: "chronicle migrate",
          ...(statementMs === undefined
            ? {}
            : { startupParameters: { statement_timeout: String(statementMs) } })
        })
      ),
      Effect.catchIf(
        (error): error is Extract<E | SqlError, SqlError> => isSqlError(error),
        (error) => Effect.fail(unreachable(error))
      )
    )
  }

/** `run` over a connection of its own. */
export const migrate = (kind: SchemaKind, url: Redacted.Redacted, folder = folderOf(kind)) =>
  alone(kind, url, { connectMs: migratorConnectMs })(run(kind, folder))

/** `check` over a connection of its own. */
export const checkAt = (kind: SchemaKind, url: Redacted.Redacted) =>
  Effect.flatMap(checkBounds(kind), (bounds) => alone(kind, url, bounds)(check(kind)))
