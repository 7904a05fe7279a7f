/**
 * Measures the event store's own commits while the load is on. The client runs in a thread of its own, so that neither
 * the ledger nor its garbage collector adds to its latency: a slow store and a slow ledger can be told apart.
 */
import { Worker } from "node:worker_threads"
import { Deferred, Effect, Redacted } from "effect"
import type { Latency } from "./Meter.ts"

export interface BaselineWork {
  readonly url: string
  /** The prefix of the run's ids. */
  readonly run: string
  /** The number of the client's first command. */
  readonly commandNumber: number
}

export type FromBaseline =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Measured"; readonly latency: Latency | null }

/** In the sources the thread is TypeScript, in the package JavaScript. */
const extension = import.meta.url.endsWith(".ts") ? "ts" : "js"
const main = new URL(`./storeBaselineMain.${extension}`, import.meta.url)

/** How long the thread may take to start, and to end. After that the run goes on without it. */
const startWithin = "20 seconds"
const endWithin = "5 seconds"

export interface StoreBaseline {
  readonly begin: Effect.Effect<void>
  /** Null where the thread failed. */
  readonly end: Effect.Effect<Latency | null>
}

/** Starts the thread in the scope. It measures from `begin` to `end`. */
export const startStoreBaseline = Effect.fnUntraced(function* (
  url: Redacted.Redacted,
  work: Omit<BaselineWork, "url">
) {
  const ready = yield* Deferred.make<void>()
  const measured = yield* Deferred.make<Latency | null>()
  const worker = yield* Effect.acquireRelease(
    Effect.sync(() => new Worker(main, { workerData: { ...work, url: Redacted.value(url) } })),
    (thread) => Effect.promise(() => thread.terminate())
  )
  worker.on("message", (message: FromBaseline) => {
    if (message._tag === "Ready") Deferred.doneUnsafe(ready, Effect.void)
    else Deferred.doneUnsafe(measured, Effect.succeed(message.latency))
  })
  const fail = () => {
    Deferred.doneUnsafe(ready, Effect.void)
    Deferred.doneUnsafe(measured, Effect.succeed(null))
  }
  worker.on("error", fail)
  worker.on("exit", fail)
  const tell = (message: "begin" | "end") => Effect.sync(() => worker.postMessage(message))
  return {
    begin: Deferred.await(ready).pipe(Effect.timeoutOption(startWithin), Effect.andThen(tell("begin"))),
    end: tell("end").pipe(
      Effect.andThen(Deferred.await(measured)),
      Effect.timeoutOrElse({ duration: endWithin, orElse: () => Effect.succeed(null) })
    )
  } satisfies StoreBaseline
})

/** For a run that does not measure the store. */
export const noStoreBaseline: StoreBaseline = { begin: Effect.void, end: Effect.succeed(null) }
