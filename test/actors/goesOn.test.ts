/** What a command is told of which nothing was written, and loops of a node that a bug in one round must not end. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import type { CommandExit, PendingCommand } from "../../src/actors/accounts/Lifecycle.ts"
import { InFlightCommands } from "../../src/actors/commands/InFlightCommands.ts"
import { CommitQueue } from "../../src/actors/commit/CommitQueue.ts"
import { Overloaded } from "../../src/domain/Errors.ts"
import { hashCommand } from "../../src/domain/HashChain.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { pendingOf } from "../support/CommandFixture.ts"
import { deposit, memoryStores, open, quiet, startNode, toCommand } from "../support/ledgerWorld.ts"

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
