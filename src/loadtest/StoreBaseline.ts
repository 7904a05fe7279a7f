/** The event store of a run enters; what a bare client of it takes while the load is on leaves, measured by a thread apart. */
import { Worker } from "node:worker_threads"
import { Deferred, Effect, Redacted } from "effect"
import type { Latency } from "./Meter.ts"

export interface BaselineWork {
  readonly url: string
  /** Begins the ids of the run. */
  readonly run: string
  /** Its commands are numbered from here. */
  readonly commandNumber: number
}

export type FromBaseline =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Measured"; readonly latency: Latency | null }

/** The sources run as they are; in the package they are compiled. */
const extension = import.meta.url.endsWith(".ts") ? "ts" : "js"
const main = new URL(`./besideMain.${extension}`, import.meta.url)

/** How long the thread may take to start, and to end, before the run goes on without it. */
const startWithin = "20 seconds"
const endWithin = "5 seconds"

export interface StoreBaseline {
  readonly begin: Effect.Effect<void>
  /** Null where the thread could not measure. */
  readonly end: Effect.Effect<Latency | null>
}

/** Starts the thread in the scope; it waits for `begin`. */
export const startStoreBaseline = Effect.fnUntraced(function* (
  url: Redacted.Redacted,
  work: Omit<BaselineWork, "url">
) {
  const ready = yield* Deferred.make<void>()
  const measured = yield* Deferred.make<Latency | null>()
  const worker = yield* Effect.acquireRelease(
    Effect.sync(() => new Worker(main, { workerData: { ...work, url: Redacted.value(url) } })),
    (one) => Effect.promise(() => one.terminate())
  )
  worker.on("message", (message: FromBaseline) => {
    if (message._tag === "Ready") Deferred.doneUnsafe(ready, Effect.void)
    else Deferred.doneUnsafe(measured, Effect.succeed(message.latency))
  })
  const giveUp = () => {
    Deferred.doneUnsafe(ready, Effect.void)
    Deferred.doneUnsafe(measured, Effect.succeed(null))
  }
  worker.on("error", giveUp)
  worker.on("exit", giveUp)
  const tell = (message: "begin" | "end") => Effect.sync(() => worker.postMessage(message))
  return {
    begin: Deferred.await(ready).pipe(Effect.timeoutOption(startWithin), Effect.andThen(tell("begin"))),
    end: tell("end").pipe(
      Effect.andThen(Deferred.await(measured)),
      Effect.timeoutOrElse({ duration: endWithin, orElse: () => Effect.succeed(null) })
    )
  } satisfies StoreBaseline
})

/** Measures nothing. */
export const noStoreBaseline: StoreBaseline = { begin: Effect.void, end: Effect.succeed(null) }
