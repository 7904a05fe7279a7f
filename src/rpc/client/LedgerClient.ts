/**
 * The ledger over RPC: the same `Ledger` as in process, so that host code does not change when the ledger moves to another process.
 * A command goes to the node of its first account, other calls are spread over the nodes; all are sent again until an
 * answer is definite.
 */
import { Clock, type Config, Context, Effect, Latch, Layer, Redacted, Result, Stream } from "effect"
import { SecureRandom } from "effect/crypto"
import { Headers } from "effect/http"
import type { RpcClientError } from "effect/rpc"
import { dispatchChecked, type GroupMemberInput, type GroupOptions, toGroup } from "../../CommandMethods.ts"
import { wavesOf } from "../../domain/BatchOrder.ts"
import { type Command, type CommandInput, firstAccountOf } from "../../domain/Command.ts"
import {
  type CommandError,
  Indeterminate,
  Overloaded,
  type QueryError,
  Unavailable
} from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { reversalIdOf } from "../../domain/Original.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import type { HistoryEntry } from "../../domain/Views.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { Ledger } from "../../LedgerService.ts"
import { makeQueryMethods, type QueryName, queryOf } from "../../QueryMethods.ts"
import { type NodeHealth, readAccountEventsArguments } from "../LedgerRpc.ts"
import {
  type ClientLimits,
  defaultClientLimits,
  isTokenText,
  type LedgerClientOptions,
  limitsFault,
  tokenForm
} from "./ClientOptions.ts"
import { chunksOf, type EncodedCommand, makeEncodeCommand } from "./CommandMessages.ts"
import { type CallState, makeCallWithFailover, refusesForEver } from "./Failover.ts"
import { makeNodeConnection, type NodeClient, type NodeConnection } from "./NodeConnection.ts"
import { makeNodePlaces } from "./NodePlaces.ts"
import type { LedgerUrlInvalid } from "./NodeSockets.ts"
import { followOwners, type OwnerOf } from "./OwnerRouting.ts"
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
  /**
   * In place of `LedgerNode.layer`: host code does not change. Connects in the background. Dies of a `TypeError` for a token
   * that is no word, and for a limit that is no whole number of 1 or more.
   */
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
  /** The options of every call, which carry the token. */
  readonly callOptions: object
  readonly callWithFailover: ReturnType<typeof makeCallWithFailover>
  readonly ownerOf: OwnerOf
  readonly stream: <A, Place>(
    resumable: Omit<Parameters<typeof remoteEvents<A, Place>>[3], "onGivenUp">
  ) => Stream.Stream<A, QueryError>
  /** The error of a call that no node has begun. */
  readonly unavailable: (state: CallState) => Unavailable | Overloaded
}

const connectNodes = Effect.fnUntraced(function* (options: LedgerClientOptions) {
  // A mistake of the host's code, as text behind the token of a file is: no error that a caller handles.
  if (options.token !== undefined && !isTokenText(Redacted.value(options.token)))
    return yield* Effect.die(new TypeError(`the token ${tokenForm}`))
  const limits = { ...defaultClientLimits, ...options.limits }
  const fault = limitsFault(limits)
  if (fault !== undefined) return yield* Effect.die(new TypeError(fault))
  const opened = Latch.makeUnsafe(false)
  const all: Array<NodeConnection> = []
  const places = makeNodePlaces(all, opened, limits.inFlightMax)
  const onChange = () => {
    if (all.some((node) => node.isConnectedUnsafe())) opened.openUnsafe()
    else opened.closeUnsafe()
    places.changedUnsafe()
  }
  for (const url of options.urls) all.push(yield* makeNodeConnection(url, options, limits, onChange))
  onChange()
  const openConnection = makeOpenConnection(options, limits)
  const what = `the ledger at ${options.urls.join(", ")}`
  const unavailable = ({ reason, isFull }: CallState) =>
    isFull ? new Overloaded({ what: "this client", retryAfterMs: 10 }) : new Unavailable({ what, reason })
  const callOptions =
    options.token === undefined
      ? {}
      : { headers: Headers.fromInput({ authorization: `Bearer ${Redacted.value(options.token)}` }) }
  return {
    all,
    opened,
    limits,
    what,
    unavailable,
    callOptions,
    ownerOf: yield* followOwners(all, callOptions),
    callWithFailover: makeCallWithFailover(all, places, limits),
    stream: (resumable) =>
      remoteEvents(places.anyNode, openConnection, limits, { ...resumable, onGivenUp: unavailable })
  } satisfies Nodes
})

/** The id under which a command lands, and its outcome is found: that of a reversal is the ledger's own. */
const landingIdOf = (command: Command): string =>
  command._tag === "Reverse" ? reversalIdOf(command.original, command.n ?? 1) : command.commandId

/** The error of a command that was given up. */
const givenUp =
  (commandId: string, unavailable: Nodes["unavailable"]) =>
  (state: CallState): CommandError =>
    state.isUncertain ? new Indeterminate({ commandId }) : unavailable(state)

const isIndeterminate = (result: CommandResult): boolean =>
  Result.isFailure(result) && result.failure._tag === "Indeterminate"

const makeSendChunks = (
  { limits, what, callOptions, callWithFailover, ownerOf, unavailable }: Nodes,
  /** Milliseconds that elapsed, which a clock that is set does not change. */
  nowMs: () => number
) => {
  /** One message. Fails as a whole only where it was refused or given up as a whole. */
  const sendChunk = (chunk: ReadonlyArray<EncodedCommand>, deadlineMs: number) => {
    const commands = chunk.map(({ json }) => json)
    const [first] = chunk
    /** An earlier message may still do what this one says was not done, or refuses. */
    const doubted = (result: CommandResult, index: number): CommandResult => {
      if (Result.isSuccess(result) || refusesForEver(result.failure)) return result
      return Result.fail(new Indeterminate({ commandId: landingIdOf(pick(chunk, index).command) }))
    }
    return Effect.result(
      callWithFailover<ReadonlyArray<CommandResult>, CommandError>({
        send: (client, isLost) =>
          Effect.map(client.dispatchMany({ commands }, callOptions), (results) =>
            isLost ? results.map(doubted) : results
          ),
        deadlineMs,
        staysTrue: refusesForEver,
        onGivenUp: givenUp("", unavailable),
        preferred: () => first && ownerOfCommand(ownerOf, first.command)
      })
    )
  }

  const behindUnknown = new Unavailable({
    what,
    reason: "a command before it in the batch has no known outcome"
  })

  /** One message after the other, which keeps the order; once one is given up, or a command of it has no known outcome, no further one is sent. */
  const sendChunks = Effect.fnUntraced(function* (commands: ReadonlyArray<EncodedCommand>, deadline: number) {
    const results: Array<CommandResult> = []
    let stopped: CommandError | undefined
    for (const chunk of chunksOf(commands, limits)) {
      if (stopped !== undefined) {
        const error = stopped
        results.push(...chunk.map(() => Result.fail(error)))
        continue
      }
      const answer = yield* sendChunk(chunk, Math.max(1, deadline - nowMs()))
      if (Result.isSuccess(answer)) {
        for (const result of answer.success) results.push(result)
        if (answer.success.some(isIndeterminate)) stopped = behindUnknown
        continue
      }
      const error = answer.failure
      const isUncertain = error._tag === "Indeterminate"
      for (const { command } of chunk)
        results.push(
          Result.fail(isUncertain ? new Indeterminate({ commandId: landingIdOf(command) }) : error)
        )
      stopped = isUncertain ? behindUnknown : error
    }
    return { results, stopped }
  })
  return sendChunks
}

const makeCommands = Effect.fnUntraced(function* (nodes: Nodes) {
  const { limits, callOptions, callWithFailover, ownerOf, unavailable } = nodes
  const clock = yield* Clock.Clock
  const nowMs = () => elapsedMsUnsafe(clock)
  const sendChunks = makeSendChunks(nodes, nowMs)
  const encode = makeEncodeCommand(yield* SecureRandom.SecureRandom, limits)

  const dispatch = (input: CommandInput): Effect.Effect<Receipt, CommandError> =>
    Effect.flatMap(encode(input), ({ command, json }) =>
      callWithFailover({
        send: (client) => client.dispatch({ command: json }, callOptions),
        deadlineMs: limits.commandDeadlineMs,
        staysTrue: refusesForEver,
        onGivenUp: givenUp(landingIdOf(command), unavailable),
        preferred: () => ownerOfCommand(ownerOf, command)
      })
    )

  const sendByOwner = (commands: ReadonlyArray<EncodedCommand>) => {
    const deadline = nowMs() + limits.commandDeadlineMs
    // The accounts of a reversal are looked up by the node, once everything before it is done.
    const hasReversal = commands.some(({ command }) => command._tag === "Reverse")
    return sendWaves(
      commands,
      hasReversal ? () => undefined : (command) => ownerOfCommand(ownerOf, command),
      (part) => sendChunks(part, deadline)
    )
  }

  return {
    dispatch,
    dispatchMany: (inputs: ReadonlyArray<CommandInput>) => dispatchChecked(inputs, encode, sendByOwner),
    dispatchAll: (commands: ReadonlyArray<GroupMemberInput>, options?: GroupOptions) =>
      dispatch(toGroup(commands, options))
  }
})

/** The node that owns the command's first account; undefined for a reversal, whose accounts stand in the log. */
const ownerOfCommand = (ownerOf: OwnerOf, command: Command): NodeConnection | undefined =>
  command._tag === "Reverse" ? undefined : ownerOf(firstAccountOf(command))

/** The results of some commands, in order, and why what comes behind them must not be sent. */
interface PartAnswer {
  readonly results: ReadonlyArray<CommandResult>
  readonly stopped: CommandError | undefined
}

/**
 * Sends the commands of a batch by their owners: those of one owner in order, several owners at once, and none before
 * what it has an account in common with. Once something was given up, what would come behind it is not sent.
 */
const sendWaves = Effect.fnUntraced(function* <Owner>(
  commands: ReadonlyArray<EncodedCommand>,
  ownerOf: (command: Command) => Owner,
  sendPart: (part: ReadonlyArray<EncodedCommand>) => Effect.Effect<PartAnswer>
) {
  const owners = commands.map(({ command }) => ownerOf(command))
  const waves = wavesOf(
    commands.map(({ command }) => command),
    (_, index) => owners[index]
  )
  const results = new Array<CommandResult>(commands.length)
  let stopped: CommandError | undefined
  for (const wave of waves) {
    if (stopped !== undefined) {
      const error = stopped
      for (const index of wave) results[index] = Result.fail(error)
      continue
    }
    const parts = Map.groupBy(wave, (index) => owners[index])
    const sent = yield* Effect.forEach(
      parts.values(),
      (part) =>
        Effect.map(sendPart(part.map((index) => pick(commands, index))), (answer) => ({ part, ...answer })),
      { concurrency: "unbounded" }
    )
    for (const { part, results: found, stopped: reason } of sent) {
      for (const [nth, index] of part.entries()) results[index] = pick(found, nth)
      stopped ??= reason
    }
  }
  return results
})

const pick = <A>(values: ReadonlyArray<A>, index: number): A => {
  const value = values[index]
  if (value === undefined) throw new Error("a batch has no such command")
  return value
}

/** Events of a stream that are fetched before its reader takes them. */
const streamBufferSize = 64

const makeQueries = ({ limits, callOptions, callWithFailover, ownerOf, stream, unavailable }: Nodes) => {
  // A name that varies does not tell the types of its procedure, which are those of the table.
  const ask = (name: QueryName, payload: unknown) =>
    callWithFailover<unknown, QueryError>({
      send: (client) => (client[name] as SendQuery)(payload, callOptions),
      deadlineMs: limits.queryDeadlineMs,
      onGivenUp: unavailable,
      // Only the owner has it in memory; every other question is answered by any node alike.
      preferred:
        name === "strongBalance"
          ? () => ownerOf((payload as { readonly account: AccountId }).account)
          : undefined
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
