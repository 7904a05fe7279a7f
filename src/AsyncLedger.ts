/** The ledger for hosts without Effect: the same methods with promises, plain values and thrown typed errors. */
import { Cause, type Context, type Effect, Exit, type Layer, ManagedRuntime, Result, Stream } from "effect"
import { Unavailable } from "./domain/Errors.ts"
import { Ledger } from "./LedgerService.ts"

type Service = Context.Service.Shape<typeof Ledger>
type OneResult = Effect.Success<ReturnType<Service["dispatchMany"]>>[number]

/** A result of effect as a plain value, at whatever place of an answer. */
type Plain<Success> = Success extends ReadonlyArray<OneResult> ? ReadonlyArray<AsyncResult> : Success

type Async<Outcome> =
  Outcome extends Stream.Stream<infer Item, infer _Error>
    ? AsyncIterable<Item>
    : Outcome extends Effect.Effect<infer Success, infer _Error>
      ? Promise<Plain<Success>>
      : never
type AsyncMethod<Method> = Method extends (...args: infer Args) => infer Outcome
  ? (...args: Args) => Async<Outcome>
  : () => Async<Method>

/**
 * Every method of `Ledger` as a promise, which rejects with the ledger's typed error. `subscribe` is an async iterable:
 * its next step rejects when the log cannot be read, and `return` ends it.
 */
export type AsyncLedger = { readonly [Key in keyof Service]: AsyncMethod<Service[Key]> } & {
  /** Takes nothing more, waits until every call under way is answered, then lets go of all connections. */
  readonly close: () => Promise<void>
}

/** The outcome of one command of a batch. */
export type AsyncResult =
  | { readonly ok: true; readonly receipt: Result.Result.Success<OneResult> }
  | { readonly ok: false; readonly error: Result.Result.Failure<OneResult> }

/** Over any layer that provides a `Ledger`: `LedgerNode.layerMemory` for tests. */
export const openLayer = async <E>(layer: Layer.Layer<Ledger, E>): Promise<AsyncLedger> => {
  const runtime = ManagedRuntime.make(layer)
  const ledger = await settle(runtime.runPromiseExit(Ledger)).catch(async (error) => {
    await runtime.dispose()
    throw error
  })
  const underWay = new Set<Promise<unknown>>()
  let closed: Promise<void> | undefined
  const run = async <A, F>(effect: Effect.Effect<A, F>): Promise<A> => {
    if (closed !== undefined) throw new Unavailable({ what: "this ledger", reason: "it is closed" })
    const answer = runtime.runPromiseExit(effect)
    underWay.add(answer)
    return settle(answer.finally(() => underWay.delete(answer)))
  }
  /** The runtime interrupts what it runs: a command that was accepted would lose its receipt. All calls end in time. */
  const close = async (): Promise<void> => {
    await Promise.allSettled(underWay)
    await runtime.dispose()
  }
  const methods: Record<string, (...args: ReadonlyArray<unknown>) => unknown> = {}
  for (const [name, method] of Object.entries(ledger)) {
    methods[name] = (...args) => {
      const outcome: Outcome = typeof method === "function" ? method(...args) : method
      return Stream.isStream(outcome) ? Stream.toAsyncIterable(outcome) : run(outcome)
    }
  }
  return {
    ...(methods as Omit<AsyncLedger, "close" | "dispatchMany">), // one for each member, as their types are derived
    dispatchMany: async (commands) => (await run(ledger.dispatchMany(commands))).map(toAsyncResult),
    close: () => {
      closed ??= close()
      return closed
    }
  }
}

type Outcome = Effect.Effect<unknown, unknown> | Stream.Stream<unknown, unknown>

const toAsyncResult = (result: OneResult): AsyncResult =>
  Result.isSuccess(result) ? { ok: true, receipt: result.success } : { ok: false, error: result.failure }

/** Rejects with the ledger's own error, not with a wrapper around it. */
export const settle = async <A, E>(exit: Promise<Exit.Exit<A, E>>): Promise<A> => {
  const settled = await exit
  if (Exit.isSuccess(settled)) return settled.value
  throw Cause.squash(settled.cause)
}
