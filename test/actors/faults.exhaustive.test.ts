/** Every fault of the store, at every call in turn and many at once: the log stays right, and so do the answers. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import {
  commitFaults,
  type Fault,
  type FaultyStore,
  type Method,
  readFaults,
  type Script
} from "../support/faultyStore.ts"
import { memoryStores, quiet } from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"
import { simulate, type World } from "../support/simulation.ts"

const run = (world: World) => Effect.provide(simulate(world), [memoryStores, quiet])

/** Two accounts that nearly every command touches, and a store that takes its time: batches follow each other. */
const hot = { accounts: 2, commitMs: 5 }

const behindIn = (stores: ReadonlyArray<FaultyStore>) => stores.reduce((sum, { behind }) => sum + behind, 0)

const faultsFor = (method: Method): ReadonlyArray<Fault> => (method === "commit" ? commitFaults : readFaults)

describe.each([
  ["one fault", { seed: 3, nodes: 1, clients: 4, commandsPerClient: 4, accounts: 6 }],
  [
    "one fault where batches follow each other",
    { seed: 3, nodes: 1, clients: 16, commandsPerClient: 6, ...hot }
  ]
])("%s", (_, world) => {
  const calm = { ...world, script: () => () => undefined }

  for (const fault of [...commitFaults, ...readFaults]) {
    it.effect(`"${fault}", at each call in turn, breaks nothing`, () =>
      Effect.gen(function* () {
        const methods: Array<Method> = []
        const { stores: calmStores } = yield* run({
          ...calm,
          script: () => (call) => {
            methods.push(call.method)
            return undefined
          }
        })
        const places = methods.flatMap((method, index) => (faultsFor(method).includes(fault) ? [index] : []))
        assert.isAbove(places.length, 5)
        if (world.accounts === hot.accounts) assert.isAbove(behindIn(calmStores), 2)
        let injected = 0
        for (const place of places) {
          const { faults, stores } = yield* run({
            ...world,
            script: () => (call) =>
              call.index === place && faultsFor(call.method).includes(fault) ? fault : undefined
          })
          assert.deepStrictEqual(faults, [], `${fault} at call ${place}`)
          injected += stores[0]?.injected.get(fault) ?? 0
        }
        assert.isAbove(injected, places.length / 2)
      })
    )
  }
})

/** One call in `oneIn` meets a fault. */
const seeded =
  (seed: number, oneIn: number, among: (method: Method) => ReadonlyArray<Fault> = faultsFor) =>
  (node: number): Script => {
    const rng = new Rng(seed * 31 + node)
    return ({ method }) => {
      const faults = among(method)
      return rng.below(oneIn) === 0 ? faults[rng.below(faults.length)] : undefined
    }
  }

describe("many faults at once", () => {
  const seeds = Array.from({ length: 8 }, (_, index) => index + 1)
  const worlds = { clients: 8, commandsPerClient: 30, accounts: 8, snapshotsFailOneIn: 4 }

  it.effect.each(seeds)("break nothing on one node (seed %i)", (seed) =>
    Effect.gen(function* () {
      const { faults, attempts } = yield* run({ ...worlds, seed, nodes: 1, script: seeded(seed, 4) })
      assert.deepStrictEqual(faults, [])
      assert.isAbove(attempts.filter(({ answer }) => typeof answer !== "string").length, 60)
    })
  )

  it.effect.each(seeds)("break nothing on two nodes that both write everything (seed %i)", (seed) =>
    Effect.gen(function* () {
      const { faults, attempts } = yield* run({ ...worlds, seed, nodes: 2, script: seeded(seed, 5) })
      assert.deepStrictEqual(faults, [])
      assert.isAbove(attempts.filter(({ answer }) => typeof answer !== "string").length, 60)
    })
  )

  // How many of one seed's batches are chained depends on how quick the machine is.
  const chained: Array<number> = []
  it.effect.each(seeds)("break nothing where batches follow each other (seed %i)", (seed) =>
    Effect.gen(function* () {
      const nodes = 1 + (seed % 2)
      const { faults, attempts, stores } = yield* run({
        ...worlds,
        ...hot,
        clients: 16,
        seed,
        nodes,
        lanes: 2 + (seed % 3),
        script: seeded(seed, 8)
      })
      assert.deepStrictEqual(faults, [])
      assert.isAbove(attempts.filter(({ answer }) => typeof answer !== "string").length, 60)
      chained.push(behindIn(stores))
    })
  )

  it("chain batches often where they follow each other, over all seeds together", () => {
    const total = chained.reduce((sum, count) => sum + count, 0)
    assert.isAbove(total, 10 * chained.length)
  })
})
