/** The limits of the HTTP server (I10), each overridable by the environment. Rates and the log of refusals are bounded with those of RPC. */
import { Context, Effect, Layer } from "effect"
import { limit, limitGroup, limitsOf } from "../../infra/config/Limits.ts"

export const httpLimits = limitGroup("CHRONICLE_HTTP", {
  connectionsMax: limit(4_096, "Connections of one node, those not yet authenticated included."),
  connectionsPerPeerMax: limit(2_048, "Connections of one peer, told by its address."),
  inFlightPerConnectionMax: limit(
    1_024,
    "Requests of one connection that are not answered yet: a client may send some before it has the answers to others."
  ),
  headerBytesMax: limit(16_384, "Bytes of the headers of one request; more are answered with 431."),
  bodyBytesMax: limit(131_072, "Bytes of the body of one command."),
  batchBytesMax: limit(4_194_304, "Bytes of the body of one `/v1/batch`."),
  bufferBytesMax: limit(134_217_728, "Bytes of bodies that all requests of the node may hold together."),
  bufferBytesPerCallerMax: limit(
    33_554_432,
    "Bytes of bodies that the requests of one caller may hold together; without tokens those of one connection. Batches have three quarters of this and of the bound of all at most; each of the two is four thirds of the longest batch at least."
  ),
  answersBytesMax: limit(
    268_435_456,
    "Bytes of answers that wait for all peers of the node together, beyond 256 KiB for each. Where it is reached, as is looked at once a second, the connections are closed for which most waits."
  ),
  batchMax: limit(1_000, "Commands of a batch that are dispatched together; a batch may have more."),
  headersMs: limit(
    10_000,
    "How long a client may take to send the headers of a request, and for the handshake of TLS before."
  ),
  requestMs: limit(30_000, "How long a client may take to send a request, its body included."),
  idleMs: limit(60_000, "A connection without a request is closed after this long."),
  stuckMs: limit(10_000, "A connection whose peer takes none of its answers for this long is closed."),
  lingerMs: limit(
    2_000,
    "How long what a client still sends is passed over, once its request is refused and its connection closes: so that it reads the answer."
  ),
  drainMs: limit(12_000, "How long a closing node waits for the answers under way."),
  refusalsMax: limit(100, "Refused requests of one connection before it is closed."),
  streamsMax: limit(4_096, "Streams of events that are open on one node."),
  streamsPerCallerMax: limit(1_024, "Streams of events that one caller may hold open on one node."),
  heartbeatMs: limit(15_000, "A stream of events sends a comment when nothing happened for this long."),
  followMs: limit(200, "A stream that has caught up reads the log of its account at most once in this time.")
})

type HttpLimits = typeof httpLimits.schema.Type

/** The limits in force; a reference, so that tests and hosts override only what they mean. */
export const HttpConfig = Context.Reference<HttpLimits>("chronicle/http/HttpConfig", {
  defaultValue: () => httpLimits.defaults
})

/** Every limit of the HTTP server has a variable of its own; a whole number of 1 or more. */
export const httpLimitsFromEnvironment = Layer.unwrap(
  Effect.map(limitsOf(httpLimits), (limits) => Layer.succeed(HttpConfig, limits))
)
