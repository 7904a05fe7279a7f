/** A driver and commands enter; what one client waits that sends the next when the last is answered leaves. */
import { Clock, Effect, Result } from "effect"
import type { Acknowledged } from "./Acknowledged.ts"
import type { Driver } from "./Driver.ts"
import { makeHistogram, recordMs, summarize } from "./Meter.ts"
import type { Scenario } from "./Scenario.ts"

const soloCommandsMax = 300
const soloMsMax = 1_500

/** What a single client sees that waits for each answer; part of the run, but not of the load. */
export const measureSingleClient = Effect.fnUntraced(function* (
  driver: Driver,
  scenario: Scenario,
  acknowledged: Acknowledged
) {
  const clock = yield* Clock.Clock
  const nowMs = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const histogram = makeHistogram()
  const start = nowMs()
  for (let count = 0; count < soloCommandsMax && nowMs() - start < soloMsMax; count++) {
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
