/** The machine's clock is set while callers are counted: rates and the lines of the log are by time elapsed. */
import { assert, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Logger, Result } from "effect"
import { TestClock } from "effect/testing"
import { Authenticator } from "../../src/access/Authenticator.ts"
import { RefusalLog } from "../../src/access/RefusalLog.ts"
import { settable } from "../support/settableClock.ts"

const hourMs = 3_600_000

it.effect("a caller gets no calls by a clock that steps ahead, and the others as they elapse", () =>
  Effect.gen(function* () {
    const { clock, setBack } = settable(yield* Clock.Clock)
    const context = yield* Layer.build(Authenticator.layer([], 5)).pipe(
      Effect.provideService(Clock.Clock, clock)
    )
    const { admitUnsafe } = Context.get(context, Authenticator)
    const admitted = () => {
      const calls = Array.from({ length: 20 }, () =>
        admitUnsafe("read", undefined, { token: undefined, caller: undefined })
      )
      return calls.filter(Result.isSuccess).length
    }
    assert.strictEqual(admitted(), 5)
    setBack(-hourMs)
    assert.strictEqual(admitted(), 0)
    setBack(hourMs)
    yield* TestClock.adjust(400)
    assert.strictEqual(admitted(), 2)
  })
)

it.effect("refusals are told on in the log after a clock was set back", () =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => lines.push(String(message)))
    const { clock, setBack } = settable(yield* Clock.Clock)
    const context = yield* Layer.build(RefusalLog.layer(2)).pipe(Effect.provideService(Clock.Clock, clock))
    const { log } = Context.get(context, RefusalLog)
    yield* Effect.gen(function* () {
      yield* TestClock.adjust(hourMs)
      for (let n = 0; n < 5; n++) yield* log("http", "one", "no token")
      assert.lengthOf(lines, 2)
      setBack(hourMs)
      yield* TestClock.adjust(10_000)
      yield* log("http", "one", "no token")
      assert.match(lines.at(-1) ?? "", /and 3 refusals before that/)
    }).pipe(Effect.provideService(Logger.CurrentLoggers, new Set([logger])))
  })
)
