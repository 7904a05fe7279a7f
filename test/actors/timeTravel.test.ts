/** Questions about the past: bounded in what they read, answered only once closed, and never answered differently. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Result } from "effect"
import { TestClock } from "effect/testing"
import { genesis, link } from "../../src/domain/HashChain.ts"
import { AccountId, CommandId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore, type Script } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  type LedgerNode,
  memoryStores,
  open,
  quiet,
  readStream,
  type Store,
  startNode,
  startReader,
  withdraw
} from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"

const world = Layer.mergeAll(memoryStores, quiet)
const id = AccountId.make
const atVersion = (version: number) => ({ _tag: "Version", version }) as const
const atInstant = (instant: number) => ({ _tag: "RecordedAt", instant }) as const

/** Runs an effect to its end while virtual time passes. */
const passing = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const fiber = yield* Effect.forkChild(effect)
  for (let steps = 0; fiber.pollUnsafe() === undefined && steps < 20_000; steps++) yield* TestClock.adjust(5)
  return yield* Fiber.join(fiber)
})

/** An account with as many deposits of 1 as wanted, event n recorded at 10 n. */
const writeHistory = Effect.fnUntraced(function* (store: Store, account: string, events: number) {
  let hash = genesis
  let rows = []
  for (let version = 1, seq = 1; version <= events; version++) {
    const unlinked = {
      accountId: id(account),
      version,
      type: version === 1 ? "AccountOpened" : "Deposited",
      schemaVersion: version === 1 ? 2 : 1,
      payload:
        version === 1
          ? '{"asset":"USD/2","owner":"Ada","overdraftLimit":"0","metadata":{}}'
          : '{"amount":"1","contra":"external:bank"}',
      commandId: CommandId.make(`${account}-${version}`),
      ordinal: 0,
      commandHash: "history",
      recordedAt: version * 10,
      effectiveAt: null,
      context: null
    }
    hash = link(hash, unlinked)
    rows.push({ ...unlinked, hash })
    if (rows.length === 5_000 || version === events) {
      const outcome = yield* store.commit({ writerId: `history-${account}`, seq: seq++, events: rows })
      assert.strictEqual(outcome._tag, "Committed")
      rows = []
    }
  }
})

it.effect("any past of an account of a hundred thousand events is rebuilt from few of them", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    yield* writeHistory(store, "long", 100_000)
    yield* TestClock.setTime(2_000_000)
    const node = yield* startNode("traveller")
    // Waking it once leaves snapshots on the way.
    assert.strictEqual((yield* node.dispatcher.head(id("long"))).head.account.version, 100_000)
    yield* TestClock.adjust(10)
    for (const version of [1, 499, 500, 501, 55_555, 99_999, 100_000]) {
      for (const asOf of [atVersion(version), atInstant(version * 10), atInstant(version * 10 + 9)]) {
        const past = yield* passing(node.travel.at(id("long"), asOf))
        assert.strictEqual(past.head.account.version, version)
        assert.strictEqual(
          past.head.account._tag === "Opened" && past.head.account.balance,
          BigInt(version - 1)
        )
        assert.isAtMost(past.eventsRead, 1_000)
      }
    }
  }).pipe(Effect.provide(world))
)

it.effect("an account that did not exist then is not found, and a version to come is not visible", () =>
  Effect.gen(function* () {
    yield* TestClock.setTime(1_000)
    const node = yield* startNode("traveller")
    yield* node.send(open("a"))
    yield* TestClock.adjust(2_000)
    const ask = (asOf: Parameters<LedgerNode["travel"]["at"]>[1], account = "a") =>
      Effect.map(Effect.flip(passing(node.travel.at(id(account), asOf))), (error) => error._tag)
    assert.strictEqual(yield* ask(atInstant(999)), "AccountNotFound")
    const before = yield* Effect.flip(passing(node.travel.at(id("a"), atInstant(999))))
    assert.strictEqual(before.message, "account a did not exist at 1970-01-01T00:00:00.999Z")
    assert.strictEqual((yield* passing(node.travel.at(id("a"), atInstant(1_000)))).head.account.version, 1)
    assert.strictEqual(yield* ask(atVersion(2)), "NotYetVisible")
    assert.strictEqual(yield* ask(atVersion(1), "none"), "AccountNotFound")
    assert.strictEqual(yield* ask(atInstant(3_600_000)), "NotYetVisible")
  }).pipe(Effect.provide(world))
)

it.effect("an instant is answered only when what was decided before it is committed or given up", () =>
  Effect.gen(function* () {
    const faulty = FaultyStore.over(yield* EventStore)
    yield* TestClock.setTime(1_000_000)
    const node = yield* startNode("writer", { store: faulty.store })
    yield* fund(node, ["a"], 5n)
    yield* TestClock.adjust(1_000)
    faulty.hold("commit")
    const sent = yield* Effect.forkChild(node.send(deposit("a", 1n)))
    yield* TestClock.adjust(10)
    const asked = yield* Effect.forkChild(node.travel.at(id("a"), atInstant(1_001_005)))
    yield* TestClock.adjust(3_000)
    assert.strictEqual(asked.pollUnsafe(), undefined)
    faulty.release()
    yield* TestClock.adjust(1_000)
    assert.strictEqual((yield* Fiber.join(sent)).recordedAt, 1_001_000)
    assert.strictEqual((yield* Fiber.join(asked)).head.account.version, 3)
  }).pipe(Effect.provide(world))
)

it.effect("the answer for one instant does not vouch for a later one that a writer has not closed", () =>
  Effect.gen(function* () {
    const faulty = FaultyStore.over(yield* EventStore)
    yield* TestClock.setTime(1_000_000)
    const writer = yield* startNode("writer", { store: faulty.store })
    yield* fund(writer, ["a"], 5n)
    const traveller = yield* startReader()
    yield* TestClock.adjust(2_000)
    faulty.hold("commit")
    const sent = yield* Effect.forkChild(writer.send(deposit("a", 1n)))
    yield* TestClock.adjust(1_000)
    // Closed long ago, so it is answered while the writer is closed up to 1,001,999 only.
    const early = yield* passing(traveller.at(id("a"), atInstant(1_001_000)))
    assert.strictEqual(early.head.account.version, 2)
    const late = yield* Effect.forkChild(traveller.at(id("a"), atInstant(1_002_500)))
    yield* TestClock.adjust(500)
    assert.strictEqual(late.pollUnsafe(), undefined)
    faulty.release()
    yield* TestClock.adjust(1_000)
    yield* Fiber.join(sent)
    assert.strictEqual((yield* Fiber.join(late)).head.account.version, 3)
  }).pipe(Effect.provide(world))
)

/** Two lanes with a commit each in the air, then silence until the other node has fenced both writers. */
const zombie = Effect.fnUntraced(function* (fates: (nth: number) => "slow" | "slowNotWritten" | undefined) {
  const store = yield* EventStore
  const faulty = FaultyStore.over(store)
  yield* TestClock.setTime(1_000_000)
  const writer = yield* startNode("writer", {
    store: faulty.store,
    limits: { commandDeadlineMs: 60_000 }
  })
  yield* fund(writer, ["a", "b", "c"], 5n)
  const traveller = yield* startReader({ limits: { queryDeadlineMs: 60_000 } })
  yield* TestClock.adjust(1_000)
  const first = faulty.callsOf("commit")
  const fated: Script = ({ method, nth }) => (method === "commit" ? fates(nth - first) : undefined)
  faulty.script = fated
  faulty.hold("commit")
  const sent = yield* Effect.forEach(["a", "b"], (account) =>
    Effect.andThen(TestClock.adjust(1), Effect.forkChild(writer.send(deposit(account, 1n))))
  )
  yield* TestClock.adjust(1)
  assert.strictEqual(faulty.held(), 2)
  const instant = 1_002_000
  faulty.script = (call) => (call.method === "heartbeat" ? "unavailable" : fated(call))
  faulty.hold("heartbeat")
  const before = yield* passing(
    Effect.forEach(["a", "b"], (account) => traveller.at(id(account), atInstant(instant)))
  )
  assert.deepStrictEqual(
    before.map(({ head }) => head.account.version),
    [2, 2]
  )
  faulty.script = fated
  faulty.release()
  // In the pause after a commit that was slow and not written, a new command wakes the other lane.
  yield* TestClock.adjust(41)
  const fresh = yield* Effect.forkChild(writer.send(deposit("c", 1n)))
  const receipts = yield* passing(Effect.forEach([...sent, fresh], Fiber.join))
  for (const receipt of receipts) assert.isAbove(receipt.recordedAt, instant)
  const after = yield* passing(
    Effect.forEach(["a", "b"], (account) => traveller.at(id(account), atInstant(instant)))
  )
  assert.deepStrictEqual(
    after.map(({ head }) => head.hash),
    before.map(({ head }) => head.hash)
  )
  assert.isAbove(writer.dispatcher.stats().fenced, 0)
  assert.deepStrictEqual(yield* invariantsOf(store), [])
})

it.effect(
  "a writer that went silent is fenced, and what it still had in the air is decided again, later",
  () => zombie(() => undefined).pipe(Effect.provide(world))
)

it.effect("a fenced lane's renewal does not let the other lane's rows of before the fence slip through", () =>
  // The first commit after the silence meets the fence at once; the second is not written, a while later.
  zombie((nth) => (nth === 1 ? "slowNotWritten" : undefined)).pipe(Effect.provide(world))
)

it.effect("a node whose clock is behind the store's starts above all that the store's clock has closed", () =>
  Effect.gen(function* () {
    const inner = yield* EventStore
    const store: Store = {
      ...inner,
      heartbeat: (writers) => Effect.map(inner.heartbeat(writers), (now) => now + 400)
    }
    yield* TestClock.setTime(1_000_000)
    const first = yield* startNode("first", { store })
    yield* fund(first, ["a"], 5n)
    yield* first.stop
    yield* TestClock.adjust(1_000)
    const reader = yield* startReader({ store })
    // Now 1,001,400 by the store, which leaves the skew bound for writers that the reader does not see.
    const before = yield* reader.at(id("a"), atInstant(1_000_899))
    const second = yield* startNode("second", { store })
    assert.isAtLeast((yield* second.send(deposit("a", 1n))).recordedAt, 1_001_400)
    assert.deepStrictEqual((yield* reader.at(id("a"), atInstant(1_000_899))).head, before.head)
  }).pipe(Effect.provide(world))
)

it.effect(
  "a node whose clock is further off than allowed refuses commands and says why, until it is right",
  () =>
    Effect.gen(function* () {
      const inner = yield* EventStore
      let offMs = 0
      const store: Store = {
        ...inner,
        heartbeat: (writers) => Effect.map(inner.heartbeat(writers), (now) => now + offMs)
      }
      yield* TestClock.setTime(1_000_000)
      const node = yield* startNode("off", { store })
      yield* fund(node, ["a"], 5n)
      for (const wrong of [501, -501]) {
        offMs = wrong
        yield* TestClock.adjust(500)
        const refused = yield* Effect.flip(node.send(deposit("a", 1n)))
        assert.strictEqual(refused._tag, "Unavailable")
        assert.include(refused.message, "clock is 501 ms off")
        offMs = 0
        yield* TestClock.adjust(500)
        yield* node.send(deposit("a", 1n))
      }
    }).pipe(Effect.provide(world))
)

it.effect("answers never change while two nodes write and many ask about the latest instants", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    yield* TestClock.setTime(1_000_000)
    // A short bound, so that questions about now are answered while the nodes write.
    const limits = { heartbeatMs: 20, snapshotEvery: 10, clockSkewMaxMs: 30 }
    const rng = new Rng(11)
    const faulty = Array.from({ length: 2 }, (_, index) => {
      const chance = new Rng(20 + index)
      return FaultyStore.over(store, ({ method }) =>
        method === "commit" && chance.chance(0.3)
          ? chance.pick(["slow", "slowAnswer", "landedUnknown", "lostUnknown", "notWritten", "fenced"])
          : undefined
      )
    })
    const nodes = yield* Effect.forEach(faulty, ({ store }, index) =>
      startNode(`node-${index}`, { store, limits })
    )
    const traveller = yield* startNode("traveller", { limits })
    const accounts = ["a", "b", "c"]
    const [first] = nodes
    if (first === undefined) return
    yield* passing(fund(first, accounts, 1_000n))
    const answers: Array<{ account: string; instant: number; version: number; hash: string }> = []
    const writing = Effect.forEach(
      Array.from({ length: 300 }),
      () => {
        const node = nodes[rng.below(2)] ?? first
        const account = accounts[rng.below(3)] ?? "a"
        return Effect.andThen(
          Effect.sleep(rng.below(40)),
          Effect.result(node.send(rng.chance(0.5) ? deposit(account, 1n) : withdraw(account, 1n)))
        )
      },
      { concurrency: 8 }
    )
    const asking = Effect.forEach(
      Array.from({ length: 300 }),
      Effect.fnUntraced(function* () {
        yield* Effect.sleep(rng.below(40))
        const instant = traveller.clock.nowUnsafe() - rng.below(60) + 20
        const account = accounts[rng.below(3)] ?? "a"
        const past = yield* Effect.result(traveller.travel.at(id(account), atInstant(instant)))
        if (Result.isFailure(past)) return
        const { head } = past.success
        answers.push({ account, instant, version: head.account.version, hash: head.hash })
      }),
      { concurrency: 8 }
    )
    yield* passing(Effect.all([writing, asking], { concurrency: "unbounded" }))
    assert.isAbove(answers.length, 200)
    for (const { account, instant, version, hash } of answers) {
      const rows = (yield* readStream(store, account)).filter((row) => row.recordedAt <= instant)
      assert.strictEqual(rows.length, version, `${account} at ${instant}`)
      assert.strictEqual(rows.at(-1)?.hash, hash)
    }
    assert.isAbove(new Set(answers.map(({ hash }) => hash)).size, 50)
    assert.deepStrictEqual(yield* invariantsOf(store), [])
  }).pipe(Effect.provide(world))
)
