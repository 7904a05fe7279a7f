/** What the read side's thread logs crosses as text, whatever it is. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Logger } from "effect"
import { loggerTo } from "../../src/actors/thread/ThreadLogger.ts"
import type { FromReadSide } from "../../src/actors/thread/ThreadMessages.ts"

describe("a log entry of the read side's thread", () => {
  it.effect("can be copied, and ends no fiber, where it is of amounts, of itself or of a failure", () => {
    const entries: Array<Extract<FromReadSide, { readonly _tag: "Log" }>> = []
    const ring: Record<string, unknown> = {}
    ring.ring = ring
    return Effect.gen(function* () {
      yield* Effect.logWarning("short by", { amount: 5n }, ring, undefined)
      yield* Effect.logError("it failed", Cause.fail(Object.assign(new Error("short"), { amount: 7n })))
      assert.deepStrictEqual(structuredClone(entries), entries)
      assert.deepStrictEqual(
        entries.map(({ level }) => level),
        ["Warn", "Error"]
      )
      assert.deepStrictEqual(entries[0]?.message.slice(0, 2), ["short by", '{"amount":5n}'])
      assert.deepStrictEqual(entries[0]?.annotations, { account: "a", held: "3n" })
      const [said = "", trace = ""] = entries[1]?.message ?? []
      assert.strictEqual(said, "it failed")
      assert.match(trace, /Error: short\n\s+at /)
    }).pipe(
      Effect.annotateLogs({ account: "a", held: 3n }),
      Effect.provide(Logger.layer([loggerTo((entry) => entries.push(entry))]))
    )
  })
})
