/** Every limit of the RPC doors in one place (I10), each with its default, overridable by the environment. */
import { Config, Context, Effect, Layer } from "effect"

export interface RpcLimits {
  /** Connections of one node. */
  readonly connectionsMax: number
  /** Connections of one peer, told by its address. */
  readonly connectionsPerPeerMax: number
  /** Calls of one connection that are not answered yet. */
  readonly inFlightPerConnectionMax: number
  /** Largest message, in bytes (of NDJSON: characters). */
  readonly messageBytesMax: number
  /** Bytes of unfinished messages that all connections of the node may hold together. */
  readonly bufferBytesMax: number
  /** Commands of one `dispatchMany`. */
  readonly batchMax: number
  /** Calls, and further commands of their batches, that one token may make a second. */
  readonly ratePerSecond: number
  /** Refused calls of one connection before it is closed. */
  readonly refusalsMax: number
  /** A connection with nothing under way that says nothing for so long is closed, in milliseconds. */
  readonly idleMs: number
  /** A connection whose peer takes none of its answer for so long is closed, in milliseconds. */
  readonly stuckMs: number
  /** How long a closing node waits for the answers under way, in milliseconds. */
  readonly drainMs: number
  /** Lines about refusals and broken connections that are logged in ten seconds; the rest is counted. */
  readonly refusalLinesMax: number
  /** Streams of events one connection may hold open. */
  readonly streamsPerConnectionMax: number
  /** How often a stream that has caught up looks for new events of its account, in milliseconds. */
  readonly followMs: number
}

export const defaultRpcLimits: RpcLimits = {
  connectionsMax: 1_024,
  connectionsPerPeerMax: 256,
  inFlightPerConnectionMax: 1_024,
  messageBytesMax: 4_194_304,
  bufferBytesMax: 134_217_728,
  batchMax: 1_000,
  ratePerSecond: 200_000,
  refusalsMax: 100,
  idleMs: 60_000,
  stuckMs: 10_000,
  drainMs: 12_000,
  refusalLinesMax: 20,
  streamsPerConnectionMax: 16,
  followMs: 200
}

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const RpcConfig = Context.Reference<RpcLimits>("chronicle/rpc/RpcConfig", {
  defaultValue: () => defaultRpcLimits
})

/** `connectionsMax` is set by `CHRONICLE_RPC_CONNECTIONS_MAX`. */
export const rpcVariableOf = (limit: keyof RpcLimits): string =>
  `CHRONICLE_RPC_${limit.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`

/** Every limit of `RpcLimits` has a variable of its own; a whole number. */
export const rpcLimitsFromEnvironment: Layer.Layer<never, Config.ConfigError> = Layer.unwrap(
  Effect.gen(function* () {
    const limits: Record<string, number> = { ...defaultRpcLimits }
    for (const [limit, value] of Object.entries(defaultRpcLimits)) {
      // Object.entries forgets that the keys of RpcLimits are its keys.
      const variable = rpcVariableOf(limit as keyof RpcLimits)
      limits[limit] = yield* Config.Int(variable).pipe(Config.withDefault(value))
    }
    return Layer.succeed(RpcConfig, { ...defaultRpcLimits, ...limits })
  })
)
