/** The contract of the read model, which it must keep in memory and on PostgreSQL alike. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, type Layer, Result, Schema } from "effect"
import { sumsOf } from "../../src/actors/projections/ProjectionBatch.ts"
import type { HoldRow, OpenedHead, Posted, StatementLine } from "../../src/domain/Books.ts"
import { post } from "../../src/domain/Books.ts"
import { emptyHead, type Head } from "../../src/domain/Head.ts"
import { type AccountId, instantMax } from "../../src/domain/Ids.ts"
import { Asset, amountMax, balanceMax } from "../../src/domain/Money.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import {
  type BooksBatch,
  expiringAfter,
  type LinesQuery,
  type Looked,
  ReadModel
} from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount, transfer, withdraw } from "../support/eventWriter.ts"
import { settable } from "../support/settableClock.ts"
import { accountId, commandId } from "../support/storedEvents.ts"

/** Rows in order, each account's from its first event on, as one batch. */
export const batchOf = (rows: ReadonlyArray<StoredEvent>): BooksBatch => {
  const heads = new Map<AccountId, Head>()
  const first = new Map<AccountId, number>()
  const posted: Array<Posted> = rows.map((row) => {
    const head = heads.get(row.accountId) ?? emptyHead(row.accountId)
    const next = Result.getOrThrow(post(head, row))
    heads.set(row.accountId, next.head)
    first.set(row.accountId, first.get(row.accountId) ?? row.version - 1)
    return next
  })
  const last = new Map<AccountId, OpenedHead>()
  for (const { head } of posted) last.set(head.account.id, head)
  return {
    moves: [...last].map(([account, head]) => ({ from: first.get(account) ?? 0, head })),
    lines: posted.map(({ line }) => line),
    transfers: posted.flatMap(({ transfer: row }) => row ?? []),
    contras: posted.flatMap(({ contras }) => contras.map((entry) => ({ ...entry, partition: 3 }))),
    holds: [
      ...new Map(
        posted.flatMap(({ hold }) =>
          hold === undefined ? [] : [[`${hold.account} ${hold.hold}`, hold] as const]
        )
      ).values()
    ],
    checkpoints: []
  }
}

/** The heads that a batch moves accounts to, as they are read while none of them is parked. */
const readHeadsOf = ({ moves }: BooksBatch) =>
  new Map(moves.map(({ head }) => [head.account.id, { ...head, isParked: false }]))

/** The lines of an account, which has some. */
const linesOf = (query: LinesQuery) =>
  Effect.gen(function* () {
    const readModel = yield* ReadModel
    return (yield* readModel.statement(query))?.lines ?? []
  })

const assetOf = Schema.decodeSync(Asset)
const usd = assetOf("USD/2")

/** A hold of `a` as it was placed. */
const holdOfTest = (id: string): HoldRow => ({
  account: accountId("a"),
  hold: commandId(id),
  asset: assetOf("USD/2"),
  amount: 10n,
  captured: 0n,
  remaining: 10n,
  captures: 0,
  expiresAt: null,
  to: "external:card" as never // a contra
})
const a = accountId("a")
const b = accountId("b")

export const readModelContract = (name: string, layer: Layer.Layer<ReadModel, unknown>) => {
  describe(`the read model in ${name}`, () => {
    const test = <E>(title: string, body: Effect.Effect<void, E, ReadModel>) =>
      it.live(title, () => Effect.provide(body, layer))

    test(
      "answers the heads, lines and transfers that were written",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(
          { ...openAccount("a", 500n), metadata: { 'ключ "1"': "värde\n" } },
          openAccount("b"),
          { ...deposit("a", 1_000n, "salary €"), effectiveAt: 1_600_000_000_123 },
          { ...transfer("a", "b", 300n), commandId: "t-1" },
          { _tag: "FreezeAccount", account: "b", reason: "lost card" },
          withdraw("a", 1_200n)
        )
        const batch = batchOf(eventWriter.log)
        assert.isTrue(yield* readModel.apply(batch))
        const heads = yield* readModel.heads([a, b, accountId("nobody")])
        assert.deepStrictEqual(heads, readHeadsOf(batch))
        assert.strictEqual(heads.get(a)?.account.balance, -500n)
        assert.deepStrictEqual(
          yield* linesOf({ account: a, limit: 100 }),
          batch.lines.filter((line) => line.account === "a")
        )
        assert.deepStrictEqual(yield* readModel.transfer(commandId("t-1")), batch.transfers[0])
        assert.isUndefined(yield* readModel.transfer(commandId("t-2")))
        assert.deepStrictEqual(
          yield* readModel.versions([a, b]),
          new Map([
            [a, 4],
            [b, 3]
          ])
        )
      })
    )

    test(
      "follows what is changed of an account: owner, metadata, limit and frozen sides",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(openAccount("a"))
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log)))
        for (const change of [
          {
            _tag: "UpdateAccount",
            account: "a",
            owner: "Bo",
            metadata: { tier: "gold" },
            overdraftLimit: 7n
          },
          { _tag: "FreezeAccount", account: "a", side: "debits" },
          { _tag: "FreezeAccount", account: "a", side: "credits" },
          { _tag: "UnfreezeAccount", account: "a", side: "debits" },
          { _tag: "UnfreezeAccount", account: "a" },
          { _tag: "CloseAccount", account: "a" }
        ] as const) {
          const [row] = eventWriter.commit(change).events
          const head = eventWriter.headOf(a) as OpenedHead // it was opened above
          const from = head.account.version - 1
          const line = batchOf(eventWriter.log).lines.slice(-1)
          assert.strictEqual(line[0]?.version, row?.version)
          const batch = { transfers: [], contras: [], holds: [], checkpoints: [] }
          assert.isTrue(yield* readModel.apply({ ...batch, moves: [{ from, head }], lines: line }))
          assert.deepStrictEqual((yield* readModel.heads([a])).get(a), { ...head, isParked: false })
        }
      })
    )

    test(
      "keeps holds until they end, in order of id and of expiry, and takes them back with their account",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        const at = eventWriter.now
        const place = (account: string, hold: string, expiresAt?: number) =>
          ({
            _tag: "PlaceHold",
            commandId: hold,
            account,
            amount: 10n,
            to: "external:card",
            ...(expiresAt === undefined ? {} : { expiresAt })
          }) as const
        eventWriter.commit(openAccount("a"), openAccount("b"), deposit("a", 100n), deposit("b", 100n))
        eventWriter.commit(place("a", "h-3", at + 900), place("a", "h-1", at + 500), place("a", "h-2"))
        eventWriter.commit(place("b", "h-0", at + 500), place("a", "h-4", at + 600))
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log)))
        const { version } = eventWriter.headOf(a).account
        eventWriter.commit(
          { _tag: "CaptureHold", account: "a", hold: "h-3", amount: 4n },
          { _tag: "ReleaseHold", account: "a", hold: "h-4" },
          { _tag: "AdjustHold", account: "a", hold: "h-1", amount: 12n, expiresAt: at + 400 }
        )
        const later = batchOf(eventWriter.log.filter((row) => row.accountId === "a"))
        const none = { transfers: [], contras: [], checkpoints: [] }
        assert.isTrue(
          yield* readModel.apply({
            ...none,
            moves: later.moves.map(({ head }) => ({ from: version, head })),
            lines: later.lines.filter((line) => line.version > version),
            holds: later.holds
          })
        )

        const own = { account: a, openAt: at, limit: 10 }
        const idsOf = (rows: ReadonlyArray<{ readonly hold: string }>) => rows.map(({ hold }) => hold)
        const open = yield* readModel.holds(own)
        assert.deepStrictEqual(open, [
          { ...holdOfTest("h-1"), amount: 12n, remaining: 12n, expiresAt: at + 400 },
          holdOfTest("h-2"),
          { ...holdOfTest("h-3"), captured: 4n, remaining: 6n, captures: 1, expiresAt: at + 900 }
        ])
        assert.deepStrictEqual(idsOf(yield* readModel.holds({ ...own, after: "h-1", limit: 1 })), ["h-2"])
        assert.deepStrictEqual(idsOf(yield* readModel.holds({ ...own, openAt: at + 400 })), ["h-2", "h-3"])
        assert.deepStrictEqual(idsOf(yield* readModel.holds({ ...own, before: at + 900 })), ["h-1"])

        const all = { after: expiringAfter(at), before: at + 10_000, limit: 10 }
        assert.deepStrictEqual(idsOf(yield* readModel.holdsByExpiry(all)), ["h-1", "h-0", "h-3"])
        assert.deepStrictEqual(idsOf(yield* readModel.holdsByExpiry({ ...all, before: at + 500 })), ["h-1"])
        assert.deepStrictEqual(
          idsOf(yield* readModel.holdsByExpiry({ ...all, after: expiringAfter(at + 400) })),
          ["h-0", "h-3"]
        )
        assert.deepStrictEqual(idsOf(yield* readModel.holdsByExpiry({ ...all, prefix: "b" })), ["h-0"])
        const place1 = { expiresAt: at + 500, account: "b", hold: "h-0" }
        assert.deepStrictEqual(idsOf(yield* readModel.holdsByExpiry({ ...all, after: place1 })), ["h-3"])

        const head = eventWriter.headOf(a)
        const held = { account: a, version: head.account.version, hash: head.hash }
        const nothing = { moves: [], lines: [], holds: [], ...none }
        assert.isTrue(yield* readModel.reload(held, 3, nothing))
        assert.deepStrictEqual(idsOf(yield* readModel.holdsByExpiry(all)), ["h-0"])
      })
    )

    test(
      "has what journals add to contra accounts, now and at an instant before, and takes it back with their account",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(openAccount("a"), openAccount("b"), deposit("b", 50n))
        const before = eventWriter.now - 1
        const [usd, euros] = [assetOf("USD/2"), assetOf("EUR/2")]
        eventWriter.commit({
          _tag: "PostJournal",
          legs: [
            { account: "external:card", side: "debit", amount: 100n },
            { account: "a", side: "credit", amount: 97n },
            { account: "b", side: "credit", amount: 3n },
            { account: "external:fx", side: "debit", amount: 7n, asset: "EUR/2" },
            { account: "external:bank", side: "credit", amount: 7n, asset: "EUR/2" },
            { account: "a", side: "credit", amount: 1n, asset: usd },
            { account: "a", side: "debit", amount: 1n }
          ]
        })
        const batch = batchOf(eventWriter.log)
        assert.isTrue(yield* readModel.apply(batch))
        const contras = [
          ["external:bank", euros, 7n],
          ["external:bank", usd, -50n],
          ["external:card", usd, -100n],
          ["external:fx", euros, -7n]
        ]
        const told = Effect.map(readModel.contras, (rows) =>
          rows.map(({ contra, asset, balance }) => [contra, asset, balance])
        )
        assert.deepStrictEqual(yield* told, contras)
        const lines = yield* linesOf({ account: a, limit: 10 })
        assert.deepStrictEqual(
          lines,
          batch.lines.filter((line) => line.account === "a")
        )
        assert.deepStrictEqual(
          lines[1]?.contras?.map(({ amount }) => amount),
          [-100n, -7n, 7n]
        )
        assert.deepStrictEqual(yield* readModel.trialBalance, [
          { asset: euros, accounts: 0n, contras: 0n, total: 0n },
          { asset: usd, accounts: 150n, contras: -150n, total: 0n }
        ])
        assert.deepStrictEqual(
          (yield* readModel.trialBalanceAt(before)).sums.filter(({ asset }) => asset === usd),
          [{ asset: usd, accounts: 50n, contras: -50n, total: 0n }]
        )
        const head = eventWriter.headOf(a)
        const held = { account: a, version: head.account.version, hash: head.hash }
        const again = batchOf(eventWriter.log.filter((row) => row.accountId === "a"))
        assert.isTrue(yield* readModel.reload(held, 3, again))
        assert.deepStrictEqual(yield* told, contras)
      })
    )

    test(
      "sums accounts by prefix, as of what was recorded and what counts by an instant",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        for (const name of ["m:1", "m:2", "m", "m0", "n:1"]) eventWriter.commit(openAccount(name))
        const start = eventWriter.now
        for (let nth = 0; nth < 40; nth++) {
          const account = ["m:1", "m:2", "m", "m0", "n:1"][nth % 5] ?? "m"
          const dated = nth % 3 === 0 ? { effectiveAt: start + ((nth * 7) % 50) - 5 } : {}
          eventWriter.commit({ ...deposit(account, BigInt(nth + 1)), ...dated })
        }
        eventWriter.commit({ ...openAccount("m:e"), asset: "EUR/2" })
        const batch = batchOf(eventWriter.log)
        assert.isTrue(yield* readModel.apply(batch))
        for (const prefix of ["", "m", "m:", "m:1", "m:1x", "z"]) {
          for (const knownAt of [start - 1, start + 13, start + 60]) {
            for (const effectiveAt of [undefined, start - 3, start + 13, start + 30]) {
              const own = batch.lines.filter(
                (line) =>
                  line.account.startsWith(prefix) &&
                  line.recordedAt <= knownAt &&
                  line.effectiveAt <= (effectiveAt ?? Number.POSITIVE_INFINITY)
              )
              const expected = [...Map.groupBy(own, ({ asset }) => asset)]
                .map(([asset, lines]) => ({
                  asset,
                  balance: lines.reduce((sum, { amount }) => sum + amount, 0n),
                  accounts: lines.filter(({ type }) => type === "AccountOpened").length
                }))
                .filter(({ balance, accounts }) => balance !== 0n || accounts > 0)
                .toSorted((one, other) => (one.asset < other.asset ? -1 : 1))
              assert.deepStrictEqual(
                yield* readModel.sum({ prefix, knownAt, effectiveAt }),
                { sums: expected, parked: 0 },
                `${prefix} ${knownAt - start} ${effectiveAt}`
              )
            }
          }
        }
        const few = yield* Effect.map(readModel.accounts({ prefix: "m:", after: "", limit: 9 }), (heads) =>
          heads.map(({ account }) => `${account.id}`)
        )
        assert.deepStrictEqual(few, ["m:1", "m:2", "m:e"])
      })
    )

    test(
      "keeps the sums of declared prefixes at hand, of what was there before and of what is written since",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        const written = () => eventWriter.log.splice(0)
        const withSums = (batch: BooksBatch, { generation, sumPrefixes }: Omit<Looked, "heads">) => {
          const changes = batch.lines.map((line) => ({ ...line, isOpening: line.type === "AccountOpened" }))
          return { ...batch, ...sumsOf(sumPrefixes, changes, 4), generation }
        }
        const isSum = (prefix: string, ...expected: ReadonlyArray<readonly [string, bigint, number]>) =>
          Effect.gen(function* () {
            const found = yield* readModel.sum({ prefix, knownAt: eventWriter.now + 1_000 })
            assert.deepStrictEqual(
              found?.sums.map(({ asset, balance, accounts }) => [asset, balance, accounts]),
              expected.map((one) => [...one])
            )
          })
        const lacking = Effect.scoped(Effect.flatMap(readModel.frozen, ({ lackOfSums }) => lackOfSums))

        eventWriter.commit(openAccount("m:1"), deposit("m:1", 10n), openAccount("n"), deposit("n", 1n))
        const before = yield* readModel.look([])
        assert.isTrue(yield* readModel.apply(withSums(batchOf(written()), before)))
        yield* readModel.declareSums(["m:", "m:e", "m:9"])
        eventWriter.commit(openAccount("m:2"), deposit("m:2", 5n))
        eventWriter.commit({ ...openAccount("m:e"), asset: "EUR/2" }, deposit("m:e", 7n))
        const further = batchOf(written())
        assert.isFalse(yield* readModel.apply(withSums(further, before)), "folded before the declaration")
        const now = yield* readModel.look([])
        assert.deepStrictEqual(now.sumPrefixes, ["m:", "m:9", "m:e"])
        assert.isTrue(yield* readModel.apply(withSums(further, now)))
        const told = [
          ["EUR/2", 7n, 1],
          ["USD/2", 15n, 2]
        ] as const
        yield* isSum("m:", ...told)
        assert.deepStrictEqual(
          (yield* readModel.declaredSums).map(({ isFilled }) => isFilled),
          [false, false, false]
        )
        assert.deepStrictEqual(yield* lacking, [])
        assert.deepInclude(yield* readModel.settleSum("m:"), { asset: usd, balance: 10n, accounts: 1 })
        for (const prefix of ["m:", "m:e", "m:9"]) yield* readModel.settleSum(prefix)
        for (const prefix of ["m:", "m:e", "m:9"])
          assert.deepStrictEqual(yield* readModel.settleSum(prefix), [])
        yield* isSum("m:", ...told)
        yield* isSum("m:e", ["EUR/2", 7n, 1])
        yield* isSum("m:9")
        yield* isSum("m", ...told)

        // A program that keeps no sums.
        eventWriter.commit(openAccount("m:3"), deposit("m:3", 100n))
        assert.isTrue(yield* readModel.apply(batchOf(written())))
        const missing = { asset: usd, balance: 100n, accounts: 1 }
        assert.deepStrictEqual(yield* lacking, [{ prefix: "m:", ...missing }])
        assert.deepStrictEqual(yield* readModel.settleSum("m:"), [missing])
        assert.deepStrictEqual(yield* lacking, [])

        const [held] = yield* readModel.heldHeads({ after: "m:1", limit: 1 })
        if (held === undefined) return assert.fail("m:2 is not there")
        const other = new EventWriter("other", eventWriter.now)
        other.commit(openAccount("m:2"))
        assert.isTrue(yield* readModel.reload(held, 3, withSums(batchOf(other.log), now)))
        assert.deepStrictEqual(yield* readModel.settleSum("m:"), [])
        yield* isSum("m:", ["EUR/2", 7n, 1], ["USD/2", 110n, 3])

        yield* readModel.declareSums(["m:9"])
        assert.deepStrictEqual(yield* readModel.declaredSums, [{ prefix: "m:9", isFilled: true }])
        assert.deepStrictEqual(yield* readModel.settleSum("m:"), [])
        yield* isSum("m:", ["EUR/2", 7n, 1], ["USD/2", 110n, 3])
      })
    )

    test(
      "writes nothing of a batch when another projector moved one of its accounts",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        const opened = eventWriter.commit(openAccount("a"), openAccount("b"), deposit("a", 10n))
        assert.isTrue(yield* readModel.apply(batchOf(opened.events)))
        for (const stale of [eventWriter.log.slice(0, 1), eventWriter.log]) {
          assert.isFalse(yield* readModel.apply(batchOf(stale)))
        }
        // `a` is at its version, `b` is not.
        const [b1] = new EventWriter().commit(openAccount("b")).events
        const [a3] = eventWriter.commit(deposit("a", 5n)).events
        assert.isTrue(b1 !== undefined && a3 !== undefined)
        const next = batchOf(eventWriter.log.filter((row) => row.accountId === "a"))
        const moves = next.moves.map((move) => ({ ...move, from: 2 }))
        const stale = { ...batchOf(b1 === undefined ? [] : [b1]), contras: next.contras.slice(1) }
        assert.isFalse(
          yield* readModel.apply({
            ...stale,
            moves: [...moves, ...stale.moves],
            lines: next.lines.slice(2)
          })
        )
        assert.strictEqual((yield* readModel.heads([a])).get(a)?.account.version, 2)
        assert.lengthOf(yield* linesOf({ account: a, limit: 10 }), 2)
        assert.deepStrictEqual(
          (yield* readModel.contras).map((one) => one.balance),
          [-10n]
        )
      })
    )

    test(
      "carries the largest amounts, balances and limits, and contras beyond them",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        const fill = (account: string) => Array.from({ length: 100 }, () => deposit(account, amountMax))
        eventWriter.commit(
          openAccount("a"),
          openAccount("b", amountMax),
          openAccount("c"),
          ...fill("a"),
          deposit("a", balanceMax - 100n * amountMax),
          ...fill("c"),
          { ...transfer("b", "c", 99n), commandId: "t-1" },
          withdraw("b", amountMax - 99n)
        )
        const batch = batchOf(eventWriter.log)
        assert.isTrue(yield* readModel.apply(batch))
        const c = accountId("c")
        const heads = yield* readModel.heads([a, b, c])
        assert.deepStrictEqual(heads, readHeadsOf(batch))
        assert.deepStrictEqual(
          [a, b, c].map((id) => heads.get(id)?.account.balance),
          [balanceMax, -amountMax, balanceMax]
        )
        assert.strictEqual(heads.get(b)?.account.overdraftLimit, amountMax)
        const lines = yield* linesOf({ account: c, limit: 1_000 })
        assert.deepStrictEqual(
          lines,
          batch.lines.filter((line) => line.account === "c")
        )
        assert.deepStrictEqual(yield* readModel.transfer(commandId("t-1")), batch.transfers[0])
        const contras: ReadonlyArray<object> = yield* readModel.contras
        const outside = -(2n * balanceMax - amountMax)
        assert.deepStrictEqual(contras, [{ contra: "external:bank", asset: "USD/2", balance: outside }])
        const trial: ReadonlyArray<object> = yield* readModel.trialBalance
        assert.deepStrictEqual(trial, [{ asset: "USD/2", accounts: -outside, contras: outside, total: 0n }])
        const past: ReadonlyArray<object> = (yield* readModel.trialBalanceAt(0)).sums
        assert.deepStrictEqual(past, [])
      })
    )

    test(
      "sums accounts and contras to zero, asset by asset",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(
          openAccount("a"),
          { ...openAccount("yen"), asset: "JPY/0" },
          deposit("a", 700n),
          { ...deposit("yen", 9_000_000_000_000_000_000n / 10n), contra: "external:mint" },
          { ...withdraw("a", 200n), contra: "external:atm" }
        )
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log)))
        const trial: ReadonlyArray<object> = yield* readModel.trialBalance
        assert.deepStrictEqual(trial, [
          {
            asset: "JPY/0",
            accounts: 900_000_000_000_000_000n,
            contras: -900_000_000_000_000_000n,
            total: 0n
          },
          { asset: "USD/2", accounts: 500n, contras: -500n, total: 0n }
        ])
        const contras: ReadonlyArray<object> = yield* readModel.contras
        assert.deepStrictEqual(contras, [
          { contra: "external:atm", asset: "USD/2", balance: 200n },
          { contra: "external:bank", asset: "USD/2", balance: -700n },
          { contra: "external:mint", asset: "JPY/0", balance: -900_000_000_000_000_000n }
        ])
      })
    )

    test(
      "tells the trial balance of a past instant alike once accounts have assets that came later",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        const start = eventWriter.now
        eventWriter.commit(openAccount("a"))
        const opened = eventWriter.now - 1
        eventWriter.commit(deposit("a", 700n), withdraw("a", 700n))
        const emptied = eventWriter.now - 1
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log)))
        const told = Effect.forEach([start - 1, opened, emptied], (instant) =>
          Effect.map(readModel.trialBalanceAt(instant), ({ sums }) => sums)
        )
        const before: ReadonlyArray<object> = yield* told
        const zero = { asset: "USD/2", accounts: 0n, contras: 0n, total: 0n }
        assert.deepStrictEqual(before, [[], [zero], [zero]])
        const count = eventWriter.log.length
        eventWriter.commit({ ...openAccount("yen"), asset: "JPY/0" }, deposit("yen", 5n))
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log.slice(count))))
        assert.deepStrictEqual(yield* told, before)
      })
    )

    test(
      "pages through lines and accounts, by version, instant and type",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        const start = eventWriter.now
        eventWriter.commit(openAccount("b"), openAccount("B"), openAccount("a"))
        for (let index = 0; index < 5; index++) eventWriter.commit(deposit("b", 1n), transfer("b", "a", 1n))
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log)))
        const versions = (asked: LinesQuery) =>
          Effect.map(linesOf(asked), (lines) => lines.map((line) => line.version))
        const all = { account: b, limit: 100 }
        assert.deepStrictEqual(
          yield* versions({ ...all, after: { version: 4, effectiveAt: 0 }, limit: 3 }),
          [5, 6, 7]
        )
        assert.deepStrictEqual(yield* versions({ ...all, from: start + 3, to: start + 6 }), [2, 3, 4])
        assert.deepStrictEqual(yield* versions({ ...all, types: ["TransferSent"] }), [3, 5, 7, 9, 11])
        const ids = (after: string, limit: number) =>
          Effect.map(readModel.accounts({ after, limit }), (heads) =>
            heads.map((head) => String(head.account.id))
          )
        // By bytes, whatever the locale of the database.
        assert.deepStrictEqual(yield* ids("", 10), ["B", "a", "b"])
        assert.deepStrictEqual(yield* ids("B", 1), ["a"])
      })
    )

    test(
      "finds the lines of any interval of either time",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        const start = eventWriter.now
        eventWriter.commit(openAccount("a"), openAccount("b"))
        for (let index = 0; index < 40; index++) {
          // Every fourth counts for another day, before or after; some share an instant.
          const shifted = index % 4 === 3 ? { effectiveAt: start + ((index * 17) % 60) - 5 } : {}
          eventWriter.commit({ ...deposit(index % 5 === 0 ? "b" : "a", 1n), ...shifted })
          if (index % 3 === 0) eventWriter.now--
        }
        const batch = batchOf(eventWriter.log)
        // A line may be missing: its event was skipped.
        const left = batch.lines.filter((line) => line.account !== "a" || ![7, 8, 20].includes(line.version))
        assert.isTrue(yield* readModel.apply({ ...batch, lines: left }))
        const inOrder = {
          recorded: left.filter((line) => line.account === "a"),
          effective: left
            .filter((line) => line.account === "a")
            .toSorted((x, y) => x.effectiveAt - y.effectiveAt || x.version - y.version)
        }
        const at = { recorded: "recordedAt", effective: "effectiveAt" } as const
        const versionsOf = (lines: ReadonlyArray<StatementLine>) => lines.map((line) => line.version)
        for (const axis of ["recorded", "effective"] as const) {
          for (let from = -2; from < 45; from += 3) {
            for (const length of [0, 1, 4, 17, 100]) {
              const range = { from: start + from, to: start + from + length }
              const expected = inOrder[axis].filter(
                (line) => line[at[axis]] >= range.from && line[at[axis]] < range.to
              )
              const asked = { account: a, limit: 100, axis, ...range }
              const told = `${axis} ${from} ${length}`
              assert.deepStrictEqual(versionsOf(yield* linesOf(asked)), versionsOf(expected), told)
              const after = expected[2]
              if (after === undefined) continue
              const rest = yield* linesOf({ ...asked, after, limit: 3 })
              assert.deepStrictEqual(versionsOf(rest), versionsOf(expected.slice(3, 6)), told)
            }
          }
          const openEnd = yield* linesOf({ account: a, limit: 100, axis, from: start + 10 })
          const expected = inOrder[axis].filter((line) => line[at[axis]] >= start + 10)
          assert.deepStrictEqual(versionsOf(openEnd), versionsOf(expected))
        }
      })
    )

    test(
      "takes the instant behind all others as a bound",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(openAccount("a"), { ...deposit("a", 9n), effectiveAt: instantMax })
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log)))
        for (const axis of ["recorded", "effective"] as const) {
          const bounded = (bounds: Pick<LinesQuery, "from" | "to">) =>
            Effect.map(readModel.statement({ account: a, limit: 9, axis, ...bounds }), (found) => [
              found?.lines.length,
              found?.opening,
              found?.closing
            ])
          assert.deepStrictEqual(yield* bounded({ to: instantMax + 1 }), [2, 0n, 9n], axis)
          assert.deepStrictEqual(yield* bounded({ from: instantMax + 1 }), [0, 9n, 9n], axis)
        }
      })
    )

    test(
      "counts a skipped event from the line recorded after it",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        const start = eventWriter.now
        eventWriter.commit(
          openAccount("a"),
          deposit("a", 10n),
          deposit("a", 5n),
          { ...deposit("a", 7n), effectiveAt: start },
          deposit("a", 1n)
        )
        const batch = batchOf(eventWriter.log)
        const lines = batch.lines.filter(({ version }) => version !== 2 && version !== 5)
        assert.isTrue(yield* readModel.apply({ ...batch, lines }))
        const statement = (axis: "recorded" | "effective") =>
          Effect.map(readModel.statement({ account: a, limit: 9, axis, from: start }), (found) => [
            found?.opening,
            found?.lines.map(({ version, balance }) => [version, balance]),
            found?.closing
          ])
        assert.deepStrictEqual(yield* statement("recorded"), [
          0n,
          [
            [1, 0n],
            [3, 15n],
            [4, 22n]
          ],
          23n
        ])
        assert.deepStrictEqual(yield* statement("effective"), [
          0n,
          [
            [1, 0n],
            [4, 7n],
            [3, 22n]
          ],
          23n
        ])
      })
    )

    test(
      "counts a skipped event from the next line on in every answer about an instant, and changes none of them",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(openAccount("a"), openAccount("b"))
        for (const units of [10n, 5n, 7n, 1n]) eventWriter.commit(deposit("a", units))
        const { lines, ...whole } = batchOf(eventWriter.log)
        const rows = eventWriter.log.filter(({ accountId: account }) => account === "a")
        /** The batch that moves `a` to a version, with or without its line. */
        const upTo = (version: number, isSkipped: boolean): BooksBatch => {
          const moves = batchOf(rows.slice(0, version)).moves.map((move) => ({ ...move, from: version - 1 }))
          const line = lines.filter((one) => one.account === "a" && one.version === version)
          const skipped = { account: a, version, reason: "it is of the future", since: 0 }
          return { ...whole, moves, ...(isSkipped ? { lines: [], skipped } : { lines: line }), contras: [] }
        }
        const ofB = batchOf(eventWriter.log.filter(({ accountId: account }) => account === "b"))
        assert.isTrue(yield* readModel.apply(ofB))
        const at = (version: number) => rows[version - 1]?.recordedAt ?? assert.fail()
        /** What all accounts have after each version, by each question that has an instant. */
        const asOf = (instant: number) =>
          Effect.gen(function* () {
            const knownAt = instant
            const ofKnown = yield* readModel.sum({ prefix: "", knownAt })
            const effective = yield* readModel.sum({ prefix: "a", knownAt: at(5) + 9, effectiveAt: knownAt })
            const [trial] = (yield* readModel.trialBalanceAt(knownAt)).sums
            const statement = (axis: "recorded" | "effective") =>
              Effect.map(
                readModel.statement({ account: a, limit: 1, axis, to: knownAt + 1 }),
                (found) => found?.closing
              )
            return [
              ofKnown?.sums[0]?.balance,
              effective?.sums[0]?.balance,
              trial?.accounts,
              yield* statement("recorded"),
              yield* statement("effective")
            ]
          })
        const isSkipped = (version: number) => version === 3 || version === 5
        for (let version = 1; version <= 5; version++) {
          assert.isTrue(yield* readModel.apply(upTo(version, isSkipped(version))))
          const balances = [0n, 10n, 10n, 22n, 22n]
          for (const [index, balance] of balances.slice(0, version).entries())
            assert.deepStrictEqual(
              yield* asOf(at(index + 1)),
              Array.from({ length: 5 }, () => balance),
              `as of version ${index + 1}, at version ${version}`
            )
          // Without an instant it is the head's, as that of a balance.
          const head = [0n, 10n, 15n, 22n, 23n][version - 1]
          assert.strictEqual((yield* readModel.statement({ account: a, limit: 1 }))?.closing, head)
          assert.strictEqual((yield* readModel.heads([a])).get(a)?.account.balance, head)
        }
      })
    )

    test(
      "tells with heads, sums and holds that expire which accounts are parked, and what was skipped of them",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        const expiresAt = eventWriter.now + 500
        for (const account of ["m:1", "m:2", "n:1"])
          eventWriter.commit(openAccount(account), deposit(account, 100n), {
            _tag: "PlaceHold",
            account,
            amount: 10n,
            commandId: `hold-${account}`,
            expiresAt
          })
        const { lines, ...batch } = batchOf(eventWriter.log)
        const skipped = { account: accountId("m:1"), version: 3, reason: "bad", since: 1 }
        assert.isTrue(
          yield* readModel.apply({
            ...batch,
            lines: lines.filter(({ account, version }) => account !== "m:1" || version !== 3),
            skipped
          })
        )
        const parked = Effect.gen(function* () {
          const found = { after: { expiresAt: 0, account: "", hold: "" }, before: expiresAt + 1, limit: 10 }
          const count = (prefix: string) =>
            Effect.map(readModel.sum({ prefix, knownAt: eventWriter.now }), (sum) => sum?.parked)
          const heads = yield* readModel.heads([accountId("m:1"), accountId("m:2")])
          const single = yield* Effect.forEach([...heads.keys()], (id) => readModel.heads([id]))
          assert.deepStrictEqual(new Map(single.flatMap((one) => [...one])), heads)
          return {
            heads: [...heads].flatMap(([id, head]) => (head.isParked ? [String(id)] : [])),
            sums: [yield* count(""), yield* count("m:"), yield* count("n:"), yield* count("z")],
            trial: (yield* readModel.trialBalanceAt(eventWriter.now)).parked,
            before: yield* readModel.trialBalanceAt(0),
            holds: (yield* readModel.expiringHolds(found)).map((row) => [
              row.account,
              row.hold,
              row.isParked,
              row.skipped
            ])
          }
        })
        const holds = (isParked: boolean) => [
          ["m:1", "hold-m:1", false, [3]],
          ["m:2", "hold-m:2", isParked, []],
          ["n:1", "hold-n:1", false, []]
        ]
        const none: object = {
          heads: [],
          sums: [0, 0, 0, 0],
          trial: 0,
          before: { sums: [], parked: 0 },
          holds: holds(false)
        }
        assert.deepStrictEqual<object>(yield* parked, none)
        yield* readModel.park([{ account: accountId("m:2"), version: 4, reason: "poison", since: 1 }])
        assert.deepStrictEqual<object>(yield* parked, {
          heads: ["m:2"],
          sums: [1, 1, 0, 0],
          trial: 1,
          before: { sums: [], parked: 1 },
          holds: holds(true)
        })
      })
    )

    test(
      "answers which positions of accounts that are not parked are not reached",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(openAccount("a"), deposit("a", 1n))
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log)))
        const positions = [
          { account: a, version: 2 },
          { account: a, version: 3 },
          { account: b, version: 1 }
        ]
        assert.deepStrictEqual(yield* readModel.behind(positions), [
          { account: a, version: 3, reached: 2 },
          { account: b, version: 1, reached: 0 }
        ])
        const parked = { account: a, version: 3, reason: "unreadable", since: 1_767_225_600_000 }
        yield* readModel.park([parked])
        yield* readModel.park([{ ...parked, reason: "still", since: 1_800_000_000_000 }])
        assert.deepStrictEqual(yield* readModel.parked, [{ ...parked, reason: "still" }])
        assert.deepStrictEqual(
          (yield* readModel.behind(positions)).map((position) => position.account),
          [b]
        )
        yield* readModel.unpark([a])
        assert.lengthOf(yield* readModel.parked, 1, "it is not past its event")
        yield* readModel.beginRelease([a])
        assert.deepStrictEqual(yield* readModel.parked, [{ ...parked, reason: "still", version: 2 }])
        assert.deepStrictEqual(
          (yield* readModel.behind(positions)).map((position) => position.account),
          [a, b]
        )
        yield* readModel.unpark([a, b])
        assert.deepStrictEqual(yield* readModel.parked, [])
      })
    )

    test(
      "tells what a parked account lacks once it is past its event, and releases one that has no row",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(openAccount("a"), deposit("a", 1n), deposit("a", 1n))
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log.slice(0, 1))))
        const at = (account: AccountId, version: number) => ({ account, version, reason: "poison", since: 1 })
        yield* readModel.park([at(a, 2), at(b, 1)])
        const lacks = Effect.map(
          readModel.behind([
            { account: a, version: 3 },
            { account: b, version: 1 }
          ]),
          (found) => found.map(({ account, reached }) => `${account}@${reached}`)
        )
        assert.deepStrictEqual(yield* lacks, [])
        const { moves, ...rest } = batchOf(eventWriter.log.slice(0, 2))
        const next = {
          ...rest,
          moves: moves.map((move) => ({ ...move, from: 1 })),
          lines: rest.lines.slice(1)
        }
        assert.isTrue(yield* readModel.apply({ ...next, contras: next.contras.slice(-1) }))
        assert.deepStrictEqual(yield* lacks, ["a@2"])
        yield* readModel.beginRelease([a, b])
        assert.deepStrictEqual(yield* lacks, ["a@2", "b@0"])
        assert.deepStrictEqual(yield* readModel.parked, [at(a, 2), at(b, 0)])
        // Parked again meanwhile, by another process.
        yield* readModel.park([at(a, 3)])
        yield* readModel.unpark([a, b])
        assert.deepStrictEqual(yield* readModel.parked, [at(a, 3)])
      })
    )

    test(
      "tells which accounts are parked, all of them only to who knows others, and which of them are past their event",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(openAccount("a"), deposit("a", 1n), openAccount("b"))
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log)))
        const at = (account: AccountId, version: number) => ({ account, version, reason: "poison", since: 1 })
        const none = yield* readModel.parkedNow("")
        assert.deepInclude(none, { accounts: [], past: [] })
        assert.deepInclude(yield* readModel.parkedNow(none.digest), { accounts: undefined, past: [] })
        const c = accountId("c")
        yield* readModel.park([at(a, 3), at(b, 2), at(c, 1)])
        const three = yield* readModel.parkedNow(none.digest)
        assert.sameMembers([...(three.accounts ?? [])], [a, b, c])
        assert.deepStrictEqual(three.past, [])
        yield* readModel.beginRelease([b, c])
        const known = yield* readModel.parkedNow(three.digest)
        assert.isUndefined(known.accounts)
        assert.strictEqual(known.digest, three.digest)
        assert.sameMembers([...known.past], [b, c])
        yield* readModel.unpark([b])
        const two = yield* readModel.parkedNow(three.digest)
        assert.sameMembers([...(two.accounts ?? [])], [a, c])
        assert.deepStrictEqual(two.past, [c])
        assert.deepStrictEqual(yield* readModel.parkedAmong([c, b, a]), [at(a, 3), at(c, 0)])
        assert.deepStrictEqual(yield* readModel.parkedAmong([]), [])
        assert.deepStrictEqual(yield* readModel.firstParked(1), [at(a, 3)])
        yield* readModel.park([{ ...at(c, 2), reason: "a page is bad: block 7" }])
        const reasons = yield* readModel.firstParked(1, "a page is")
        assert.deepStrictEqual(reasons, [{ ...at(c, 2), reason: "a page is bad: block 7" }])
        assert.deepStrictEqual(yield* readModel.firstParked(1, "page"), [])
      })
    )

    test(
      "parks no account that is past the event",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(openAccount("a"), deposit("a", 1n), openAccount("b"))
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log)))
        const at = (account: AccountId, version: number) => ({ account, version, reason: "poison", since: 1 })
        yield* readModel.park([at(a, 2), at(b, 2)])
        assert.deepStrictEqual(yield* readModel.parked, [at(b, 2)])
        yield* readModel.park([at(a, 3)])
        assert.deepStrictEqual(yield* readModel.parked, [at(a, 3), at(b, 2)])
      })
    )

    test(
      "moves a writer's cursor only from where it stands",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        yield* readModel.moveSwept("w", 5, 9)
        assert.deepStrictEqual(yield* readModel.swept, new Map())
        yield* readModel.moveSwept("w", 0, 5)
        yield* readModel.moveSwept("w", 0, 7)
        assert.deepStrictEqual(yield* readModel.swept, new Map([["w", 5]]))
        yield* readModel.moveSwept("w", 5, 9)
        assert.deepStrictEqual(yield* readModel.swept, new Map([["w", 9]]))
        const { generation } = yield* readModel.look([])
        yield* readModel.moveSwept("w", 9, 12, generation + 1)
        yield* readModel.moveSwept("v", 0, 12, generation + 1)
        assert.deepStrictEqual(yield* readModel.swept, new Map([["w", 9]]), "of other tables")
        yield* readModel.moveSwept("w", 9, 12, generation)
        yield* readModel.declareSums([])
        yield* readModel.moveSwept("w", 12, 15, generation)
        yield* readModel.forgetSwept(["w"], generation)
        assert.deepStrictEqual(yield* readModel.swept, new Map([["w", 12]]), "they were exchanged")
        yield* readModel.forgetSwept(["v", "w"], generation + 1)
        assert.deepStrictEqual(yield* readModel.swept, new Map())
      })
    )

    test(
      "moves a checkpoint back when the stream began again",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const write = (position: number, recordedAt: number) =>
          readModel.apply({
            moves: [],
            lines: [],
            transfers: [],
            contras: [],
            holds: [],
            checkpoints: [{ partition: 7, position, recordedAt }]
          })
        yield* write(100, 1_767_225_600_000)
        yield* write(3, 1_767_225_500_000)
        const checkpoint = (yield* readModel.checkpoints).get(7)
        assert.deepInclude(checkpoint, { partition: 7, position: 3, recordedAt: 1_767_225_600_000 })
      })
    )

    test(
      "tells how long ago a checkpoint was written by its own clock, whatever the callers' clocks say",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const hourMs = 3_600_000
        const { clock, set } = settable(yield* Clock.Clock)
        const by = <A, E>(offMs: number, effect: Effect.Effect<A, E>) => {
          set(offMs)
          return Effect.provideService(effect, Clock.Clock, clock)
        }
        for (const [offMs, otherMs] of [
          [hourMs, -hourMs],
          [-hourMs, hourMs]
        ] as const) {
          const checkpoints = [{ partition: 8, position: 1, recordedAt: 1 }]
          yield* by(
            offMs,
            readModel.apply({ moves: [], lines: [], transfers: [], contras: [], holds: [], checkpoints })
          )
          yield* Effect.sleep(20)
          const quietMs = (yield* by(otherMs, readModel.checkpoints)).get(8)?.quietMs ?? -1
          assert.isAtLeast(quietMs, 10)
          assert.isBelow(quietMs, hourMs / 2)
        }
      })
    )

    test(
      "reloads an account whose event is not in the log",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(openAccount("a"), openAccount("b"), deposit("a", 5n), transfer("a", "b", 2n))
        const forger = new EventWriter()
        forger.commit(
          openAccount("a"),
          openAccount("b"),
          deposit("a", 1_000_000n),
          { ...transfer("a", "b", 3n), commandId: "forged" },
          { ...withdraw("a", 9n), contra: "external:atm" }
        )
        const ofAccount = (rows: ReadonlyArray<StoredEvent>, account: AccountId) =>
          rows.filter((row) => row.accountId === account)
        const forged = batchOf(ofAccount(forger.log, a))
        const whole = batchOf(eventWriter.log)
        assert.isTrue(yield* readModel.apply(forged))
        assert.isTrue(yield* readModel.apply(batchOf(ofAccount(eventWriter.log, b))))
        const { hash } = forger.headOf(a)
        const real = batchOf(ofAccount(eventWriter.log, a))
        for (const held of [
          { account: a, version: 4, hash: eventWriter.headOf(a).hash },
          { account: a, version: 3, hash }
        ]) {
          assert.isFalse(yield* readModel.reload(held, 3, real), "it is at another event")
        }
        assert.strictEqual((yield* readModel.heads([a])).get(a)?.account.balance, 999_988n)
        assert.isTrue(yield* readModel.reload({ account: a, version: 4, hash }, 3, real))
        assert.deepStrictEqual(yield* readModel.heads([a, b]), readHeadsOf(whole))
        for (const account of [a, b]) {
          assert.deepStrictEqual(
            yield* linesOf({ account, limit: 100 }),
            whole.lines.filter((line) => line.account === account)
          )
        }
        assert.isUndefined(yield* readModel.transfer(commandId("forged")))
        const [sent] = whole.transfers
        assert.deepStrictEqual(yield* readModel.transfer(sent?.id ?? assert.fail()), sent)
        const contras = (yield* readModel.contras).filter((one) => one.balance !== 0n)
        assert.deepStrictEqual(
          contras.map((one) => [one.contra, one.balance]),
          [["external:bank", -5n]]
        )
        assert.strictEqual((yield* readModel.trialBalance)[0]?.total, 0n)
      })
    )

    test(
      "erases an account of which the log has nothing",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const forger = new EventWriter()
        forger.commit(openAccount("a"), deposit("a", 7n))
        assert.isTrue(yield* readModel.apply(batchOf(forger.log)))
        const held = { account: a, version: 2, hash: forger.headOf(a).hash }
        assert.isTrue(yield* readModel.reload(held, 3, batchOf([])))
        assert.strictEqual((yield* readModel.heads([a])).size, 0)
        assert.lengthOf(yield* linesOf({ account: a, limit: 10 }), 0)
        assert.isTrue((yield* readModel.contras).every((one) => one.balance === 0n))
      })
    )

    test(
      "lets one of many writers of the same account win",
      Effect.gen(function* () {
        const readModel = yield* ReadModel
        const eventWriter = new EventWriter()
        eventWriter.commit(openAccount("a"), openAccount("b"), deposit("a", 5n), transfer("a", "b", 2n))
        const batch = batchOf(eventWriter.log)
        const won = yield* Effect.all(
          Array.from({ length: 20 }, () => readModel.apply(batch)),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(won.filter((one) => one).length, 1)
        assert.deepStrictEqual((yield* readModel.trialBalance)[0]?.total, 0n)
      })
    )
  })
}
