/** What a test learns from a wait in vain: what it waited for, not only that it was too long. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit } from "effect"
import { eventually } from "../support/readSides.ts"

const failureOf = (assertions: Effect.Effect<void>) =>
  Effect.map(Effect.exit(eventually(assertions, 0.2)), (exit) => {
    assert.isTrue(Exit.isFailure(exit))
    return Exit.isFailure(exit) ? Cause.pretty(exit.cause) : ""
  })

describe("a wait in vain", () => {
  it.live("fails with what the assertions said last", () =>
    Effect.gen(function* () {
      let state = "starting"
      const told = yield* failureOf(
        Effect.sync(() => {
          const before = state
          state = "behind"
          assert.strictEqual(before, "ready")
        })
      )
      assert.include(told, "expected 'behind' to equal 'ready'")
    })
  )

  it.live("says so where the assertions have no answer", () =>
    Effect.gen(function* () {
      assert.include(yield* failureOf(Effect.never), "the assertions took longer than 0.2 s")
    })
  )
})
