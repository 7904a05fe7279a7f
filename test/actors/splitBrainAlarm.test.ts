/** The alarm of a split brain: once a second, with a count of what it left out. */
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Logger } from "effect"
import { TestClock } from "effect/testing"
import { AccountActor } from "../../src/actors/AccountActor.ts"
import { LedgerClock } from "../../src/actors/LedgerClock.ts"
import { makeSplitBrainAlarm } from "../../src/actors/SplitBrainAlarm.ts"
import type { AccountId } from "../../src/domain/Ids.ts"

const actors = (count: number) =>
  new Set(Array.from({ length: count }, (_, index) => new AccountActor(`a-${index}` as AccountId, 0)))

it.effect("a split brain is warned of once a second, with what was left out", () => {
  const said: Array<string> = []
  const logger = Logger.make(({ message }) => {
    said.push(String(Array.isArray(message) ? message[0] : message))
  })
  return Effect.gen(function* () {
    const alarm = yield* makeSplitBrainAlarm
    yield* alarm(new Set(), [])
    assert.deepEqual(said, [], "no account, no alarm")
    yield* alarm(actors(1), [])
    yield* alarm(actors(3), [])
    yield* alarm(actors(2), [])
    assert.strictEqual(said.length, 1)
    yield* TestClock.adjust(1_000)
    yield* alarm(actors(1), [])
    assert.strictEqual(said.length, 2)
    assert.include(said[1], "5 times since the last warning")
  }).pipe(Effect.provide(Layer.mergeAll(LedgerClock.layer, Logger.layer([logger]))))
})
