/** The alarm of a split brain: at most one warning a second, and every conflict counted in one of them. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import { LedgerClock } from "../../src/actors/accounts/LedgerClock.ts"
import { AccountActor } from "../../src/actors/accounts/Lifecycle.ts"
import { makeSplitBrainAlarm } from "../../src/actors/commit/CommitStats.ts"
import type { AccountId } from "../../src/domain/Ids.ts"

const actors = (count: number) =>
  new Set(Array.from({ length: count }, (_, index) => new AccountActor(`a-${index}` as AccountId, 0)))

/** How many conflicts each warning tells of. */
const listen = () => {
  const told: Array<number> = []
  const logger = Logger.make(({ message }) => {
    const text = String(Array.isArray(message) ? message[0] : message)
    told.push(Number(/this node owned, (\d+) times/.exec(text)?.[1]))
  })
  return { told, layer: Layer.mergeAll(LedgerClock.layer, Logger.layer([logger])) }
}

it.effect("a split brain is warned of at once, and conflicts within a second of it are added up", () => {
  const { told, layer } = listen()
  return Effect.gen(function* () {
    const alarm = yield* makeSplitBrainAlarm
    yield* alarm(new Set(), [])
    assert.deepEqual(told, [], "no account, no alarm")
    yield* alarm(actors(1), [])
    yield* alarm(actors(3), [])
    yield* alarm(actors(2), [])
    assert.deepEqual(told, [1])
    yield* TestClock.adjust(1_000)
    assert.deepEqual(told, [1, 5], "told without another conflict")
    yield* TestClock.adjust(5_000)
    assert.deepEqual(told, [1, 5], "and nothing is told twice")
    yield* alarm(actors(4), [])
    assert.deepEqual(told, [1, 5, 4])
  }).pipe(Effect.scoped, Effect.provide(layer))
})

it.effect("a node that ends warns of the conflicts that it has not told yet", () => {
  const { told, layer } = listen()
  return Effect.gen(function* () {
    const alarm = yield* makeSplitBrainAlarm
    yield* alarm(actors(1), [])
    yield* alarm(actors(7), [])
  }).pipe(
    Effect.scoped,
    Effect.tap(() => Effect.sync(() => assert.deepEqual(told, [1, 7]))),
    Effect.provide(layer)
  )
})
