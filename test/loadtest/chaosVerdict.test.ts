/**
 * The verdict of the chaos runs: it must find every breach, and must not infer one from the order in which two answers,
 * or a counter and its warning, arrive.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import type { Life } from "../support/chaos/servedNode.ts"
import { conflictsOf, countConflicts } from "../support/chaos/verdict.ts"
import { type Attempt, faultsOf, logOf } from "../support/invariants.ts"
import { deposit, fund, memoryStores, startNode } from "../support/ledgerWorld.ts"

const quiet: Life = {
  conflicts: 0,
  unknown: 0,
  repeats: 0,
  fenced: 0,
  committed: 0,
  warned: 0,
  end: undefined
}

/** A node that reports its conflicts at once, and its warnings of them only after the counter was read `reads` times. */
const nodeThatWarns = (conflicts: number, reads: number, warnings = conflicts) => {
  const life: Life = { ...quiet }
  let count = 0
  const read = Effect.sync(() => {
    life.conflicts = conflicts
    if (++count > reads) life.warned = warnings
  })
  return { name: "node-0", lives: [life], count: read }
}

const verdictOn = (node: ReturnType<typeof nodeThatWarns>, refusedByStore: number) =>
  Effect.gen(function* () {
    const counting = yield* Effect.forkChild(countConflicts([node]))
    yield* TestClock.adjust("1 minute")
    yield* Fiber.join(counting)
    return conflictsOf([node], refusedByStore)
  })

describe("a conflict", () => {
  it.effect("may be warned of after it was counted", () =>
    Effect.gen(function* () {
      const { conflicts, faults } = yield* verdictOn(nodeThatWarns(3, 8), 3)
      assert.deepStrictEqual(faults, [])
      assert.deepStrictEqual(conflicts, { counted: 3, warned: 3, refusedByStore: 3, sentAgain: 0 })
    })
  )

  it.effect("must be warned of in the end", () =>
    Effect.gen(function* () {
      const { faults } = yield* verdictOn(nodeThatWarns(3, 8, 2), 3)
      assert.deepStrictEqual(faults, ["node-0 counted 3 conflicts and warned of 2"])
    })
  )

  it("must be counted where the store refused a version", () => {
    const node = { name: "node-0", lives: [{ ...quiet, conflicts: 1, warned: 1 }], count: Effect.void }
    assert.deepStrictEqual(conflictsOf([node], 1).faults, [])
    assert.deepStrictEqual(conflictsOf([node], 2).faults, [
      "the store refused 2 versions, but only 1 conflicts were counted"
    ])
  })

  it("may lack its warning only in a process that was killed", () => {
    const ending = (end: Life["end"]) => ({
      name: "node-0",
      lives: [{ ...quiet, conflicts: 2, warned: 1, end }],
      count: Effect.void
    })
    assert.deepStrictEqual(conflictsOf([ending("SIGKILL")], 2).faults, [])
    assert.deepStrictEqual(conflictsOf([ending("SIGTERM")], 2).faults, [
      "node-0 counted 2 conflicts and warned of 1"
    ])
  })
})

describe("answers that arrive in another order", () => {
  /** Two deposits in the order in which they took effect, with a replayed receipt of the first. */
  const twoDeposits = Effect.gen(function* () {
    const node = yield* startNode("judged")
    yield* fund(node, ["a"], 1n)
    const first = yield* node.send(deposit("a", 1n, "first"))
    const second = yield* node.send(deposit("a", 1n, "second"))
    const again = yield* node.send(deposit("a", 1n, "first"))
    yield* node.stop
    return { first, second, again, log: yield* logOf(yield* EventStore) }
  }).pipe(Effect.scoped, Effect.provide(memoryStores))

  it.effect("break nothing where a repeat is answered before the first sending", () =>
    Effect.gen(function* () {
      const { first, second, again, log } = yield* twoDeposits
      const attempts: ReadonlyArray<Attempt> = [
        { commandId: "second", start: 1, end: 2, answer: second },
        { commandId: "first", start: 3, end: 4, answer: again },
        { commandId: "first", start: 0, end: 5, answer: first }
      ]
      assert.deepStrictEqual(faultsOf(log, attempts), [])
    })
  )

  it.effect("break I7 where the first sending came after a later event was acknowledged", () =>
    Effect.gen(function* () {
      const { second, again, log } = yield* twoDeposits
      const attempts: ReadonlyArray<Attempt> = [
        { commandId: "second", start: 1, end: 2, answer: second },
        { commandId: "first", start: 3, end: 4, answer: again }
      ]
      assert.deepStrictEqual(faultsOf(log, attempts), [
        "I7: second was done before first was sent, and stands after it"
      ])
    })
  )
})
