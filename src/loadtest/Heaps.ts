/** Tells the heaps of the two threads of a node apart during a load, and whether they grow. */
import { getHeapStatistics } from "node:v8"
import { Effect, Schedule } from "effect"

const everyMs = 500
const quarters = 4

/**
 * The least that was seen of each heap in each quarter of the load, in MiB: what is there right after a collection. The read side is
 * null where it does not run in a thread of its own.
 */
export interface Heaps {
  readonly commands: ReadonlyArray<number>
  readonly readSide: ReadonlyArray<number> | null
}

const leastOf = (bytes: ReadonlyArray<number>): ReadonlyArray<number> =>
  Array.from({ length: quarters }, (_, quarter) => {
    const [from, to] = [quarter, quarter + 1].map((part) => Math.floor((bytes.length * part) / quarters))
    return Math.round(Math.min(...bytes.slice(from, to)) / 2 ** 20)
  })

/** The figures of samples that were taken in order; null of fewer than one a quarter. */
export const heapsOf = (
  samples: ReadonlyArray<{ readonly commands: number; readonly readSide: number | undefined }>
): Heaps | null => {
  if (samples.length < quarters) return null
  const readSide = samples.flatMap((sample) => sample.readSide ?? [])
  return {
    commands: leastOf(samples.map(({ commands }) => commands)),
    readSide: readSide.length < quarters ? null : leastOf(readSide)
  }
}

/** Samples from now until the scope ends. The answer gives the figures up to its call. */
export const watchHeaps = Effect.fnUntraced(function* (readSideBytes: () => number | undefined) {
  const samples: Array<Parameters<typeof heapsOf>[0][number]> = []
  yield* Effect.sync(() => {
    samples.push({ commands: getHeapStatistics().used_heap_size, readSide: readSideBytes() })
  }).pipe(Effect.repeat(Schedule.spaced(everyMs)), Effect.forkScoped)
  return () => heapsOf(samples)
})
