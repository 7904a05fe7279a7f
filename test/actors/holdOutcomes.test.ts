/** What a command is told of a hold that is in no state any more, wherever it was placed and however long ago it ended. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { explained } from "../../src/actors/commands/HoldOutcome.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { HoldNotFound } from "../../src/domain/Errors.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  type LedgerNode,
  memoryStores,
  outcomeOf,
  quiet,
  startNode,
  until
} from "../support/ledgerWorld.ts"
import { storedEvent, storedEvents } from "../support/storedEvents.ts"

const place = (account: string, more: object = {}) =>
  ({ _tag: "PlaceHold", account, amount: 60n, ...more }) as const
const release = (account: string, hold: string) => ({ _tag: "ReleaseHold", account, hold }) as const
const group = (commandId: string, ...commands: ReadonlyArray<object>): CommandInput =>
  ({ _tag: "Group", commandId, commands }) as CommandInput // each of a kind that a group may have

const refused = (node: LedgerNode, input: CommandInput) => Effect.flip(node.send(input))

const scenario = Effect.provide([memoryStores, quiet])

const world = Effect.gen(function* () {
  const store = yield* EventStore
  const node = yield* startNode("holds")
  yield* fund(node, ["a", "b"], 200n)
  return { store, node }
})

describe("a hold that a group placed", () => {
  it.effect("is told as closed, with how and when, though the group began on another account", () =>
    Effect.gen(function* () {
      const { node, store } = yield* world
      yield* node.send(group("g", deposit("b", 1n), deposit("a", 1n), place("a"), place("b")))
      const { recordedAt } = yield* node.send(release("a", "g"))
      const closed = { _tag: "HoldClosed", account: "a", hold: "g", how: "released", at: recordedAt } as const
      assert.deepInclude(yield* refused(node, release("a", "g")), closed)
      yield* node.send({ _tag: "CaptureHold", account: "b", hold: "g" })
      assert.deepInclude(yield* refused(node, release("b", "g")), { _tag: "HoldClosed", how: "captured" })
      assert.deepStrictEqual(yield* invariantsOf(store), [])
    }).pipe(scenario)
  )

  it.effect("is one for each account, because its id is the group's", () =>
    Effect.gen(function* () {
      const { node } = yield* world
      const second = group("g", place("a"), release("a", "g"), place("a"))
      const error = yield* refused(node, second)
      assert.deepInclude(error, { _tag: "GroupRejected", index: 2 })
      assert.include(error.message, "a group can place one on each account")
    }).pipe(scenario)
  )
})

describe("a group that names a hold which is not open", () => {
  /** The rejection of the last of its commands. */
  const last = (node: LedgerNode, ...commands: ReadonlyArray<object>) =>
    Effect.map(refused(node, group("late", ...commands)), (error) =>
      error._tag === "GroupRejected"
        ? { index: error.index, ...error.rejection }
        : assert.fail(`${error._tag} is no refusal of a group`)
    )

  it.effect("is told how and when it was closed", () =>
    Effect.gen(function* () {
      const { node } = yield* world
      yield* node.send(place("a", { commandId: "h" }))
      const { recordedAt } = yield* node.send(release("a", "h"))
      assert.deepInclude(yield* last(node, deposit("a", 1n), release("a", "h")), {
        _tag: "HoldClosed",
        index: 1,
        how: "released",
        at: recordedAt
      })
      assert.deepInclude(yield* last(node, release("a", "never")), { _tag: "HoldNotFound", index: 0 })
    }).pipe(scenario)
  )

  it.effect("is told that it expired, also behind an event of the same group", () =>
    Effect.gen(function* () {
      const { node } = yield* world
      const { recordedAt } = yield* node.send(place("a", { commandId: "h", expiresIn: 1_000 }))
      yield* TestClock.adjust(2_000)
      const expired = { _tag: "HoldExpired", hold: "h", expiredAt: recordedAt + 1_000 } as const
      assert.deepInclude(yield* last(node, release("a", "h")), expired)
      assert.deepInclude(yield* last(node, deposit("a", 1n), release("a", "h")), expired)
      // The state forgets it with the next event; the log does not.
      yield* node.send(deposit("a", 1n))
      assert.deepInclude(yield* last(node, deposit("a", 1n), release("a", "h")), expired)
    }).pipe(scenario)
  )

  it.effect("is told that one of its own commands closed it", () =>
    Effect.gen(function* () {
      const { node } = yield* world
      yield* node.send(place("a", { commandId: "h" }))
      assert.deepInclude(yield* last(node, release("a", "h"), release("a", "h")), {
        _tag: "HoldClosed",
        index: 1,
        how: "released"
      })
      yield* node.send(release("a", "h"))
    }).pipe(scenario)
  )
})

describe("a hold that ended long ago", () => {
  const payload = `{"hold":"h","amount":"5"}`
  const notFound = new HoldNotFound({ account: "old", hold: "h" })
  const end = storedEvent({
    account: "old",
    version: 25_000,
    type: "HoldReleased",
    payload
  })
  const written = Effect.gen(function* () {
    const store = yield* EventStore
    const placed = storedEvent({ account: "old", version: 2, command: "h", type: "HoldPlaced", payload })
    const events = [
      ...storedEvents("old", 1, 1),
      placed,
      ...storedEvents("old", 3, 24_999),
      end,
      ...storedEvents("old", 25_001, 25_010)
    ]
    yield* store.commit({ writerId: "w", seq: 1, events })
    return store
  })

  it.effect("is found, however many events are between its beginning and its end", () =>
    Effect.gen(function* () {
      const store = yield* written
      assert.deepInclude(yield* explained(store, notFound, end.recordedAt + 100, () => true), {
        _tag: "HoldClosed",
        how: "released",
        at: end.recordedAt
      })
    }).pipe(scenario)
  )

  it.effect("is told without how and when where the search had to end before", () =>
    Effect.gen(function* () {
      const store = yield* written
      let parts = 0
      const told = yield* explained(store, notFound, end.recordedAt + 100, () => ++parts < 3)
      assert.deepInclude(told, { _tag: "HoldClosed", account: "old", hold: "h" })
      assert.notProperty(told, "how")
    }).pipe(scenario)
  )
})

describe("look-ups that commands wait for", () => {
  const crowd = Effect.gen(function* () {
    const faulty = FaultyStore.over(yield* EventStore)
    const limits = { lookupsAtOnce: 1, lookupsWaitingMax: 1 }
    const node = yield* startNode("crowd", { store: faulty.store, limits })
    yield* fund(node, ["a", "b"], 200n)
    const send = (input: CommandInput) => Effect.forkChild(Effect.result(node.send(input)))
    return { faulty, node, send }
  })
  const full = { _tag: "Overloaded", what: "the look-up of holds and reversals in the log" } as const

  it.effect("of holds are bounded in number, and end with the deadline of their commands", () =>
    Effect.gen(function* () {
      const { faulty, node, send } = yield* crowd
      yield* node.send(place("a", { commandId: "h" }))
      yield* node.send(release("a", "h"))
      faulty.hold("readHold")
      const waiting = [yield* send(release("a", "h"))]
      yield* until("the log is searched", () => faulty.held() === 1)
      waiting.push(yield* send(release("a", "h")))
      yield* until("both are in flight", () => node.dispatcher.stats().inFlight === 2)
      yield* TestClock.adjust(10)
      assert.deepInclude(yield* refused(node, release("a", "h")), full)
      yield* TestClock.adjust(defaultLimits.commandDeadlineMs + 100)
      const outcomes = yield* Effect.forEach(waiting, Fiber.join)
      assert.deepStrictEqual(outcomes.map(outcomeOf), ["Unavailable", "Unavailable"])
      faulty.release()
      yield* TestClock.adjust(10)
      assert.strictEqual(faulty.callsOf("readHold"), 1, "what is answered is not looked up any more")
      assert.deepInclude(yield* refused(node, release("a", "h")), { _tag: "HoldClosed", how: "released" })
    }).pipe(scenario)
  )

  it.effect("of reversals are bounded in number, in flight, and within the deadline", () =>
    Effect.gen(function* () {
      const { faulty, node, send } = yield* crowd
      const reverse = (original: string): CommandInput => ({ _tag: "Reverse", original, reason: "returned" })
      for (const id of ["in-1", "in-2", "in-3"]) yield* node.send(deposit("a", 5n, id))
      faulty.hold("findCommands")
      const waiting = [yield* send(reverse("in-1")), yield* send(reverse("in-2"))]
      yield* until("one is looked up", () => faulty.held() === 1)
      assert.strictEqual(node.dispatcher.stats().inFlight, 2)
      assert.deepInclude(yield* refused(node, reverse("in-3")), full)
      yield* TestClock.adjust(defaultLimits.commandDeadlineMs)
      const outcomes = yield* Effect.forEach(waiting, Fiber.join)
      assert.deepStrictEqual(outcomes.map(outcomeOf), ["Unavailable", "Unavailable"])
      assert.strictEqual(node.dispatcher.stats().inFlight, 0)
      faulty.release()
      yield* node.send(reverse("in-1"))
    }).pipe(scenario)
  )
})
