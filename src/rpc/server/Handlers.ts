/**
 * What the procedures of RPC do: the ledger's own methods, of which a caller may use those that its token allows. A call
 * arrives here after its token and scope were checked on its head; what it names is checked here.
 */
import { Cause, Effect, Result, Stream } from "effect"
import { Authenticator } from "../../access/Authenticator.ts"
import { makeGuardedLedger } from "../../access/GuardedLedger.ts"
import { Placement } from "../../actors/accounts/Placement.ts"
import { Ledger } from "../../Ledger.ts"
import { isQuery, queryEntries } from "../../QueryMethods.ts"
import { isStreaming, LedgerRpc, type Procedure, type QueryHandlers } from "../LedgerRpc.ts"
import { MalformedPayload } from "./Payloads.ts"
import { RpcConfig } from "./RpcLimits.ts"

interface Call {
  readonly headers: Readonly<Record<string, string>>
}

const makeHandlers = Effect.gen(function* () {
  const { callerOf } = yield* Authenticator
  const limits = yield* RpcConfig
  const placement = yield* Placement
  const guarded = yield* makeGuardedLedger("rpc", limits.batchMax)

  const queries: Record<string, unknown> = {}
  for (const [name, { isStream }] of queryEntries)
    queries[name] = (payload: unknown, { headers }: Call) =>
      isStream
        ? guarded.follow(callerOf(headers), name, payload)
        : guarded.ask(callerOf(headers), name, payload)

  return {
    ...(queries as QueryHandlers), // one for each query, whose answer has the type its procedure is derived from
    dispatch: ({ command }: { readonly command: unknown }, { headers }: Call) =>
      guarded.dispatch(callerOf(headers), command),
    dispatchMany: ({ commands }: { readonly commands: ReadonlyArray<unknown> }, { headers }: Call) =>
      guarded.dispatchMany(callerOf(headers), commands),
    ownedShards: () => Effect.sync(placement.ownedShards),
    /** The events of an account, straight from the log. */
    events: (
      asked: { account: string; after?: number | undefined; follow?: boolean | undefined },
      { headers }: Call
    ) => {
      const { account, after = 0, follow } = asked
      const followMs = follow === true ? limits.followMs : undefined
      return guarded.events(callerOf(headers), { account, after, followMs })
    }
  }
})

type Handler = (
  payload: unknown,
  call: Call
) => Effect.Effect<unknown, unknown> | Stream.Stream<unknown, unknown>

/**
 * The same handler, which refuses a malformed payload. A query's own check says best what is wrong with one that came as
 * JSON; bytes that do not decode are nothing that it could look at.
 */
const refuseMalformed =
  (procedure: Procedure, handler: Handler): Handler =>
  (payload, call) => {
    if (!(payload instanceof MalformedPayload)) return handler(payload, call)
    if (isQuery(procedure) && !(payload.payload instanceof Uint8Array)) {
      const outcome = handler(payload.payload, call)
      const inWords = (error: unknown) => payload.inWordsOfTexts(error)
      return Stream.isStream(outcome) ? Stream.mapError(outcome, inWords) : Effect.mapError(outcome, inWords)
    }
    return isStreaming(procedure) ? Stream.fail(payload.error) : Effect.fail(payload.error)
  }

/**
 * A fault of ours is logged and not told, as over HTTP: what it says may name hosts, users and files. Beside an interruption nothing is told
 * of it.
 */
const untold =
  (procedure: string) =>
  <E>(cause: Cause.Cause<E>): Effect.Effect<never, E> => {
    if (!Cause.hasDies(cause)) return Effect.failCause(cause)
    const told: Cause.Cause<E> = Cause.hasInterrupts(cause)
      ? Cause.fromReasons(cause.reasons.filter((reason) => !Cause.isDieReason(reason)))
      : Cause.die(new Error("the node failed, at what its log says"))
    return Effect.andThen(Effect.logError(`rpc: ${procedure} failed`, cause), Effect.failCause(told))
  }

const keepFaults =
  (procedure: Procedure, handler: Handler): Handler =>
  (payload, call) => {
    const begun = Result.try(() => handler(payload, call))
    if (Result.isFailure(begun)) {
      const failed = untold(procedure)(Cause.die(begun.failure))
      return isStreaming(procedure) ? Stream.fromEffect(failed) : failed
    }
    const outcome = begun.success
    if (Stream.isStream(outcome))
      return Stream.catchCause(outcome, (cause) => Stream.fromEffect(untold(procedure)(cause)))
    // A caller that goes interrupts the call, and what fails meanwhile is a fault too.
    return Effect.uninterruptibleMask((restore) => Effect.catchCause(restore(outcome), untold(procedure)))
  }

export const handlers = LedgerRpc.toLayer(
  Effect.gen(function* () {
    const ledger = yield* Ledger
    const all = LedgerRpc.of({
      ...(yield* makeHandlers),
      health: () =>
        Effect.map(ledger.stats, ({ trouble }) => ({
          ready: trouble === undefined,
          reasons: trouble === undefined ? [] : [`event store: ${trouble}`]
        }))
    })
    const guarded: Record<string, unknown> = {}
    // Object.entries forgets that the keys of the handlers are procedures, and what each of them takes.
    for (const [name, handler] of Object.entries(all)) {
      const procedure = name as Procedure
      guarded[name] = keepFaults(procedure, refuseMalformed(procedure, handler as Handler))
    }
    return guarded as typeof all
  })
)
