/** What a command is told of which nothing was written, and loops of a node that a bug in one round must not end. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option, Result } from "effect"
import { TestClock } from "effect/testing"
import {
  AccountActor,
  type CommandExit,
  CommitBatch,
  PendingCommand
} from "../../src/actors/accounts/Lifecycle.ts"
import { InFlightCommands, unavailable } from "../../src/actors/commands/InFlightCommands.ts"
import { CommitQueue } from "../../src/actors/commit/CommitQueue.ts"
import type { Command } from "../../src/domain/Command.ts"
import { Overloaded } from "../../src/domain/Errors.ts"
import { hashCommand } from "../../src/domain/HashChain.ts"
import { AccountId } from "../../src/domain/Ids.ts"
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

const openHead = (name: string) => new CommandFixture([name]).actor(name).committed

it("an account tells all that wait for it that it is ready, or why it is not, also behind one that throws", () => {
  for (const isLoaded of [true, false]) {
    const actor = new AccountActor(AccountId.make("a"), 0)
    const told: Array<string> = []
    const tells = (name: string) => (exit: Exit.Exit<unknown, unknown>) =>
      void told.push(`${name}: ${exit._tag}`)
    actor.addReader(bug)
    actor.addReader(tells("reader"))
    const ask = (lease: string, grant: () => void, refuse: (exit: Exit.Exit<never, unknown>) => void) =>
      actor.requestLease({ lease, grant, refuse })
    ask("first", () => told.push("leased"), bug)
    ask("second", bug, tells("lease"))
    if (isLoaded) assert.throws(() => actor.load(openHead("a")), "a bug")
    else {
      actor.evict()
      assert.throws(() => actor.tellFailure(unavailable("account a", "a test")), "a bug")
    }
    assert.deepStrictEqual(
      told,
      isLoaded ? ["reader: Success", "leased"] : ["reader: Failure", "lease: Failure"]
    )
  }
})

it("a batch that is durable frees its accounts and lets the next one commit, whatever a command or a reader of it throws", () => {
  const fixture = new CommandFixture(["a", "b", "c"])
  const commands = ["a", "b", "c"].map((name) => fixture.decide(deposit(name, 1n)))
  const [batch, successor] = [new CommitBatch(), new CommitBatch()]
  batch.take(commands)
  successor.chainBehind(batch)
  Reflect.set(commands[0] as PendingCommand, "commit", bug)
  const told: Array<number> = []
  fixture.actor("b").addReader(bug)
  fixture
    .actor("c")
    .addReader((head) => void told.push(Exit.isSuccess(head) ? head.value.account.version : 0))
  assert.throws(() => batch.commit(), "a bug")
  assert.deepStrictEqual(told, [3])
  assert.deepStrictEqual(
    ["b", "c"].map((name) => fixture.actor(name).uncommitted),
    [0, 0]
  )
  assert.isUndefined(successor.predecessor)
  assert.isTrue(successor.verdict !== undefined && Deferred.isDoneUnsafe(successor.verdict))
})

it.effect("callers are told what is in the log, whatever was thrown as it was noted", () =>
  Effect.gen(function* () {
    const node = yield* startNode("n")
    yield* fund(node, ["a", "b"], 5n)
    const commit = PendingCommand.prototype.commit
    PendingCommand.prototype.commit = function () {
      PendingCommand.prototype.commit = commit
      bug()
    }
    const sent = yield* Effect.forEach(["a", "b"], (name) =>
      Effect.forkChild(Effect.result(node.send(deposit(name, 1n))), { startImmediately: true })
    )
    yield* TestClock.adjust(20_000)
    for (const one of sent) assert.strictEqual(outcomeOf(yield* Fiber.join(one)), "Accepted")
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a look-up that meets a bug ends its command alone, and at once", () =>
  Effect.gen(function* () {
    const store = yield* EventStore
    const node = yield* startNode("n", {
      store: {
        ...store,
        findCommands: (ids) => (ids.some((id) => id === "bad") ? bug() : store.findCommands(ids)),
        readHold: () => Effect.die(new Error("a bug"))
      }
    })
    yield* fund(node, ["a"], 5n)
    yield* node.send({ _tag: "PlaceHold", account: "a", amount: 1n, commandId: "h" })
    yield* node.send({ _tag: "ReleaseHold", account: "a", hold: "h" })
    const told: Array<string> = []
    const send = (commandId: string, input: object) =>
      node.send({ ...input, commandId } as Parameters<typeof toCommand>[0]).pipe(
        Effect.exit,
        Effect.map((exit) => {
          const error = Exit.findErrorOption(exit)
          return told.push(`${commandId}: ${Option.isSome(error) ? error.value._tag : "a defect"}`)
        }),
        Effect.forkChild({ startImmediately: true })
      )
    for (const commandId of ["x", "bad", "y"]) yield* send(commandId, withdraw("a", 1_000n))
    yield* send("closed", { _tag: "ReleaseHold", account: "a", hold: "h" })
    yield* until("all are told", () => told.length === 4)
    assert.sameMembers(told, [
      "x: InsufficientFunds",
      "bad: a defect",
      "y: InsufficientFunds",
      "closed: a defect"
    ])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("a shard is left whatever a command throws that holds an account of it", () =>
  Effect.gen(function* () {
    const node = yield* startNode("n")
    const actor = new CommandFixture(["a"]).actor("a")
    const released: Array<string> = []
    const holding = (release: () => void) => {
      const pending = pendingOf(toCommand(deposit("a", 1n)))
      pending.addLock({ actor, until: "decided", isGood: () => true, release })
      return pending
    }
    const commands = InFlightCommands.prototype.commands
    InFlightCommands.prototype.commands = function* () {
      InFlightCommands.prototype.commands = commands
      yield holding(bug)
      yield holding(() => released.push("the other"))
    }
    assert.isTrue(yield* node.dispatcher.localNode.leave(new Set([actor.shard])))
    assert.deepStrictEqual(released, ["the other"])
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect(
  "a command goes on though a caller whose deadline came throws, and its other callers have its outcome",
  () =>
    Effect.gen(function* () {
      const faulty = FaultyStore.over(yield* EventStore)
      const node = yield* startNode("n", { store: faulty.store, limits: { commandDeadlineMs: 5_000 } })
      yield* fund(node, ["a"], 5n)
      faulty.hold("commit")
      const command = toCommand(deposit("a", 1n, "once")) as Command
      node.dispatcher.localNode.decide(command, bug)
      yield* TestClock.adjust(3_000)
      const later = yield* Effect.forkChild(Effect.result(node.dispatcher.dispatch(command)), {
        startImmediately: true
      })
      yield* TestClock.adjust(3_000)
      faulty.release()
      yield* TestClock.adjust(1_000)
      assert.strictEqual(outcomeOf(yield* Fiber.join(later)), "Replayed")
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it("so it does where that caller joined it, with less time left than the first", () => {
  const defects: Array<unknown> = []
  const inFlight = new InFlightCommands((defect) => defects.push(defect))
  const pending = pendingOf(toCommand(deposit("a", 1n)), "hash", 1_000)
  const told: Array<string> = []
  pending.replyTo(({ _tag }) => void told.push(_tag))
  inFlight.add(pending)
  inFlight.join(pending, bug, 500)
  inFlight.expireHurried(500)
  assert.deepStrictEqual(told, [])
  assert.lengthOf(defects, 1)
  inFlight.complete(pending, overloaded)
  assert.deepStrictEqual(told, ["Failure"])
  assert.isTrue(inFlight.isIdle)
})
