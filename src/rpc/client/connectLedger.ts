/** The ledger over RPC for hosts without Effect: the same promises as of `openLedger`. */
import { Effect, Layer, Redacted } from "effect"
import { type AsyncLedger, openLayer } from "../../AsyncLedger.ts"
import type { LedgerClientOptions } from "./ClientOptions.ts"
import { LedgerClient } from "./LedgerClient.ts"

export interface ConnectLedgerConfig extends Omit<LedgerClientOptions, "urls" | "token"> {
  /** One node or several: `tcp://host:port`, `tls://host:port`, `ws://host:port/rpc`, `wss://…`. */
  readonly url: string | ReadonlyArray<string>
  readonly token?: string | undefined
}

/** Rejects with `Unavailable` where no node answers within `limits.connectMs`. */
export const connectLedger = ({ url, token, ...options }: ConnectLedgerConfig): Promise<AsyncLedger> => {
  const client = LedgerClient.layer({
    ...options,
    urls: typeof url === "string" ? [url] : url,
    token: token === undefined ? undefined : Redacted.make(token)
  })
  const connected = Layer.effectDiscard(Effect.flatMap(LedgerClient, (one) => one.awaitConnected))
  return openLayer(Layer.provideMerge(connected, client))
}
