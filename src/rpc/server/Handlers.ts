/**
 * What the procedures of RPC do: the ledger's own methods, of which a caller may use those that its token allows. A call
 * arrives here after its token and scope were checked on its head; what it names is checked here.
 */
import { Effect, Result, Stream } from "effect"
import { accountEvents } from "../../AccountEvents.ts"
import { Authenticator } from "../../access/Authenticator.ts"
import { permitAccount, permitCommand, permitQuery } from "../../access/Authorization.ts"
import { RefusalLog } from "../../access/RefusalLog.ts"
import { type Caller, mayName } from "../../access/Tokens.ts"
import { Placement } from "../../actors/accounts/Placement.ts"
import { dispatchChecked } from "../../CommandMethods.ts"
import { InvalidCommand, type QueryError } from "../../domain/Errors.ts"
import { Ledger } from "../../Ledger.ts"
import { type AnyQuery, askMethod, isQuery, type QueryName, queryEntries } from "../../QueryMethods.ts"
import { isStreaming, LedgerRpc, type Procedure, type QueryHandlers } from "../LedgerRpc.ts"
import { MalformedPayload } from "./Payloads.ts"
import { RpcConfig } from "./RpcLimits.ts"

interface Call {
  readonly headers: Readonly<Record<string, string>>
}

/** The same permit as an effect, which logs who was refused and why. */
const makePermitted = Effect.gen(function* () {
  const refusals = yield* RefusalLog
  return <A, E extends { readonly _tag: string; readonly message: string }>(
    caller: Caller,
    permit: Result.Result<A, E>
  ): Effect.Effect<A, E> =>
    Result.isSuccess(permit) || permit.failure._tag !== "Forbidden"
      ? Effect.fromResult(permit)
      : Effect.andThen(refusals.log("rpc", caller.name, permit.failure.message), Effect.fromResult(permit))
})

/** Of every query: asks the ledger what the caller may ask, and conceals from the answer what it may not see. */
const makeQueryHandlers = Effect.gen(function* () {
  const ledger = yield* Ledger
  const authenticator = yield* Authenticator
  const permitted = yield* makePermitted

  const handle =
    (name: QueryName, query: AnyQuery) =>
    (payload: unknown, { headers }: Call) => {
      const caller = authenticator.callerOf(headers)
      const permit = permitted(caller, permitQuery(caller, query, payload))
      const ask = () => askMethod(ledger, name, payload)
      // The table says whether an answer is a stream.
      if (query.isStream)
        return Stream.unwrap(Effect.map(permit, ask as () => Stream.Stream<unknown, QueryError>))
      const answer = Effect.flatMap(permit, ask as () => Effect.Effect<unknown, QueryError>)
      const { conceal } = query
      return conceal === undefined
        ? answer
        : Effect.map(answer, (found) => conceal(found, (account) => mayName(caller, account)))
    }

  const handlers: Record<string, unknown> = {}
  for (const [name, query] of queryEntries) handlers[name] = handle(name, query)
  return handlers as QueryHandlers // one for each query, whose answer has the type its procedure is derived from
})

const makeCommandHandlers = Effect.gen(function* () {
  const ledger = yield* Ledger
  const authenticator = yield* Authenticator
  const { batchMax } = yield* RpcConfig
  const permitted = yield* makePermitted
  const placement = yield* Placement

  const dispatchMany = Effect.fnUntraced(function* (caller: Caller, commands: ReadonlyArray<unknown>) {
    if (commands.length > batchMax)
      return yield* InvalidCommand.at("commands", `has ${commands.length}, at most ${batchMax} are taken`)
    yield* Effect.fromResult(authenticator.chargeUnsafe(caller, commands.length - 1))
    const permit = (command: unknown) => permitted(caller, permitCommand(caller, command))
    return yield* dispatchChecked(commands, permit, ledger.dispatchMany)
  })

  return {
    dispatch: ({ command }: { readonly command: unknown }, { headers }: Call) => {
      const caller = authenticator.callerOf(headers)
      return Effect.flatMap(permitted(caller, permitCommand(caller, command)), ledger.dispatch)
    },
    dispatchMany: ({ commands }: { readonly commands: ReadonlyArray<unknown> }, { headers }: Call) =>
      dispatchMany(authenticator.callerOf(headers), commands),
    ownedShards: () => Effect.sync(placement.ownedShards)
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
    if (isQuery(procedure) && !(payload.payload instanceof Uint8Array)) return handler(payload.payload, call)
    return isStreaming(procedure) ? Stream.fail(payload.error) : Effect.fail(payload.error)
  }

/** The events of an account, straight from the log. */
const makeAccountEventsHandler = Effect.gen(function* () {
  const ledger = yield* Ledger
  const authenticator = yield* Authenticator
  const limits = yield* RpcConfig
  const permitted = yield* makePermitted
  return (
    { account, after, follow }: { account: string; after?: number | undefined; follow?: boolean | undefined },
    { headers }: Call
  ) => {
    const caller = authenticator.callerOf(headers)
    const permit = permitted(caller, permitAccount(caller, account))
    const followMs = follow === true ? limits.followMs : undefined
    return Stream.unwrap(
      Effect.map(permit, () => accountEvents(ledger, { account, after: after ?? 0, followMs }))
    )
  }
})

export const handlers = LedgerRpc.toLayer(
  Effect.gen(function* () {
    const ledger = yield* Ledger
    const all = LedgerRpc.of({
      ...(yield* makeCommandHandlers),
      ...(yield* makeQueryHandlers),
      events: yield* makeAccountEventsHandler,
      health: () =>
        Effect.map(ledger.stats, ({ trouble }) => ({
          ready: trouble === undefined,
          reasons: trouble === undefined ? [] : [`event store: ${trouble}`]
        }))
    })
    const guarded: Record<string, unknown> = {}
    // Object.entries forgets that the keys of the handlers are procedures, and what each of them takes.
    for (const [procedure, handler] of Object.entries(all))
      guarded[procedure] = refuseMalformed(procedure as Procedure, handler as Handler)
    return guarded as typeof all
  })
)
