/** Where a node listens for HTTP, its certificate and its tokens, read from the environment. */
import { Config, Effect } from "effect"
import {
  checkReach,
  httpVariables,
  readTls,
  readTokens,
  type ServerTls
} from "../../access/ServerSettings.ts"
import type { Token } from "../../access/Tokens.ts"

export interface HttpSettings {
  readonly host: string
  readonly port: number
  readonly tls: ServerTls | undefined
  readonly tokens: ReadonlyArray<Token>
}

const variables = Config.all({
  host: Config.String("CHRONICLE_HTTP_HOST").pipe(Config.withDefault("127.0.0.1")),
  port: Config.Port("CHRONICLE_HTTP_PORT").pipe(Config.withDefault(7080))
})

/** `CHRONICLE_HTTP_HOST`, `_PORT`, `_TLS_CERT` and `_TLS_KEY` (files), and the tokens of RPC. */
export const readHttpSettings = Effect.gen(function* () {
  const read = yield* variables
  const settings: HttpSettings = { ...read, tokens: yield* readTokens, tls: yield* readTls(httpVariables) }
  yield* checkReach(httpVariables, settings)
  return settings
})

/** `http://127.0.0.1:7080` */
export const httpUrlOf = ({ host, port, tls }: Pick<HttpSettings, "host" | "port" | "tls">): string =>
  `${tls === undefined ? "http" : "https"}://${host.includes(":") ? `[${host}]` : host}:${port}`
