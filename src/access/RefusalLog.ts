/**
 * The log of refused calls and broken connections, of all servers of a node together. It exists because peers decide how often they
 * are refused: a bounded number of lines is written, and the rest is counted.
 */
import { Clock, Context, Effect, Layer } from "effect"
import { elapsedMsUnsafe } from "../infra/config/Elapsed.ts"

/** Lines are counted anew after so long, in milliseconds. */
const windowMs = 10_000

export class RefusalLog extends Context.Service<
  RefusalLog,
  {
    /** `who` is the caller's name or its address, `reason` holds nothing secret. */
    readonly log: (server: "rpc" | "http", who: string, reason: string) => Effect.Effect<void>
  }
>()("chronicle/access/RefusalLog") {
  /** `linesMax`: lines in ten seconds. */
  static readonly layer = (linesMax: number) =>
    Layer.effect(
      RefusalLog,
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        let since = 0
        let lines = 0
        let unsaid = 0
        return {
          log: (server, who, reason) =>
            Effect.suspend(() => {
              const now = elapsedMsUnsafe(clock)
              if (now - since >= windowMs) {
                since = now
                lines = 0
              }
              if (++lines > linesMax) {
                unsaid++
                return Effect.void
              }
              const more = unsaid === 0 ? "" : ` (and ${unsaid} refusals before that were not logged)`
              unsaid = 0
              return Effect.logWarning(`${server}: refused ${who}: ${reason}${more}`)
            })
        }
      })
    )
}
