/** Measures the latency that a single client sees, which sends its next command when the last one is answered. */
import { Effect } from "effect"
import { type Load, runLoad } from "./Load.ts"
import { Meter, summarize } from "./Meter.ts"

const commandsMax = 300
const secondsMax = 1.5

/** Its commands are part of the run and judged as all others are, but they are not of the load that is measured. */
export const measureSingleClient = Effect.fnUntraced(function* (
  load: Omit<Load, "pace" | "seconds" | "commands" | "meter">
) {
  const meter = new Meter()
  const pace = { _tag: "Closed", concurrency: 1 } as const
  yield* runLoad({ ...load, pace, seconds: secondsMax, commands: commandsMax, meter })
  const [defect] = meter.defects
  if (defect !== undefined) return yield* Effect.die(new Error(defect))
  return summarize(meter.decided)
})
