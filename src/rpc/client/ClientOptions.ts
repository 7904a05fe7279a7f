/** How a peer reaches the ledger: addresses, its token and every limit of the client, from host code or the environment. */
import { Config, type Redacted, Schema } from "effect"

export interface LedgerClientOptions {
  /** Nodes of one ledger: `tcp://host:port`, `tls://host:port`, `ws://host:port/rpc`, `wss://…`. Calls are spread over them. */
  readonly urls: ReadonlyArray<string>
  /** The bearer token that is sent with every call: one word. */
  readonly token?: Redacted.Redacted | undefined
  /** What the nodes speak over TCP and TLS; default binary. A WebSocket always speaks NDJSON. */
  readonly format?: "binary" | "ndjson" | undefined
  /** Certificates (PEM) to trust over TLS, besides none of the system's; default the system's. */
  readonly ca?: string | undefined
  /** What differs from `defaultClientLimits`: whole numbers of 1 or more. */
  readonly limits?: Partial<ClientLimits> | undefined
}

export interface ClientLimits {
  /** How long a command is tried before it fails, in milliseconds. */
  readonly commandDeadlineMs: number
  /** How long a query is tried before it fails, in milliseconds. */
  readonly queryDeadlineMs: number
  /** How long opening a connection may take, in milliseconds. */
  readonly connectMs: number
  /** How often a node is pinged, in milliseconds; one that sends nothing for twice as long is given up. */
  readonly pingMs: number
  /** The longest pause before a connection or a call is tried again, in milliseconds; it starts at 20 and doubles. */
  readonly backoffMaxMs: number
  /** Calls to one node that are not answered; further ones wait. At most the nodes' `inFlightPerConnectionMax`. */
  readonly inFlightMax: number
  /** Calls that wait for others to be answered; further ones are `Overloaded`. */
  readonly waitingMax: number
  /** Commands that one message carries; at most the nodes' `batchMax`. */
  readonly batchMax: number
  /** Characters of JSON that one command may have. */
  readonly commandCharactersMax: number
  /** Characters of JSON that one message may have, about; well below the nodes' `messageBytesMax`. */
  readonly batchCharactersMax: number
  /** How often a stream of events is opened again, without an event in between, before it fails; 0: never. */
  readonly streamFailuresMax: number
  /** Largest answer, in bytes. */
  readonly answerBytesMax: number
}

export const defaultClientLimits: ClientLimits = {
  commandDeadlineMs: 10_000,
  queryDeadlineMs: 10_000,
  connectMs: 3_000,
  pingMs: 2_000,
  backoffMaxMs: 1_000,
  inFlightMax: 512,
  waitingMax: 20_000,
  batchMax: 1_000,
  commandCharactersMax: 262_144,
  batchCharactersMax: 1_048_576,
  streamFailuresMax: 10,
  answerBytesMax: 67_108_864
}

/** The one limit that may be zero: then a stream is never opened again. Any other would stop what it bounds for ever. */
const leastOf = (limit: string): number => (limit === "streamFailuresMax" ? 0 : 1)

/** What is wrong with limits that a host gave; undefined where nothing is. */
export const limitsFault = (limits: ClientLimits): string | undefined => {
  const given: Readonly<Record<string, unknown>> = { ...limits }
  const wrong = Object.keys(defaultClientLimits).find((name) => {
    const value = given[name]
    return typeof value !== "number" || !Number.isSafeInteger(value) || value < leastOf(name)
  })
  return wrong === undefined
    ? undefined
    : `limits.${wrong} must be a whole number of ${leastOf(wrong)} or more`
}

/** What a node takes for a token: any characters but blanks, for RPC carries all of them; blanks in front it passes over. */
export const tokenForm = "must be one word, without blanks or line breaks"
const TokenText = Schema.String.check(Schema.isPattern(/^ *\S*$/, { message: tokenForm }))

export const isTokenText = Schema.is(TokenText)

/** `CHRONICLE_RPC_URL` (several separated by commas), `CHRONICLE_RPC_TOKEN`, `CHRONICLE_RPC_FORMAT`. */
export const clientConfig: Config.Config<LedgerClientOptions> = Config.all({
  urls: Config.String("CHRONICLE_RPC_URL").pipe(
    Config.withDefault("tcp://127.0.0.1:7070"),
    Config.map((urls) => urls.split(",").map((url) => url.trim()))
  ),
  token: Config.schema(Schema.RedactedFromValue(TokenText), "CHRONICLE_RPC_TOKEN").pipe(
    Config.withDefault(undefined)
  ),
  format: Config.Literals(["binary", "ndjson"], "CHRONICLE_RPC_FORMAT").pipe(
    Config.withDefault("binary" as const)
  )
})
