/** Partitions share transactions of the read model: one that hangs or fails holds up the others for a bounded time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { makeWriteBatcher } from "../../src/actors/projections/WriteBatcher.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import type { Position } from "../../src/domain/Receipt.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { accountId, storedEvent } from "../support/storedEvents.ts"

const limits = { ...defaultReadSideLimits, togetherMs: 1_000, aloneMsMax: 4_000, handoverMs: 500 }
const away = new StoreUnavailable({ store: "read model", reason: "away" })

const nothingDone = { events: 0, byPartition: new Map(), repeats: 0, gaps: 0, faulty: 0 }

/** A flush whose transactions do as `write` says for the partitions that are in them, and are remembered. */
const makeWorld = (
  write: (partitions: ReadonlyArray<number>) => Effect.Effect<void, StoreUnavailable>,
  /** What of a transaction is read from the log once it is written, and how. */
  gaps: { readonly of: ReadonlyArray<number>; readonly load: Effect.Effect<void, StoreUnavailable> } = {
    of: [],
    load: Effect.void
  }
) =>
  Effect.gen(function* () {
    const transactions: Array<ReadonlyArray<number>> = []
    const acknowledged: Array<number> = []
    const awaited: Array<AccountId> = []
    const listeners = new Set<(position: Position) => void>()
    const waiters = {
      isAwaitedUnsafe: () => awaited.length > 0,
      onJoinUnsafe: (listener: (position: Position) => void) => {
        listeners.add(listener)
        return () => {}
      }
    }
    const engine: Parameters<typeof makeWriteBatcher>[0] = {
      project: (_, checkpoints, onWritten) =>
        Effect.gen(function* () {
          const partitions = checkpoints.map(({ partition }) => partition)
          transactions.push(partitions)
          yield* write(partitions)
          const unfinished = new Set(partitions.filter((one) => gaps.of.includes(one)))
          onWritten?.({ result: nothingDone, unfinished })
          if (unfinished.size > 0) yield* gaps.load
          return nothingDone
        })
    }
    const flush = yield* makeWriteBatcher(engine, waiters)
    /** A query begins to wait. */
    const join = (): void => {
      for (const listener of listeners) listener({ account: accountId("any"), version: 1 })
    }
    const send = (partition: number, rows: ReadonlyArray<StoredEvent> = []) =>
      flush.project(rows, { partition, position: 1, recordedAt: 1 }, () => acknowledged.push(partition))
    /** All at once, each by a fiber of its own. */
    const sendAll = (partitions: ReadonlyArray<number>) =>
      Effect.forEach(partitions, (partition) => Effect.forkChild(Effect.exit(send(partition))))
    return { transactions, acknowledged, send, sendAll, join, awaited }
  }).pipe(Effect.provideService(ReadSideConfig, limits))

const rowsOf = (recordedAt: number, count = 1) =>
  Array.from({ length: count }, () => storedEvent({ account: "any", version: 1, recordedAt }))

const isDone = (fiber: Fiber.Fiber<unknown, unknown>): boolean => fiber.pollUnsafe() !== undefined
const others = [0, 1, 2, 4, 5, 6, 7]
const everyone = [0, 1, 2, 3, 4, 5, 6, 7]

describe("what is written together", () => {
  const { lagBudgetMs, projectEventsMax } = limits
  const begin = Effect.fnUntraced(function* (rows: ReadonlyArray<StoredEvent>) {
    const world = yield* makeWorld(() => Effect.void)
    const fiber = yield* Effect.forkChild(world.send(1, rows))
    yield* TestClock.adjust(lagBudgetMs - 1)
    return { ...world, fiber }
  })

  it.effect("waits for more until the oldest event has used up its budget of lag", () =>
    Effect.gen(function* () {
      const { transactions, send, fiber } = yield* begin(rowsOf(0))
      assert.deepStrictEqual(transactions, [])
      const second = yield* Effect.forkChild(send(2, rowsOf(lagBudgetMs - 1)))
      yield* TestClock.adjust(1)
      yield* Fiber.join(fiber)
      yield* Fiber.join(second)
      assert.deepStrictEqual(transactions, [[1, 2]])
    })
  )

  it.effect("is written at once where the event is older than that", () =>
    Effect.gen(function* () {
      const { fiber } = yield* begin(rowsOf(-lagBudgetMs))
      assert.isTrue(isDone(fiber))
    })
  )

  it.effect("is written at once where a query waits or begins to wait", () =>
    Effect.gen(function* () {
      const { fiber, join, awaited, send } = yield* begin(rowsOf(0))
      assert.isFalse(isDone(fiber))
      join()
      yield* Fiber.join(fiber)
      awaited.push(accountId("any"))
      yield* send(1, rowsOf(lagBudgetMs - 1))
    })
  )

  it.effect("is written at once where a transaction is full", () =>
    Effect.gen(function* () {
      const { fiber, send } = yield* begin(rowsOf(0))
      assert.isFalse(isDone(fiber))
      yield* send(2, rowsOf(lagBudgetMs - 1, projectEventsMax))
      yield* Fiber.join(fiber)
    })
  )
})

describe("partitions that are written together", () => {
  it.effect("are written in one transaction", () =>
    Effect.gen(function* () {
      const { transactions, acknowledged, sendAll } = yield* makeWorld(() => Effect.void)
      const fibers = yield* sendAll(everyone)
      yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(transactions, [everyone])
      assert.deepStrictEqual(acknowledged, everyone)
    })
  )

  it.effect("wait for a hanging partition no longer than a shared transaction may take", () =>
    Effect.gen(function* () {
      let isHanging = true
      const { acknowledged, sendAll } = yield* makeWorld((partitions) =>
        isHanging && partitions.includes(3) ? Effect.never : Effect.void
      )
      const [guilty] = yield* sendAll([3, ...others])
      yield* TestClock.adjust(limits.togetherMs - 1)
      assert.deepStrictEqual(acknowledged, [])
      yield* TestClock.adjust(1)
      assert.sameMembers(acknowledged, others)

      // It hangs on, and the others go on: no more time passes.
      for (let round = 0; round < 3; round++) {
        acknowledged.length = 0
        const fibers = yield* sendAll(others)
        yield* Effect.forEach(fibers, Fiber.join)
        assert.sameMembers(acknowledged, others)
      }
      if (guilty === undefined) return assert.fail("it was sent")
      assert.isFalse(isDone(guilty))
      yield* TestClock.adjust(limits.togetherMs)
      assert.strictEqual((yield* Fiber.join(guilty))._tag, "Failure", "it is told, and begins again")

      isHanging = false
      const again = yield* sendAll(everyone)
      yield* Effect.forEach(again, Fiber.join)
      assert.include(acknowledged, 3)
    })
  )

  it.effect("have as much time for what is read from the log as for their transaction", () =>
    Effect.gen(function* () {
      const gaps = { of: [3], load: Effect.sleep(limits.togetherMs - 1) }
      const write = Effect.sleep(limits.togetherMs - 1)
      const { acknowledged, transactions, sendAll } = yield* makeWorld(() => write, gaps)
      const fibers = yield* sendAll(everyone)
      yield* TestClock.adjust(limits.togetherMs * 2)
      assert.isTrue(fibers.every(isDone))
      assert.deepStrictEqual(acknowledged, everyone)
      assert.deepStrictEqual(transactions, [everyone])
    })
  )

  it.effect("do not fail with a partition whose rows cannot be read from the log", () =>
    Effect.gen(function* () {
      for (const load of [Effect.never, Effect.fail(away)]) {
        const { acknowledged, transactions, sendAll } = yield* makeWorld(() => Effect.void, { of: [3], load })
        yield* sendAll(everyone)
        yield* TestClock.adjust(limits.togetherMs)
        assert.deepStrictEqual(acknowledged, others)
        assert.deepStrictEqual(transactions, [everyone, [3]])
      }
    })
  )

  it.effect("are not held up by several hanging partitions", () =>
    Effect.gen(function* () {
      const hanging = [1, 3, 5]
      const { acknowledged, send, sendAll } = yield* makeWorld((partitions) =>
        partitions.some((partition) => hanging.includes(partition)) ? Effect.never : Effect.void
      )
      const stubborn = yield* Effect.forEach(hanging, (partition) =>
        Effect.forkChild(Effect.forever(Effect.exit(send(partition))))
      )
      const healthy = everyone.filter((partition) => !hanging.includes(partition))
      yield* sendAll(healthy)
      // The common transaction, and then three that hang take their turns on two lanes.
      yield* TestClock.adjust(limits.togetherMs * 4)
      assert.includeMembers(acknowledged, healthy)
      acknowledged.length = 0
      for (let round = 0; round < 20; round++) {
        const fibers = yield* sendAll(healthy)
        yield* TestClock.adjust(100)
        assert.isTrue(fibers.every(isDone), `round ${round}`)
      }
      const leaving = yield* Effect.forkChild(Effect.forEach(stubborn, Fiber.interrupt))
      yield* TestClock.adjust(limits.handoverMs)
      yield* Fiber.join(leaving)
    })
  )

  it.effect("do not fail with a partition that fails", () =>
    Effect.gen(function* () {
      let isFailing = true
      const { transactions, acknowledged, sendAll } = yield* makeWorld((partitions) =>
        isFailing && partitions.includes(3) ? Effect.fail(away) : Effect.void
      )
      const fibers = yield* sendAll(everyone)
      const exits = yield* Effect.forEach(fibers, Fiber.join)
      assert.deepStrictEqual(
        exits.map(({ _tag }) => _tag),
        everyone.map((partition) => (partition === 3 ? "Failure" : "Success"))
      )
      assert.sameMembers(acknowledged, others)
      isFailing = false
      yield* Effect.forEach(yield* sendAll([3]), Fiber.join)
      transactions.length = 0
      yield* Effect.forEach(yield* sendAll(everyone), Fiber.join)
      assert.deepStrictEqual(transactions, [everyone])
    })
  )
})

describe("a partition that leaves", () => {
  it.effect("waits for the write that has begun", () =>
    Effect.gen(function* () {
      const { acknowledged, send } = yield* makeWorld(() => Effect.sleep(100))
      const fiber = yield* Effect.forkChild(send(0))
      yield* TestClock.adjust(50)
      const leaving = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* TestClock.adjust(49)
      assert.isFalse(isDone(leaving))
      yield* TestClock.adjust(1)
      yield* Fiber.join(leaving)
      assert.deepStrictEqual(acknowledged, [0])
    })
  )

  it.effect("does not wait longer than a handover may take", () =>
    Effect.gen(function* () {
      const { acknowledged, sendAll } = yield* makeWorld(() => Effect.never)
      const fibers = yield* sendAll([0, 1, 2, 3])
      yield* TestClock.adjust(1)
      const leaving = yield* Effect.forkChild(Effect.forEach(fibers, Fiber.interrupt))
      yield* TestClock.adjust(limits.handoverMs - 1)
      assert.isFalse(isDone(leaving))
      yield* TestClock.adjust(1)
      yield* Fiber.join(leaving)
      assert.deepStrictEqual(acknowledged, [])
    })
  )

  it.effect("withdraws rows whose write has not begun", () =>
    Effect.gen(function* () {
      const { transactions, acknowledged, sendAll } = yield* makeWorld(() => Effect.sleep(900))
      // As many as there are lanes, one after the other so that they do not share one.
      for (let lane = 0; lane < limits.projectLanes; lane++) {
        yield* sendAll([lane])
        yield* TestClock.adjust(1)
      }
      const [waiting] = yield* sendAll([7])
      yield* TestClock.adjust(1)
      if (waiting === undefined) return assert.fail("it was sent")
      yield* Fiber.interrupt(waiting)
      yield* TestClock.adjust(5_000)
      assert.deepStrictEqual(transactions, [[0], [1]])
      assert.deepStrictEqual(acknowledged, [0, 1])
    })
  )
})
