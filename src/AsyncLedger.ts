/** The ledger for hosts without Effect: the same methods with promises, plain values and thrown typed errors. */
import {
  Cause,
  type Context,
  Deferred,
  Effect,
  Exit,
  type Layer,
  ManagedRuntime,
  Result,
  Stream
} from "effect"
import { Unavailable } from "./domain/Errors.ts"
import { Ledger } from "./LedgerService.ts"
import { isNothing, takesNothing } from "./QueryMethods.ts"

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
 * its next step rejects when the log cannot be read, and `return` and `close` end it.
 */
export type AsyncLedger = { readonly [Key in keyof Service]: AsyncMethod<Service[Key]> } & {
  /**
   * Takes nothing more, ends every subscription (a step that waits is answered that it is done), gives up every `verify` as `Unavailable`, waits
   * until every other call under way is answered, which has a deadline, then lets go of all connections.
   */
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
  const streams = new OpenStreams()
  const closing = Deferred.makeUnsafe<never, Unavailable>()
  let closed: Promise<void> | undefined
  const run = async <A, F>(effect: Effect.Effect<A, F>): Promise<A> => {
    if (closed !== undefined) throw isClosed()
    const answer = runtime.runPromiseExit(effect)
    underWay.add(answer)
    return settle(answer.finally(() => underWay.delete(answer)))
  }
  /** The runtime interrupts what it runs: a command that was accepted would lose its receipt. Streams are none of its, and never end by themselves. */
  const close = async (): Promise<void> => {
    Deferred.doneUnsafe(closing, Exit.fail(isClosed()))
    await Promise.allSettled([streams.close(), ...underWay])
    await runtime.dispose()
  }
  const methods: Record<string, (...args: ReadonlyArray<unknown>) => unknown> = {}
  for (const [name, method] of Object.entries(ledger)) {
    methods[name] = (...args) => {
      const outcome: Outcome =
        typeof method === "function"
          ? method(...args)
          : // A host without types may pass options to a question that takes none, and would take the answer for what it asked.
            args.every(isNothing)
            ? method
            : Effect.fail(takesNothing(name))
      return Stream.isStream(outcome) ? streams.iterable(outcome) : run(outcome)
    }
  }
  return {
    ...(methods as Omit<AsyncLedger, "close" | "dispatchMany" | "verify">), // one for each member, as their types are derived
    // It reads the whole log, changes nothing, and has no deadline.
    verify: (...args) => run(Effect.raceFirst(ledger.verify(...args), Deferred.await(closing))),
    dispatchMany: async (commands) => (await run(ledger.dispatchMany(commands))).map(toAsyncResult),
    close: () => {
      closed ??= close()
      return closed
    }
  }
}

type Outcome = Effect.Effect<unknown, unknown> | Stream.Stream<unknown, unknown>

const isClosed = () => new Unavailable({ what: "this ledger", reason: "it is closed" })

/** Streams as async iterables that end with their ledger, whether a step of theirs waits or none is asked for. */
class OpenStreams {
  /** Each ends one stream that has begun. */
  readonly #ends = new Set<() => Promise<unknown>>()
  #isClosed = false

  iterable<A>(stream: Stream.Stream<A, unknown>): AsyncIterable<A> {
    return { [Symbol.asyncIterator]: () => this.#iterator(stream) }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled([...this.#ends].map((end) => end()))
  }

  #iterator<A>(stream: Stream.Stream<A, unknown>): AsyncIterator<A> {
    const steps = Stream.toAsyncIterable(stream)[Symbol.asyncIterator]()
    const done = { done: true, value: undefined } as const
    const end = async (): Promise<IteratorResult<A>> => (await steps.return?.()) ?? done
    let hasBegun = false
    const next = async (): Promise<IteratorResult<A>> => {
      if (!hasBegun && this.#isClosed) throw isClosed()
      hasBegun = true
      this.#ends.add(end)
      let isOver = true
      try {
        const step = await steps.next()
        isOver = step.done === true
        return step
      } finally {
        if (isOver) this.#ends.delete(end)
      }
    }
    // One step after another: of two at once, effect's iterator would end the later alone.
    let last: Promise<unknown> = Promise.resolve()
    return {
      next: () => {
        const step = last.then(next)
        last = step.catch(() => undefined)
        return step
      },
      return: async () => {
        try {
          return await end()
        } finally {
          this.#ends.delete(end)
        }
      }
    }
  }
}

const toAsyncResult = (result: OneResult): AsyncResult =>
  Result.isSuccess(result) ? { ok: true, receipt: result.success } : { ok: false, error: result.failure }

/** Rejects with the ledger's own error, not with a wrapper around it. */
export const settle = async <A, E>(exit: Promise<Exit.Exit<A, E>>): Promise<A> => {
  const settled = await exit
  if (Exit.isSuccess(settled)) return settled.value
  throw Cause.squash(settled.cause)
}
