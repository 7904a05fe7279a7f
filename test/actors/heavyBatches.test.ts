/** A batch whose commands take long to decide, or much memory once they are: neither holds up the rest of the node, nor fills it. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { elapsedMsUnsafe } from "../../src/infra/config/Elapsed.ts"
import { defaultLimits, type LedgerLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import {
  deposit,
  fund,
  memoryStores,
  outcomeOf,
  quiet,
  readStream,
  startNode,
  tally,
  transfer,
  until,
  withdraw
} from "../support/ledgerWorld.ts"
import { passing } from "../support/settableClock.ts"

const scenario = Effect.provide([memoryStores, quiet])

/** A node over a store whose commits are held, with account a in memory. */
const heldNode = Effect.fnUntraced(function* (limits: Partial<LedgerLimits> = {}, clock?: Clock.Clock) {
  const faulty = FaultyStore.over(yield* EventStore)
  const node = yield* Effect.provideService(
    startNode("heavy", { store: faulty.store, limits }),
    Clock.Clock,
    clock ?? (yield* Clock.Clock)
  )
  // Where a test fails, too: the node could not end.
  yield* Effect.addFinalizer(() => Effect.sync(() => faulty.release()))
  yield* fund(node, ["a"], 1n)
  faulty.hold("commit")
  const inFlight = () => node.dispatcher.stats().inFlight
  return { faulty, node, send: node.sendBatch, inFlight }
})

it.effect("others have their turns while a batch is decided", () =>
  Effect.gen(function* () {
    const { faulty, send, inFlight } = yield* heldNode({}, passing(yield* Clock.Clock))
    const sent = yield* send(Array.from({ length: 500 }, () => deposit("a", 1n)))
    let [before, atOnce] = [0, 0]
    yield* until("all are decided", () => {
      atOnce = Math.max(atOnce, inFlight() - before)
      before = inFlight()
      return before === 500
    })
    faulty.release()
    yield* TestClock.adjust(1_000)
    assert.deepStrictEqual(tally(yield* Fiber.join(sent)), { Accepted: 500 })
    // Each takes some looks at the time.
    assert.isAtMost(atOnce, 5)
  }).pipe(Effect.scoped, scenario)
)

it.effect("others have their turns while the callers go on that wanted the id of a refused command", () =>
  Effect.gen(function* () {
    const { faulty, node } = yield* heldNode({}, passing(yield* Clock.Clock))
    const send = (command: CommandInput) =>
      Effect.forkChild(Effect.result(node.send(command)), { startImmediately: true })
    faulty.hold("findCommands")
    const refused = yield* send(withdraw("a", 1_000n, "id"))
    yield* until("its id is looked up once more", () => faulty.held() === 1)
    const others = yield* Effect.forEach(Array.from({ length: 200 }), (_, nth) =>
      send(deposit("a", BigInt(nth + 1), "id"))
    )
    let [before, longestMs] = [node.clock.elapsedUnsafe(), 0]
    // Its look-up goes on at once.
    faulty.release()
    yield* until("all are answered", () => {
      const now = node.clock.elapsedUnsafe()
      longestMs = Math.max(longestMs, now - before)
      before = now
      return others.every((fiber) => fiber.pollUnsafe() !== undefined)
    })
    assert.strictEqual(outcomeOf(yield* Fiber.join(refused)), "InsufficientFunds")
    const answers = (yield* Effect.forEach(others, Fiber.join)).map(outcomeOf)
    assert.deepStrictEqual(tally(answers), { Accepted: 1, CommandIdReused: 199 })
    // Each takes some looks at the time.
    assert.isAtMost(longestMs, 50)
  }).pipe(Effect.scoped, scenario)
)

it.effect("of very many accounts of a batch no more are asked for at once than are read at once", () =>
  Effect.gen(function* () {
    const faulty = FaultyStore.over(yield* EventStore)
    const node = yield* startNode("cold", { store: faulty.store })
    yield* Effect.addFinalizer(() => Effect.sync(() => faulty.release()))
    const journals = Array.from(
      { length: 30 },
      (_, nth): CommandInput => ({
        _tag: "PostJournal",
        legs: [
          ...Array.from({ length: 99 }, (_, leg) => ({
            account: `c-${nth}-${leg}`,
            side: "debit" as const,
            amount: 1n
          })),
          { account: "a", side: "credit", amount: 99n }
        ]
      })
    )
    const send = node.sendBatch(journals)
    faulty.hold("readStreams")
    const left = yield* send
    yield* until("they are read", () => faulty.held() === 2)
    assert.isAtMost(node.dispatcher.stats().residents, 1_100)
    // A caller may go meanwhile.
    yield* Fiber.interrupt(left)
    const sent = yield* send
    // Some turns of all fibers in each of them.
    for (let waitedMs = 0; waitedMs < 2 * defaultLimits.commandDeadlineMs + 200; waitedMs += 50)
      yield* TestClock.adjust(50)
    const isAnswered = sent.pollUnsafe() !== undefined
    faulty.release()
    yield* TestClock.adjust(1_000)
    assert.isTrue(isAnswered)
    assert.deepStrictEqual(tally(yield* Fiber.join(sent)), { Unavailable: 30 })
    const again = yield* send
    yield* TestClock.adjust(1_000)
    assert.deepStrictEqual(tally(yield* Fiber.join(again)), { AccountNotFound: 30 })
  }).pipe(Effect.scoped, scenario)
)

/** About 4,500 characters of events each. */
const large = Array.from({ length: 200 }, (): CommandInput => {
  const metadata = Object.fromEntries(Array.from({ length: 16 }, (_, nth) => [`key-${nth}`, "x".repeat(256)]))
  return { _tag: "Deposit", account: "a", amount: 1n, metadata }
})
const [one] = large as [CommandInput]
const decidedBytesMax = 50_000
const fitting = 12

it.effect("several batches that wait for room are each decided whole", () =>
  Effect.gen(function* () {
    const { faulty, send } = yield* heldNode({ decidedBytesMax }, passing(yield* Clock.Clock))
    const sent = yield* Effect.forEach([1, 2, 3, 4], () => send(large.slice(0, 50)))
    yield* until("the commit is held", () => faulty.held() === 1)
    faulty.release()
    yield* Effect.yieldNow
    for (let looks = 0; looks < 2_000 && sent.some((fiber) => fiber.pollUnsafe() === undefined); looks++)
      yield* TestClock.adjust(1)
    const answers = (yield* Effect.forEach(sent, Fiber.join)).flat()
    assert.deepStrictEqual(tally(answers), { Accepted: 200 })
  }).pipe(Effect.scoped, scenario)
)

it.effect("in the time after a repeat no more of a batch is decided at once", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const before = yield* startNode("before")
    const accounts = Array.from({ length: 99 }, (_, nth) => `b-${nth}`)
    yield* fund(before, ["a", ...accounts], 1_000n)
    yield* before.send(deposit("a", 1n, "again"))
    yield* before.stop
    const faulty = FaultyStore.over(store)
    const node = yield* startNode("after", { store: faulty.store, limits: { decidedBytesMax } })
    yield* Effect.addFinalizer(() => Effect.sync(() => faulty.release()))
    assert.isTrue((yield* node.send(deposit("a", 1n, "again"))).replayed)
    faulty.hold("commit")
    // All of them pay: 100 legs each.
    const journals = Array.from(
      { length: 40 },
      (): CommandInput => ({
        _tag: "PostJournal",
        legs: [
          ...accounts.map((account) => ({ account, side: "debit" as const, amount: 1n })),
          { account: "a", side: "credit", amount: 99n }
        ]
      })
    )
    const sent = yield* node.sendBatch(journals)
    yield* until("the commit is held", () => faulty.held() === 1)
    for (let looks = 0; looks < 200; looks++) yield* TestClock.adjust(5)
    // Two at a time are looked up, and more only where there is room.
    assert.isAtMost(node.dispatcher.stats().inFlight, 8)
    faulty.release()
    for (let looks = 0; looks < 2_000 && sent.pollUnsafe() === undefined; looks++) yield* TestClock.adjust(5)
    assert.deepStrictEqual(tally(yield* Fiber.join(sent)), { Accepted: 40 })
  }).pipe(Effect.scoped, scenario)
)

for (const { waitsFor, method } of [
  { waitsFor: "one account", method: "readStreams" },
  { waitsFor: "the log, in the time after a repeat", method: "findCommands" }
] as const) {
  it.effect(`of many that wait for ${waitsFor} no more are decided than there is room for`, () =>
    Effect.gen(function* () {
      const store = yield* EventStore
      const before = yield* startNode("before")
      yield* fund(before, ["a", "b"], 1n)
      yield* before.send(deposit("b", 1n, "again"))
      yield* before.stop
      const faulty = FaultyStore.over(store)
      const node = yield* startNode("after", { store: faulty.store, limits: { decidedBytesMax } })
      yield* Effect.addFinalizer(() => Effect.sync(() => faulty.release()))
      if (method === "findCommands") yield* node.send(deposit("b", 1n, "again"))
      faulty.hold(method)
      faulty.hold("commit")
      const sent = yield* Effect.forEach(large, (command) =>
        Effect.forkChild(Effect.result(node.send(command)), { startImmediately: true })
      )
      assert.strictEqual(node.dispatcher.stats().inFlight, large.length)
      yield* until("it is asked", () => faulty.held() === 1)
      faulty.release(method)
      yield* until("a commit is held", () => faulty.callsOf("commit") > 0 && faulty.held() === 1)
      yield* until("all are decided, or refused", () => node.dispatcher.meters().phases.waiting === 0)
      assert.isAtMost(node.dispatcher.stats().inFlight, fitting)
      faulty.release()
      yield* TestClock.adjust(1_000)
      const answers = tally((yield* Effect.forEach(sent, Fiber.join)).map(outcomeOf))
      assert.hasAllKeys(answers, ["Accepted", "Overloaded"])
      assert.isAtMost(answers.Accepted ?? 0, fitting)
    }).pipe(Effect.scoped, scenario)
  )
}

it.effect(
  "others have their turns while what waited for one account is decided, and those that come meanwhile come after it",
  () =>
    Effect.gen(function* () {
      const before = yield* startNode("before")
      yield* fund(before, ["a", "b"], 1n)
      yield* before.stop
      const store = yield* EventStore
      const faulty = FaultyStore.over(store)
      const node = yield* Effect.provideService(
        startNode("after", { store: faulty.store }),
        Clock.Clock,
        passing(yield* Clock.Clock)
      )
      yield* Effect.addFinalizer(() => Effect.sync(() => faulty.release()))
      yield* node.send(deposit("b", 1n))
      faulty.hold("readStreams")
      const send = (command: CommandInput) =>
        Effect.forkChild(Effect.result(node.send(command)), { startImmediately: true })
      const name = (nth: number) => `waits-${nth}`
      const sent = yield* Effect.forEach(Array.from({ length: 500 }), (_, nth) =>
        // Some wait with an account beside it that is at hand.
        send(nth % 5 === 0 ? transfer("a", "b", 1n, name(nth)) : deposit("a", 1n, name(nth)))
      )
      yield* until("the account is being read", () => faulty.held() === 1)
      faulty.hold("commit")
      faulty.release("readStreams")
      const decided = () => 500 - node.dispatcher.meters().phases.waiting
      let [last, atOnce] = [0, 0]
      let isLate = false
      yield* until("all are decided", () => {
        const now = decided()
        atOnce = Math.max(atOnce, now - last)
        last = now
        isLate ||= now > 0
        return isLate
      })
      const late = yield* send(withdraw("a", 1n, "late"))
      let leased: Parameters<Parameters<typeof node.dispatcher.localNode.requestLease>[2]>[0] | undefined
      const wanted = "a" as AccountId // a valid id
      node.dispatcher.localNode.requestLease(wanted, "lease", (granted) => {
        leased = granted
      })
      yield* until("all are decided", () => {
        const now = decided()
        atOnce = Math.max(atOnce, now - last)
        last = now
        return now === 500
      })
      faulty.release()
      yield* TestClock.adjust(1_000)
      const answers = (yield* Effect.forEach([...sent, late], Fiber.join)).map(outcomeOf)
      assert.deepStrictEqual(tally(answers), { Accepted: 501 })
      assert.isAtMost(atOnce, 10)
      const ids = (yield* readStream(store, "a")).slice(2).map(({ commandId }) => String(commandId))
      assert.deepStrictEqual(ids, [...Array.from({ length: 500 }, (_, nth) => name(nth)), "late"])
      // Another node that wants the account has it after all that waited here before.
      assert.strictEqual(leased?._tag === "Success" && leased.value.head.account.version, 503)
    }).pipe(Effect.scoped, scenario)
)

it.effect("what waits for its turn on an account counts among what the account may have in flight", () =>
  Effect.gen(function* () {
    const count = 300
    const before = yield* startNode("before")
    yield* fund(before, ["a"], 1n)
    yield* before.stop
    const faulty = FaultyStore.over(yield* EventStore)
    const node = yield* Effect.provideService(
      startNode("after", { store: faulty.store, limits: { inFlightPerAccountMax: count } }),
      Clock.Clock,
      passing(yield* Clock.Clock)
    )
    yield* Effect.addFinalizer(() => Effect.sync(() => faulty.release()))
    faulty.hold("readStreams")
    const send = () =>
      Effect.forkChild(Effect.result(node.send(deposit("a", 1n))), { startImmediately: true })
    const sent = yield* Effect.forEach(Array.from({ length: count }), send)
    yield* until("the account is being read", () => faulty.held() === 1)
    faulty.hold("commit")
    faulty.release("readStreams")
    const waiting = () => node.dispatcher.meters().phases.waiting
    yield* until("some are decided", () => waiting() < count)
    assert.isAbove(waiting(), 0)
    const further = yield* send()
    faulty.release()
    yield* until("all are decided", () => waiting() === 0)
    yield* TestClock.adjust(1_000)
    const answers = (yield* Effect.forEach(sent, Fiber.join)).map(outcomeOf)
    assert.deepStrictEqual(tally(answers), { Accepted: count })
    assert.strictEqual(outcomeOf(yield* Fiber.join(further)), "Overloaded")
  }).pipe(Effect.scoped, scenario)
)

for (const { fault, why } of [
  { fault: "fenced", why: "its writer was fenced" },
  { fault: "overtaken", why: "another writer wrote to its account" }
] as const) {
  it.effect(`others have their turns while a batch is decided again, since ${why}`, () =>
    Effect.gen(function* () {
      const clock = passing(yield* Clock.Clock)
      const { faulty, node, send, inFlight } = yield* heldNode({ lanes: 1 }, clock)
      const first = faulty.callsOf("commit")
      faulty.script = ({ method, nth }) => (method === "commit" && nth === first ? fault : undefined)
      const sent = yield* send(Array.from({ length: 500 }, () => deposit("a", 1n)))
      yield* until("all are decided", () => inFlight() === 500)
      const elapsed = () => elapsedMsUnsafe(clock)
      let longest = 0
      let last = elapsed()
      // What it sets going goes on within it.
      faulty.release()
      yield* until("all have landed", () => {
        const now = elapsed()
        longest = Math.max(longest, now - last)
        last = now
        return sent.pollUnsafe() !== undefined
      })
      assert.deepStrictEqual(tally(yield* Fiber.join(sent)), { Accepted: 500 })
      assert.isAbove(node.dispatcher.stats().fenced + node.dispatcher.stats().conflicts, 0)
      // Each look at the time takes a millisecond, and each decision some of them.
      assert.isAtMost(longest, 60)
    }).pipe(Effect.scoped, scenario)
  )
}

it.effect("a batch waits where what is decided takes as much memory as it may, and others are refused", () =>
  Effect.gen(function* () {
    const { faulty, node, send, inFlight } = yield* heldNode({ decidedBytesMax })
    const sent = yield* send(large)
    yield* until("the commit is held", () => faulty.held() === 1)
    yield* TestClock.adjust(1_000)
    assert.isAtMost(inFlight(), fitting / 2)
    assert.isAbove(inFlight(), fitting / 4)
    // A batch leaves room for others, of which each takes its own.
    const single = Array.from({ length: fitting }, (_, nth) => ({ ...one, commandId: `single-${nth}` }))
    const singles = yield* Effect.forEach(single, (command) =>
      Effect.forkChild(Effect.result(node.send(command)), { startImmediately: true })
    )
    assert.isAtMost(inFlight(), fitting)
    assert.isAbove(inFlight(), (fitting * 3) / 4)
    assert.strictEqual((yield* Effect.flip(node.send(deposit("a", 1n))))._tag, "Overloaded")
    assert.isDefined(node.dispatcher.precheck(deposit("a", 1n, "another")))
    faulty.release()
    let most = 0
    for (let looks = 0; looks < 1_000 && sent.pollUnsafe() === undefined; looks++) {
      most = Math.max(most, inFlight())
      yield* TestClock.adjust(1)
    }
    assert.isAtMost(most, fitting)
    assert.isDefined(sent.pollUnsafe())
    assert.deepStrictEqual(tally(yield* Fiber.join(sent)), { Accepted: 200 })
    const others = (yield* Effect.forEach(singles, Fiber.join)).map(outcomeOf)
    assert.hasAllKeys(tally(others), ["Accepted", "Overloaded"])
    yield* node.send(deposit("a", 1n))
  }).pipe(Effect.scoped, scenario)
)

it.effect("the rest of a batch is refused where nothing is committed for too long", () =>
  Effect.gen(function* () {
    const { faulty, send, inFlight } = yield* heldNode({ decidedBytesMax })
    const sent = yield* send(large)
    yield* until("the commit is held", () => faulty.held() === 1)
    yield* TestClock.adjust(1)
    const decided = inFlight()
    yield* TestClock.adjust(2 * (defaultLimits.commandDeadlineMs + 1_000))
    const answers = tally(yield* Fiber.join(sent))
    assert.containsAllKeys(answers, ["Indeterminate", "Overloaded"])
    assert.doesNotHaveAnyKeys(answers, ["Accepted"])
    assert.isAtLeast(answers.Overloaded ?? 0, large.length - decided - fitting)
    faulty.release()
    yield* TestClock.adjust(1_000)
  }).pipe(Effect.scoped, scenario)
)
