/** What a command is told of which nothing was written, and loops of a node that a bug in one round must not end. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import { type CommandExit, PendingCommand } from "../../src/actors/accounts/Lifecycle.ts"
import { InFlightCommands } from "../../src/actors/commands/InFlightCommands.ts"
import { CommitQueue } from "../../src/actors/commit/CommitQueue.ts"
import type { Command } from "../../src/domain/Command.ts"
import { Overloaded } from "../../src/domain/Errors.ts"
import { hashCommand } from "../../src/domain/HashChain.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { CommandFixture, pendingOf } from "../support/CommandFixture.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import {
  deposit,
  fund,
  memoryStores,
  open,
  outcomeOf,
  quiet,
  startNode,
  toCommand,
  until,
  withdraw
} from "../support/ledgerWorld.ts"

const overloaded = Exit.fail(new Overloaded({ what: "memory for accounts", retryAfterMs: 1 }))

const tagOf = (exit: CommandExit) =>
  Result.match(Exit.findError(exit), { onSuccess: ({ _tag }) => _tag, onFailure: () => "none" })

it("a repeat is not told that nothing was done, for the log holds it", () => {
  for (const isRepeat of [false, true])
    for (const end of [
      (all: InFlightCommands, one: PendingCommand) => all.completeUnwritten(one, overloaded),
      (all: InFlightCommands, one: PendingCommand) => all.failUnwritten(one, "event store", "it is down")
    ]) {
      const inFlight = new InFlightCommands()
      const command = toCommand(deposit("a", 1n, "once"))
      const pending = pendingOf(command, hashCommand(command), 1_000)
      const told: Array<string> = []
      pending.replyTo((exit) => told.push(tagOf(exit)))
      inFlight.add(pending)
      if (isRepeat) pending.markRepeat()
      end(inFlight, pending)
      assert.lengthOf(told, 1)
      if (isRepeat) assert.deepStrictEqual(told, ["Indeterminate"])
      else assert.notDeepEqual(told, ["Indeterminate"])
    }
})

it.effect("heartbeats go on behind one that met a bug", () =>
  Effect.gen(function* () {
    const inner = yield* EventStore
    let [isBroken, broken, well] = [false, 0, 0]
    const heartbeat: (typeof inner)["heartbeat"] = (writers) =>
      Effect.suspend(() => {
        if (isBroken) broken++
        else well++
        return isBroken ? Effect.die(new Error("a bug")) : inner.heartbeat(writers)
      })
    yield* startNode("n", { store: { ...inner, heartbeat } })
    isBroken = true
    yield* TestClock.adjust(2_000)
    assert.isAbove(broken, 1)
    isBroken = false
    const before = well
    yield* TestClock.adjust(2_000)
    assert.isAbove(well, before)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a commit lane goes on behind a bug between two batches", () =>
  Effect.gen(function* () {
    const node = yield* startNode("n", { limits: { lanes: 1 } })
    yield* node.send(open("a"))
    const take = CommitQueue.prototype.take
    let broken = 0
    CommitQueue.prototype.take = function (...limits) {
      CommitQueue.prototype.take = take
      broken++
      throw new Error(`a bug beside ${limits.length} limits`)
    }
    const sent = yield* Effect.forkChild(node.send(deposit("a", 1n)))
    // More than its deadline, and one look at it.
    yield* TestClock.adjust(10_100)
    assert.strictEqual(broken, 1)
    assert.strictEqual((yield* Fiber.join(sent)).postings[0]?.version, 2)
  }).pipe(Effect.provide([memoryStores, quiet]))
)

const bug = (): never => {
  throw new Error("a bug")
}

it("a command that ends is told to all, and gives back all it holds, whichever of these steps throws", () => {
  for (const broken of ["lock", "decided", "first", "other"]) {
    const steps: Array<string> = []
    const step = (name: string) => () => {
      if (name === broken) bug()
      steps.push(name)
    }
    const defects: Array<unknown> = []
    const inFlight = new InFlightCommands((defect) => defects.push(defect))
    const pending = pendingOf(toCommand(deposit("a", 1n)), "hash", 1_000)
    const actor = new CommandFixture(["a"]).actor("a")
    for (const name of ["lock", "a further lock"])
      pending.addLock({ actor, until: "decided", isGood: () => true, release: step(name) })
    for (const name of ["decided", "a further one decided"]) pending.whenDecided(step(name))
    pending.replyTo(step("first"))
    inFlight.add(pending)
    for (const name of ["other", "a further other"]) inFlight.join(pending, step(name), 1_000)
    inFlight.complete(pending, overloaded)
    const all = [
      "lock",
      "a further lock",
      "decided",
      "a further one decided",
      "first",
      "other",
      "a further other"
    ]
    assert.deepStrictEqual(
      steps,
      all.filter((name) => name !== broken)
    )
    assert.lengthOf(defects, 1, broken)
    assert.isTrue(inFlight.isIdle)
  }
})

it.effect(
  "what was decided behind a command that was withdrawn is decided again, whatever its caller throws",
  () =>
    Effect.gen(function* () {
      const faulty = FaultyStore.over(yield* EventStore)
      const node = yield* startNode("n", {
        store: faulty.store,
        limits: { lanes: 1, commandDeadlineMs: 5_000 }
      })
      yield* fund(node, ["a", "b"], 5n)
      faulty.hold("commit")
      yield* Effect.forkChild(node.send(deposit("b", 1n)))
      yield* until("a commit is held", () => faulty.held() === 1)
      node.dispatcher.localNode.decide(toCommand(deposit("a", 1n)) as Command, bug)
      yield* TestClock.adjust(3_000)
      const behind = yield* Effect.forkChild(Effect.result(node.send(deposit("a", 1n))), {
        startImmediately: true
      })
      yield* TestClock.adjust(3_000)
      faulty.release()
      yield* TestClock.adjust(1_000)
      assert.strictEqual(outcomeOf(yield* Fiber.join(behind)), "Accepted")
      assert.strictEqual(node.dispatcher.stats().inFlight, 0)
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("one that was lost as it was withdrawn is told that its outcome is not known", () =>
  Effect.gen(function* () {
    const faulty = FaultyStore.over(yield* EventStore)
    const node = yield* startNode("n", { store: faulty.store, limits: { lanes: 1 } })
    yield* fund(node, ["a", "b"], 5n)
    faulty.hold("commit")
    yield* Effect.forkChild(node.send(deposit("b", 1n)))
    yield* until("a commit is held", () => faulty.held() === 1)
    const evict = PendingCommand.prototype.evict
    PendingCommand.prototype.evict = function () {
      PendingCommand.prototype.evict = evict
      bug()
    }
    const lost = yield* Effect.forkChild(Effect.result(node.send(deposit("a", 1n))), {
      startImmediately: true
    })
    yield* TestClock.adjust(20_000)
    assert.strictEqual(outcomeOf(yield* Fiber.join(lost)), "Indeterminate")
    faulty.release()
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("commands whose wait is over go on behind one that cannot be submitted anew, nor told so", () =>
  Effect.gen(function* () {
    const node = yield* startNode("n")
    yield* fund(node, ["a"], 5n)
    const add = InFlightCommands.prototype.add
    const contested = Effect.fnUntraced(function* (commandId: string) {
      const first = yield* Effect.forkChild(Effect.result(node.send(withdraw("a", 1_000n, commandId))), {
        startImmediately: true
      })
      const other = toCommand(deposit("a", 1n, commandId)) as Command
      return { first, other }
    })
    const { first, other } = yield* contested("once")
    node.dispatcher.localNode.decide(other, bug)
    InFlightCommands.prototype.add = function (command) {
      InFlightCommands.prototype.add = add
      assert.strictEqual(command.command.commandId, "once")
      bug()
    }
    yield* TestClock.adjust(100)
    assert.strictEqual(outcomeOf(yield* Fiber.join(first)), "InsufficientFunds")
    assert.strictEqual(InFlightCommands.prototype.add, add)
    const further = yield* contested("twice")
    const sent = yield* Effect.forkChild(Effect.result(node.dispatcher.dispatch(further.other)), {
      startImmediately: true
    })
    yield* TestClock.adjust(20_000)
    assert.strictEqual(outcomeOf(yield* Fiber.join(sent)), "Accepted")
  }).pipe(Effect.provide([memoryStores, quiet]))
)
