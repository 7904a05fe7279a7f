/** The machine's clock is set back, or ahead, under a running node: what is recorded waits for it, patience does not. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Result } from "effect"
import { TestClock } from "effect/testing"
import { defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
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
  tally,
  transfer,
  until
} from "../support/ledgerWorld.ts"
import { settable } from "../support/settableClock.ts"
import { SimulatedCluster } from "../support/simulatedCluster.ts"

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

it.effect.each([
  { what: "ahead", setBackMs: -hourMs },
  { what: "back", setBackMs: hourMs }
])(
  "a lease lasts as long as it is given for, though its owner's clock is set $what meanwhile",
  ({ setBackMs }) =>
    Effect.gen(function* () {
      const { clock, setBack } = settable(yield* Clock.Clock)
      const inner = yield* EventStore
      const cluster = new SimulatedCluster(2, 2)
      const faulty = FaultyStore.over(inner)
      const holder = yield* startNode("node-0", { placement: cluster.placementOf(0), store: faulty.store })
      const owner = yield* startNode("node-1", { placement: cluster.placementOf(1) }).pipe(
        Effect.provideService(Clock.Clock, clock)
      )
      cluster.join(0, holder.dispatcher.localNode)
      cluster.join(1, owner.dispatcher.localNode)
      yield* holder.send(open("x-0"))
      yield* owner.send(open("x-1"))
      yield* holder.send(deposit("x-0", 100n))
      faulty.hold("commit")
      yield* Effect.forkChild(Effect.result(holder.send(transfer("x-0", "x-1", 100n))))
      yield* until("the commit on the lease is held", () => faulty.held() > 0)
      const expired = () => owner.dispatcher.localNode.leases().expired
      setBack(setBackMs)
      yield* TestClock.adjust(defaultClusterLimits.leaseMs - 100)
      assert.strictEqual(expired(), 0)
      yield* TestClock.adjust(200)
      assert.strictEqual(expired(), 1)
      faulty.release()
    }).pipe(Effect.provide([memoryStores, quiet]))
)
