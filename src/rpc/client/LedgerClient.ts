/** The URLs of nodes enter; the same `Ledger` as in process leaves, over RPC. */
import { Clock, type Config, Context, Effect, Latch, Layer, Redacted, Result, Stream } from "effect"
import { SecureRandom } from "effect/crypto"
import { Headers } from "effect/http"
import type { RpcClientError } from "effect/rpc"
import { dispatchChecked } from "../../CommandMethods.ts"
import type { CommandInput } from "../../domain/Command.ts"
import {
  type CommandError,
  Indeterminate,
  Overloaded,
  type QueryError,
  Unavailable
} from "../../domain/Errors.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import type { HistoryEntry } from "../../domain/Views.ts"
import { Ledger } from "../../Ledger.ts"
import { makeQueryMethods, type QueryName, queryOf } from "../../QueryMethods.ts"
import { type NodeHealth, readAccountEventsArguments } from "../LedgerRpc.ts"
import { defaultClientLimits, type LedgerClientOptions } from "./ClientOptions.ts"
import { chunksOf, type EncodedCommand, makeEncodeCommand } from "./CommandMessages.ts"
import { type CallState, makeCallWithFailover, makeChooseNode } from "./Failover.ts"
import {
  type LedgerUrlInvalid,
  makeNodeConnection,
  type NodeClient,
  type NodeConnection
} from "./NodeConnection.ts"
import { makeOpenConnection, remoteEvents } from "./RemoteEvents.ts"

type Sent<A, E> = Effect.Effect<A, E | RpcClientError.RpcClientError>

type SendQuery = (payload: unknown, options: object) => Sent<unknown, QueryError>
type OpenStream = (
  payload: unknown,
  options: object
) => Stream.Stream<{ readonly cursor: string }, QueryError | RpcClientError.RpcClientError>

export class LedgerClient extends Context.Service<
  LedgerClient,
  {
    /** The nodes, and whether each is connected now. */
    readonly nodes: () => ReadonlyArray<{ readonly url: string; readonly isConnected: boolean }>
    /** Waits until one is, at most `connectMs`. */
    readonly awaitConnected: Effect.Effect<void, Unavailable>
    /** Of one of the nodes. */
    readonly health: Effect.Effect<NodeHealth, QueryError>
    /**
     * The events of an account above version `after`, oldest first; with `follow` it goes on as they happen. After a
     * lost connection it goes on, with another node, behind the last event that was taken.
     */
    readonly events: (
      account: string,
      asked?: { readonly after?: number; readonly follow?: boolean }
    ) => Stream.Stream<HistoryEntry, QueryError>
  }
>()("chronicle/rpc/LedgerClient") {
  /** In place of `LedgerNode.layer`: host code does not change. Connects in the background. */
  static readonly layer = (
    options: LedgerClientOptions
  ): Layer.Layer<Ledger | LedgerClient, LedgerUrlInvalid> =>
    Layer.effectContext(make(options)).pipe(Layer.provide(SecureRandom.layerWebCrypto))

  /** Options from the environment: `clientConfig`. */
  static readonly layerConfig = (
    config: Config.Config<LedgerClientOptions>
  ): Layer.Layer<Ledger | LedgerClient, LedgerUrlInvalid | Config.ConfigError> =>
    Layer.unwrap(Effect.map(config, (options) => LedgerClient.layer(options)))
}

const unavailable =
  (what: string) =>
  ({ reason, isFull }: CallState): Unavailable | Overloaded =>
    isFull ? new Overloaded({ what: "this client", retryAfterMs: 10 }) : new Unavailable({ what, reason })

const make = Effect.fnUntraced(function* (options: LedgerClientOptions) {
  const limits = { ...defaultClientLimits, ...options.limits }
  const random = yield* SecureRandom.SecureRandom
  const clock = yield* Clock.Clock
  const opened = Latch.makeUnsafe(false)
  const nodes: Array<NodeConnection> = []
  const onChange = () => {
    if (nodes.some((node) => node.isConnectedUnsafe())) opened.openUnsafe()
    else opened.closeUnsafe()
  }
  for (const url of options.urls) nodes.push(yield* makeNodeConnection(url, options, limits, onChange))
  onChange()
  const chooseNode = makeChooseNode(nodes, opened)
  const callNodes = makeCallWithFailover(nodes, chooseNode, limits)
  const openConnection = makeOpenConnection(options, limits)
  const what = `the ledger at ${options.urls.join(", ")}`
  const call =
    options.token === undefined
      ? {}
      : { headers: Headers.fromInput({ authorization: `Bearer ${Redacted.value(options.token)}` }) }

  const query = <A>(send: (client: NodeClient) => Sent<A, QueryError>): Effect.Effect<A, QueryError> =>
    callNodes({ send, deadlineMs: limits.queryDeadlineMs, onGivenUp: unavailable(what) })

  const givenUp =
    (commandId: string) =>
    (state: CallState): CommandError =>
      state.isUncertain ? new Indeterminate({ commandId }) : unavailable(what)(state)

  const identify = makeEncodeCommand(random, limits)

  const dispatch = (input: CommandInput): Effect.Effect<Receipt, CommandError> =>
    Effect.flatMap(identify(input), ({ commandId, json }) =>
      callNodes({
        send: (client) => client.dispatch({ command: json }, call),
        deadlineMs: limits.commandDeadlineMs,
        onGivenUp: givenUp(commandId)
      })
    )

  /** One message. It fails as a whole only where it was refused or given up as a whole. */
  const dispatchChunk = (chunk: ReadonlyArray<EncodedCommand>, deadlineMs: number) => {
    const commands = chunk.map(({ json }) => json)
    return Effect.result(
      callNodes<ReadonlyArray<Result.Result<Receipt, CommandError>>, CommandError>({
        send: (client) => client.dispatchMany({ commands }, call),
        deadlineMs,
        onGivenUp: givenUp("")
      })
    )
  }

  /** Chunk after chunk, for the order's sake; once one is given up, those behind it are not sent. */
  const dispatchChunks = Effect.fnUntraced(function* (commands: ReadonlyArray<EncodedCommand>) {
    const results: Array<Result.Result<Receipt, CommandError>> = []
    const deadline = clock.currentTimeMillisUnsafe() + limits.commandDeadlineMs
    let stopped: CommandError | undefined
    for (const chunk of chunksOf(commands, limits)) {
      if (stopped !== undefined) {
        const error = stopped
        results.push(...chunk.map(() => Result.fail(error)))
        continue
      }
      const left = Math.max(1, deadline - clock.currentTimeMillisUnsafe())
      const answer = yield* dispatchChunk(chunk, left)
      if (Result.isSuccess(answer)) {
        for (const one of answer.success) results.push(one)
        continue
      }
      const error = answer.failure
      const isUncertain = error._tag === "Indeterminate"
      for (const { commandId } of chunk)
        results.push(Result.fail(isUncertain ? new Indeterminate({ commandId }) : error))
      stopped = isUncertain
        ? new Unavailable({ what, reason: "a command before it in the batch has no known outcome" })
        : error
    }
    return results
  })

  const dispatchMany = (inputs: ReadonlyArray<CommandInput>) =>
    dispatchChecked(inputs, identify, dispatchChunks)

  // The types of a query's procedure are those of the table, which a name that varies does not tell.
  const askOnce = (name: QueryName, payload: unknown) =>
    query((client) => (client[name] as SendQuery)(payload, call))

  const askStream = (name: QueryName, payload: unknown) => {
    const { after, ...options } = payload as { readonly after?: string } // every stream has this option
    return remoteEvents<{ readonly cursor: string }, string | undefined>(chooseNode, openConnection, limits, {
      open: (client, place) =>
        (client[name] as OpenStream)({ ...options, after: place }, { ...call, streamBufferSize: 64 }),
      after,
      // Another now: what was committed between the two would be missing.
      isPlace: (place) => place !== "now",
      placeOf: ({ cursor }) => cursor,
      onGivenUp: unavailable(what)
    })
  }

  const ledger = Ledger.of({
    dispatch,
    dispatchMany,
    ...makeQueryMethods((name, payload) =>
      queryOf(name).isStream ? askStream(name, payload) : askOnce(name, payload)
    )
  })

  return Context.make(Ledger, ledger).pipe(
    Context.add(LedgerClient, {
      nodes: () => nodes.map((node) => ({ url: node.url, isConnected: node.isConnectedUnsafe() })),
      awaitConnected: opened.await.pipe(
        Effect.timeoutOrElse({
          duration: limits.connectMs,
          orElse: () =>
            Effect.fail(new Unavailable({ what, reason: nodes[0]?.troubleUnsafe() ?? "it has no URL" }))
        })
      ),
      health: query((client) => client.health(undefined, call)),
      events: (account, options) =>
        Stream.unwrap(
          Effect.map(Effect.fromResult(readAccountEventsArguments([account, options])), (asked) =>
            remoteEvents(chooseNode, openConnection, limits, {
              open: (client, after) => client.events({ ...asked, after }, { ...call, streamBufferSize: 64 }),
              after: asked.after ?? 0,
              isPlace: () => true,
              placeOf: ({ version }) => version,
              onGivenUp: unavailable(what)
            })
          )
        )
    })
  )
})
