/** Places at nodes: who gets one, who waits for it, and that none is lost or taken twice. */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Latch } from "effect"
import type { NodeConnection } from "../../src/rpc/client/NodeConnection.ts"
import { makeNodePlaces, type Wish } from "../../src/rpc/client/NodePlaces.ts"

const inFlightMax = 2

/** Nodes whose connections the test sets, and what is under way at each. */
const world = (...up: ReadonlyArray<boolean>) => {
  const isUp = [...up]
  const nodes = isUp.map(
    (_, nth): NodeConnection => ({
      url: `node-${nth}`,
      client: {} as never, // nothing is asked of it here
      isConnectedUnsafe: () => isUp[nth] === true,
      connectionsUnsafe: () => 1,
      troubleUnsafe: () => "none",
      inFlight: 0
    })
  )
  const opened = Latch.makeUnsafe(isUp.some(Boolean))
  const places = makeNodePlaces(nodes, opened, inFlightMax)
  const at = (nth: number): NodeConnection => nodes[nth] ?? assert.fail("no such node")
  return {
    at,
    places,
    inFlight: () => nodes.map((node) => node.inFlight),
    set: (nth: number, isConnected: boolean) => {
      isUp[nth] = isConnected
      if (isUp.some(Boolean)) opened.openUnsafe()
      else opened.closeUnsafe()
      places.changedUnsafe()
    },
    /** A call that holds its place until `end`. */
    call: Effect.fnUntraced(function* (wish: Partial<Wish> = {}) {
      const end = yield* Deferred.make<void>()
      const whole: Wish = { declined: new Set(), preferred: () => undefined, isResent: false, ...wish }
      let node: string | undefined
      const fiber = yield* Effect.forkChild(
        places.withPlace(whole, ({ url }) => {
          node = url
          return Deferred.await(end)
        }),
        { startImmediately: true }
      )
      return {
        node: () => node,
        end: Effect.andThen(Deferred.succeed(end, undefined), Fiber.join(fiber)),
        interrupt: Fiber.interrupt(fiber)
      }
    })
  }
}

/** Lets fibers that were woken go on. */
const settle = Effect.replicateEffect(Effect.yieldNow, 5, { discard: true })

it.effect("a node that is down has none: calls wait for one of those that are up, in their order", () =>
  Effect.gen(function* () {
    const { call, inFlight } = world(true, false, false)
    const calls = yield* Effect.replicateEffect(call(), 5)
    assert.deepEqual(inFlight(), [2, 0, 0])
    for (const [nth, { node, end }] of calls.entries()) {
      assert.strictEqual(node(), "node-0", `call ${nth}`)
      yield* end
      yield* settle
      assert.deepEqual(inFlight(), [Math.min(2, 4 - nth), 0, 0])
    }
  })
)

it.effect("calls that wait go to a node that comes back", () =>
  Effect.gen(function* () {
    const { call, set, inFlight } = world(true, false)
    const calls = yield* Effect.replicateEffect(call(), 5)
    set(1, true)
    yield* settle
    assert.deepEqual(inFlight(), [2, 2])
    assert.deepEqual(
      calls.map(({ node }) => node()),
      ["node-0", "node-0", "node-1", "node-1", undefined]
    )
  })
)

it.effect("a call that is given up while it waits takes none, whenever that is", () =>
  Effect.gen(function* () {
    const { call, inFlight } = world(true)
    const [first, second] = [yield* call(), yield* call()]
    const [third, fourth] = [yield* call(), yield* call()]
    yield* third.interrupt
    yield* first.end
    yield* settle
    assert.strictEqual(fourth.node(), "node-0")
    // The place is given, and the call that it is given to is interrupted before it goes on.
    const fifth = yield* call()
    yield* Effect.all([second.end, fifth.interrupt])
    yield* settle
    assert.deepEqual(inFlight(), [1])
    yield* fourth.end
    assert.deepEqual(inFlight(), [0])
  })
)

it.effect("what was sent before goes first, because its outcome may be in doubt", () =>
  Effect.gen(function* () {
    const { call } = world(true)
    const [first] = [yield* call(), yield* call()]
    const fresh = yield* call()
    const resent = yield* call({ isResent: true })
    yield* first.end
    yield* settle
    assert.deepEqual([fresh.node(), resent.node()], [undefined, "node-0"])
  })
)

it.effect("a node that declined a call has it again only once all that are connected have declined", () =>
  Effect.gen(function* () {
    const { at, call, set } = world(true, true)
    yield* Effect.replicateEffect(call({ preferred: () => at(1) }), inFlightMax)
    const declined = new Set([at(0)])
    const waits = yield* call({ declined, isResent: true })
    assert.isUndefined(waits.node(), "it waits for the other node")
    const passes = yield* call()
    assert.strictEqual(passes.node(), "node-0", "which holds up no call that may go elsewhere")
    set(1, false)
    yield* settle
    assert.strictEqual(waits.node(), "node-0")
    const next = yield* call({ declined, isResent: true })
    assert.isUndefined(next.node(), "nor has it more than its places then")
  })
)

it.effect("all nodes have their turn, also of calls that all of them declined", () =>
  Effect.gen(function* () {
    const { at, call } = world(true, true)
    const calls = yield* Effect.replicateEffect(call({ declined: new Set([at(0), at(1)]) }), 4)
    assert.deepEqual(
      calls.map(({ node }) => node()),
      ["node-0", "node-1", "node-0", "node-1"]
    )
  })
)
