/** For hosts without Effect: the same ledger with promises. Plain values enter, plain values or typed errors leave. */
import {
  Cause,
  type Context,
  Effect,
  Exit,
  type Layer,
  ManagedRuntime,
  Redacted,
  Result,
  Stream
} from "effect"
import { Unavailable } from "./domain/Errors.ts"
import { type Services, uniqueNodeName } from "./infra/config/Environment.ts"
import { Ledger } from "./Ledger.ts"
import * as LedgerNode from "./LedgerNode.ts"

/** Where the services are; see the README for what each must be. */
export interface OpenLedgerConfig {
  /** CockroachDB, or PostgreSQL: `postgresql://user:password@host:port/database`. */
  readonly eventStoreUrl: string
  /** PostgreSQL. */
  readonly readModelUrl: string
  /** `nats://host:port`, several separated by commas. */
  readonly natsUrl: string
  /** Names this process among the nodes, the same after a restart; default a name of this call alone. */
  readonly nodeName?: string
  /** Brings both databases to this program's schema first; default false. */
  readonly migrate?: boolean
}

type Service = Context.Service.Shape<typeof Ledger>
type Asked<F> = F extends (...args: infer A) => Effect.Effect<infer Success, infer _>
  ? (...args: A) => Promise<Success>
  : never

/** Every method of `Ledger` as a promise; a typed error of the ledger is what it rejects with. */
export type AsyncLedger = {
  readonly [Key in Exclude<
    keyof Service,
    "contraBalances" | "trialBalance" | "stats" | "dispatchMany" | "subscribe"
  >]: Asked<Service[Key]>
} & {
  readonly dispatchMany: (...args: Parameters<Service["dispatchMany"]>) => Promise<ReadonlyArray<AsyncResult>>
  readonly contraBalances: () => Promise<Effect.Success<Service["contraBalances"]>>
  readonly trialBalance: () => Promise<Effect.Success<Service["trialBalance"]>>
  /** Rejects the next step when the log cannot be read; `return` ends it. */
  readonly subscribe: (
    ...args: Parameters<Service["subscribe"]>
  ) => AsyncIterable<Stream.Success<ReturnType<Service["subscribe"]>>>
  readonly stats: () => Promise<Effect.Success<Service["stats"]>>
  /** Takes nothing more, waits until every call under way is answered, then lets go of all connections. */
  readonly close: () => Promise<void>
}

type OneResult = Effect.Success<ReturnType<Service["dispatchMany"]>>[number]

/** The outcome of one command of a batch. */
export type AsyncResult =
  | { readonly ok: true; readonly receipt: Result.Result.Success<OneResult> }
  | { readonly ok: false; readonly error: Result.Result.Failure<OneResult> }

/** Opens one node in this process. Rejects where a service cannot be reached, saying which and where. */
export const openLedger = async (config: OpenLedgerConfig): Promise<AsyncLedger> => {
  const services: Services = {
    eventStoreUrl: Redacted.make(config.eventStoreUrl),
    readModelUrl: Redacted.make(config.readModelUrl),
    natsUrl: config.natsUrl,
    nodeName: config.nodeName ?? Effect.runSync(uniqueNodeName)
  }
  if (config.migrate === true) await settle(Effect.runPromiseExit(LedgerNode.migrate(services)))
  return openLayer(LedgerNode.layer(services))
}

/** The same over any layer that provides a `Ledger`: `LedgerNode.layerMemory` for tests. */
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
  return {
    dispatch: (...args) => run(ledger.dispatch(...args)),
    dispatchMany: async (...args) =>
      (await run(ledger.dispatchMany(...args))).map(
        (result): AsyncResult =>
          Result.isSuccess(result)
            ? { ok: true, receipt: result.success }
            : { ok: false, error: result.failure }
      ),
    balance: (...args) => run(ledger.balance(...args)),
    strongBalance: (...args) => run(ledger.strongBalance(...args)),
    balanceAt: (...args) => run(ledger.balanceAt(...args)),
    history: (...args) => run(ledger.history(...args)),
    statement: (...args) => run(ledger.statement(...args)),
    transfer: (...args) => run(ledger.transfer(...args)),
    accounts: (...args) => run(ledger.accounts(...args)),
    contraBalances: () => run(ledger.contraBalances),
    trialBalanceAt: (...args) => run(ledger.trialBalanceAt(...args)),
    subscribe: (...args) => Stream.toAsyncIterable(ledger.subscribe(...args)),
    trialBalance: () => run(ledger.trialBalance),
    stats: () => run(ledger.stats),
    close: () => {
      closed ??= close()
      return closed
    }
  }
}

/** Rejects with the ledger's own error, not with a wrapper around it. */
const settle = async <A, E>(exit: Promise<Exit.Exit<A, E>>): Promise<A> => {
  const settled = await exit
  if (Exit.isSuccess(settled)) return settled.value
  throw Cause.squash(settled.cause)
}
