/** A small ledger on real databases, for tests that tamper with its rows; each puts them back when it ends. */
import { PgClient } from "@effect/sql-pg"
import { Context, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Audit } from "../../src/actors/audit/Audit.ts"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { freshEventStore } from "./databases.ts"
import { deposit, open, startNode, transfer, withdraw } from "./ledgerWorld.ts"
import { freshReadModel, readModelOn } from "./readSides.ts"

/** Statements on the two databases of a world. */
export class Tampering extends Context.Service<
  Tampering,
  {
    readonly log: (...statements: ReadonlyArray<string>) => Effect.Effect<void>
    readonly books: (...statements: ReadonlyArray<string>) => Effect.Effect<void>
  }
>()("chronicle/test/Tampering") {}

const statementsOn = (url: string) =>
  Effect.gen(function* () {
    const context = yield* Layer.build(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 }))
    const sql = Context.get(context, SqlClient.SqlClient)
    return (...statements: ReadonlyArray<string>) =>
      Effect.forEach(statements, (statement) => sql.unsafe(statement).unprepared, { discard: true }).pipe(
        Effect.orDie
      )
  })

const logTables = ["events", "commits", "writers", "snapshots"]
const booksTables = ["balances", "statement_lines", "transfers", "contra", "holds", "parked_accounts"].map(
  (name) => `books_v1_${name}`
)

const keep = (tables: ReadonlyArray<string>) =>
  tables.map((table) => `CREATE TABLE kept_${table} AS SELECT * FROM ${table}`)
const restore = (tables: ReadonlyArray<string>) =>
  tables.flatMap((table) => [`DELETE FROM ${table}`, `INSERT INTO ${table} SELECT * FROM kept_${table}`])

/** Runs a test that tampers with rows, and puts all of them back. */
export const tampered = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const { log, books } = yield* Tampering
    return yield* Effect.ensuring(
      self,
      Effect.andThen(log(...restore(logTables)), books(...restore(booksTables)))
    )
  })

/** A ledger on fresh databases: filled by a node that has ended, projected to the end, its rows kept for `tampered`. */
export const auditWorld = (eventStoreUrl: string, readModelUrl: string) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const log = yield* freshEventStore(eventStoreUrl)
      const books = yield* freshReadModel(readModelUrl)
      const stores = Layer.mergeAll(
        Layer.mergeAll(EventStore.layer, Snapshots.layer).pipe(
          Layer.provide(EventStoreClient.layer(Redacted.make(log)))
        ),
        readModelOn(books)
      )
      const tampering = Layer.effect(
        Tampering,
        Effect.gen(function* () {
          const onLog = yield* statementsOn(log)
          const onBooks = yield* statementsOn(books)
          yield* Effect.scoped(fill)
          yield* onLog(...keep(logTables))
          yield* onBooks(...keep(booksTables))
          return { log: onLog, books: onBooks }
        })
      )
      return tampering.pipe(
        Layer.provideMerge(Layer.mergeAll(Audit.layer, ProjectionEngine.layer)),
        Layer.provideMerge(stores)
      )
    })
  )

const commands: ReadonlyArray<CommandInput> = [
  open("alice"),
  open("bob"),
  open("carol"),
  { ...open("dave"), _tag: "OpenAccount", account: "dave", owner: "Dave", asset: "EUR/2" },
  open("erin", 50n),
  deposit("alice", 1_000n),
  transfer("alice", "bob", 100n, "rent"),
  transfer("alice", "bob", 50n),
  withdraw("alice", 20n),
  deposit("alice", 5n),
  transfer("bob", "carol", 30n),
  { ...deposit("carol", 7n), _tag: "Deposit", account: "carol", amount: 7n, contra: "external:cash" },
  deposit("dave", 9n),
  withdraw("erin", 50n),
  { _tag: "FreezeAccount", account: "dave" },
  {
    _tag: "PostJournal",
    commandId: "journal",
    description: "shared lunch",
    legs: [
      { account: "alice", side: "debit", amount: 10n },
      { account: "bob", side: "credit", amount: 6n },
      { account: "carol", side: "credit", amount: 4n }
    ]
  },
  open("fay"),
  {
    _tag: "PostJournal",
    commandId: "from-outside",
    legs: [
      { account: "fay", side: "credit", amount: 5n },
      { account: "external:card", side: "debit", amount: 5n }
    ]
  },
  { _tag: "PlaceHold", account: "fay", amount: 2n, commandId: "kept" },
  { _tag: "Reverse", original: "from-outside", amount: 1n, reason: "too much" },
  transfer("fay", "erin", 2n, "share"),
  { _tag: "Reverse", original: "share", reason: "not hers" }
]

/** Snapshots that tests count on. */
const kept = [
  [AccountId.make("alice"), 3],
  [AccountId.make("dave"), 3]
] as const

/** Two nodes after another, so that there are several writers, and fences. */
const fill = Effect.gen(function* () {
  const limits = { snapshotEvery: 3, lanes: 2 }
  const store = yield* EventStore
  const snapshots = yield* Snapshots
  for (const [name, some] of [
    ["first", commands.slice(0, 8)],
    ["second", commands.slice(8)]
  ] as const) {
    const node = yield* startNode(name, { limits })
    for (const command of some) yield* node.send(command)
    // The node saves snapshots after the reply, so its last ones may be lost with it: these are there for certain.
    for (const [account, version] of name === "second" ? kept : []) {
      const past = yield* node.travel.at(account, { _tag: "Version", version })
      yield* snapshots.save([past.head])
    }
    yield* node.stop
  }
  const engine = yield* ProjectionEngine
  const log = yield* store.scan({ after: { account: "", version: 0 }, limit: 10_000 })
  yield* engine.catchUp([...new Set(log.map((row) => row.accountId))])
})
