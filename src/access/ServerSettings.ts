/**
 * The settings that all servers of a node have in common: the tokens, and for each server its certificate and whether it may be
 * reached from other machines. Read from the environment, with the reason where some of them do not go together.
 */
import { Config, Data, Effect, FileSystem, Option, Redacted, Result } from "effect"
import { isLoopback, tlsFault } from "../infra/config/ClusterSecurity.ts"
import { parseTokens, type Token } from "./Tokens.ts"

/** PEM texts. */
export interface ServerTls {
  readonly cert: string
  readonly key: Redacted.Redacted
}

/** The settings do not go together, or one of them cannot be read. */
export class ServerSettingsInvalid extends Data.TaggedError("ServerSettingsInvalid")<{
  readonly reason: string
}> {
  override get message() {
    return this.reason
  }
}

const readText = Effect.fnUntraced(function* (variable: string, path: string) {
  const files = yield* FileSystem.FileSystem
  return yield* files
    .readFileString(path)
    .pipe(Effect.mapError((error) => new ServerSettingsInvalid({ reason: `${variable}: ${error.message}` })))
})

const tokenVariables = Config.all({
  tokens: Config.option(Config.Redacted("CHRONICLE_RPC_TOKENS")),
  tokensFile: Config.option(Config.String("CHRONICLE_RPC_TOKENS_FILE"))
})

/** `CHRONICLE_RPC_TOKENS` or `CHRONICLE_RPC_TOKENS_FILE`: the tokens of all servers; none where neither is set. */
export const readTokens: Effect.Effect<
  ReadonlyArray<Token>,
  Config.ConfigError | ServerSettingsInvalid,
  FileSystem.FileSystem
> = Effect.gen(function* () {
  const { tokens, tokensFile } = yield* tokenVariables
  // One of them would count without a word, and a token that was taken out of the other would go on to work.
  if (Option.isSome(tokens) && Option.isSome(tokensFile))
    return yield* new ServerSettingsInvalid({
      reason: "CHRONICLE_RPC_TOKENS and CHRONICLE_RPC_TOKENS_FILE exclude each other: set one of them"
    })
  const json = Option.isSome(tokens)
    ? tokens.value
    : Option.isSome(tokensFile)
      ? Redacted.make(yield* readText("CHRONICLE_RPC_TOKENS_FILE", tokensFile.value))
      : undefined
  if (json === undefined) return []
  const parsed = parseTokens(json)
  if (Result.isSuccess(parsed)) return parsed.success
  const variable = Option.isSome(tokens) ? "CHRONICLE_RPC_TOKENS" : "CHRONICLE_RPC_TOKENS_FILE"
  return yield* new ServerSettingsInvalid({ reason: `${variable} ${parsed.failure}` })
})

/** The environment variables of one of a node's servers. */
interface ServerVariables {
  readonly name: string
  readonly host: string
  readonly cert: string
  readonly key: string
}
export const rpcVariables: ServerVariables = {
  name: "RPC",
  host: "CHRONICLE_RPC_HOST",
  cert: "CHRONICLE_RPC_TLS_CERT",
  key: "CHRONICLE_RPC_TLS_KEY"
}
export const httpVariables: ServerVariables = {
  name: "HTTP",
  host: "CHRONICLE_HTTP_HOST",
  cert: "CHRONICLE_HTTP_TLS_CERT",
  key: "CHRONICLE_HTTP_TLS_KEY"
}

/** The certificate and its key, from the files that the variables name; undefined where neither is set. */
export const readTls = Effect.fnUntraced(function* (variables: ServerVariables) {
  const { cert, key } = yield* Config.all({
    cert: Config.option(Config.String(variables.cert)),
    key: Config.option(Config.String(variables.key))
  })
  if (Option.isNone(cert) && Option.isNone(key)) return undefined
  if (Option.isNone(cert) || Option.isNone(key))
    return yield* new ServerSettingsInvalid({ reason: `${variables.cert} and ${variables.key} go together` })
  const tls: ServerTls = {
    cert: yield* readText(variables.cert, cert.value),
    key: Redacted.make(yield* readText(variables.key, key.value))
  }
  const fault = tlsFault(tls)
  if (fault === undefined) return tls
  return yield* new ServerSettingsInvalid({
    reason: `${variables.cert} and ${variables.key} cannot be used: ${fault}`
  })
})

/** Fails for a server that would let everybody who reaches it move money. */
export const checkReach = Effect.fnUntraced(function* (
  variables: ServerVariables,
  {
    host,
    tls,
    tokens
  }: {
    readonly host: string
    readonly tls: ServerTls | undefined
    readonly tokens: ReadonlyArray<Token>
  }
) {
  if (isLoopback(host) || (tls !== undefined && tokens.length > 0)) return
  const missing = [
    ...(tls === undefined ? [`TLS (${variables.cert} and ${variables.key})`] : []),
    ...(tokens.length === 0 ? ["tokens (CHRONICLE_RPC_TOKENS or CHRONICLE_RPC_TOKENS_FILE)"] : [])
  ]
  return yield* new ServerSettingsInvalid({
    reason:
      `${variables.name} does not listen at ${host} (${variables.host}) without ${missing.join(" and ")}: ` +
      "anybody who reaches it could move money. On 127.0.0.1 it needs neither."
  })
})
