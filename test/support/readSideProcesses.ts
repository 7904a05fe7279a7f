/** Runs a read side as a process of its own, which a test can kill and ask what it did. */
import { fileURLToPath } from "node:url"
import { Effect } from "effect"
import { start } from "./chronicle.ts"
import type { ReadSideOptions } from "./readSideMain.ts"

const file = fileURLToPath(new URL("./readSideMain.ts", import.meta.url))

/** Killed with the scope at the latest. */
export const startReadSide = Effect.fnUntraced(function* (options: ReadSideOptions) {
  const running = yield* start([JSON.stringify(options)], { file })
  yield* Effect.addFinalizer(() => running.signal("SIGKILL"))
  /** Each line that it wrote so far, whole. */
  const lines = (): ReadonlyArray<Record<string, unknown>> =>
    running
      .stdout()
      .split("\n")
      .slice(0, -1)
      // Objects, written by readSideMain.ts; their values are looked at one by one.
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  const last = (key: string): unknown => lines().findLast((line) => key in line)?.[key]
  return { ...running, last, handled: () => Number(last("handled") ?? 0) }
})
