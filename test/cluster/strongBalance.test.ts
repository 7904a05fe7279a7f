/** A strong balance is of the instant of its owner, by whose clock holds expire, and not of the node that is asked. */
import { assert, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer } from "effect"
import { Placement, type Placing } from "../../src/actors/accounts/Placement.ts"
import { Dispatcher } from "../../src/actors/commands/Dispatcher.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { quiet } from "../support/ledgerWorld.ts"
import { settable, standing } from "../support/settableClock.ts"
import { SimulatedCluster } from "../support/simulatedCluster.ts"

/** Half of how far the clocks of the two nodes are apart; each is within the skew bound of the store's. */
const offMs = 200

const stores = Layer.mergeAll(
  Bus.layerMemory,
  EventStore.layerMemory,
  Snapshots.layerMemory,
  ReadModel.layerMemory
).pipe(Layer.provideMerge(ProjectionWaiters.layer))

/** Two nodes, whose clocks stand: that of account a0, which is behind, and one that is ahead. */
const twoNodes = Effect.fnUntraced(function* (asAsked: (placement: Placing) => Placing = (same) => same) {
  const still = standing(yield* Clock.Clock)
  const shared = yield* Effect.provideService(Layer.build(stores), Clock.Clock, still)
  const cluster = new SimulatedCluster(2, 2)
  const start = Effect.fnUntraced(function* (index: number, ms: number) {
    const { clock, set } = settable(still)
    set(ms)
    const node = LedgerNode.over(`node-${index}`, Layer.succeedContext(shared)).pipe(
      Layer.provide([Layer.succeed(Placement, asAsked(cluster.placementOf(index))), quiet])
    )
    const built = Layer.buildWithMemoMap(node, Layer.makeMemoMapUnsafe(), yield* Effect.scope)
    const context = yield* Effect.provideService(built, Clock.Clock, clock)
    cluster.join(index, Context.get(context, Dispatcher).localNode)
    return { ledger: Context.get(context, Ledger), set }
  })
  const owner = yield* start(0, -offMs)
  const other = yield* start(1, offMs)
  const expiresAt = still.currentTimeMillisUnsafe()
  yield* owner.ledger.dispatch({ _tag: "OpenAccount", account: "a0", asset: "USD/2", owner: "Ann" })
  yield* owner.ledger.dispatch({ _tag: "Deposit", account: "a0", amount: 100n })
  yield* owner.ledger.dispatch({
    _tag: "PlaceHold",
    account: "a0",
    amount: 60n,
    to: "external:shop",
    commandId: "h",
    expiresAt
  })
  return { owner, other }
})

it.live("nodes whose clocks differ tell a hold as their owner decides on it", () =>
  Effect.gen(function* () {
    const { owner, other } = yield* twoNodes()
    const held = Effect.forEach([owner, other], ({ ledger }) =>
      Effect.map(ledger.strongBalance("a0"), (view) => [view.held, view.available])
    )
    // By the other node's clock it has expired.
    assert.deepStrictEqual(yield* held, [
      [60n, 40n],
      [60n, 40n]
    ])
    yield* other.ledger.dispatch({ _tag: "CaptureHold", account: "a0", hold: "h", amount: 10n })
    owner.set(0)
    assert.deepStrictEqual(yield* held, [
      [0n, 90n],
      [0n, 90n]
    ])
    const late = yield* Effect.flip(
      other.ledger.dispatch({ _tag: "CaptureHold", account: "a0", hold: "h", amount: 10n })
    )
    assert.strictEqual(late._tag, "HoldExpired")
  }).pipe(Effect.scoped)
)

it.live("a node whose owner does not say its instant, as an earlier version, tells by its own clock", () =>
  Effect.gen(function* () {
    const { other } = yield* twoNodes((placement) => ({
      ...placement,
      head: (account) => Effect.map(placement.head(account), ({ head }) => ({ head, at: undefined }))
    }))
    assert.strictEqual((yield* other.ledger.strongBalance("a0")).held, 0n)
  }).pipe(Effect.scoped)
)
