/**
 * Whatever store and network do meanwhile, the outcomes of a batch are those of its commands given one after another: drawn batches over
 * two nodes, with repeats of an earlier life, fences and lost answers, against a node alone that has no faults.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import type { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { type CommitFault, FaultyStore } from "../support/faultyStore.ts"
import { invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  type LedgerNode,
  memoryStores,
  outcomeOf,
  quiet,
  startNode,
  toCommand,
  transfer,
  withdraw
} from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"
import { SimulatedCluster } from "../support/simulatedCluster.ts"

type Command = ReturnType<typeof toCommand>

/** Two batches are sent at once; no account is in both. The first node has the even ones. */
const worlds = [
  { near: ["a0", "b2", "c4"], far: ["d1", "e3"] },
  { near: ["f6", "g8"], far: ["h5"] }
] as const
const accounts = worlds.flatMap(({ near, far }): ReadonlyArray<string> => [...near, ...far])

const drawn = (rng: Rng, world: (typeof worlds)[number], batch: number): ReadonlyArray<Command> => {
  let holds = 0
  return Array.from({ length: 8 + rng.below(16) }, (_, nth) => {
    const commandId = `${batch}-${nth}`
    const near = rng.pick(world.near)
    const other = rng.pick([...world.near, ...world.far] as const)
    const amount = BigInt(1 + rng.below(150))
    switch (rng.below(7)) {
      case 0:
        return toCommand(deposit(near, amount, commandId))
      case 1:
      case 2:
        return toCommand(withdraw(near, amount, commandId))
      case 3:
        return toCommand({
          _tag: "PostJournal",
          commandId,
          legs: [
            { account: near, side: "credit", amount },
            { account: rng.pick(world.far), side: "debit", amount }
          ]
        })
      case 4: {
        const isOfHold = holds > 0 && rng.chance(0.6)
        if (isOfHold)
          return toCommand({
            _tag: "CaptureHold",
            commandId,
            account: world.near[0],
            hold: `${batch}-hold-${rng.below(holds)}`
          })
        const hold = `${batch}-hold-${holds++}`
        return toCommand({
          _tag: "PlaceHold",
          commandId: hold,
          account: world.near[0],
          amount,
          to: world.far[0]
        })
      }
      default:
        return toCommand(transfer(near, other === near ? world.far[0] : other, amount, commandId))
    }
  })
}

/** What comes of the commands where each is given when the one before is answered. */
const oneByOne = Effect.fnUntraced(function* (
  earlier: ReadonlyArray<Command>,
  batches: ReadonlyArray<ReadonlyArray<Command>>
) {
  const node = yield* startNode("alone")
  yield* fund(node, accounts, 100n)
  const send = (command: Command) => Effect.map(Effect.result(node.dispatcher.dispatch(command)), outcomeOf)
  yield* Effect.forEach(earlier, send)
  return yield* Effect.forEach(batches, (batch) => Effect.forEach(batch, send))
})

const pass = Effect.fnUntraced(function* <A, E>(fiber: Fiber.Fiber<A, E>) {
  for (let steps = 0; fiber.pollUnsafe() === undefined; steps++) {
    if (steps > 4_000) return yield* Effect.die("it stands still")
    yield* TestClock.adjust(5)
  }
  return yield* Fiber.join(fiber)
})

const faults = [
  "fenced",
  "fenced",
  "notWritten",
  "landedUnknown",
  "slow",
  "slowNotWritten"
] as const satisfies ReadonlyArray<CommitFault>

const underFaults = Effect.fnUntraced(function* (
  rng: Rng,
  earlier: ReadonlyArray<Command>,
  batches: ReadonlyArray<ReadonlyArray<Command>>
) {
  const cluster = new SimulatedCluster(2, 2)
  const inner = yield* EventStore
  const faulty = FaultyStore.over(inner)
  const start = (index: number, name: string) =>
    Effect.tap(
      startNode(name, {
        placement: cluster.placementOf(index),
        store: index === 0 ? faulty.store : inner,
        limits: { batchRowsMax: 6 }
      }),
      (node: LedgerNode) => Effect.sync(() => cluster.join(index, node.dispatcher.localNode))
    )
  const first = yield* start(0, "first-life")
  yield* start(1, "other")
  yield* pass(yield* Effect.forkChild(fund(first, accounts, 100n)))
  for (const command of earlier)
    yield* pass(yield* Effect.forkChild(Effect.result(first.dispatcher.dispatch(command))))
  yield* pass(yield* Effect.forkChild(first.stop))
  const second = yield* start(0, "second-life")
  if (rng.chance(0.8)) {
    for (const account of worlds.flatMap(({ near }): ReadonlyArray<string> => near))
      yield* pass(yield* Effect.forkChild(second.dispatcher.head(account as AccountId))) // a valid id
  }
  cluster.script = () => (rng.chance(0.5) ? "slow" : undefined)
  faulty.script = ({ method }) => (method === "commit" && rng.chance(0.3) ? rng.pick(faults) : undefined)
  const sent = yield* Effect.forEach(batches, (batch) =>
    Effect.forkChild(second.dispatcher.dispatchMany(batch))
  )
  const results = yield* Effect.forEach(sent, pass)
  faulty.script = () => undefined
  assert.deepStrictEqual(yield* invariantsOf(inner), [])
  yield* pass(yield* Effect.forkChild(second.stop))
  return results.map((outcomes) => outcomes.map(outcomeOf))
})

const isDefinite = (outcome: string): boolean =>
  !["Indeterminate", "Unavailable", "Overloaded"].includes(outcome)

const seeds = 30

it.effect("the outcomes of a batch are those of its commands one after another", () =>
  Effect.gen(function* () {
    let judged = 0
    for (let seed = 1; seed <= seeds; seed++) {
      const rng = new Rng(seed)
      const batches = worlds.map((world, nth) => drawn(rng, world, nth))
      const earlier = batches.flat().filter(() => rng.chance(0.15))
      const fresh = Layer.fresh(memoryStores)
      const expected = yield* oneByOne(earlier, batches).pipe(Effect.scoped, Effect.provide(fresh))
      const found = yield* underFaults(rng, earlier, batches).pipe(Effect.scoped, Effect.provide(fresh))
      for (const [nth, outcomes] of found.entries()) {
        if (!outcomes.every(isDefinite)) continue
        judged++
        assert.deepStrictEqual(outcomes, expected[nth], `seed ${seed}, batch ${nth}`)
      }
    }
    assert.isAbove(judged, seeds)
  }).pipe(Effect.provide(quiet))
)
