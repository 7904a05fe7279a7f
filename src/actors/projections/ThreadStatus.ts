/** How the thread of the read side is, where it has one: for `/ready`, the metrics and those who are woken at night. */
import { Context } from "effect"

export interface ThreadStatus {
  /** `silent`: it runs and gives no sign of life. `down`: it ended, and is about to be started anew. */
  readonly state: "starting" | "up" | "silent" | "down"
  /** Milliseconds since its last sign of life, or since it was started. */
  readonly silentMs: number
  /** Times it ended and was started anew. */
  readonly restarts: number
  /** Why it ended the last time; undefined where it never did. */
  readonly lastEnd: string | undefined
  /** Of its own heap and its own processor time, as it said last. */
  readonly heapBytes: number
  readonly cpuSeconds: number | undefined
}

/** Undefined where the read side runs in the thread of the commands, or not at all. */
export const ReadSideThreadStatus = Context.Reference<() => ThreadStatus | undefined>(
  "chronicle/actors/ReadSideThreadStatus",
  { defaultValue: () => () => undefined }
)
