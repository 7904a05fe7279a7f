/** The machine's clock is set back, or ahead, under a running node: what is recorded waits for it, patience does not. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Result } from "effect"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { FaultyStore } from "../support/faultyStore.ts"
import {
  deposit,
  fund,
  memoryStores,
  open,
  outcomeOf,
  quiet,
  startNode,
  tally
} from "../support/ledgerWorld.ts"
import { settable } from "../support/settableClock.ts"

const hourMs = 3_600_000
const residentsMax = 4

it.live("callers are answered at their deadline, and idle accounts make room for others", () =>
  Effect.gen(function* () {
    const { clock, setBack } = settable(yield* Clock.Clock)
    yield* Effect.gen(function* () {
      const faulty = FaultyStore.over(yield* EventStore)
      // So long that no machine stands still for it.
      const limits = { commandDeadlineMs: 3_000, residentsMax }
      const node = yield* startNode("node", { store: faulty.store, limits })
      yield* node.send(open("a"))
      const before = (yield* node.send(deposit("a", 1n))).recordedAt
      setBack(hourMs)
      faulty.hold("commit")
      // The test's own time limit is far below the hour for which they would wait otherwise.
      const late = yield* Effect.result(node.send(deposit("a", 1n)))
      assert.strictEqual(outcomeOf(late), "Indeterminate")
      faulty.release()
      const opened = yield* Effect.forEach(Array.from({ length: 3 * residentsMax }), (_, index) =>
        Effect.result(node.send(open(`cold-${index}`)))
      )
      assert.deepStrictEqual(tally(opened.map(outcomeOf)), { Accepted: opened.length })
      for (const one of opened) assert.isAtLeast(Result.getOrThrow(one).recordedAt, before)
    }).pipe(Effect.provide([memoryStores, quiet]), Effect.provideService(Clock.Clock, clock))
  })
)

it.live("the end of a hold is looked up to its end, though the clock steps ahead meanwhile", () =>
  Effect.gen(function* () {
    const { clock, setBack } = settable(yield* Clock.Clock)
    yield* Effect.gen(function* () {
      let lookedUp = 0
      const faulty = FaultyStore.over(yield* EventStore, ({ method }) => {
        // Its own id is looked up first, then that of the hold.
        if (method === "findCommands" && ++lookedUp === 2) setBack(-hourMs)
        return undefined
      })
      const node = yield* startNode("node", { store: faulty.store })
      yield* fund(node, ["a"], 200n)
      yield* node.send({ _tag: "PlaceHold", account: "a", amount: 60n, commandId: "h" })
      const release = { _tag: "ReleaseHold", account: "a", hold: "h" } as const
      const { recordedAt } = yield* node.send(release)
      assert.strictEqual(lookedUp, 0)
      const refused = yield* Effect.flip(node.send(release))
      assert.strictEqual(lookedUp, 2)
      assert.deepInclude(refused, { _tag: "HoldClosed", hold: "h", how: "released", at: recordedAt })
    }).pipe(Effect.provide([memoryStores, quiet]), Effect.provideService(Clock.Clock, clock))
  })
)
