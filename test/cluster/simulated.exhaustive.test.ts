/** Several nodes in memory, each owning some accounts, under one seed: whatever breaks, the log and the answers stay right. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { commitFaults, readFaults, type Script } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  type LedgerNode,
  memoryStores,
  open,
  outcomeOf,
  quiet,
  startNode,
  tally,
  transfer
} from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"
import { SimulatedCluster } from "../support/simulatedCluster.ts"
import { type Outcome, simulate, type World } from "../support/simulation.ts"

const seeds = Array.from({ length: 5 }, (_, index) => index + 1)
const shape = { nodes: 3, clients: 8, commandsPerClient: 30, accounts: 9 }
const calm = () => () => undefined

const run = (world: World) => Effect.provide(simulate(world), [memoryStores, quiet])

const answersOf = ({ attempts }: Outcome) =>
  tally(attempts.map(({ answer }) => (typeof answer === "string" ? answer : "Accepted")))

const badNetwork = (cluster: SimulatedCluster, seed: number) => {
  const rng = new Rng(seed * 77)
  cluster.script = () => (rng.below(8) === 0 ? rng.pick(["lost", "answerLost", "slow"] as const) : undefined)
}

const badStores =
  (seed: number) =>
  (node: number): Script => {
    const rng = new Rng(seed * 31 + node)
    const faults = { commit: commitFaults, other: readFaults }
    return ({ method }) => {
      if (rng.below(15) !== 0) return undefined
      const among = method === "commit" ? faults.commit : faults.other
      return among[rng.below(among.length)]
    }
  }

/** Shards move in turn, at random, for as long as the clients work. */
const moving = (cluster: SimulatedCluster, seed: number) => {
  const rng = new Rng(seed * 13)
  return Effect.suspend(() => cluster.move(rng.below(cluster.shards), rng.below(shape.nodes))).pipe(
    Effect.delay(20),
    Effect.forever
  )
}

/** Shards are taken from nodes that go on for a while in the belief to own them. */
const seizing = (cluster: SimulatedCluster, seed: number) => {
  const rng = new Rng(seed * 17)
  return Effect.gen(function* () {
    yield* Effect.sleep(20)
    const from = rng.below(shape.nodes)
    for (let shard = 0; shard < cluster.shards; shard++) {
      if (rng.chance(0.4)) cluster.seize(shard, (from + 1) % shape.nodes)
    }
    yield* Effect.sleep(40)
    for (let node = 0; node < shape.nodes; node++) yield* cluster.wakeUp(node)
  }).pipe(Effect.forever)
}

describe("transfers in rings of five over three nodes", () => {
  it.effect.each(seeds)("all go through, without a conflict and without an expired lease (seed %i)", (seed) =>
    Effect.gen(function* () {
      const cluster = new SimulatedCluster(3, 9)
      const nodes = yield* Effect.forEach([0, 1, 2], (index) =>
        Effect.tap(startNode(`node-${index}`, { placement: cluster.placementOf(index) }), (node) =>
          Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
        )
      )
      const rng = new Rng(seed)
      const nodeAt = () => nodes[rng.below(3)] as LedgerNode // there are three
      yield* Effect.forEach(Array.from({ length: 5 }), (_, index) =>
        nodeAt().send(open(`r-${index}`, 1_000n))
      )
      const storm = Effect.forEach(
        Array.from({ length: 400 }),
        (_, index) => {
          const from = rng.below(5)
          const to = (from + (rng.chance(0.5) ? 1 : 4)) % 5
          return Effect.result(nodeAt().send(transfer(`r-${from}`, `r-${to}`, 1n, `ring-${index}`)))
        },
        { concurrency: 16 }
      )
      const running = yield* Effect.forkChild(storm)
      for (let steps = 0; running.pollUnsafe() === undefined; steps++) {
        assert.isBelow(steps, 400, "the ring stands still")
        yield* TestClock.adjust(5)
      }
      assert.deepStrictEqual(tally((yield* Fiber.join(running)).map(outcomeOf)), { Accepted: 400 })
      for (const { dispatcher } of nodes) {
        assert.strictEqual(dispatcher.stats().conflicts, 0)
        assert.deepStrictEqual(dispatcher.localNode.leases(), { held: 0, expired: 0 })
      }
      assert.deepStrictEqual(yield* invariantsOf(yield* EventStore), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

describe("three nodes that own three shards each", () => {
  it.effect.each(seeds)("answer every command, and nothing is decided twice (seed %i)", (seed) =>
    Effect.gen(function* () {
      const cluster = new SimulatedCluster(3, 9)
      const outcome = yield* run({ ...shape, seed, cluster, script: calm })
      assert.deepStrictEqual(outcome.faults, [])
      const answers = answersOf(outcome)
      assert.isAbove(answers.Accepted ?? 0, 80)
      assert.deepStrictEqual([answers.Indeterminate, answers.Unavailable], [undefined, undefined])
      assert.isAbove(cluster.delivered, 100)
    })
  )

  it.effect.each(seeds)("over a network that loses, repeats and delays (seed %i)", (seed) =>
    Effect.gen(function* () {
      const cluster = new SimulatedCluster(3, 9)
      badNetwork(cluster, seed)
      const outcome = yield* run({ ...shape, seed, cluster, script: calm })
      assert.deepStrictEqual(outcome.faults, [])
      assert.isAbove(answersOf(outcome).Accepted ?? 0, 80)
    })
  )

  it.effect.each(seeds)("while the shards move about, over a bad network (seed %i)", (seed) =>
    Effect.gen(function* () {
      const cluster = new SimulatedCluster(3, 9)
      badNetwork(cluster, seed)
      const outcome = yield* run({ ...shape, seed, cluster, script: calm, meanwhile: moving(cluster, seed) })
      assert.deepStrictEqual(outcome.faults, [])
      assert.isAbove(answersOf(outcome).Accepted ?? 0, 60)
    })
  )

  it.effect.each(seeds)("while shards are seized from owners that do not know it (seed %i)", (seed) =>
    Effect.gen(function* () {
      const cluster = new SimulatedCluster(3, 9)
      const outcome = yield* run({ ...shape, seed, cluster, script: calm, meanwhile: seizing(cluster, seed) })
      assert.deepStrictEqual(outcome.faults, [])
      assert.isAbove(answersOf(outcome).Accepted ?? 0, 60)
    })
  )

  it.effect.each(seeds)("with stores, network and placement all faulty at once (seed %i)", (seed) =>
    Effect.gen(function* () {
      const cluster = new SimulatedCluster(3, 9)
      badNetwork(cluster, seed)
      const outcome = yield* run({
        ...shape,
        seed,
        cluster,
        script: badStores(seed),
        meanwhile: seizing(cluster, seed)
      })
      assert.deepStrictEqual(outcome.faults, [])
      assert.isAbove(answersOf(outcome).Accepted ?? 0, 30)
    })
  )
})
