/** What a client believes of who owns an account, by what nodes say one after the other. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { type CommandError, Forbidden, Overloaded, Unavailable } from "../../src/domain/Errors.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { type OwnedShards, shardOf } from "../../src/domain/Shard.ts"
import type { NodeConnection } from "../../src/rpc/client/NodeConnection.ts"
import { followOwners } from "../../src/rpc/client/OwnerRouting.ts"

const rule = { shards: 2, affinitySegments: 64 }
const account = AccountId.make("a")
const shard = shardOf(account, rule)

/** A node whose words and whose connection the test sets. */
const node = (url: string) => {
  const state = {
    says: { change: 1, rule, owned: [] } as OwnedShards | CommandError | "unknown procedure",
    isConnected: true,
    connections: 1,
    asked: 0
  }
  const ownedShards = () =>
    Effect.suspend(() => {
      state.asked++
      const { says } = state
      if (says === "unknown procedure") return Effect.die(new Error(says))
      return "_tag" in says ? Effect.fail(says) : Effect.succeed(says)
    })
  const connection: NodeConnection = {
    url,
    client: { ownedShards } as never, // nothing else is asked here
    isConnectedUnsafe: () => state.isConnected,
    connectionsUnsafe: () => state.connections,
    troubleUnsafe: () => "none",
    inFlight: 0
  }
  return { state, connection }
}
const owns = (change: number, ...owned: ReadonlyArray<number>): OwnedShards => ({ change, rule, owned })

const world = Effect.gen(function* () {
  const [first, second] = [node("first"), node("second")]
  const ownerOf = yield* followOwners([first.connection, second.connection], {})
  const owner = () => ownerOf(account)?.url
  yield* TestClock.adjust(1)
  return { first: first.state, second: second.state, owner }
})

it.effect("keeps the owner of a shard that another node claimed by mistake, and gave up", () =>
  Effect.gen(function* () {
    const { first, second, owner } = yield* world
    first.says = owns(2, shard)
    yield* TestClock.adjust(1_000)
    second.says = owns(2, shard)
    yield* TestClock.adjust(1_000)
    assert.strictEqual(owner(), "second")
    // The first was lost sight of, and says once more what it had before it says what is so.
    first.isConnected = false
    yield* TestClock.adjust(2_000)
    first.isConnected = true
    yield* TestClock.adjust(1_000)
    first.says = owns(3)
    yield* TestClock.adjust(2_000)
    assert.strictEqual(owner(), "second")
  }).pipe(Effect.scoped)
)

it.effect("follows a node that was started again between two questions, and counts its changes anew", () =>
  Effect.gen(function* () {
    const { first, owner } = yield* world
    assert.isUndefined(owner())
    first.says = owns(1, shard)
    yield* TestClock.adjust(2_000)
    assert.strictEqual(owner(), "first")
  }).pipe(Effect.scoped)
)

it.effect("asks a node that forbids it again once there is a new connection, and not before", () =>
  Effect.gen(function* () {
    const { first, owner } = yield* world
    first.says = new Forbidden({ caller: "reader", reason: "it may not" })
    yield* TestClock.adjust(2_000)
    const before = first.asked
    yield* TestClock.adjust(600_000)
    assert.strictEqual(first.asked, before)
    // Started again, with tokens that allow it.
    first.says = owns(1, shard)
    first.connections++
    yield* TestClock.adjust(2_000)
    assert.strictEqual(owner(), "first")
  }).pipe(Effect.scoped)
)

for (const [what, busy, askedAgainMs] of [
  ["has no room for the question", new Overloaded({ what: "this connection", retryAfterMs: 10 }), 1_000],
  ["wants more time", new Overloaded({ what: "this connection", retryAfterMs: 5_000 }), 5_000],
  ["cannot answer for a moment", new Unavailable({ what: "the ledger", reason: "it is closing" }), 1_000]
] as const) {
  it.effect(`keeps what a node said that ${what}, and asks it again soon`, () =>
    Effect.gen(function* () {
      const { first, second, owner } = yield* world
      first.says = owns(1, shard)
      yield* TestClock.adjust(1_000)
      first.says = busy
      yield* TestClock.adjust(1_000)
      assert.strictEqual(owner(), "first")
      const before = first.asked
      yield* TestClock.adjust(askedAgainMs - 2)
      assert.strictEqual(first.asked, before)
      first.says = owns(2)
      second.says = owns(2, shard)
      yield* TestClock.adjust(1)
      assert.strictEqual(first.asked, before + 1)
      yield* TestClock.adjust(1_000)
      assert.strictEqual(owner(), "second")
    }).pipe(Effect.scoped)
  )
}

it.effect(
  "asks a node that does not know the question once a minute, and believes nothing of it meanwhile",
  () =>
    Effect.gen(function* () {
      const { first, owner } = yield* world
      first.says = owns(1, shard)
      yield* TestClock.adjust(1_000)
      first.says = "unknown procedure"
      yield* TestClock.adjust(1_000)
      assert.isUndefined(owner())
      const before = first.asked
      yield* TestClock.adjust(59_000)
      assert.strictEqual(first.asked, before)
      yield* TestClock.adjust(1_000)
      assert.strictEqual(first.asked, before + 1)
    }).pipe(Effect.scoped)
)
