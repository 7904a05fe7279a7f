/** What the thread of the commands does while the other one starts, by threads that say what a test scripts. */
import { Worker } from "node:worker_threads"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import * as ReadSideThread from "../../src/actors/thread/ReadSideThread.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { quiet } from "../support/callers.ts"
import { eventually } from "../support/readSides.ts"

/** A thread that runs this text, with `say` for its messages; it has started once it has said `[0]`. */
const threadOf = (text: string) =>
  new Worker(
    `const { parentPort: port } = require("node:worker_threads")
     const say = (message) => port.postMessage(message)
     const beat = () => say([1, { _tag: "Beat", beat: { relay: {}, projections: [], completeTo: 0, parked: [], heapBytes: 0 } }])
     port.on("message", ([kind, message]) => { if (kind === 1) process.exit(0); onMessage(message) })
     ${text}`,
    { eval: true }
  )

const over = (spawn: () => Worker) =>
  ReadSideThread.layer(spawn).pipe(
    Layer.provideMerge(Layer.mergeAll(CommitFeed.layer, ProjectionWaiters.layer)),
    Layer.provideMerge(quiet)
  )

describe("while the thread of the read side starts", () => {
  it.live("the deadlines of queries do not run, until it gives its first sign of life, or ends without", () =>
    Effect.gen(function* () {
      for (const text of [
        "const onMessage = () => {}; setTimeout(() => { say([0]); beat() }, 200)",
        "const onMessage = () => {}; setTimeout(() => process.exit(3), 200)"
      ]) {
        yield* Effect.gen(function* () {
          const waiters = yield* ProjectionWaiters
          const inTime = yield* Effect.forkChild(waiters.inTime(Effect.never, 0))
          yield* Effect.sleep(50)
          assert.isUndefined(inTime.pollUnsafe())
          yield* eventually(Effect.sync(() => assert.isDefined(inTime.pollUnsafe())))
        }).pipe(Effect.provide(Layer.fresh(over(() => threadOf(text)))))
      }
    })
  )
})
