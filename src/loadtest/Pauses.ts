/** Measures how long the thread of this process did nothing else: delays of the event loop, and pauses of the garbage collector. */
import { constants, monitorEventLoopDelay, PerformanceObserver } from "node:perf_hooks"
import { Effect } from "effect"

/** The interval of the timer whose delay is measured, in milliseconds. A shorter pause may stay unseen. */
const everyMs = 2
const nsPerMs = 1e6

export interface Pauses {
  /** How late a timer fired, in milliseconds: a command that arrived then waited as much longer. */
  readonly eventLoopMs: { readonly p50: number; readonly p99: number; readonly max: number }
  /** Pauses of the garbage collector, in milliseconds, of the young generation (`minor`) and of the whole heap. */
  readonly gcMs: { readonly minor: GcPauses; readonly major: GcPauses }
}

interface GcPauses {
  readonly count: number
  readonly total: number
  readonly max: number
}

const none: GcPauses = { count: 0, total: 0, max: 0 }

const round = (ms: number): number => Number(ms.toFixed(2))

/** Measures from now until the scope ends. The answer is a function that gives the figures up to its call. */
export const watchPauses = Effect.acquireRelease(
  Effect.sync(() => {
    const seen = { minor: none, major: none }
    const note = (list: {
      readonly getEntries: () => ReadonlyArray<{ readonly duration: number; readonly detail?: unknown }>
    }) => {
      for (const { duration, detail } of list.getEntries()) {
        // The detail of an entry of type "gc" says which kind of collection it was.
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
    const read = (): Pauses => {
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
    return { collections, delays, read }
  }),
  ({ collections, delays }) =>
    Effect.sync(() => {
      collections.disconnect()
      delays.disable()
    })
).pipe(Effect.map(({ read }) => read))
