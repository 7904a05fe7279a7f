/**
 * The bars of the read side, as ratios in one run on a stack of its own:
 * `node_modules/.bin/node bench/readside.ts [events] [lines]` (defaults 200,000 and 1,000,000).
 */
import { Clock, Effect, Layer } from "effect"
import { Bookkeeping } from "../src/actors/readside/Bookkeeping.ts"
import { rebuild } from "../src/actors/readside/Rebuild.ts"
import { Arrivals } from "../src/infra/Arrivals.ts"
import { books } from "../src/infra/BooksProjection.ts"
import { EventStore } from "../src/infra/EventStore.ts"
import { Queries } from "../src/infra/Queries.ts"
import { ReadModel } from "../src/infra/ReadModel.ts"
import { ReadModelSql } from "../src/infra/ReadModelSql.ts"
import { migrate, ownStack } from "../src/loadtest/World.ts"
import { Bookkeeper, deposit, openAccount, transfer } from "../test/support/bookkeeper.ts"
import { accountId } from "../test/support/storedEvents.ts"

const [eventsWanted = 200_000, linesWanted = 1_000_000] = process.argv.slice(2).map(Number)
const accounts = 2_000
const batch = 2_000

const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const start = yield* Clock.monotonicTimeNanos
    const value = yield* self
    return { value, ms: Number((yield* Clock.monotonicTimeNanos) - start) / 1e6 }
  })

const say = (what: string, figures: Record<string, number>) =>
  Effect.sync(() => process.stdout.write(`${JSON.stringify({ what, ...figures })}\n`))

/** A log of transfers between all accounts, in the store; answers its rows in order of commit. */
const fillLog = Effect.gen(function* () {
  const store = yield* EventStore
  const bookkeeper = new Bookkeeper("bench", (yield* Clock.currentTimeMillis) - 3_600_000)
  yield* store.registerWriter({ writerId: "bench", node: "bench", closedAt: 0 })
  const ids = Array.from({ length: accounts }, (_, index) => `acc-${index}`)
  const commit = (...commands: Parameters<Bookkeeper["decide"]>[0][]) =>
    store.commit(bookkeeper.commit(...commands))
  yield* commit(...ids.map((id) => openAccount(id)), ...ids.map((id) => deposit(id, 10n ** 12n)))
  for (let index = 0; bookkeeper.log.length < eventsWanted; index += 400) {
    const pair = (step: number) =>
      transfer(ids[step % accounts] ?? "", ids[(step * 7 + 1) % accounts] ?? "", 1n)
    const steps = Array.from({ length: 400 }, (_, step) => pair(index + step))
    yield* commit(...steps.filter(({ from, to }) => from !== to))
  }
  return bookkeeper.log
})

/** The fastest that live projection can be, batches as large as they get; then the rebuild of the same log. */
const projectionAndRebuild = Effect.gen(function* () {
  const log = yield* fillLog
  const bookkeeping = yield* Bookkeeping
  const live = yield* timed(
    Effect.gen(function* () {
      for (let start = 0; start < log.length; start += batch) {
        yield* bookkeeping.project(log.slice(start, start + batch), [])
      }
    })
  )
  const anew = yield* timed(rebuild(books))
  const [livePerSecond, rebuiltPerSecond] = [live.ms, anew.ms].map((ms) =>
    Math.round((log.length / ms) * 1_000)
  )
  yield* say("projection and rebuild", {
    events: log.length,
    livePerSecond: livePerSecond ?? 0,
    rebuiltPerSecond: rebuiltPerSecond ?? 0,
    ratio: live.ms / anew.ms
  })
})

/** Pages of 50 lines anywhere in a short and a long account. */
const paging = Effect.gen(function* () {
  const sql = yield* ReadModelSql
  const queries = yield* Queries
  const lengths = [100, linesWanted]
  const means: Array<number> = []
  for (const length of lengths) {
    const id = `long-${length}`
    yield* sql.unsafe(
      `INSERT INTO books_v1_balances VALUES ('${id}', ${length}, 'open', 'USD/2', 'x', 0, 0, '{}', now(), 'h')`
    )
    for (let from = 1; from <= length; from += 100_000) {
      yield* sql.unsafe(`INSERT INTO books_v1_statement_lines
        SELECT '${id}', g, 'Deposited', 1, g, 'USD/2', 'external:bank', NULL, 'c-' || g, to_timestamp(g), to_timestamp(g)
        FROM generate_series(${from}::int8, ${Math.min(length, from + 99_999)}::int8) AS g`)
    }
    yield* sql.unsafe("ANALYZE books_v1_statement_lines")
    for (const byTime of [false, true]) {
      const asks = 300
      const ask = (count: number) =>
        Effect.forEach(Array.from({ length: count }), (_, index) => {
          const place = Math.floor((((index * 7919) % 100) / 100) * length)
          const where = byTime ? { from: place * 1_000 } : { cursor: String(place) }
          return queries.statement(accountId(id), { limit: 50, ...where })
        })
      yield* ask(30)
      const { ms } = yield* timed(ask(asks))
      means.push(ms / asks)
      yield* say(byTime ? "page by instant" : "page by cursor", { length, meanMs: ms / asks })
    }
  }
})

/** The question as it is asked against the bare statement, through the same pool. */
const balances = Effect.gen(function* () {
  const sql = yield* ReadModelSql
  const queries = yield* Queries
  const asks = 5_000
  const run = <E, R>(one: (index: number) => Effect.Effect<unknown, E, R>) =>
    Effect.forEach(Array.from({ length: asks }), (_, index) => one(index), { concurrency: 8, discard: true })
  const bare = (index: number) =>
    sql.unsafe("SELECT * FROM books_v1_balances WHERE account = $1", [`acc-${index % accounts}`]).values
  const asked = (index: number) => queries.balance(accountId(`acc-${index % accounts}`))
  yield* run(bare)
  yield* run(asked)
  // In turn, and the best of each: whatever else the machine does then hits both alike.
  let [floor, ours] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
  for (let round = 0; round < 8; round++) {
    floor = Math.min(floor, (yield* timed(run(bare))).ms)
    ours = Math.min(ours, (yield* timed(run(asked))).ms)
  }
  const perSecond = (ms: number) => Math.round((asks / ms) * 1_000)
  yield* say("balance by id", {
    barePerSecond: perSecond(floor),
    perSecond: perSecond(ours),
    ratio: floor / ours
  })
})

const program = Effect.gen(function* () {
  const urls = yield* ownStack
  yield* migrate(urls)
  yield* Effect.gen(function* () {
    yield* projectionAndRebuild
    yield* balances
    yield* paging
  }).pipe(
    Effect.provide(
      Layer.mergeAll(Queries.layer, Bookkeeping.layer).pipe(
        Layer.provideMerge(Layer.mergeAll(ReadModel.layer, EventStore.layerMemory)),
        Layer.provideMerge(Layer.mergeAll(ReadModelSql.layer(urls.readModelUrl), Arrivals.layer))
      )
    )
  )
})

await Effect.runPromise(Effect.scoped(program))
