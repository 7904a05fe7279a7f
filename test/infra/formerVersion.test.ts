/**
 * A log that the version before schema 2 wrote is read, verified, continued, projected and rebuilt by this one, and its
 * rows stay as they are.
 */
import { readFileSync } from "node:fs"
import { assert, inject, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import { Audit } from "../../src/actors/audit/Audit.ts"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { rebuild } from "../../src/actors/projections/Rebuild.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { type CommitRow, EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"
import { books } from "../../src/infra/readmodel/BooksProjection.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { execute, freshEventStore } from "../support/databases.ts"
import { deposit, readLog, type Store, startNode, transfer } from "../support/ledgerWorld.ts"
import { assertRows, freshReadModel, limitsOf, readModelOn } from "../support/readSides.ts"

interface Former {
  readonly lastReceipt: Receipt
  readonly tails: ReadonlyArray<ReadonlyArray<CommitRow>>
  readonly events: ReadonlyArray<StoredEvent>
  readonly snapshots: ReadonlyArray<{
    readonly account: { readonly id: string; readonly version: number }
    readonly hash: string
    readonly recordedAt: number
  }>
}

// Written by the former version; ids in it are branded, instants and versions are numbers.
const former = JSON.parse(
  readFileSync(new URL("../fixtures/logOfSchema1.json", import.meta.url), "utf8")
) as Former

const byKey = new Map(former.events.map((row) => [`${row.accountId}@${row.version}`, row]))

/** The rows of a commit, in the order of its keys. */
const rowsOf = ({ keys }: CommitRow): ReadonlyArray<StoredEvent> =>
  keys
    .flatMap(([account, first, last]) =>
      Array.from({ length: last - first + 1 }, (_, index) => byKey.get(`${account}@${first + index}`) ?? [])
    )
    .flat()

const writeLog = Effect.fnUntraced(function* (store: Store) {
  for (const tail of former.tails) {
    const writerId = tail[0]?.writerId ?? ""
    yield* store.registerWriter({ writerId, node: "former", closedAt: 0 })
    for (const row of tail) {
      if (row.rows === 0) yield* store.fenceWriter(writerId)
      else
        assert.strictEqual(
          (yield* store.commit({ writerId, seq: row.seq, events: rowsOf(row) }))._tag,
          "Committed"
        )
    }
  }
})

const snapshotRows = former.snapshots.map(
  ({ account, hash, recordedAt }) =>
    `INSERT INTO snapshots (account_id, schema_version, version, recorded_at, state, hash) VALUES ('${account.id}', 1,
      ${account.version}, '${new Date(recordedAt).toISOString()}', '${JSON.stringify(account)}', '${hash}')`
)

/** Takes the read model back to the form in which the former version left it: no account had a hold, nor a column for it. */
const asFormer = [
  "ALTER TABLE books_v1_balances DROP COLUMN holds",
  "DELETE FROM chronicle_migrations WHERE id >= 6"
]

const accounts = [...new Set(former.events.map((row) => row.accountId))]

it.live("a log of the former version is read, verified, continued, projected and rebuilt", () =>
  Effect.gen(function* () {
    const log = yield* freshEventStore(inject("postgresUrl"))
    const readModelUrl = yield* freshReadModel(inject("postgresUrl"))
    const stores = Layer.mergeAll(
      Layer.mergeAll(EventStore.layer, Snapshots.layer).pipe(
        Layer.provide(EventStoreClient.layer(Redacted.make(log)))
      ),
      readModelOn(readModelUrl),
      ReadModelSql.layer(Redacted.make(readModelUrl))
    )
    yield* Effect.gen(function* () {
      const store = yield* EventStore
      const verified = (yield* Audit).verify()
      const assertWhole = Effect.map(verified, ({ findings, ok }) => {
        assert.deepStrictEqual(findings, [])
        assert.isTrue(ok)
      })
      yield* writeLog(store)
      yield* execute(log, ...snapshotRows)
      yield* assertWhole

      const engine = yield* ProjectionEngine
      yield* engine.catchUp(accounts)
      yield* execute(readModelUrl, ...asFormer)
      yield* Migrations.migrate("read-model", Redacted.make(readModelUrl))
      yield* assertRows(former.events)

      const node = yield* startNode("successor")
      const again = yield* node.send(transfer("alice", "carol", 1n, "f-last"))
      assert.deepStrictEqual(again, { ...former.lastReceipt, replayed: true })
      const { postings } = yield* node.send(transfer("alice", "carol", 100n))
      assert.deepStrictEqual<unknown>(
        postings.map(({ account, version, balance, held, available }) => [
          account,
          version,
          balance,
          held,
          available
        ]),
        [
          ["alice", 6, 64_899n, 0n, 69_899n],
          ["carol", 36, 866n, 0n, 866n]
        ]
      )
      const same = yield* node.send(deposit("yen", 5n, "s-yen"))
      yield* node.stop
      const next = yield* startNode("next")
      assert.deepStrictEqual(yield* next.send(deposit("yen", 5n, "s-yen")), { ...same, replayed: true })
      yield* next.stop

      const whole = [...(yield* readLog(store)).values()].flat()
      assert.deepStrictEqual(
        whole.filter((row) => byKey.has(`${row.accountId}@${row.version}`)).map((row) => row.hash),
        former.events.map((row) => row.hash)
      )
      yield* engine.catchUp(accounts)
      yield* assertRows(whole)
      yield* assertWhole
      yield* rebuild(books)
      yield* assertRows(whole)
      yield* assertWhole
    }).pipe(
      Effect.provide(Layer.mergeAll(Audit.layer, ProjectionEngine.layer)),
      Effect.provide(stores),
      Effect.provide(limitsOf({}))
    )
  }).pipe(Effect.scoped)
)
