/** The limits of the RPC server (I10), counted for each listener, each overridable by the environment. */
import { Context, Effect, Layer } from "effect"
import { limit, limitGroup, limitsOf } from "../../infra/config/Limits.ts"

export const rpcLimits = limitGroup("CHRONICLE_RPC", {
  connectionsMax: limit(1_024, "Connections of one node, those not yet authenticated included."),
  connectionsPerPeerMax: limit(256, "Connections of one peer, told by its address."),
  inFlightPerConnectionMax: limit(1_024, "Calls of one connection that are not answered yet."),
  messageBytesMax: limit(4_194_304, "Bytes of one message (of NDJSON: characters)."),
  bufferBytesMax: limit(
    134_217_728,
    "Bytes of unfinished messages that all connections of one listener may hold together, and half of it those of which no call was admitted. Where it is reached, of the peer that holds most the connection is closed that holds most."
  ),
  answersBytesMax: limit(
    268_435_456,
    "Bytes of answers that wait for all peers of one listener together, beyond 1 MiB for each (of NDJSON: characters). Where it is reached, the connection is closed for which most waits."
  ),
  batchMax: limit(1_000, "Commands of one `dispatchMany`."),
  ratePerSecond: limit(
    200_000,
    "Calls, and further commands of their batches, that one token may make a second."
  ),
  refusalsMax: limit(100, "Refused calls of one connection before it is closed."),
  idleMs: limit(60_000, "A connection without a call under way that sends nothing for this long is closed."),
  messageMs: limit(
    300_000,
    "A connection without a call under way may take so long to send one message, however steadily it comes."
  ),
  stuckMs: limit(10_000, "A connection whose peer takes none of its answers for this long is closed."),
  drainMs: limit(12_000, "How long a closing node waits for the answers under way."),
  refusalLinesMax: limit(
    20,
    "Lines about refusals and broken connections that are logged in ten seconds; the rest is counted."
  ),
  streamsPerConnectionMax: limit(16, "Streams of events one connection may hold open."),
  followMs: limit(200, "A stream that has caught up reads the log of its account at most once in this time.")
})

export type RpcLimits = typeof rpcLimits.schema.Type
export const defaultRpcLimits: RpcLimits = rpcLimits.defaults

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const RpcConfig = Context.Reference<RpcLimits>("chronicle/rpc/RpcConfig", {
  defaultValue: () => defaultRpcLimits
})

/** Every limit of the RPC server has a variable of its own; a whole number of 1 or more. */
export const rpcLimitsFromEnvironment = Layer.unwrap(
  Effect.map(limitsOf(rpcLimits), (limits) => Layer.succeed(RpcConfig, limits))
)
