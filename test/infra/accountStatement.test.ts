/** The law of the statement: a line's balance is the sum of all lines up to it, in the order that was asked for. */
import { assert, inject, layer } from "@effect/vitest"
import { Arbitrary, Context, Effect, Layer, Redacted, Schema } from "effect"
import type { StatementLine } from "../../src/domain/Books.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { Queries, type StatementQuery } from "../../src/infra/readmodel/Queries.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { deposit, EventWriter, openAccount, transfer, withdraw } from "../support/eventWriter.ts"
import { freshReadModel } from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"
import { batchOf } from "./readModelContract.ts"

const waiters = ProjectionWaiters.layer

/** The same services twice, so that one test asks both. */
class InMemory extends Context.Service<InMemory, Context.Context<Queries | ReadModel>>()("test/InMemory") {}
class OnPostgres extends Context.Service<OnPostgres, Context.Context<Queries | ReadModel>>()(
  "test/OnPostgres"
) {}

const queriesOver = <E, R>(model: Layer.Layer<ReadModel, E, R>) =>
  Layer.build(Layer.fresh(Queries.layer.pipe(Layer.provideMerge(model), Layer.provide(waiters))))

const both = Layer.mergeAll(
  Layer.effect(InMemory, queriesOver(ReadModel.layerMemory)),
  Layer.effect(
    OnPostgres,
    Effect.flatMap(freshReadModel(inject("postgresUrl")), (url) =>
      queriesOver(ReadModel.layer.pipe(Layer.provide(ReadModelSql.layer(Redacted.make(url)))))
    )
  )
).pipe(Layer.provide(Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, pageMax: 1_000 })))

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

const Step = Schema.Struct({
  kind: Schema.Literals(["deposit", "withdraw", "to", "from"]),
  amount: between(1, 500),
  /** Milliseconds since the command before. */
  pause: between(0, 3),
  /** Milliseconds by which it counts earlier, for some. */
  dated: Schema.Option(between(-20, 20))
})
const steps = Arbitrary.schema(Schema.Array(Step).check(Schema.isMaxLength(60)))

const Asked = Schema.Struct({
  from: Schema.Option(between(-5, 70)),
  length: Schema.Option(between(0, 60)),
  types: Schema.Option(
    Schema.Array(Schema.Literals(["Deposited", "Withdrawn", "TransferSent", "AccountOpened"]))
  ),
  counterparty: Schema.Option(Schema.Literals(["peer", "external:bank", "external:atm"])),
  limit: between(1, 12),
  axis: Schema.Literals(["recorded", "effective"])
})
const asked = Arbitrary.schema(Schema.Array(Asked).check(Schema.isMaxLength(4)))

const play = (
  eventWriter: EventWriter,
  account: AccountId,
  peer: AccountId,
  list: ReadonlyArray<typeof Step.Type>
) => {
  eventWriter.commit(openAccount(account, 10_000n), openAccount(peer, 10_000n))
  for (const { kind, amount, pause, dated } of list) {
    eventWriter.now += pause - 1
    const units = BigInt(amount)
    const command = {
      deposit: deposit(account, units),
      withdraw: { ...withdraw(account, units), contra: "external:atm" },
      to: transfer(account, peer, units),
      from: transfer(peer, account, units)
    }[kind]
    const effectiveAt = dated._tag === "Some" ? { effectiveAt: eventWriter.now - dated.value } : {}
    eventWriter.decide({ ...command, ...effectiveAt })
  }
}

/** By adding up: what the statement must say of these lines. */
const oracle = (
  lines: ReadonlyArray<StatementLine>,
  { from, to, axis, types, counterparty }: StatementQuery
) => {
  const at = (line: StatementLine) => (axis === "effective" ? line.effectiveAt : line.recordedAt)
  const sum = (some: ReadonlyArray<StatementLine>) => some.reduce((total, { amount }) => total + amount, 0n)
  let balance = 0n
  const running = lines
    .toSorted((a, b) => at(a) - at(b) || a.version - b.version)
    .map((line) => {
      balance += line.amount
      return { ...line, balance }
    })
  return {
    opening: sum(lines.filter((line) => from !== undefined && at(line) < from)),
    closing: sum(lines.filter((line) => to === undefined || at(line) < to)),
    rows: running.filter(
      (line) =>
        (from === undefined || at(line) >= from) &&
        (to === undefined || at(line) < to) &&
        (types === undefined || types.includes(line.type)) &&
        (counterparty === undefined || line.counterparty === counterparty)
    )
  }
}

const apply = (eventWriter: EventWriter) =>
  Effect.flatMap(ReadModel, (readModel) => readModel.apply(batchOf(eventWriter.log)))

/** All pages, each of which must say the same of the whole. */
const allPages = Effect.fnUntraced(function* (account: AccountId, query: StatementQuery) {
  const queries = yield* Queries
  const rows: Array<StatementLine> = []
  let page = yield* queries.statement(account, query)
  const { opening, closing } = page
  for (;;) {
    rows.push(...page.rows)
    assert.deepStrictEqual([page.opening, page.closing], [opening, closing])
    if (page.next === undefined) return { opening, closing, rows }
    assert.lengthOf(page.rows, query.limit ?? assert.fail())
    page = yield* queries.statement(account, { ...query, cursor: page.next })
  }
})

const some = <A>(option: { readonly _tag: "Some"; readonly value: A } | { readonly _tag: "None" }) =>
  option._tag === "Some" ? option.value : undefined

layer(both)("the statement of an account", (it) => {
  let runs = 0
  let dated = 0

  it.effect.prop(
    "has the balances of its own order, whatever is filtered and paged",
    [steps, asked],
    ([list, questions]) =>
      Effect.gen(function* () {
        const [account, peer] = [accountId(`a-${++runs}`), accountId(`peer-${runs}`)]
        const eventWriter = new EventWriter(`w-${runs}`)
        const start = eventWriter.now
        play(eventWriter, account, peer, list)
        const lines = batchOf(eventWriter.log).lines.filter((line) => line.account === account)
        dated += lines.filter((line) => line.effectiveAt !== line.recordedAt).length
        for (const place of [yield* InMemory, yield* OnPostgres]) {
          assert.isTrue(yield* Effect.provideContext(apply(eventWriter), place))
          for (const { axis, limit, ...one } of questions) {
            const from = some(one.from)
            const length = some(one.length)
            const counterparty = some(one.counterparty)
            const query = {
              axis,
              limit,
              types: some(one.types),
              counterparty: counterparty === "peer" ? peer : counterparty,
              from: from === undefined ? undefined : start + from,
              to: length === undefined ? undefined : start + (from ?? 0) + length
            }
            const found = yield* Effect.provideContext(allPages(account, query), place)
            assert.deepStrictEqual(found, oracle(lines, query), JSON.stringify(query))
          }
        }
      }),
    { arbitrary: { runs: 150, size: 60, seed: 7 } }
  )

  it.effect("was tried with more than 1,000 dated lines", () =>
    Effect.sync(() => assert.isAbove(dated, 1_000))
  )
})
