/** Several nodes in memory, each owning some accounts, under one seed: whatever breaks, the log and the answers stay right. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Dice } from "../support/dice.ts"
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
import { type Outcome, simulate, type World } from "../support/simulation.ts"
import { Town } from "../support/town.ts"

const seeds = Array.from({ length: 8 }, (_, index) => index + 1)
const shape = { nodes: 3, clients: 8, commandsPerClient: 25, accounts: 9 }
const calm = () => () => undefined

const run = (world: World) => Effect.provide(simulate(world), [memoryStores, quiet])

const answersOf = ({ attempts }: Outcome) =>
  tally(attempts.map(({ answer }) => (typeof answer === "string" ? answer : "Accepted")))

const badNetwork = (town: Town, seed: number) => {
  const dice = new Dice(seed * 77)
  town.script = () => (dice.roll(8) === 0 ? dice.pick(["lost", "answerLost", "slow"] as const) : undefined)
}

const badStores =
  (seed: number) =>
  (node: number): Script => {
    const dice = new Dice(seed * 31 + node)
    const faults = { commit: commitFaults, other: readFaults }
    return ({ method }) => {
      if (dice.roll(15) !== 0) return undefined
      const among = method === "commit" ? faults.commit : faults.other
      return among[dice.roll(among.length)]
    }
  }

/** Groups move in turn, at random, for as long as the clients work. */
const moving = (town: Town, seed: number) => {
  const dice = new Dice(seed * 13)
  return Effect.suspend(() => town.move(dice.roll(town.groups), dice.roll(shape.nodes))).pipe(
    Effect.delay(20),
    Effect.forever
  )
}

/** Groups are taken from nodes that go on for a while in the belief to own them. */
const seizing = (town: Town, seed: number) => {
  const dice = new Dice(seed * 17)
  return Effect.gen(function* () {
    yield* Effect.sleep(20)
    const from = dice.roll(shape.nodes)
    for (let group = 0; group < town.groups; group++) {
      if (dice.chance(0.4)) town.seize(group, (from + 1) % shape.nodes)
    }
    yield* Effect.sleep(40)
    for (let node = 0; node < shape.nodes; node++) yield* town.wakeUp(node)
  }).pipe(Effect.forever)
}

describe("transfers in rings of five over three nodes", () => {
  it.effect.each(seeds)("all go through, without a conflict and without a lapsed lease (seed %i)", (seed) =>
    Effect.gen(function* () {
      const town = new Town(3, 9)
      const nodes = yield* Effect.forEach([0, 1, 2], (index) =>
        Effect.tap(startNode(`node-${index}`, { placement: town.placementOf(index) }), (node) =>
          Effect.sync(() => town.enter(index, node.dispatcher.here))
        )
      )
      const dice = new Dice(seed)
      const nodeAt = () => nodes[dice.roll(3)] as LedgerNode // there are three
      yield* Effect.forEach(Array.from({ length: 5 }), (_, index) =>
        nodeAt().send(open(`r-${index}`, 1_000n))
      )
      const storm = Effect.forEach(
        Array.from({ length: 400 }),
        (_, index) => {
          const from = dice.roll(5)
          const to = (from + (dice.chance(0.5) ? 1 : 4)) % 5
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
        assert.deepStrictEqual(dispatcher.here.loans(), { borrowed: 0, lapsed: 0 })
      }
      assert.deepStrictEqual(yield* invariantsOf(yield* EventStore), [])
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

describe("three nodes that own three groups each", () => {
  it.effect.each(seeds)("answer every command, and nothing is decided twice (seed %i)", (seed) =>
    Effect.gen(function* () {
      const town = new Town(3, 9)
      const outcome = yield* run({ ...shape, seed, town, script: calm })
      assert.deepStrictEqual(outcome.faults, [])
      const answers = answersOf(outcome)
      assert.isAbove(answers.Accepted ?? 0, 80)
      assert.deepStrictEqual([answers.Indeterminate, answers.Unavailable], [undefined, undefined])
      assert.isAbove(town.delivered, 100)
    })
  )

  it.effect.each(seeds)("over a network that loses, repeats and delays (seed %i)", (seed) =>
    Effect.gen(function* () {
      const town = new Town(3, 9)
      badNetwork(town, seed)
      const outcome = yield* run({ ...shape, seed, town, script: calm })
      assert.deepStrictEqual(outcome.faults, [])
      assert.isAbove(answersOf(outcome).Accepted ?? 0, 80)
    })
  )

  it.effect.each(seeds)("while the groups move about, over a bad network (seed %i)", (seed) =>
    Effect.gen(function* () {
      const town = new Town(3, 9)
      badNetwork(town, seed)
      const outcome = yield* run({ ...shape, seed, town, script: calm, meanwhile: moving(town, seed) })
      assert.deepStrictEqual(outcome.faults, [])
      assert.isAbove(answersOf(outcome).Accepted ?? 0, 60)
    })
  )

  it.effect.each(seeds)("while groups are seized from owners that do not know it (seed %i)", (seed) =>
    Effect.gen(function* () {
      const town = new Town(3, 9)
      const outcome = yield* run({ ...shape, seed, town, script: calm, meanwhile: seizing(town, seed) })
      assert.deepStrictEqual(outcome.faults, [])
      assert.isAbove(answersOf(outcome).Accepted ?? 0, 60)
    })
  )

  it.effect.each(seeds)("with stores, network and placement all faulty at once (seed %i)", (seed) =>
    Effect.gen(function* () {
      const town = new Town(3, 9)
      badNetwork(town, seed)
      const outcome = yield* run({
        ...shape,
        seed,
        town,
        script: badStores(seed),
        meanwhile: seizing(town, seed)
      })
      assert.deepStrictEqual(outcome.faults, [])
      assert.isAbove(answersOf(outcome).Accepted ?? 0, 30)
    })
  )
})
