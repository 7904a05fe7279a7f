/** What a node does while there is nothing to do: each timer that wakes it in vain is paid for around the clock. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { defaultReadSideLimits } from "../../src/infra/config/ReadSideConfig.ts"
import { defaultWebhookLimits } from "../../src/infra/config/WebhookConfig.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"

const watchedSeconds = 60

/** What has to be looked at regularly, since only others know when it changes. */
const { heartbeatMs, sweepMs, idleMs } = defaultLimits
const { sweepGraceMs, noticeMs, orphansMs, ackWaitMs } = defaultReadSideLimits
const looks = [
  { what: "heartbeat", ms: heartbeatMs },
  { what: "sweep of a log in which nothing is new", ms: sweepMs / 4 + sweepGraceMs },
  { what: "parked accounts", ms: sweepMs },
  { what: "expired holds", ms: noticeMs },
  { what: "webhooks", ms: defaultWebhookLimits.pollMs },
  { what: "tails of dead nodes", ms: orphansMs },
  { what: "accounts out of use", ms: idleMs / 2 }
]
const looksASecond = looks.reduce((sum, { ms }) => sum + 1_000 / ms, 0)
/** Of the bus in memory, for each of its consumers: no node that serves has it. */
const ofBusInMemory = ackWaitMs

describe("a node without commands and questions", () => {
  it.effect("wakes for its regular looks alone", () =>
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const slept = new Map<number, number>()
      const counting: Clock.Clock = Object.assign(Object.create(clock), {
        sleep: (duration: Duration.Duration) => {
          const ms = Duration.toMillis(duration)
          if (ms !== ofBusInMemory) slept.set(ms, (slept.get(ms) ?? 0) + 1)
          return clock.sleep(duration)
        }
      })
      yield* Effect.gen(function* () {
        yield* TestClock.adjust(watchedSeconds * 1_000)
        slept.clear()
        yield* TestClock.adjust(watchedSeconds * 1_000)
        const others = [...slept.keys()].filter((ms) => !looks.some((look) => look.ms === ms))
        assert.deepStrictEqual(others, [])
        const total = slept.values().reduce((sum, times) => sum + times, 0)
        assert.isAtMost(total / watchedSeconds, looksASecond + 0.1)
      }).pipe(
        Effect.provide(Layer.fresh(LedgerNode.layerMemory)),
        Effect.provideService(Clock.Clock, counting)
      )
    })
  )
})
