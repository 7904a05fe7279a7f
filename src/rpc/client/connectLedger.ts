/** The ledger over RPC for hosts without Effect: the same promises as of `openLedger`. */
import { Effect, Layer, Redacted } from "effect"
import { type AsyncLedger, openLayer } from "../../AsyncLedger.ts"
import { defaultClientLimits, type LedgerClientOptions } from "./ClientOptions.ts"
import { LedgerClient } from "./LedgerClient.ts"
import { LedgerUrlInvalid } from "./NodeSockets.ts"

export interface ConnectLedgerConfig extends Omit<LedgerClientOptions, "urls" | "token"> {
  /** One node or several: `tcp://host:port`, `tls://host:port`, `ws://host:port/rpc`, `wss://…`. */
  readonly url: string | ReadonlyArray<string>
  readonly token?: string | undefined
}

const known: ReadonlySet<string> = new Set(["url", "token", "format", "ca", "limits"])
const knownLimits: ReadonlySet<string> = new Set(Object.keys(defaultClientLimits))

/** What a caller in plain JavaScript may have got wrong: a misspelt `token` would leave it without one, a misspelt limit with ours. */
const faultOf = (config: ConnectLedgerConfig | undefined): Error | undefined => {
  const { url, ...options }: Partial<ConnectLedgerConfig> = config ?? {}
  const urls: ReadonlyArray<unknown> = Array.isArray(url) ? url : [url]
  if (urls.length === 0 || !urls.every((one) => typeof one === "string"))
    return new LedgerUrlInvalid({ url: urls.map(String).join(", ") })
  const unknown =
    Object.keys(options).find((name) => !known.has(name)) ??
    Object.keys(options.limits ?? {})
      .filter((name) => !knownLimits.has(name))
      .map((name) => `limits.${name}`)[0]
  return unknown === undefined ? undefined : new TypeError(`connectLedger has no option ${unknown}`)
}

/**
 * Rejects with `Unavailable` where no node answers within `limits.connectMs`, with `LedgerUrlInvalid` for what is no URL of
 * a node, and with a `TypeError` for an option that it does not know, for a token that is no word, and for a
 * limit that is no whole number of 1 or more.
 */
export const connectLedger = (config: ConnectLedgerConfig): Promise<AsyncLedger> => {
  const fault = faultOf(config)
  if (fault !== undefined) return Promise.reject(fault)
  const { url, token, ...options } = config
  const client = LedgerClient.layer({
    ...options,
    urls: typeof url === "string" ? [url] : url,
    token: token === undefined ? undefined : Redacted.make(token)
  })
  const connected = Layer.effectDiscard(Effect.flatMap(LedgerClient, (one) => one.awaitConnected))
  return openLayer(Layer.provideMerge(connected, client))
}
