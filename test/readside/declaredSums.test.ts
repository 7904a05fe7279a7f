/** Sums of declared prefixes: the same total whatever moves inside, filled and dropped by a node, and right after a rebuild. */
import { assert, describe, inject, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Ref } from "effect"
import { rebuild } from "../../src/actors/projections/Rebuild.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { SumPrefixes } from "../../src/infra/config/SumPrefixes.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { books } from "../../src/infra/readmodel/BooksProjection.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { execute } from "../support/databases.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"
import { eventually, freshReadModel, play, readModelOn } from "../support/readSides.ts"
import { rebuildWorld } from "../support/rebuilds.ts"

const merchants = Array.from({ length: 50 }, (_, nth) => `merchant:${nth}`)
const far = Date.UTC(2099, 0)

/** What is there now of the prefix, and how it is known. */
const sumNow = (prefix: string) =>
  Effect.flatMap(ReadModel, (readModel) =>
    Effect.map(readModel.sum({ prefix, knownAt: far }), (found) => found?.sums)
  )
const declared = Effect.flatMap(ReadModel, ({ declaredSums }) => declaredSums)
const lacking = Effect.scoped(
  Effect.flatMap(ReadModel, (readModel) => Effect.flatMap(readModel.frozen, ({ lackOfSums }) => lackOfSums))
)
const isFilled = eventually(
  Effect.map(declared, (sums) => {
    assert.isAbove(sums.length, 0)
    assert.isTrue(sums.every((sum) => sum.isFilled))
  })
)

const round = (nth: number): ReadonlyArray<CommandInput> =>
  merchants.flatMap((id, index) => [
    deposit(id, BigInt(10 + nth)),
    transfer(
      id,
      merchants[(index * 7 + nth) % 50] === id ? "other" : (merchants[(index * 7 + nth) % 50] ?? id),
      3n
    )
  ])
const opened = [...merchants, "other"].map((id) => openAccount(id))

describe("the sum of a declared prefix", () => {
  it.live("is the same total for all who ask while ten thousand transfers run inside it", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      yield* ledger.dispatchMany(merchants.map((account) => openAccount(account)))
      yield* ledger.dispatchMany(merchants.map((account) => deposit(account, 1_000_00n)))
      yield* isFilled
      const moves = Array.from({ length: 10_000 }, (_, nth) =>
        transfer(merchants[nth % 50] ?? "", merchants[(nth * 7 + 1) % 50] ?? "", BigInt(1 + (nth % 9)))
      ).filter((one) => one._tag === "Transfer" && one.from !== one.to)
      const isMoving = yield* Ref.make(true)
      const moving = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, nth) => moves.slice(nth * 500, (nth + 1) * 500)),
        (part) => ledger.dispatchMany(part)
      ).pipe(Effect.ensuring(Ref.set(isMoving, false)), Effect.forkChild)
      const ask = Effect.gen(function* () {
        let meanwhile = 0
        while (yield* Ref.get(isMoving)) {
          const { sums } = yield* ledger.sum("merchant:")
          assert.deepEqual<unknown>(sums, [{ asset: "USD/2", balance: 50_000_00n, accounts: 50 }])
          meanwhile++
        }
        return meanwhile
      })
      const asked = yield* Effect.all([ask, ask], { concurrency: 2 })
      for (const times of asked) assert.isAbove(times, 1)
      yield* Fiber.join(moving)
      assert.deepStrictEqual(yield* lacking, [])
      // More accounts than may be added up: the sum does not read them.
      assert.include((yield* Effect.flip(ledger.sum("merchant"))).message, "CHRONICLE_SUM_PREFIXES")
    }).pipe(
      Effect.provide(
        Layer.unwrap(
          Effect.map(freshReadModel(inject("postgresUrl")), (url) =>
            LedgerNode.over(
              "sums",
              Layer.mergeAll(EventStore.layerMemory, Snapshots.layerMemory, Bus.layerMemory, readModelOn(url))
            )
          )
        )
      ),
      Effect.provideService(SumPrefixes, ["merchant:"]),
      Effect.provideService(ReadSideConfig, { ...defaultReadSideLimits, sumAccountsMax: 1 }),
      Effect.provideService(LedgerConfig, { ...defaultLimits, queryDeadlineMs: 60_000 })
    )
  )

  it.live(
    "is filled while commits are projected, kept over a restart, and dropped where it is declared no more",
    () =>
      Effect.gen(function* () {
        const world = yield* rebuildWorld()
        const eventWriter = new EventWriter()
        const life = <A, E, R>(prefixes: ReadonlyArray<string>, self: Effect.Effect<A, E, R>) =>
          self.pipe(Effect.provide(world.process), Effect.provideService(SumPrefixes, prefixes))
        const isRight = (prefix: string) =>
          eventually(
            Effect.gen(function* () {
              const heads = [...eventWriter.heads].filter(([account]) => account.startsWith(prefix))
              const balances = heads.map(([, { account }]) =>
                account._tag === "Opened" ? account.balance : 0n
              )
              const balance = balances.reduce((sum, one) => sum + one, 0n)
              assert.deepEqual<unknown>(yield* sumNow(prefix), [
                { asset: "USD/2", balance, accounts: heads.length }
              ])
              assert.deepStrictEqual(yield* lacking, [])
            })
          )
        yield* life(
          [],
          Effect.gen(function* () {
            yield* play(eventWriter, opened, round(1), round(2))
            yield* isRight("merchant:")
          })
        )
        yield* life(
          ["merchant:", "merchant:1"],
          Effect.gen(function* () {
            for (let nth = 3; nth < 20; nth++) yield* play(eventWriter, round(nth))
            yield* isFilled
            for (const prefix of ["merchant:", "merchant:1", "merchant"]) yield* isRight(prefix)
          })
        )
        yield* life(
          ["merchant:1", "other"],
          Effect.gen(function* () {
            yield* play(eventWriter, round(20))
            yield* eventually(
              Effect.map(declared, (sums) =>
                assert.deepStrictEqual(sums, [
                  { prefix: "merchant:1", isFilled: true },
                  { prefix: "other", isFilled: true }
                ])
              )
            )
            for (const prefix of ["merchant:", "merchant:1", "other"]) yield* isRight(prefix)
          })
        )
      })
  )

  it.live("is right in rebuilt tables, also where it was broken before, and put right without them", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const eventWriter = new EventWriter()
      yield* Effect.gen(function* () {
        yield* play(eventWriter, opened, round(1), round(2))
        yield* isFilled
        yield* eventually(
          Effect.map(sumNow("merchant:"), (sums) => assert.strictEqual(sums?.[0]?.accounts, 50))
        )
        const breakIt = execute(
          world.databaseUrl,
          "UPDATE books_v1_prefix_sums SET balance = balance + 7 WHERE partition_id = (SELECT min(partition_id) FROM books_v1_prefix_sums)"
        )
        yield* breakIt
        assert.deepEqual<unknown>(yield* lacking, [
          { prefix: "merchant:", asset: "USD/2", balance: -7n, accounts: 0 }
        ])
        const streaming = yield* Effect.forkChild(
          Effect.gen(function* () {
            for (let nth = 3; nth < 12; nth++) yield* play(eventWriter, round(nth))
          })
        )
        yield* rebuild(books)
        yield* Fiber.join(streaming)
        yield* play(eventWriter, round(12))
        assert.deepStrictEqual(yield* lacking, [])
        yield* isFilled
        yield* breakIt
        const readModel = yield* ReadModel
        assert.deepEqual<unknown>(yield* readModel.settleSum("merchant:"), [
          { asset: "USD/2", balance: -7n, accounts: 0 }
        ])
        assert.deepStrictEqual(yield* lacking, [])
      }).pipe(Effect.provide(world.process), Effect.provideService(SumPrefixes, ["merchant:"]))
    })
  )

  it.live("is as it was declared while its tables were rebuilt, and filled once they are there", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const eventWriter = new EventWriter()
      yield* Effect.gen(function* () {
        const readModel = yield* ReadModel
        yield* play(eventWriter, opened, round(1), round(2))
        yield* readModel.declareSums(["merchant:", "other"])
        for (const prefix of ["merchant:", "other"]) yield* readModel.settleSum(prefix)
        const begun = yield* Deferred.make<void>()
        const broken = rebuild(books, { onStep: () => Deferred.doneUnsafe(begun, Effect.void) })
        yield* Effect.raceFirst(broken, Deferred.await(begun))
        yield* readModel.declareSums(["merchant:1", "other"])
        yield* play(eventWriter, round(3))
        const { resumed } = yield* rebuild(books)
        assert.isTrue(resumed)
        assert.deepStrictEqual(yield* declared, [
          { prefix: "merchant:1", isFilled: true },
          { prefix: "other", isFilled: true }
        ])
        assert.deepStrictEqual(yield* lacking, [])
        const kept = yield* (yield* ReadModelSql).unsafe("SELECT DISTINCT prefix FROM books_v1_prefix_sums")
          .values
        assert.sameDeepMembers([...kept], [["merchant:1"], ["other"]])
        yield* play(eventWriter, round(4))
        assert.deepStrictEqual(yield* lacking, [])
      }).pipe(Effect.provide(world.process), Effect.provideService(SumPrefixes, []))
    })
  )

  it.live("is compared by an audit that takes longer than questions may", () =>
    Effect.gen(function* () {
      const databaseUrl = yield* freshReadModel(inject("postgresUrl"))
      const limits = { ...defaultReadSideLimits, readModelStatementMs: 1_000 }
      // As slow as that of very many accounts.
      yield* execute(
        databaseUrl,
        "INSERT INTO books_v1_sum_prefixes (prefix, filled) VALUES ('merchant:', true)",
        "INSERT INTO books_v1_prefix_sums (prefix, asset, partition_id, balance, accounts) VALUES ('merchant:', 'USD/2', 0, 7, 1)",
        "ALTER TABLE books_v1_prefix_sums RENAME TO kept",
        "CREATE VIEW books_v1_prefix_sums AS SELECT kept.* FROM kept, pg_sleep(1.5)"
      )
      assert.deepEqual<unknown>(
        yield* Effect.provide(lacking, readModelOn(databaseUrl)).pipe(
          Effect.provideService(ReadSideConfig, limits)
        ),
        [{ prefix: "merchant:", asset: "USD/2", balance: -7n, accounts: -1 }]
      )
    })
  )
})
