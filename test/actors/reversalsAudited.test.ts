/**
 * Payments that came in split from contra accounts, given back in parts, with accounts that lack what they got: what is
 * projected of it, and what an audit of the whole log and the read model says, in memory and on PostgreSQL.
 */
import { assert, inject, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Result } from "effect"
import type { CommandInput } from "../../src/domain/Command.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { SumPrefixes } from "../../src/infra/config/SumPrefixes.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { type ProjectedSignal, ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { freshEventStore } from "../support/databases.ts"
import { Rng } from "../support/Rng.ts"
import { freshReadModel, readModelOn } from "../support/readSides.ts"

const shops = ["shop:a", "shop:b", "shop:tax", "shop:fees"]
const payments = 40

const open = (account: string, asset = "USD/2"): CommandInput => ({
  _tag: "OpenAccount",
  account,
  asset,
  owner: "Ada"
})

/** A payment by card, split among the shops; some have a part in euros from the same card. */
const payment = (rng: Rng, nth: number): CommandInput => {
  const parts = shops.flatMap((account) => {
    const amount = BigInt(rng.below(3_000))
    return amount === 0n ? [] : [{ account, side: "credit" as const, amount }]
  })
  const total = parts.reduce((sum, { amount }) => sum + amount, 0n)
  const euros = BigInt(1 + rng.below(2_000))
  const card = { account: "external:card", side: "debit" as const }
  return {
    _tag: "PostJournal",
    commandId: `p${nth}`,
    legs: [
      { ...card, amount: total, asset: "USD/2" },
      ...parts,
      ...(nth % 3 === 0
        ? [
            { ...card, amount: euros, asset: "EUR/2" },
            { account: "shop:eur", side: "credit" as const, amount: euros }
          ]
        : [])
    ]
  }
}

const reversal = (rng: Rng, nth: number, n: number): CommandInput => {
  const amount = BigInt(1 + rng.below(1_500))
  const by = [
    {},
    { legs: [{ account: rng.pick(["shop:a", "shop:b", "shop:tax"] as const), amount }] },
    { legs: [{ account: "shop:eur", amount, asset: "EUR/2" }] },
    { legs: [{ account: "external:card", amount, asset: "EUR/2" }] },
    { legs: [{ account: "shop:fees", amount }] }
  ] as const
  const shortfall = rng.pick([undefined, "shop:fees", "shop:tax", "house"] as const)
  return {
    _tag: "Reverse",
    original: `p${nth}`,
    n,
    reason: "returned",
    ...rng.pick([by[0], ...by]),
    ...(shortfall === undefined ? {} : { shortfall })
  }
}

const story = Effect.gen(function* () {
  const ledger = yield* Ledger
  const rng = new Rng(14)
  yield* ledger.dispatchMany([...shops, "house"].map((account) => open(account)))
  yield* ledger.dispatch(open("shop:eur", "EUR/2"))
  yield* ledger.dispatch({ _tag: "Deposit", account: "house", amount: 1_000_00n })
  const told = { accepted: 0, shortfalls: 0, refused: new Set<string>() }
  for (let nth = 0; nth < payments; nth++) {
    yield* ledger.dispatch(payment(rng, nth))
    const spender = rng.pick(["shop:a", "shop:b"] as const)
    const { available } = yield* ledger.strongBalance(spender)
    if (available > 0n && rng.chance(0.6))
      yield* ledger.dispatch({ _tag: "Withdraw", account: spender, amount: available })
    let n = 1
    for (let tries = 0; tries < 5; tries++) {
      const done = yield* Effect.result(ledger.dispatch(reversal(rng, nth, n)))
      if (Result.isSuccess(done)) {
        told.accepted++
        n++
      } else told.refused.add(done.failure._tag)
    }
    const { reversals } = (yield* ledger.find(`p${nth}`)).pipe((found) =>
      found._tag === "Some" ? found.value : { reversals: [] }
    )
    for (const id of reversals) {
      const found = yield* ledger.find(id)
      if (found._tag === "None") continue
      const marked = found.value.legs.filter(
        ({ event }) => "reverses" in event && event.reverses?.isShortfall === true
      )
      told.shortfalls += marked.length
    }
  }
  return told
})

const isSound = Effect.gen(function* () {
  const ledger = yield* Ledger
  const { lines } = yield* ledger.trialBalanceAt()
  for (const { total } of lines) assert.strictEqual(total, 0n)
  const report = yield* ledger.verify()
  assert.deepStrictEqual(report.findings, [])
  assert.isTrue(report.ok)
  assert.strictEqual(report.behind, 0)
})

const suite = <E>(
  name: string,
  stores: Layer.Layer<EventStore | Snapshots | ReadModel | ProjectionWaiters | ProjectedSignal, E>
) =>
  it.live(
    `reversals of split payments are projected and audited (${name})`,
    () =>
      Effect.gen(function* () {
        const { accepted, refused, shortfalls } = yield* story
        assert.isAbove(accepted, payments)
        assert.isAbove(shortfalls, 3)
        for (const tag of ["ReversalExceeds", "InsufficientFunds", "InvalidCommand"])
          assert.isTrue(refused.has(tag), [...refused].join())
        yield* isSound
      }).pipe(
        Effect.provide(LedgerNode.over("audited", Layer.merge(Bus.layerMemory, stores))),
        Effect.provideService(SumPrefixes, ["shop:"]),
        Effect.provideService(LedgerConfig, { ...defaultLimits, queryDeadlineMs: 60_000 })
      ),
    420_000
  )

suite(
  "memory",
  Layer.provideMerge(
    Layer.mergeAll(EventStore.layerMemory, Snapshots.layerMemory, ReadModel.layerMemory),
    ProjectionWaiters.layer
  )
)

suite(
  "PostgreSQL",
  Layer.unwrap(
    Effect.gen(function* () {
      const log = Redacted.make(yield* freshEventStore(inject("postgresUrl")))
      const url = yield* freshReadModel(inject("postgresUrl"))
      return Layer.mergeAll(
        Layer.mergeAll(EventStore.layer, Snapshots.layer).pipe(Layer.provide(EventStoreClient.layer(log))),
        readModelOn(url)
      )
    })
  )
)
