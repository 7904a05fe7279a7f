/** Where a node listens for peers, its certificate and its tokens, read from the environment. */
import { Config, Effect } from "effect"
import { checkReach, readTls, readTokens, rpcVariables, type ServerTls } from "../../access/ServerSettings.ts"
import type { Token } from "../../access/Tokens.ts"

export interface RpcSettings {
  readonly host: string
  readonly port: number
  readonly format: "binary" | "ndjson"
  readonly tokens: ReadonlyArray<Token>
  readonly tls: ServerTls | undefined
}

const variables = Config.all({
  host: Config.String("CHRONICLE_RPC_HOST").pipe(Config.withDefault("127.0.0.1")),
  port: Config.Port("CHRONICLE_RPC_PORT").pipe(Config.withDefault(7070)),
  format: Config.Literals(["binary", "ndjson"], "CHRONICLE_RPC_FORMAT").pipe(
    Config.withDefault("binary" as const)
  )
})

/** `CHRONICLE_RPC_HOST`, `_PORT`, `_FORMAT`, `_TOKENS` or `_TOKENS_FILE`, `_TLS_CERT` and `_TLS_KEY` (files). */
export const readRpcSettings = Effect.gen(function* () {
  const read = yield* variables
  const settings: RpcSettings = { ...read, tokens: yield* readTokens, tls: yield* readTls(rpcVariables) }
  yield* checkReach(rpcVariables, settings)
  return settings
})
