/** The trial balance as of an instant: zero whatever streams in meanwhile, the same for ever, bounded in its waits. */
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { ClosedTimestamps } from "../../src/actors/past/ClosedTimestamps.ts"
import { Sums } from "../../src/actors/past/Sums.ts"
import { TrialBalance } from "../../src/actors/past/TrialBalance.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { batchOf } from "../infra/readModelContract.ts"
import { deposit, EventWriter, openAccount, transfer, withdraw } from "../support/eventWriter.ts"
import {
  append,
  assertCaughtUp,
  eventually,
  foldLog,
  freshReadModel,
  limitsOf,
  play,
  readModelOn,
  readSideOn,
  sweeping
} from "../support/readSides.ts"
import { accountId } from "../support/storedEvents.ts"

/** A deadline that a busy machine does not reach. */
const patient = { ...defaultLimits, queryDeadlineMs: 60_000 }

const ids = Array.from({ length: 20 }, (_, index) => `acc-${index}`)

const answers = <R, E>(world: Layer.Layer<R, E>, queryDeadlineMs: number) =>
  TrialBalance.layer.pipe(
    Layer.provideMerge(ClosedTimestamps.layer),
    Layer.provideMerge(world as Layer.Layer<R | EventStore | ReadModel, E>), // every world of this file has them
    Layer.provide(limitsOf({ ledger: { queryDeadlineMs } }))
  )

const onPostgres = Layer.unwrap(
  Effect.map(freshReadModel(inject("postgresUrl")), (url) =>
    answers(
      readSideOn(Layer.mergeAll(EventStore.layerMemory, Bus.layerMemory, readModelOn(url)), sweeping),
      60_000
    )
  )
)

const a = accountId("a")

/** Both kinds of sums over a read model in memory in which something happens just before they are read. */
const sumsOver = (before: (real: ReadModel["Service"]) => Effect.Effect<unknown, unknown>) =>
  answers(
    Sums.layer.pipe(
      Layer.provideMerge(ClosedTimestamps.layer),
      Layer.provideMerge(EventStore.layerMemory),
      Layer.provideMerge(
        Layer.effect(
          ReadModel,
          Effect.map(ReadModel, (real) => ({
            ...real,
            sum: (query: Parameters<typeof real.sum>[0]) =>
              Effect.andThen(Effect.orDie(before(real)), real.sum(query)),
            trialBalanceAt: (instant: number) =>
              Effect.andThen(Effect.orDie(before(real)), real.trialBalanceAt(instant))
          }))
        ).pipe(Layer.provide(ReadModel.layerMemory))
      ),
      Layer.provideMerge(ProjectionWaiters.layer),
      Layer.fresh
    ),
    60_000
  )

/** The rows of account a go back to its first two events: it is parked, and they are read anew. */
const rereading = ({ log }: EventWriter) =>
  sumsOver((real) =>
    Effect.gen(function* () {
      const head = (yield* real.heads([a])).get(a)
      if (head === undefined || head.account.version === 2) return
      const { version } = head.account
      yield* real.park([{ account: a, version: version + 1, reason: "it is read anew", since: 0 }])
      yield* real.reload({ account: a, version, hash: head.hash }, 0, batchOf(log.slice(0, 2)))
    })
  )

/** The tables are exchanged for others in which account a is not parked. */
const exchanging = sumsOver((real) =>
  Effect.gen(function* () {
    if ((yield* real.parked).length === 0) return
    yield* real.beginRelease([a])
    yield* real.unpark([a])
    yield* real.declareSums([])
  })
)

/** Nothing of it can come any more: every instant is closed. */
const ended = ({ writerId }: EventWriter) =>
  Effect.flatMap(EventStore, (store) => store.fenceWriter(writerId))

describe("the trial balance as of an instant", () => {
  it.live("holds exactly what was recorded up to its instant", () =>
    Effect.gen(function* () {
      const eventWriter = new EventWriter()
      const round = (number: number): ReadonlyArray<CommandInput> =>
        ids.flatMap((id, index) => [
          deposit(id, BigInt(100 + number)),
          transfer(id, ids[(index + 1) % 20] ?? id, 3n),
          withdraw(id, 2n),
          // A capture that names no account leaves the books.
          { _tag: "PlaceHold", account: id, amount: 7n, commandId: `hold-${id}-${number}` },
          { _tag: "CaptureHold", account: id, hold: `hold-${id}-${number}`, amount: 4n, final: true }
        ])
      yield* play(
        eventWriter,
        ids.map((id) => openAccount(id)),
        round(1),
        round(2),
        round(3)
      )
      yield* eventually(assertCaughtUp(eventWriter.log))
      yield* ended(eventWriter)
      const trial = yield* TrialBalance
      for (const row of [0, 19, 20, 50, 77, 120, eventWriter.log.length - 1]) {
        const at = eventWriter.log[row]?.recordedAt ?? 0
        const { heads, contras } = foldLog(eventWriter.log.filter((one) => one.recordedAt <= at))
        const sum = (values: Iterable<bigint>) => [...values].reduce((left, right) => left + right, 0n)
        const accounts = sum([...heads.values()].map(({ account }) => account.balance))
        const { lines, parked } = yield* trial.at(at)
        assert.deepStrictEqual(lines, [
          { asset: "USD/2", accounts, contras: sum(contras.values()), total: 0n }
        ] as ReadonlyArray<object>)
        assert.strictEqual(parked, 0)
      }
    }).pipe(Effect.provide(onPostgres))
  )

  it.live("waits until the read model has what was recorded", () =>
    Effect.gen(function* () {
      const eventWriter = new EventWriter("writer-1", Date.now() - 60_000)
      yield* append(eventWriter.commit(openAccount("a"), deposit("a", 5n)))
      yield* ended(eventWriter)
      const trial = yield* TrialBalance
      const error = yield* Effect.flip(trial.at(eventWriter.now))
      assert.include(error.message, "reached an earlier instant")
    }).pipe(
      Effect.provide(
        answers(
          Layer.mergeAll(EventStore.layerMemory, ReadModel.layerMemory).pipe(
            Layer.provideMerge(ProjectionWaiters.layer)
          ),
          400
        )
      )
    )
  )

  it.live("counts an account whose rows are read anew just then as parked, as a sum does", () => {
    const eventWriter = new EventWriter("writer-1", Date.now() - 60_000)
    return Effect.gen(function* () {
      yield* append(eventWriter.commit(openAccount("a"), deposit("a", 5n), deposit("a", 7n)))
      yield* ended(eventWriter)
      const at = eventWriter.now
      assert.isTrue(yield* (yield* ReadModel).apply(batchOf(eventWriter.log)))
      const { lines, parked } = yield* (yield* TrialBalance).at(at)
      assert.deepStrictEqual([lines[0]?.accounts, parked], [5n, 1])
      const sum = yield* (yield* Sums).sum("a", { knownAt: at })
      assert.deepStrictEqual([sum.sums[0]?.balance, sum.parked], [5n, 1])
    }).pipe(Effect.provide(rereading(eventWriter)))
  })

  it.live(
    "asks again where a rebuild has exchanged the tables meanwhile, until it has what was recorded",
    () =>
      Effect.gen(function* () {
        const eventWriter = new EventWriter("writer-1", Date.now() - 60_000)
        yield* append(eventWriter.commit(openAccount("a"), deposit("a", 5n), deposit("a", 7n)))
        yield* ended(eventWriter)
        const readModel = yield* ReadModel
        assert.isTrue(yield* readModel.apply(batchOf(eventWriter.log.slice(0, 2))))
        // In the former tables; in the new ones it is released, and lacks its last event.
        yield* readModel.park([{ account: a, version: 3, reason: "it is of the future", since: 0 }])
        const asked = yield* Effect.forkChild((yield* TrialBalance).at(eventWriter.now))
        yield* eventually(Effect.map(readModel.parked, (rows) => assert.lengthOf(rows, 0)))
        const { moves, lines, ...rest } = batchOf(eventWriter.log)
        const last = { ...rest, moves: moves.map((move) => ({ ...move, from: 2 })), lines: lines.slice(2) }
        assert.isTrue(yield* readModel.apply({ ...last, contras: rest.contras.slice(1) }))
        const told = yield* Fiber.join(asked)
        assert.deepStrictEqual([told.lines[0]?.accounts, told.parked], [12n, 0])
      }).pipe(Effect.provide(exchanging))
  )

  it.live("stays zero while transfers are committed", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      yield* Effect.forEach(ids, (account) =>
        ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "somebody" })
      )
      yield* Effect.forEach(ids, (account) => ledger.dispatch({ _tag: "Deposit", account, amount: 1_000n }))
      const streaming = yield* Effect.forkChild(
        Effect.forEach(
          ids,
          (from, index) =>
            Effect.forever(
              ledger
                .dispatch({ _tag: "Transfer", from, to: ids[(index + 7) % 20] ?? from, amount: 1n })
                // Each look waits for its instant to close: so many a second are enough to be in between.
                .pipe(Effect.ignore, Effect.andThen(Effect.sleep(10)))
            ),
          { concurrency: "unbounded" }
        )
      )
      const seen: Array<number> = []
      for (let look = 0; look < 5; look++) {
        const { lines, recordedAt } = yield* ledger.trialBalanceAt()
        assert.deepStrictEqual(
          lines.map(({ accounts, contras, total }) => [accounts, contras, total]),
          [[20_000n, -20_000n, 0n]]
        )
        seen.push(recordedAt)
      }
      yield* Fiber.interrupt(streaming)
      for (const recordedAt of seen) {
        const { lines } = yield* ledger.trialBalanceAt({ recordedAt })
        assert.strictEqual(lines[0]?.total, 0n)
      }
    }).pipe(Effect.provide(LedgerNode.layerMemory), Effect.provideService(LedgerConfig, patient))
  )
})
