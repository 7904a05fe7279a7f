/** A process at work enters; how long its one thread stood still, and for how much of that the collector did, leaves. */
import { constants, monitorEventLoopDelay, PerformanceObserver } from "node:perf_hooks"
import { Effect } from "effect"

/** How often the thread is looked at, in milliseconds; a shorter pause may pass unseen. */
const everyMs = 2
const nsPerMs = 1e6

export interface Pauses {
  /** How late a timer was, in milliseconds: what any command that came then waited for on top. */
  readonly eventLoopMs: { readonly p50: number; readonly p99: number; readonly max: number }
  /** Pauses of the garbage collector, in milliseconds, of the young heap (`minor`) and of all of it. */
  readonly gcMs: { readonly minor: GcPauses; readonly major: GcPauses }
}

export interface GcPauses {
  readonly count: number
  readonly total: number
  readonly max: number
}

const none: GcPauses = { count: 0, total: 0, max: 0 }

const round = (ms: number): number => Number(ms.toFixed(2))

/** Watches from now on, until the scope ends; the answer is of all that was seen so far. */
export const watchPauses = Effect.acquireRelease(
  Effect.sync(() => {
    const seen = { minor: none, major: none }
    const note = (list: {
      readonly getEntries: () => ReadonlyArray<{ readonly duration: number; readonly detail?: unknown }>
    }) => {
      for (const { duration, detail } of list.getEntries()) {
        // An entry of type "gc" says in its detail which kind of collection it was.
        const { kind: code } = detail as { readonly kind?: number }
        const kind = code === constants.NODE_PERFORMANCE_GC_MINOR ? "minor" : "major"
        const { count, total, max } = seen[kind]
        seen[kind] = { count: count + 1, total: total + duration, max: Math.max(max, duration) }
      }
    }
    const collections = new PerformanceObserver(note)
    collections.observe({ entryTypes: ["gc"] })
    const delays = monitorEventLoopDelay({ resolution: everyMs })
    delays.enable()
    const late = (ns: number) => round(Math.max(0, ns / nsPerMs - everyMs))
    const rounded = ({ count, total, max }: GcPauses) => ({ count, total: round(total), max: round(max) })
    const look = (): Pauses => {
      note({ getEntries: () => collections.takeRecords() })
      return {
        eventLoopMs: {
          p50: late(delays.percentile(50)),
          p99: late(delays.percentile(99)),
          max: late(delays.max)
        },
        gcMs: { minor: rounded(seen.minor), major: rounded(seen.major) }
      }
    }
    return { collections, delays, look }
  }),
  ({ collections, delays }) =>
    Effect.sync(() => {
      collections.disconnect()
      delays.disable()
    })
).pipe(Effect.map(({ look }) => look))
