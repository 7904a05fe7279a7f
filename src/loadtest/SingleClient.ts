/** Measures the latency that a single client sees, which sends its next command when the last one is answered. */
import { Clock, Effect, Result } from "effect"
import type { Acknowledged } from "./Acknowledged.ts"
import type { Driver } from "./Driver.ts"
import { makeHistogram, recordMs, summarize } from "./Meter.ts"
import type { Scenario } from "./Scenario.ts"

const commandsMax = 300
const durationMaxMs = 1_500

/** Its commands are part of the run, so that the judge checks them, but not of the load. */
export const measureSingleClient = Effect.fnUntraced(function* (
  driver: Driver,
  scenario: Scenario,
  acknowledged: Acknowledged
) {
  const clock = yield* Clock.Clock
  const nowMs = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const histogram = makeHistogram()
  const start = nowMs()
  for (let count = 0; count < commandsMax && nowMs() - start < durationMaxMs; count++) {
    const command = scenario.next()
    const sent = acknowledged.sent(command)
    const sentAt = nowMs()
    const result = yield* Effect.result(driver.dispatch(command))
    const tookMs = nowMs() - sentAt
    if (Result.isSuccess(result)) {
      recordMs(histogram, tookMs)
      acknowledged.accepted(command, sent, result.success)
    } else if (result.failure._tag === "Indeterminate") acknowledged.unknown(command)
  }
  return summarize(histogram)
})
