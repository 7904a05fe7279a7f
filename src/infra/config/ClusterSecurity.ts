/**
 * Who may speak on the nodes' port. Behind it accounts are leased and commands are taken without a token, so beyond loopback
 * a node must show that it holds the cluster's secret; TLS keeps what is said from those who listen on the wire.
 */
import { createSecureContext } from "node:tls"
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { Config, Context, Data, Effect, FileSystem, Layer, Option, Redacted, Result } from "effect"

export interface ClusterTls {
  /** PEM texts. The certificate must be valid for the address by which the others reach the node. */
  readonly cert: string
  readonly key: Redacted.Redacted
  /** The authority of the nodes' certificates; undefined: those that Node.js trusts, and nodes that dial show no certificate. */
  readonly ca: string | undefined
}

export interface ClusterSafeguards {
  /** The same on all nodes. */
  readonly secret: Redacted.Redacted | undefined
  /** On all nodes, or on none. */
  readonly tls: ClusterTls | undefined
}

/** The safeguards in force; a reference, because a cluster on loopback needs none. */
export const ClusterSecurity = Context.Reference<ClusterSafeguards>("chronicle/infra/ClusterSecurity", {
  defaultValue: () => ({ secret: undefined, tls: undefined })
})

/** The settings do not go together, or one of them cannot be read: a fault of who wrote them. */
export class ClusterSecurityInvalid extends Data.TaggedError("ClusterSecurityInvalid")<{
  readonly reason: string
}> {
  override get message() {
    return this.reason
  }
}

export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host)

/** Fails for a node that would let everybody who reaches its port take part. */
export const checkReach = Effect.fnUntraced(function* (listenHost: string) {
  const { secret } = yield* ClusterSecurity
  if (secret !== undefined || isLoopback(listenHost)) return
  return yield* new ClusterSecurityInvalid({
    reason:
      `the nodes' port does not listen at ${listenHost} without a secret (CHRONICLE_CLUSTER_SECRET or ` +
      "CHRONICLE_CLUSTER_SECRET_FILE, the same on all nodes): anybody who reaches it could move money. " +
      "On 127.0.0.1 it needs none."
  })
})

/** Shorter ones can be found by trying. */
const secretCharactersMin = 16

const variables = Config.all({
  secret: Config.option(Config.Redacted("CHRONICLE_CLUSTER_SECRET")),
  secretFile: Config.option(Config.String("CHRONICLE_CLUSTER_SECRET_FILE")),
  cert: Config.option(Config.String("CHRONICLE_CLUSTER_TLS_CERT")),
  key: Config.option(Config.String("CHRONICLE_CLUSTER_TLS_KEY")),
  ca: Config.option(Config.String("CHRONICLE_CLUSTER_TLS_CA"))
})
type Variables = Config.Success<typeof variables>

/** What is wrong with a certificate and its key, which else every connection would come to nothing by; undefined where they can be used. */
export const tlsFault = ({
  cert,
  key,
  ca
}: Omit<ClusterTls, "ca"> & Partial<ClusterTls>): string | undefined => {
  const made = Result.try(() =>
    createSecureContext({ cert, key: Redacted.value(key), ...(ca === undefined ? {} : { ca }) })
  )
  if (Result.isSuccess(made)) return undefined
  return made.failure instanceof Error ? made.failure.message : String(made.failure)
}

const readText = Effect.fnUntraced(function* (variable: string, path: string) {
  const files = yield* FileSystem.FileSystem
  return yield* files
    .readFileString(path)
    .pipe(Effect.mapError((error) => new ClusterSecurityInvalid({ reason: `${variable}: ${error.message}` })))
})

const readSecret = Effect.fnUntraced(function* ({ secret, secretFile }: Variables) {
  // One of them would count without a word, and a secret that was changed in the other would not be the one in force.
  if (Option.isSome(secret) && Option.isSome(secretFile))
    return yield* new ClusterSecurityInvalid({
      reason: "CHRONICLE_CLUSTER_SECRET and CHRONICLE_CLUSTER_SECRET_FILE exclude each other: set one of them"
    })
  const text = Option.isSome(secret)
    ? Redacted.value(secret.value)
    : Option.isSome(secretFile)
      ? (yield* readText("CHRONICLE_CLUSTER_SECRET_FILE", secretFile.value)).trim()
      : undefined
  if (text === undefined) return undefined
  if (text.length < secretCharactersMin) {
    const variable = Option.isSome(secret) ? "CHRONICLE_CLUSTER_SECRET" : "CHRONICLE_CLUSTER_SECRET_FILE"
    const reason = `${variable}: a secret of the cluster has at least ${secretCharactersMin} characters`
    return yield* new ClusterSecurityInvalid({ reason })
  }
  return Redacted.make(text)
})

const readTls = Effect.fnUntraced(function* ({ cert, key, ca }: Variables) {
  if (Option.isNone(cert) && Option.isNone(key) && Option.isNone(ca)) return undefined
  if (Option.isNone(cert) || Option.isNone(key)) {
    const reason =
      "CHRONICLE_CLUSTER_TLS_CERT and CHRONICLE_CLUSTER_TLS_KEY go together, and CHRONICLE_CLUSTER_TLS_CA with them"
    return yield* new ClusterSecurityInvalid({ reason })
  }
  const tls: ClusterTls = {
    cert: yield* readText("CHRONICLE_CLUSTER_TLS_CERT", cert.value),
    key: Redacted.make(yield* readText("CHRONICLE_CLUSTER_TLS_KEY", key.value)),
    ca: Option.isSome(ca) ? yield* readText("CHRONICLE_CLUSTER_TLS_CA", ca.value) : undefined
  }
  const fault = tlsFault(tls)
  if (fault === undefined) return tls
  const reason = `CHRONICLE_CLUSTER_TLS_CERT, CHRONICLE_CLUSTER_TLS_KEY and CHRONICLE_CLUSTER_TLS_CA cannot be used: ${fault}`
  return yield* new ClusterSecurityInvalid({ reason })
})

/** `CHRONICLE_CLUSTER_SECRET` or `_SECRET_FILE`, and `_TLS_CERT`, `_TLS_KEY`, `_TLS_CA` (files). */
export const clusterSecurityFromEnvironment: Layer.Layer<never, Config.ConfigError | ClusterSecurityInvalid> =
  Layer.effect(
    ClusterSecurity,
    Effect.gen(function* () {
      const read = yield* variables
      return { secret: yield* readSecret(read), tls: yield* readTls(read) }
    })
  ).pipe(Layer.provide(NodeFileSystem.layer))
