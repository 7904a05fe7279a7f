/** A store that hangs, and limits that are reached: every caller is answered in time, and with the truth. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  type LedgerNode,
  memoryStores,
  open,
  outcomeOf,
  quiet,
  readStream,
  startNode,
  tally,
  toCommand,
  transfer,
  until,
  withdraw
} from "../support/ledgerWorld.ts"

const deadlineMs = 10_000
/** More than the deadline and one look at it. */
const overMs = deadlineMs + 100

const sendAll = (node: LedgerNode, commands: ReadonlyArray<ReturnType<typeof deposit>>) =>
  Effect.forEach(commands, (command) => Effect.forkChild(Effect.result(node.send(command))))

const outcomes = (fibers: ReadonlyArray<Fiber.Fiber<Parameters<typeof outcomeOf>[0]>>) =>
  Effect.map(Effect.forEach(fibers, Fiber.join), (results) => results.map(outcomeOf))

const capture = (account: string): CommandInput => ({ _tag: "CaptureHold", account, hold: "held" })

/** A funded node of one lane over a store that can be held. */
const heldNode = Effect.fnUntraced(function* (accounts: ReadonlyArray<string>, limits = {}) {
  const inner = yield* EventStore
  const faulty = FaultyStore.over(inner)
  const node = yield* startNode("held", { store: faulty.store, limits: { lanes: 1, ...limits } })
  yield* fund(node, accounts, 100n)
  return { inner, faulty, node }
})

it.effect(
  "while the store hangs, what was sent is indeterminate, and what was not is unavailable and never lands",
  () =>
    Effect.gen(function* () {
      const { inner, faulty, node } = yield* heldNode(["a", "b"])
      faulty.hold("commit")
      const flying = yield* sendAll(node, [deposit("a", 1n, "sent")])
      yield* until("the commit is held", () => faulty.held() === 1)
      const queued = yield* sendAll(node, [deposit("a", 2n, "unsent-1"), deposit("b", 2n, "unsent-2")])
      yield* TestClock.adjust(overMs)
      assert.deepStrictEqual(yield* outcomes(flying), ["Indeterminate"])
      assert.deepStrictEqual(yield* outcomes(queued), ["Unavailable", "Unavailable"])
      // Sent again while it is still under way: the second caller has patience of its own.
      const again = yield* sendAll(node, [deposit("a", 1n, "sent")])
      yield* TestClock.adjust(deadlineMs / 2)
      assert.strictEqual(again[0]?.pollUnsafe(), undefined)
      faulty.release()
      assert.deepStrictEqual(yield* outcomes(again), ["Replayed"])
      yield* until("all is settled", () => node.dispatcher.stats().inFlight === 0)
      yield* TestClock.adjust(overMs)
      assert.deepStrictEqual((yield* readStream(inner, "a")).map((row) => row.commandId).slice(2), ["sent"])
      assert.strictEqual((yield* readStream(inner, "b")).length, 2)
      assert.deepStrictEqual(yield* outcomes(yield* sendAll(node, [deposit("b", 2n, "unsent-2")])), [
        "Accepted"
      ])
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a caller that joined gets an indeterminate answer at its own deadline", () =>
  Effect.gen(function* () {
    const { faulty, node } = yield* heldNode(["a"])
    faulty.hold("commit")
    const first = yield* sendAll(node, [deposit("a", 1n, "sent")])
    yield* TestClock.adjust(deadlineMs / 2)
    const joined = yield* sendAll(node, [deposit("a", 1n, "sent")])
    yield* TestClock.adjust(deadlineMs / 2 + 100)
    assert.deepStrictEqual(yield* outcomes(first), ["Indeterminate"])
    assert.strictEqual(joined[0]?.pollUnsafe(), undefined)
    yield* TestClock.adjust(deadlineMs / 2)
    assert.deepStrictEqual(yield* outcomes(joined), ["Indeterminate"])
    faulty.release()
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("no more callers wait for commands that were sent before than commands may be in flight", () =>
  Effect.gen(function* () {
    const { faulty, node } = yield* heldNode(["a"], { inFlightMax: 3 })
    const sendThree = (commandId: string) =>
      sendAll(
        node,
        Array.from({ length: 3 }, () => deposit("a", 1n, commandId))
      )
    faulty.hold("commit")
    const first = yield* sendAll(node, [deposit("a", 1n, "first")])
    yield* until("its commit is held", () => faulty.held() === 1)
    const joined = yield* sendThree("first")
    yield* TestClock.adjust(1)
    // The first may be done yet, and nothing is done of another one of its id.
    const more = yield* sendAll(node, [deposit("a", 1n, "first"), deposit("a", 2n, "first")])
    yield* TestClock.adjust(1)
    const isAnswered = more.map((fiber) => fiber.pollUnsafe() !== undefined)
    faulty.release()
    assert.deepStrictEqual(yield* outcomes([...first, ...joined]), [
      "Accepted",
      ...new Array(3).fill("Replayed")
    ])
    assert.deepStrictEqual(isAnswered, [true, true])
    assert.deepStrictEqual(yield* outcomes(more), ["Indeterminate", "Overloaded"])
    // Their places are free, and so are those of callers that had no more time.
    faulty.hold("commit")
    const second = yield* sendAll(node, [deposit("a", 1n, "second")])
    yield* until("its commit is held", () => faulty.held() === 1)
    const late = yield* sendThree("second")
    yield* TestClock.adjust(overMs)
    const again = yield* sendThree("second")
    yield* TestClock.adjust(1)
    faulty.release()
    assert.deepStrictEqual(tally(yield* outcomes([...second, ...late])), { Indeterminate: 4 })
    assert.deepStrictEqual(tally(yield* outcomes(again)), { Replayed: 3 })
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("those that wait for the id of a command take no room of others once it is refused", () =>
  Effect.gen(function* () {
    const { faulty, node } = yield* heldNode(["a", "b"], { inFlightMax: 10 })
    const refused = withdraw("a", 1_000n, "id")
    faulty.hold("findCommands")
    const first = yield* sendAll(node, [refused])
    yield* until("its id is looked up once more", () => faulty.held() === 1)
    faulty.hold("commit")
    const flying = yield* sendAll(node, [deposit("b", 1n)])
    yield* until("a commit is held", () => faulty.held() === 2)
    const others = yield* sendAll(
      node,
      Array.from({ length: 9 }, (_, nth) => deposit("a", BigInt(nth + 1), "id"))
    )
    // The last to be told of the refusal.
    const last = yield* Effect.forkChild(
      Effect.andThen(Effect.flip(node.send(refused)), Effect.result(node.send(deposit("b", 1n))))
    )
    yield* TestClock.adjust(1)
    faulty.release("findCommands")
    yield* TestClock.adjust(1)
    faulty.release()
    assert.strictEqual(outcomeOf(yield* Fiber.join(last)), "Accepted")
    assert.deepStrictEqual(yield* outcomes([...first, ...flying]), ["InsufficientFunds", "Accepted"])
    assert.deepStrictEqual(tally(yield* outcomes(others)), { Accepted: 1, CommandIdReused: 8 })
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a reversal whose look-up took long is answered at its own deadline, whatever came meanwhile", () =>
  Effect.gen(function* () {
    const { faulty, node } = yield* heldNode(["a"])
    yield* node.send(deposit("a", 5n, "original"))
    faulty.hold("findCommands")
    const reversal = yield* Effect.forkChild(
      Effect.result(node.send({ _tag: "Reverse", original: "original", reason: "twice" }))
    )
    yield* until("the look-up is held", () => faulty.held() === 1)
    yield* TestClock.adjust(deadlineMs / 2)
    faulty.hold("commit")
    const flying = yield* sendAll(node, [deposit("a", 1n, "later")])
    yield* until("the commit is held", () => faulty.held() === 2)
    faulty.release("findCommands")
    yield* TestClock.adjust(deadlineMs / 2 + 100)
    assert.deepStrictEqual(yield* outcomes([reversal]), ["Unavailable"])
    assert.strictEqual(flying[0]?.pollUnsafe(), undefined)
    faulty.release()
    assert.deepStrictEqual(yield* outcomes(flying), ["Accepted"])
    yield* until("all is settled", () => node.dispatcher.stats().inFlight === 0)
    // Nothing of it landed: sent again it is done for the first time.
    assert.isFalse((yield* node.send({ _tag: "Reverse", original: "original", reason: "twice" })).replayed)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a reversal that is known to be done, or under way, is never told that nothing was done", () =>
  Effect.gen(function* () {
    const { faulty, node } = yield* heldNode(["a"], { inFlightMax: 2 })
    yield* node.send(deposit("a", 5n, "one"))
    yield* node.send(deposit("a", 5n, "two"))
    const reverse = (original: string) =>
      Effect.forkChild(Effect.result(node.send({ _tag: "Reverse", original, reason: "wrong" })))
    yield* Fiber.join(yield* reverse("one"))
    faulty.hold("commit")
    const first = yield* reverse("two")
    yield* until("its commit is held", () => faulty.held() === 1)
    faulty.hold("findCommands")
    yield* TestClock.adjust(deadlineMs / 2)
    const again = [yield* reverse("one"), yield* reverse("two"), yield* reverse("one")]
    yield* TestClock.adjust(overMs)
    const answers = yield* outcomes([first, ...again])
    faulty.release()
    // The look-ups had no answer, or there was no room for them.
    assert.deepStrictEqual(tally(answers), { Indeterminate: 4 })
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a batch with reversals is answered within one deadline where the log does not answer", () =>
  Effect.gen(function* () {
    const { faulty, node } = yield* heldNode(["a"])
    yield* node.send(deposit("a", 5n, "original"))
    const landed = deposit("a", 1n, "landed")
    yield* node.send(landed)
    const reversed: CommandInput = { _tag: "Reverse", original: "landed", reason: "twice" }
    yield* node.send(reversed)
    faulty.hold("findCommands")
    const reversal: CommandInput = { _tag: "Reverse", original: "original", reason: "twice" }
    const batch = [deposit("a", 1n), reversal, deposit("a", 1n), reversal, landed, reversed]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(overMs)
    const isAnswered = sent.pollUnsafe() !== undefined
    faulty.release()
    yield* TestClock.adjust(overMs)
    assert.isTrue(isAnswered)
    assert.deepStrictEqual(yield* Fiber.join(sent), [
      "Accepted",
      "Unavailable",
      "Unavailable",
      "Unavailable",
      "Replayed",
      // It is done, and what came of it has to be looked up.
      "Indeterminate"
    ])
    const { refused } = node.dispatcher.meters().outcomes
    assert.deepStrictEqual([refused.get("Unavailable"), refused.get("Indeterminate")], [3, 1])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("nor does such a batch wait for each reversal where each look-up fails before the deadline", () =>
  Effect.gen(function* () {
    const { inner, node: first } = yield* heldNode(["a"])
    yield* first.stop
    const failMs = 0.7 * deadlineMs
    const error = new StoreUnavailable({ store: "event store", reason: "no connection" })
    const store = { ...inner, findCommands: () => Effect.delay(Effect.fail(error), failMs) }
    const node = yield* startNode("later", { store })
    const reversal: CommandInput = { _tag: "Reverse", original: "original", reason: "twice" }
    const send = node.sendBatch
    const sent = yield* send(Array.from({ length: 6 }, () => reversal))
    // What has an outcome shows that a batch gets on.
    const mixed = yield* send([reversal, deposit("a", 1n), reversal, deposit("a", 1n), reversal])
    // A command that was done before shows nothing, for it is answered from memory.
    const known = deposit("a", 1n, "known")
    yield* sendAll(node, [known])
    const repeated = yield* send([reversal, known, reversal, known, reversal, known])
    for (let nth = 0; nth < 2; nth++) yield* TestClock.adjust(failMs)
    const isAnswered = [sent, repeated].every((batch) => batch.pollUnsafe() !== undefined)
    for (let nth = 0; nth < 4; nth++) yield* TestClock.adjust(failMs)
    assert.isTrue(isAnswered)
    assert.deepStrictEqual(tally(yield* Fiber.join(sent)), { Unavailable: 6 })
    assert.deepStrictEqual(tally(yield* Fiber.join(mixed)), { Unavailable: 3, Accepted: 2 })
    assert.deepStrictEqual(tally(yield* Fiber.join(repeated)), {
      Unavailable: 3,
      Replayed: 3
    })
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a command that expires in the queue takes no later command with it", () =>
  Effect.gen(function* () {
    const { inner, faulty, node } = yield* heldNode(["a"])
    faulty.hold("commit")
    const flying = yield* sendAll(node, [deposit("a", 1n, "sent")])
    yield* until("the commit is held", () => faulty.held() === 1)
    const early = yield* sendAll(node, [deposit("a", 1_000n, "early")])
    yield* TestClock.adjust(deadlineMs / 2)
    const late = yield* sendAll(node, [withdraw("a", 50n, "late-1"), withdraw("a", 1_000n, "late-2")])
    yield* TestClock.adjust(deadlineMs / 2 + 100)
    faulty.release()
    assert.deepStrictEqual(yield* outcomes(early), ["Unavailable"])
    // Decided again without the deposit that never was.
    assert.deepStrictEqual(yield* outcomes(late), ["Accepted", "InsufficientFunds"])
    assert.deepStrictEqual(yield* outcomes(flying), ["Indeterminate"])
    assert.deepStrictEqual((yield* readStream(inner, "a")).map((row) => row.commandId).slice(2), [
      "sent",
      "late-1"
    ])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("an account that cannot be loaded in time is unavailable, and usable once the store is back", () =>
  Effect.gen(function* () {
    const { faulty, node: first } = yield* heldNode(["a"])
    yield* first.stop
    const node = yield* startNode("later", { store: faulty.store })
    faulty.script = ({ method }) => (method === "readStreams" ? "unavailable" : undefined)
    const waiting = yield* sendAll(node, [deposit("a", 1n, "unloaded")])
    yield* TestClock.adjust(overMs)
    assert.deepStrictEqual(yield* outcomes(waiting), ["Unavailable"])
    faulty.script = () => undefined
    yield* TestClock.adjust(1_000)
    assert.deepStrictEqual(yield* outcomes(yield* sendAll(node, [deposit("a", 1n, "unloaded")])), [
      "Accepted"
    ])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("what was not at hand in time is not told with an error of the store that is over", () =>
  Effect.gen(function* () {
    const { faulty, node: first } = yield* heldNode(["a"])
    yield* first.stop
    const node = yield* startNode("later", { store: faulty.store })
    const reasonOf = Effect.fnUntraced(function* (asked: Effect.Effect<unknown, Error>) {
      const sent = yield* Effect.forkChild(Effect.flip(asked))
      yield* TestClock.adjust(overMs)
      return (yield* Fiber.join(sent)).message
    })
    faulty.script = ({ method }) => (method === "readStreams" ? "unavailable" : undefined)
    assert.match(yield* reasonOf(node.send(deposit("a", 1n))), /^event store: .*a fault of the test/)
    // No caller waits for the account any more, and it is not read again.
    yield* TestClock.adjust(1_000)
    faulty.script = () => undefined
    faulty.hold("readStreams")
    const command = yield* reasonOf(node.send(deposit("a", 1n)))
    const balance = yield* reasonOf(node.dispatcher.head("a" as AccountId)) // a valid id
    faulty.release()
    const late = "being loaded, or held by another node; nothing was done"
    assert.strictEqual(command, `the accounts of this command: not at hand within 10000 ms: ${late}`)
    assert.strictEqual(balance, `account a: not at hand within ${defaultLimits.queryDeadlineMs} ms: ${late}`)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a command whose id is looked up before it is decided is told that the log did not answer", () =>
  Effect.gen(function* () {
    const { faulty, node: first } = yield* heldNode(["a"])
    yield* first.send(deposit("a", 1n, "repeat"))
    yield* first.stop
    const node = yield* startNode("later", { store: faulty.store })
    // From a repeat on, for a while.
    assert.isTrue((yield* node.send(deposit("a", 1n, "repeat"))).replayed)
    faulty.hold("findCommands")
    const sent = yield* Effect.forkChild(Effect.flip(node.send(deposit("a", 1n))))
    yield* until("its id is looked up", () => faulty.held() === 1)
    yield* TestClock.adjust(overMs)
    faulty.release()
    assert.strictEqual((yield* Fiber.join(sent)).message, "event store: no answer; nothing was done")
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a batch on accounts that cannot be loaded waits no longer than two commands may", () =>
  Effect.gen(function* () {
    const { faulty, inner, node: first } = yield* heldNode(["a", "b", "c"])
    yield* first.stop
    const node = yield* startNode("later", { store: faulty.store })
    faulty.script = ({ method }) => (method === "readStreams" ? "unavailable" : undefined)
    const batch = [
      ...Array.from({ length: 5 }, () => deposit("a", 1n)),
      ...Array.from({ length: 5 }, () => withdraw("b", 1n)),
      capture("a"),
      capture("c")
    ]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(2 * overMs)
    assert.isDefined(sent.pollUnsafe())
    assert.deepStrictEqual(tally(yield* Fiber.join(sent)), { Unavailable: batch.length })
    faulty.script = () => undefined
    yield* TestClock.adjust(1_000)
    assert.strictEqual((yield* readStream(inner, "a")).length, 2)
    const again = yield* node.dispatcher.dispatchMany(batch.slice(0, 10).map(toCommand))
    assert.deepStrictEqual(tally(again.map(outcomeOf)), { Accepted: 10 })
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("nor is a command of such a batch told that nothing was done that this node knows to be done", () =>
  Effect.gen(function* () {
    const { faulty, node: first } = yield* heldNode(["a", "b", "c", "d"])
    yield* first.stop
    const node = yield* startNode("later", { store: faulty.store })
    const captured: ReadonlyArray<CommandInput> = [
      { _tag: "PlaceHold", commandId: "held", account: "c", amount: 1n, to: "b" },
      { _tag: "CaptureHold", commandId: "captured", account: "c", hold: "held" }
    ]
    for (const command of captured) yield* node.send(command)
    faulty.script = ({ method }) => (method === "readStreams" ? "unavailable" : undefined)
    // The last one must not come before the transfer, which waits for another account, though what is known stands between them.
    const batch = [deposit("a", 1n), deposit("a", 1n), transfer("c", "d", 1n), ...captured, withdraw("c", 1n)]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(2 * overMs)
    assert.deepStrictEqual(yield* Fiber.join(sent), [
      "Unavailable",
      "Unavailable",
      "Unavailable",
      "Replayed",
      "Replayed",
      "Unavailable"
    ])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("nor is one that is under way by itself meanwhile", () =>
  Effect.gen(function* () {
    const { faulty, node: first } = yield* heldNode(["a", "c", "d"])
    yield* first.stop
    const node = yield* startNode("later", { store: faulty.store })
    yield* node.send(deposit("c", 1n))
    faulty.script = ({ method }) => (method === "readStreams" ? "unavailable" : undefined)
    // The third waits for an account that cannot be read, so that the last one would have to wait for it.
    const flying = withdraw("c", 1n, "flying")
    const batch = [deposit("a", 1n), deposit("a", 1n), transfer("c", "d", 1n), flying]
    const sent = yield* Effect.forkChild(node.dispatcher.dispatchMany(batch.map(toCommand)))
    yield* TestClock.adjust(deadlineMs / 2)
    faulty.hold("commit")
    const alone = yield* sendAll(node, [flying])
    yield* until("its commit is held", () => faulty.held() === 1)
    yield* TestClock.adjust(deadlineMs / 2 + 100)
    faulty.release()
    yield* TestClock.adjust(deadlineMs)
    assert.deepStrictEqual(yield* outcomes(alone), ["Accepted"])
    const [, , , last] = yield* Fiber.join(sent)
    assert.strictEqual(last && outcomeOf(last), "Replayed")
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("but what follows in such a batch is not done before that", () =>
  Effect.gen(function* () {
    const { faulty, inner, node: first } = yield* heldNode(["a", "e"])
    yield* first.stop
    const node = yield* startNode("later", { store: faulty.store })
    yield* node.send(deposit("e", 1n))
    faulty.script = ({ method }) => (method === "readStreams" ? "unavailable" : undefined)
    const alone = transfer("e", "a", 1n, "alone")
    const batch = [deposit("a", 1n), deposit("a", 1n), alone, withdraw("e", 1n, "behind")]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(deadlineMs / 2)
    const waiting = yield* sendAll(node, [alone])
    yield* TestClock.adjust(deadlineMs / 2 + 100)
    faulty.script = () => undefined
    yield* TestClock.adjust(deadlineMs)
    assert.deepStrictEqual(yield* outcomes(waiting), ["Accepted"])
    assert.deepStrictEqual((yield* Fiber.join(sent)).slice(2), ["Replayed", "Unavailable"])
    const ids = (yield* readStream(inner, "e")).map(({ commandId }) => String(commandId))
    assert.deepStrictEqual(ids.slice(3), ["alone"])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("nor is a command of such a batch decided once another one of its id was refused", () =>
  Effect.gen(function* () {
    const { faulty, inner, node: first } = yield* heldNode(["a", "c", "d"])
    yield* first.stop
    const node = yield* startNode("later", { store: faulty.store })
    yield* node.send(deposit("c", 1n))
    faulty.script = ({ method }) => (method === "readStreams" ? "unavailable" : undefined)
    const batch = [deposit("a", 1n), deposit("a", 1n), transfer("c", "d", 1n), deposit("c", 1n, "twice")]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(deadlineMs / 2)
    faulty.hold("findCommands")
    const other = yield* sendAll(node, [withdraw("c", 1_000n, "twice")])
    yield* until("its id is looked up", () => faulty.held() === 1)
    yield* TestClock.adjust(deadlineMs / 2 + 100)
    faulty.release()
    yield* TestClock.adjust(deadlineMs)
    assert.deepStrictEqual(yield* outcomes(other), ["InsufficientFunds"])
    assert.deepStrictEqual((yield* Fiber.join(sent)).slice(2), ["Unavailable", "Unavailable"])
    assert.lengthOf(yield* readStream(inner, "c"), 3)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("nor is one that is sent again, behind one of its batch that has taken effect", () =>
  Effect.gen(function* () {
    const { faulty, inner, node } = yield* heldNode(["c"])
    yield* node.send(withdraw("c", 1n, "landed"))
    faulty.hold("readStreams")
    const other = yield* sendAll(node, [withdraw("none", 1n, "twice")])
    yield* until("its account is read", () => faulty.held() === 1)
    const batch = [deposit("c", 1n, "twice"), withdraw("c", 1n, "landed")].map(toCommand)
    const again = yield* Effect.forkChild(node.dispatcher.localNode.dispatch(batch, true))
    yield* TestClock.adjust(100)
    faulty.release()
    yield* TestClock.adjust(1_000)
    assert.deepStrictEqual(yield* outcomes(other), ["AccountNotFound"])
    const tags = (yield* Fiber.join(again)).map(({ _tag }) => _tag)
    assert.deepStrictEqual(tags, ["Unknown", "Done"])
    assert.lengthOf(yield* readStream(inner, "c"), 3)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a batch whose commands want ids of others before them waits no longer than two commands may", () =>
  Effect.gen(function* () {
    const { faulty, inner, node } = yield* heldNode(["a", "b"])
    faulty.hold("commit")
    const batch = Array.from({ length: 6 }, (_, nth) => [
      deposit("a", 1n, `id-${nth}`),
      withdraw("b", 1n, `id-${nth}`)
    ]).flat()
    const sent = yield* node.sendBatch(batch)
    for (let nth = 0; nth < 2; nth++) yield* TestClock.adjust(overMs)
    const isAnswered = sent.pollUnsafe() !== undefined
    faulty.release()
    for (let nth = 0; nth < 6; nth++) yield* TestClock.adjust(overMs)
    assert.isTrue(isAnswered)
    const answers = yield* Fiber.join(sent)
    // Only what was being sent may be done yet.
    assert.deepStrictEqual(tally(answers.slice(0, 2)), { Indeterminate: 2 })
    assert.deepStrictEqual(tally(answers.slice(2)), { Unavailable: 10 })
    assert.lengthOf(yield* readStream(inner, "a"), 3)
    assert.lengthOf(yield* readStream(inner, "b"), 2)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a batch goes on behind a command whose id was another one's, whose time was over meanwhile", () =>
  Effect.gen(function* () {
    const { faulty, node } = yield* heldNode(["a", "b"])
    yield* node.send({ _tag: "PlaceHold", commandId: "held", account: "b", amount: 1n, to: "a" })
    faulty.hold("commit")
    const other = yield* sendAll(node, [deposit("a", 1n, "twice")])
    yield* TestClock.adjust(deadlineMs - 100)
    const batch = [withdraw("b", 1n, "twice"), capture("b"), deposit("a", 1n)]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(200)
    faulty.release()
    yield* TestClock.adjust(100)
    assert.deepStrictEqual(yield* outcomes(other), ["Indeterminate"])
    assert.deepStrictEqual(yield* Fiber.join(sent), ["CommandIdReused", "Accepted", "Accepted"])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("nor does it end behind one that another caller had sent long before", () =>
  Effect.gen(function* () {
    const { faulty, node: first } = yield* heldNode(["a", "b"])
    yield* first.send({ _tag: "PlaceHold", commandId: "held", account: "b", amount: 1n, to: "b2" })
    yield* first.send(open("b2"))
    yield* first.stop
    const node = yield* startNode("later", { store: faulty.store })
    yield* node.send(transfer("b", "b2", 1n))
    faulty.hold("readStreams")
    const other = yield* sendAll(node, [deposit("a", 1n, "joined")])
    yield* TestClock.adjust(deadlineMs - 100)
    const batch = [deposit("a", 1n, "joined"), capture("b")]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(200)
    const isAnswered = sent.pollUnsafe() !== undefined
    faulty.release()
    yield* TestClock.adjust(100)
    assert.deepStrictEqual(yield* outcomes(other), ["Unavailable"])
    assert.deepStrictEqual(yield* Fiber.join(sent), ["Unavailable", "Accepted"])
    assert.isTrue(isAnswered)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a repeat that is known to be in the log is never told that nothing was done", () =>
  Effect.gen(function* () {
    const { faulty, node: first } = yield* heldNode(["a"])
    yield* first.send(deposit("a", 1n, "accepted"))
    yield* first.stop
    const node = yield* startNode("later", { store: faulty.store })
    faulty.script = ({ method }) => (method === "findCommands" ? "unavailable" : undefined)
    const repeat = yield* sendAll(node, [deposit("a", 1n, "accepted")])
    yield* TestClock.adjust(overMs)
    assert.deepStrictEqual(yield* outcomes(repeat), ["Indeterminate"])
    faulty.script = () => undefined
    yield* TestClock.adjust(1_000)
    assert.deepStrictEqual(yield* outcomes(yield* sendAll(node, [deposit("a", 1n, "accepted")])), [
      "Replayed"
    ])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("after a sending of unknown outcome, no deadline says that nothing was done", () =>
  Effect.gen(function* () {
    const { inner, faulty, node } = yield* heldNode(["a"])
    const sent = faulty.callsOf("commit")
    // It lands unseen; the row in the way is gone at the second look; then the store is away for long.
    faulty.script = ({ method, nth }) =>
      method !== "commit"
        ? undefined
        : nth === sent
          ? "landedUnknown"
          : nth === sent + 1
            ? "unnamedConflict"
            : "notWritten"
    const lost = yield* sendAll(node, [deposit("a", 7n, "landed")])
    yield* TestClock.adjust(overMs)
    assert.deepStrictEqual(yield* outcomes(lost), ["Indeterminate"])
    faulty.script = () => undefined
    const again = yield* sendAll(node, [deposit("a", 7n, "landed")])
    yield* TestClock.adjust(2_000)
    assert.deepStrictEqual(yield* outcomes(again), ["Replayed"])
    assert.strictEqual((yield* readStream(inner, "a")).length, 3)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a command that is withdrawn at its deadline lets none of a batch overtake another", () =>
  Effect.gen(function* () {
    const { faulty, inner, node } = yield* heldNode(["a", "b"])
    faulty.hold("commit")
    const flying = yield* sendAll(node, [deposit("a", 1n)])
    yield* until("the commit is held", () => faulty.held() === 1)
    const withdrawn = yield* sendAll(node, [withdraw("a", 101n)])
    yield* TestClock.adjust(deadlineMs / 2)
    // As long as the withdrawal is decided, nothing is left to be sent; without it there is.
    const batch = [transfer("a", "b", 40n), withdraw("b", 140n)].map(toCommand)
    const sent = yield* Effect.forkChild(node.dispatcher.dispatchMany(batch))
    yield* TestClock.adjust(deadlineMs / 2 + 100)
    assert.deepStrictEqual(yield* outcomes(withdrawn), ["Unavailable"])
    faulty.release()
    yield* TestClock.adjust(1_000)
    assert.deepStrictEqual((yield* Fiber.join(sent)).map(outcomeOf), ["Accepted", "Accepted"])
    yield* outcomes(flying)
    assert.deepStrictEqual(yield* invariantsOf(inner), [])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a long batch is answered within one deadline while the store stands still", () =>
  Effect.gen(function* () {
    const { faulty, inner, node } = yield* heldNode(["a"])
    yield* node.send(deposit("a", 1n, "known"))
    faulty.hold("commit")
    const batch = [
      deposit("a", 1n, "known"),
      ...Array.from({ length: 5_000 }, () => deposit("a", 1n)),
      deposit("a", 1n, "known")
    ]
    const sent = yield* node.sendBatch(batch)
    yield* TestClock.adjust(overMs)
    const isAnswered = sent.pollUnsafe() !== undefined
    faulty.release()
    for (let nth = 0; nth < 3; nth++) yield* TestClock.adjust(overMs)
    assert.isTrue(isAnswered)
    const { Replayed, Indeterminate = 0, Unavailable } = tally(yield* Fiber.join(sent))
    assert.deepStrictEqual([Replayed, Unavailable], [2, 5_000 - Indeterminate])
    assert.isBelow((yield* readStream(inner, "a")).length, 2_100)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

for (const [commands, limits] of [
  ["that are known to be refused", {}],
  ["for which there is no room", { inFlightMax: 500 }]
] as const) {
  it.effect(`so is one with commands ${commands}`, () =>
    Effect.gen(function* () {
      const { faulty, node } = yield* heldNode(["a"], limits)
      yield* node.send(deposit("a", 1n, "known"))
      faulty.hold("commit")
      yield* sendAll(node, [deposit("a", 1n)])
      yield* until("its commit is held", () => faulty.held() === 1)
      const batch = Array.from({ length: 5_000 }, (_, nth) =>
        nth % 1_000 === 0 ? deposit("a", 2n, "known") : deposit("a", 1n)
      )
      const sent = yield* node.sendBatch(batch)
      yield* TestClock.adjust(overMs)
      const isAnswered = sent.pollUnsafe() !== undefined
      faulty.release()
      for (let nth = 0; nth < 3; nth++) yield* TestClock.adjust(overMs)
      assert.isTrue(isAnswered)
      assert.isUndefined(tally(yield* Fiber.join(sent)).Accepted)
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
}

it.effect(
  "the rest of a batch, which goes on as others are withdrawn, overtakes none that is decided again",
  () =>
    Effect.gen(function* () {
      const before = yield* startNode("before")
      yield* fund(before, ["cold"], 100n)
      yield* before.stop
      const { faulty, inner, node } = yield* heldNode(["a", "b"], { residentsMax: 3 })
      faulty.hold("commit")
      const flying = yield* sendAll(node, [deposit("b", 1n)])
      yield* until("the commit is held", () => faulty.held() === 1)
      faulty.hold("readStreams")
      // Three parts, of which two are under way at once. The second waits for an account that is not in memory, so its deadline comes later.
      const part = (name: string, count: number) =>
        Array.from({ length: count }, (_, nth) => deposit("a", 1n, `${name}-${nth}`))
      // Of the first one command has an outcome, for which it waits for no commit, so that the batch goes on.
      const tooMany: CommandInput = {
        _tag: "PostJournal",
        legs: ["a", "b", "c", "d"].map((account, nth) => ({
          account,
          side: nth % 2 === 0 ? "debit" : "credit",
          amount: 1n
        }))
      }
      const batch = [
        tooMany,
        ...part("first", 999),
        transfer("cold", "a", 1n, "second"),
        ...part("second", 999),
        ...part("third", 1)
      ]
      const sent = yield* node.sendBatch(batch)
      yield* until("an account is being read", () => faulty.held() === 2)
      yield* TestClock.adjust(deadlineMs / 2)
      faulty.release("readStreams")
      yield* TestClock.adjust(deadlineMs / 2 + 100)
      faulty.release("commit")
      yield* TestClock.adjust(1_000)
      const answers = yield* Fiber.join(sent)
      assert.deepStrictEqual(tally(answers), { InvalidCommand: 1, Unavailable: 1_000, Accepted: 1_000 })
      yield* outcomes(flying)
      const ids = (yield* readStream(inner, "a")).slice(2).map((row) => String(row.commandId))
      const inOrder = [...part("second", 999), ...part("third", 1)].map(({ commandId }) => String(commandId))
      assert.deepStrictEqual(ids, inOrder)
      assert.deepStrictEqual(yield* invariantsOf(inner), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect(
  "at the bound of the node or of one account a command is refused at once, and others are not harmed",
  () =>
    Effect.gen(function* () {
      const { faulty, node } = yield* heldNode(["a", "b"], { inFlightMax: 8, inFlightPerAccountMax: 5 })
      faulty.hold("commit")
      const onA = yield* sendAll(
        node,
        Array.from({ length: 5 }, () => deposit("a", 1n))
      )
      yield* until("the commit is held", () => faulty.held() === 1)
      const full = yield* Effect.flip(node.send(deposit("a", 1n)))
      if (full._tag !== "Overloaded") return assert.fail(full._tag)
      assert.include(full.what, "account a")
      assert.isAtLeast(full.retryAfterMs, 1)
      const onB = yield* sendAll(
        node,
        Array.from({ length: 3 }, () => deposit("b", 1n))
      )
      yield* Effect.yieldNow
      const more = yield* Effect.flip(node.send(deposit("b", 1n)))
      if (more._tag !== "Overloaded") return assert.fail(more._tag)
      assert.include(more.what, "this node")
      faulty.release()
      assert.deepStrictEqual(tally(yield* outcomes([...onA, ...onB])), { Accepted: 8 })
      assert.deepStrictEqual(yield* outcomes(yield* sendAll(node, [deposit("a", 1n)])), ["Accepted"])
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a node that closes answers all commands it accepted, and refuses later ones", () =>
  Effect.gen(function* () {
    const { faulty, node } = yield* heldNode(["a", "b"])
    faulty.hold("commit")
    const accepted = yield* sendAll(node, [deposit("a", 1n, "a-1"), deposit("a", 1n), deposit("b", 1n)])
    yield* until("the commit is held", () => faulty.held() === 1)
    const stopped = yield* Effect.forkChild(node.stop)
    yield* TestClock.adjust(100)
    const refused = yield* Effect.flip(node.send(deposit("a", 1n)))
    assert.strictEqual(refused._tag, "Unavailable")
    assert.strictEqual(stopped.pollUnsafe(), undefined)
    faulty.release()
    assert.deepStrictEqual(yield* outcomes(accepted), ["Accepted", "Accepted", "Accepted"])
    yield* TestClock.adjust(100)
    yield* Fiber.join(stopped)
    assert.isTrue((yield* node.send(deposit("a", 1n, "a-1"))).replayed)
    assert.strictEqual((yield* Effect.flip(node.send(open("c"))))._tag, "Unavailable")
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a node that closes while the store hangs leaves no caller waiting", () =>
  Effect.gen(function* () {
    const { inner, faulty, node } = yield* heldNode(["a"])
    faulty.hold("commit")
    const flying = yield* sendAll(node, [deposit("a", 1n)])
    yield* until("the commit is held", () => faulty.held() === 1)
    yield* TestClock.adjust(1)
    const queued = yield* sendAll(node, [deposit("a", 1n)])
    const stopped = yield* Effect.forkChild(node.stop)
    yield* TestClock.adjust(overMs)
    assert.deepStrictEqual(yield* outcomes(flying), ["Indeterminate"])
    assert.deepStrictEqual(yield* outcomes(queued), ["Unavailable"])
    yield* TestClock.adjust(overMs)
    yield* Fiber.join(stopped)
    assert.strictEqual((yield* readStream(inner, "a")).length, 2)
    faulty.release()
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect(
  "a caller whose look-up took long is answered in its own time, where it joins one that came later",
  () =>
    Effect.gen(function* () {
      const { faulty, node } = yield* heldNode(["a"])
      yield* node.send(deposit("a", 5n, "pay"))
      const { findCommands } = faulty.store
      let looks = 0
      const lookupMs = 8_000
      const slow = {
        ...faulty.store,
        // The first look-up takes long, and no other.
        findCommands: (ids: Parameters<typeof findCommands>[0]) =>
          looks++ === 0 ? Effect.delay(findCommands(ids), lookupMs) : findCommands(ids)
      }
      const other = yield* startNode("other", { store: slow })
      const reverse = () =>
        Effect.forkChild(
          Effect.result(other.send({ _tag: "Reverse", commandId: "r", original: "pay", reason: "wrong" }))
        )
      const first = yield* reverse()
      yield* TestClock.adjust(lookupMs - 3_000)
      faulty.hold("commit")
      const second = yield* reverse()
      yield* TestClock.adjust(overMs - (lookupMs - 3_000))
      const answered = [first, second].map((one) => one.pollUnsafe() !== undefined)
      faulty.release()
      assert.deepStrictEqual(yield* outcomes([first, second]), ["Indeterminate", "Accepted"])
      assert.deepStrictEqual(answered, [true, false])
    }).pipe(Effect.provide([memoryStores, quiet]))
)
