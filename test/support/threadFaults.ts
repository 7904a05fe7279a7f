/**
 * Loaded in a thread of the read side, does to that thread what a test or a bench asks of it: to end, to throw where no effect catches it, to
 * stall, to hang, to fill its memory in one turn of its event loop, or in many (to leak).
 */
import { BroadcastChannel, isMainThread } from "node:worker_threads"

export type Fault = "exit" | "throw" | "stall" | "hang" | "fill" | "leak"

export const faultChannel = "chronicle-test-fault"

/** Longer than any test is patient with a thread that hangs; and as long as one that comes back is frozen. */
const hangMs = 60_000
const stallMs = 20_000

const freeze = (ms: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

const leak = (kept: Array<unknown>): void => {
  setImmediate(() => {
    for (let nth = 0; nth < 1_000; nth++) kept.push({ nth, text: `kept ${nth}`, of: [nth] })
    leak(kept)
  })
}

const commit = (fault: Fault): void => {
  if (fault === "exit") process.exit(3)
  if (fault === "throw") {
    setImmediate(() => {
      throw new Error("thrown by a test")
    })
  }
  if (fault === "hang") freeze(hangMs)
  if (fault === "stall") freeze(stallMs)
  if (fault === "leak") leak([])
  if (fault === "fill") for (const kept: Array<unknown> = []; ; ) kept.push(new Array(100_000).fill(kept))
}

if (!isMainThread) {
  const channel = new BroadcastChannel(faultChannel)
  channel.onmessage = (event: unknown) => commit((event as { readonly data: Fault }).data) // sent by the test
  channel.unref()
}
