/**
 * Says when the heap of the thread of the read side is full, before V8 does. Near its own limit V8 collects the whole heap again and again,
 * with helper threads that take the cores from commands; and where one allocation is larger than what it has left then, it ends the process.
 */
import { constants, PerformanceObserver } from "node:perf_hooks"
import { getHeapSpaceStatistics } from "node:v8"
import { Effect } from "effect"
import { beatMs } from "./ThreadMessages.ts"

const bytesOfMib = 2 ** 20

/** What V8 may take beyond the limit, so that it is this file that ends the thread: half of the limit, but within these MiB. */
const reserveMibMin = 64
const reserveMibMax = 512

/** The limit that V8 is given for the old heap of a thread whose own limit is this, in MiB. */
export const hardLimitMib = (limitMib: number): number =>
  limitMib + Math.min(reserveMibMax, Math.max(reserveMibMin, Math.ceil(limitMib / 2)))

/** A thread that was silent for so many signs of life has not turned its event loop for a while: the other thread looks at its heap, so often. */
export const suspiciousBeats = 1.5
/** What that is at least, in milliseconds. */
export const suspiciousMs = suspiciousBeats * beatMs
export const lookMs = 50
/**
 * Such a thread fills up its heap where it has used up more than this share of its limit since its last sign of life, and no less than these
 * bytes, so much that the young heap does not count; and where it is over this share. No batch needs so much in one turn.
 */
const runawayGrowth = 0.25
const runawayGrowthBytesMin = 64 * bytesOfMib
const runawayShare = 0.6

const mib = (bytes: number): string => Math.round(bytes / bytesOfMib).toLocaleString("en-US")

const advice = "CHRONICLE_READ_SIDE_HEAP_MIB allows more"

/** Why a thread is to end whose heap, young one apart, has so many bytes in use after a collection of the whole of it; once it is full. */
export const fullReason = (limitMib: number, leftBytes: number): string | undefined =>
  leftBytes <= limitMib * bytesOfMib
    ? undefined
    : `its memory is full: ${mib(leftBytes)} of ${limitMib.toLocaleString("en-US")} MiB are in use after a collection; ${advice}`

/**
 * Why a thread is to be ended that has been silent for so long, once it is: its heap has so many bytes in use, garbage included, and had
 * so many with its last sign of life. One that does not turn its event loop cannot look at itself.
 */
export const runawayReason = (
  limitMib: number,
  { silentMs, usedBytes, usedBeforeBytes }: { silentMs: number; usedBytes: number; usedBeforeBytes: number }
): string | undefined => {
  const limit = limitMib * bytesOfMib
  const growth = usedBytes - usedBeforeBytes
  const isRunaway =
    silentMs > suspiciousMs &&
    usedBytes > limit * runawayShare &&
    growth > Math.max(limit * runawayGrowth, runawayGrowthBytesMin)
  if (!isRunaway) return undefined
  return `its memory fills up: ${mib(growth)} of ${limitMib.toLocaleString("en-US")} MiB since its last sign of life, ${mib(usedBytes)} in use; ${advice}`
}

/** Bytes in use that count against the limit of the old heap: right after a collection, what is alive. */
const oldBytes = (): number =>
  getHeapSpaceStatistics().reduce(
    (sum, { space_name: name, space_used_size: used }) =>
      /^(new|read_only|shared)_/.test(name) ? sum : sum + used,
    0
  )

const isOfWholeHeap = (entry: unknown): boolean =>
  (entry as { readonly detail?: { readonly kind?: number } }).detail?.kind === // of an entry of the collector
  constants.NODE_PERFORMANCE_GC_MAJOR

/** Looks at the heap of this thread after each collection of the whole of it, in the scope; tells once why it is to end. */
export const watchHeap = (limitMib: number, tell: (reason: string) => void) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const observer = new PerformanceObserver((list) => {
        if (!list.getEntries().some(isOfWholeHeap)) return
        const reason = fullReason(limitMib, oldBytes())
        if (reason === undefined) return
        observer.disconnect()
        tell(reason)
      })
      observer.observe({ entryTypes: ["gc"] })
      return observer
    }),
    (observer) => Effect.sync(() => observer.disconnect())
  )
