/**
 * The ledger over RPC: the same `Ledger` as in process, so that host code does not change when the ledger moves to another process.
 * Calls are spread over the nodes, and sent again until an answer is definite.
 */
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
import { Ledger } from "../../LedgerService.ts"
import { makeQueryMethods, type QueryName, queryOf } from "../../QueryMethods.ts"
import { type NodeHealth, readAccountEventsArguments } from "../LedgerRpc.ts"
import { type ClientLimits, defaultClientLimits, type LedgerClientOptions } from "./ClientOptions.ts"
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
type CommandResult = Result.Result<Receipt, CommandError>

export class LedgerClient extends Context.Service<
  LedgerClient,
  {
    /** The nodes, and whether each is connected now. */
    readonly nodes: () => ReadonlyArray<{ readonly url: string; readonly isConnected: boolean }>
    /** Waits until a node is connected, at most `connectMs`. */
    readonly awaitConnected: Effect.Effect<void, Unavailable>
    /** The health of one of the nodes. */
    readonly health: Effect.Effect<NodeHealth, QueryError>
    /**
     * The events of an account above version `after`, oldest first; with `follow` the stream goes on as they happen. After
     * a lost connection it goes on, with another node, behind the last event that was taken.
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

/** How the parts of the client reach the nodes. */
interface Nodes {
  readonly all: ReadonlyArray<NodeConnection>
  /** Open while at least one node is connected. */
  readonly opened: Latch.Latch
  readonly limits: ClientLimits
  /** Names the ledger in errors. */
  readonly what: string
  /** What is sent with every call: the token. */
  readonly callOptions: object
  readonly callWithFailover: ReturnType<typeof makeCallWithFailover>
  readonly stream: <A, Place>(
    resumable: Omit<Parameters<typeof remoteEvents<A, Place>>[3], "onGivenUp">
  ) => Stream.Stream<A, QueryError>
  /** The error of a call that no node has begun. */
  readonly unavailable: (state: CallState) => Unavailable | Overloaded
}

const connectNodes = Effect.fnUntraced(function* (options: LedgerClientOptions) {
  const limits = { ...defaultClientLimits, ...options.limits }
  const opened = Latch.makeUnsafe(false)
  const all: Array<NodeConnection> = []
  const onChange = () => {
    if (all.some((node) => node.isConnectedUnsafe())) opened.openUnsafe()
    else opened.closeUnsafe()
  }
  for (const url of options.urls) all.push(yield* makeNodeConnection(url, options, limits, onChange))
  onChange()
  const chooseNode = makeChooseNode(all, opened)
  const openConnection = makeOpenConnection(options, limits)
  const what = `the ledger at ${options.urls.join(", ")}`
  const unavailable = ({ reason, isFull }: CallState) =>
    isFull ? new Overloaded({ what: "this client", retryAfterMs: 10 }) : new Unavailable({ what, reason })
  return {
    all,
    opened,
    limits,
    what,
    unavailable,
    callOptions:
      options.token === undefined
        ? {}
        : { headers: Headers.fromInput({ authorization: `Bearer ${Redacted.value(options.token)}` }) },
    callWithFailover: makeCallWithFailover(all, chooseNode, limits),
    stream: (resumable) =>
      remoteEvents(chooseNode, openConnection, limits, { ...resumable, onGivenUp: unavailable })
  } satisfies Nodes
})

const makeCommands = Effect.fnUntraced(function* ({
  limits,
  what,
  callOptions,
  callWithFailover,
  unavailable
}: Nodes) {
  const clock = yield* Clock.Clock
  const encode = makeEncodeCommand(yield* SecureRandom.SecureRandom, limits)

  const givenUp =
    (commandId: string) =>
    (state: CallState): CommandError =>
      state.isUncertain ? new Indeterminate({ commandId }) : unavailable(state)

  const dispatch = (input: CommandInput): Effect.Effect<Receipt, CommandError> =>
    Effect.flatMap(encode(input), ({ commandId, json }) =>
      callWithFailover({
        send: (client) => client.dispatch({ command: json }, callOptions),
        deadlineMs: limits.commandDeadlineMs,
        onGivenUp: givenUp(commandId)
      })
    )

  /** One message. Fails as a whole only where it was refused or given up as a whole. */
  const sendChunk = (chunk: ReadonlyArray<EncodedCommand>, deadlineMs: number) => {
    const commands = chunk.map(({ json }) => json)
    return Effect.result(
      callWithFailover<ReadonlyArray<CommandResult>, CommandError>({
        send: (client) => client.dispatchMany({ commands }, callOptions),
        deadlineMs,
        onGivenUp: givenUp("")
      })
    )
  }

  /** One message after the other, which keeps the order; once a message is given up, those behind it are not sent. */
  const sendChunks = Effect.fnUntraced(function* (commands: ReadonlyArray<EncodedCommand>) {
    const results: Array<CommandResult> = []
    const deadline = clock.currentTimeMillisUnsafe() + limits.commandDeadlineMs
    let stopped: CommandError | undefined
    for (const chunk of chunksOf(commands, limits)) {
      if (stopped !== undefined) {
        const error = stopped
        results.push(...chunk.map(() => Result.fail(error)))
        continue
      }
      const answer = yield* sendChunk(chunk, Math.max(1, deadline - clock.currentTimeMillisUnsafe()))
      if (Result.isSuccess(answer)) {
        for (const result of answer.success) results.push(result)
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

  return {
    dispatch,
    dispatchMany: (inputs: ReadonlyArray<CommandInput>) => dispatchChecked(inputs, encode, sendChunks)
  }
})

/** Events of a stream that are fetched before its reader takes them. */
const streamBufferSize = 64

const makeQueries = ({ limits, callOptions, callWithFailover, stream, unavailable }: Nodes) => {
  // A name that varies does not tell the types of its procedure, which are those of the table.
  const ask = (name: QueryName, payload: unknown) =>
    callWithFailover<unknown, QueryError>({
      send: (client) => (client[name] as SendQuery)(payload, callOptions),
      deadlineMs: limits.queryDeadlineMs,
      onGivenUp: unavailable
    })
  const askStream = (name: QueryName, payload: unknown) => {
    const { after, ...options } = payload as { readonly after?: string } // every stream has this option
    return stream({
      open: (client, place: string | undefined) =>
        (client[name] as OpenStream)({ ...options, after: place }, { ...callOptions, streamBufferSize }),
      after,
      // What was committed between one "now" and the next would be missing.
      isResumable: (place) => place !== "now",
      placeOf: ({ cursor }) => cursor
    })
  }
  return makeQueryMethods((name, payload) =>
    queryOf(name).isStream ? askStream(name, payload) : ask(name, payload)
  )
}

/** What only peers have, in the place of the services of a node. */
const makeClient = ({
  all,
  opened,
  limits,
  what,
  callOptions,
  callWithFailover,
  stream,
  unavailable
}: Nodes): LedgerClient["Service"] => ({
  nodes: () => all.map((node) => ({ url: node.url, isConnected: node.isConnectedUnsafe() })),
  awaitConnected: opened.await.pipe(
    Effect.timeoutOrElse({
      duration: limits.connectMs,
      orElse: () => Effect.fail(new Unavailable({ what, reason: all[0]?.troubleUnsafe() ?? "it has no URL" }))
    })
  ),
  health: callWithFailover<NodeHealth, QueryError>({
    send: (client: NodeClient) => client.health(undefined, callOptions),
    deadlineMs: limits.queryDeadlineMs,
    onGivenUp: unavailable
  }),
  events: (account, options) =>
    Stream.unwrap(
      Effect.map(Effect.fromResult(readAccountEventsArguments([account, options])), (asked) =>
        stream({
          open: (client, after: number) =>
            client.events({ ...asked, after }, { ...callOptions, streamBufferSize }),
          after: asked.after ?? 0,
          isResumable: () => true,
          placeOf: ({ version }: HistoryEntry) => version
        })
      )
    )
})

const make = Effect.fnUntraced(function* (options: LedgerClientOptions) {
  const nodes = yield* connectNodes(options)
  const ledger = Ledger.of({ ...(yield* makeCommands(nodes)), ...makeQueries(nodes) })
  return Context.make(Ledger, ledger).pipe(Context.add(LedgerClient, makeClient(nodes)))
})
