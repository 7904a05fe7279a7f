/** Where a node listens for peers, its certificate and its tokens, read from the environment; and what of them does not go together. */
import { Config, Data, Effect, FileSystem, Option, Redacted, Result } from "effect"
import { isLoopback } from "../../infra/config/ClusterSecurity.ts"
import { parseTokens, type Token } from "./Tokens.ts"

export interface RpcSettings {
  readonly host: string
  readonly port: number
  readonly format: "binary" | "ndjson"
  readonly tokens: ReadonlyArray<Token>
  readonly tls: { readonly cert: string; readonly key: Redacted.Redacted } | undefined
}

/** The settings do not go together, or one of them cannot be read. */
export class RpcSettingsInvalid extends Data.TaggedError("RpcSettingsInvalid")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

const variables = Config.all({
  host: Config.String("CHRONICLE_RPC_HOST").pipe(Config.withDefault("127.0.0.1")),
  port: Config.Port("CHRONICLE_RPC_PORT").pipe(Config.withDefault(7070)),
  format: Config.Literals(["binary", "ndjson"], "CHRONICLE_RPC_FORMAT").pipe(
    Config.withDefault("binary" as const)
  ),
  tokens: Config.option(Config.Redacted("CHRONICLE_RPC_TOKENS")),
  tokensFile: Config.option(Config.String("CHRONICLE_RPC_TOKENS_FILE")),
  cert: Config.option(Config.String("CHRONICLE_RPC_TLS_CERT")),
  key: Config.option(Config.String("CHRONICLE_RPC_TLS_KEY"))
})

/** `CHRONICLE_RPC_HOST`, `_PORT`, `_FORMAT`, `_TOKENS` or `_TOKENS_FILE`, `_TLS_CERT` and `_TLS_KEY` (files). */
export const readRpcSettings = Effect.gen(function* () {
  const read = yield* variables.pipe(
    Effect.mapError((error: Config.ConfigError) => new RpcSettingsInvalid({ reason: error.message }))
  )
  const tokens = yield* readTokens(read)
  const tls = yield* readTls(read)
  if (!isLoopback(read.host) && (tls === undefined || tokens.length === 0)) {
    return yield* new RpcSettingsInvalid({
      reason:
        `RPC does not listen at ${read.host} (CHRONICLE_RPC_HOST) without ` +
        `${tls === undefined ? "TLS (CHRONICLE_RPC_TLS_CERT and CHRONICLE_RPC_TLS_KEY)" : ""}` +
        `${tls === undefined && tokens.length === 0 ? " and " : ""}` +
        `${tokens.length === 0 ? "tokens (CHRONICLE_RPC_TOKENS or CHRONICLE_RPC_TOKENS_FILE)" : ""}: ` +
        "anybody who reaches it could move money. On 127.0.0.1 it needs neither."
    })
  }
  return { host: read.host, port: read.port, format: read.format, tokens, tls } satisfies RpcSettings
})

const readText = Effect.fnUntraced(function* (variable: string, path: string) {
  const files = yield* FileSystem.FileSystem
  return yield* files
    .readFileString(path)
    .pipe(Effect.mapError((error) => new RpcSettingsInvalid({ reason: `${variable}: ${error.message}` })))
})

const readTokens = Effect.fnUntraced(function* (read: {
  readonly tokens: Option.Option<Redacted.Redacted>
  readonly tokensFile: Option.Option<string>
}) {
  const json = Option.isSome(read.tokens)
    ? read.tokens.value
    : Option.isSome(read.tokensFile)
      ? Redacted.make(yield* readText("CHRONICLE_RPC_TOKENS_FILE", read.tokensFile.value))
      : undefined
  if (json === undefined) return []
  const parsed = parseTokens(json)
  if (Result.isSuccess(parsed)) return parsed.success
  const variable = Option.isSome(read.tokens) ? "CHRONICLE_RPC_TOKENS" : "CHRONICLE_RPC_TOKENS_FILE"
  return yield* new RpcSettingsInvalid({ reason: `${variable} ${parsed.failure}` })
})

const readTls = Effect.fnUntraced(function* (read: {
  readonly cert: Option.Option<string>
  readonly key: Option.Option<string>
}) {
  if (Option.isNone(read.cert) && Option.isNone(read.key)) return undefined
  if (Option.isNone(read.cert) || Option.isNone(read.key))
    return yield* new RpcSettingsInvalid({
      reason: "CHRONICLE_RPC_TLS_CERT and CHRONICLE_RPC_TLS_KEY go together"
    })
  return {
    cert: yield* readText("CHRONICLE_RPC_TLS_CERT", read.cert.value),
    key: Redacted.make(yield* readText("CHRONICLE_RPC_TLS_KEY", read.key.value))
  }
})
