/**
 * What is said first on every connection to the nodes' port, whether it carries the data path or Effect Cluster's own
 * protocol: that both sides are nodes, which version of the nodes' protocol they speak, and that both hold the cluster's
 * secret. A connection that cannot do so costs at most `handshakeBytes` of memory and `handshakeMs`, and reaches no
 * parser of messages.
 *
 *     dialer                                    listener
 *     hello: purpose, versions, nonce  ───────►
 *                                      ◄───────  hello: verdict, version, nonce
 *                       (TLS, where both have it)
 *     proof of the secret              ───────►
 *                                      ◄───────  verdict, proof of the secret
 *
 * A proof is an HMAC over both hellos, so it is worth nothing on another connection, and the secret itself is never sent.
 */
import { createHmac, timingSafeEqual } from "node:crypto"
import { isIP } from "node:net"
import { Context, Data, Effect, Redacted } from "effect"
import { SecureRandom } from "effect/crypto"
import type { Socket } from "effect/socket"
import { type ClusterSafeguards, ClusterSecurity, type ClusterTls } from "../config/ClusterSecurity.ts"

/** How long a handshake may take, in milliseconds: a node that starts on a starved machine may be busy for seconds. */
const handshakeMs = 4_000
/**
 * The length of a hello. Longer than its fields need: programs before this protocol take its first byte for the
 * length of a message, and must get that many to find out that they do not understand it.
 */
const helloBytes = 96
const nonceBytes = 32
const proofBytes = 32

const magic = Buffer.from("CHRNODE\n", "latin1")
const at = { purpose: 8, verdict: 8, min: 9, max: 10, flags: 11, version: 12, nonce: 16 } as const
const flag = { secret: 1, tls: 2 } as const

/** What a connection is for: messages about commands, or those of Effect Cluster about membership. */
type Purpose = "commands" | "cluster"
const purposes: ReadonlyArray<Purpose> = ["commands", "cluster"]

/** The versions of the nodes' protocol that a program speaks, from the oldest to the newest. */
export interface ProtocolVersions {
  readonly min: number
  readonly max: number
}

/**
 * Version 1: the frames of PeerConnection.ts, the messages of PeerConversation.ts. A version is added when an older node
 * would misread what a newer one sends; optional fields of commands and receipts need none (see PeerCodec.ts).
 */
export const PeerProtocol = Context.Reference<ProtocolVersions>("chronicle/infra/PeerProtocol", {
  defaultValue: () => ({ min: 1, max: 1 })
})

const verdicts = ["welcome", "version", "safeguards", "secret", "malformed"] as const
type Verdict = (typeof verdicts)[number]

export type RefusalReason =
  /** It is another program, or a node from before this protocol. */
  | "not a node"
  | "no common version"
  | "safeguards differ"
  | "wrong secret"
  | "TLS failed"
  | "too slow"
  | "closed"

/** The other side does not get past the handshake. */
export class HandshakeRefused extends Data.TaggedError("HandshakeRefused")<{
  readonly reason: RefusalReason
  readonly detail: string
}> {
  override get message() {
    return this.detail
  }
}

const refused = (reason: RefusalReason, detail: string) => new HandshakeRefused({ reason, detail })

/** A connection as the handshake needs it. */
export interface Wire {
  readonly pull: Socket.Reader["pull"]
  readonly upgrade: Socket.Reader["upgrade"]
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, Socket.SocketError>
}

/** What was agreed on. */
export interface Agreement {
  readonly purpose: Purpose
  readonly version: number
  /** What the other side sent after its part of the handshake: the beginning of what follows. */
  readonly rest: Uint8Array
}

/** Reads an exact number of bytes, and keeps the rest. */
const exactReader = (wire: Wire) => {
  let held: Uint8Array = Buffer.alloc(0)
  const take = (size: number): Effect.Effect<Buffer, HandshakeRefused> =>
    Effect.suspend(() => {
      if (held.length >= size) {
        const taken = Buffer.from(held.subarray(0, size))
        held = held.subarray(size)
        return Effect.succeed(taken)
      }
      return wire.pull.pipe(
        Effect.mapError(() => refused("closed", "the other side closed the connection during the handshake")),
        Effect.flatMap((chunks) => {
          held = Buffer.concat([held, ...chunks.map((chunk) => Buffer.from(chunk))])
          return take(size)
        })
      )
    })
  return { take, rest: () => held }
}
type ExactReader = ReturnType<typeof exactReader>

const write = (wire: Wire, bytes: Uint8Array) =>
  Effect.mapError(wire.write(bytes), () =>
    refused("closed", "the other side closed the connection during the handshake")
  )

const makeHello = (
  { secret, tls }: ClusterSafeguards,
  { min, max }: ProtocolVersions,
  nonce: Uint8Array
): Buffer => {
  const hello = Buffer.alloc(helloBytes)
  magic.copy(hello)
  hello[at.min] = min
  hello[at.max] = max
  hello[at.flags] = (secret === undefined ? 0 : flag.secret) + (tls === undefined ? 0 : flag.tls)
  hello.set(nonce, at.nonce)
  return hello
}

const proofOf = (
  secret: Redacted.Redacted | undefined,
  by: "dialer" | "listener",
  hello: Buffer,
  answer: Buffer
): Buffer =>
  createHmac("sha256", secret === undefined ? "" : Redacted.value(secret))
    .update(`chronicle node, ${by}\n`)
    .update(hello)
    .update(answer)
    .digest()

/** Which of two programs has what, in words; undefined where they agree. */
const safeguardsDiffer = (ours: number, theirs: number): string | undefined => {
  const differs = (bit: number, variable: string): string | undefined =>
    (ours & bit) === (theirs & bit)
      ? undefined
      : `${variable} is set on ${(ours & bit) !== 0 ? "this node and not on the other" : "the other node and not on this one"}`
  return (
    differs(flag.secret, "CHRONICLE_CLUSTER_SECRET") ??
    differs(flag.tls, "CHRONICLE_CLUSTER_TLS_CERT and _KEY")
  )
}

const versionOf = (hello: Buffer, ours: ProtocolVersions): number | undefined => {
  const version = Math.min(hello[at.max] ?? 0, ours.max)
  return version >= Math.max(hello[at.min] ?? 0, ours.min) ? version : undefined
}

const noCommonVersion = (hello: Buffer, { min, max }: ProtocolVersions): HandshakeRefused =>
  refused(
    "no common version",
    `it speaks versions ${hello[at.min]} to ${hello[at.max]} of the nodes' protocol, this node ${min} to ${max}: upgrade one version at a time`
  )

const tooSlow = refused("too slow", `it did not complete the handshake within ${handshakeMs} ms`)

const inTime = <A, R>(handshake: Effect.Effect<A, HandshakeRefused, R>) =>
  Effect.timeoutOrElse(handshake, { duration: handshakeMs, orElse: () => Effect.fail(tooSlow) })

const encrypt = (wire: Wire, reader: ExactReader, options: Socket.TlsUpgradeOptions) =>
  reader.rest().length > 0
    ? Effect.fail(refused("not a node", "it spoke before TLS was agreed on"))
    : Effect.mapError(wire.upgrade(options), (error) => {
        const cause: unknown = "cause" in error.reason ? error.reason.cause : error
        return refused("TLS failed", `TLS failed: ${cause instanceof Error ? cause.message : String(cause)}`)
      })

const identity = ({ cert, key, ca }: ClusterTls): Socket.TlsUpgradeOptions => ({
  cert,
  key,
  ...(ca === undefined ? {} : { ca })
})

/** The handshake of the node that dials. The other's certificate has to be of `host`, which is a name or an address. */
export const greet = Effect.fnUntraced(function* (wire: Wire, purpose: Purpose, host: string) {
  const safeguards = yield* ClusterSecurity
  const versions = yield* PeerProtocol
  const random = yield* SecureRandom.SecureRandom
  const reader = exactReader(wire)
  const hello = makeHello(safeguards, versions, yield* random.randomBytes(nonceBytes))
  hello[at.purpose] = purposes.indexOf(purpose)
  yield* write(wire, hello)
  const notANode = refused(
    "not a node",
    "it does not speak the nodes' protocol: a node of a version before it, or another program"
  )
  const saidNothing = refused(
    "closed",
    "it closed the connection without a word: it is ending, or what listens there has no node behind it"
  )
  // A program before this protocol answers an error of its own; nothing comes from a node that is just ending, or from a proxy before
  // one that is gone, and that says nothing about its version.
  const begin = yield* reader
    .take(magic.length)
    .pipe(Effect.catch(() => Effect.fail(reader.rest().length > 0 ? notANode : saidNothing)))
  if (!begin.equals(magic)) return yield* notANode
  const answer = Buffer.concat([magic, yield* reader.take(helloBytes - magic.length)])
  // What says back what it hears would else pass for a node of the same program.
  if (answer.subarray(at.nonce).equals(hello.subarray(at.nonce))) return yield* notANode
  const verdict: Verdict = verdicts[answer[at.verdict] ?? 0] ?? "malformed"
  const differ = safeguardsDiffer(hello[at.flags] ?? 0, answer[at.flags] ?? 0)
  if (verdict === "version") return yield* noCommonVersion(answer, versions)
  if (differ !== undefined) return yield* refused("safeguards differ", differ)
  if (verdict !== "welcome") return yield* notANode
  const version = answer[at.version] ?? 0
  if (version < versions.min || version > versions.max) return yield* noCommonVersion(answer, versions)
  if (safeguards.tls !== undefined) {
    const { ca } = safeguards.tls
    yield* encrypt(wire, reader, {
      ...(ca === undefined ? {} : identity(safeguards.tls)),
      // Names alone may be named to a server of TLS; for an address the certificate is checked against the address (PeerPort.ts).
      ...(isIP(host) === 0 ? { servername: host } : {})
    })
  }
  yield* write(wire, proofOf(safeguards.secret, "dialer", hello, answer))
  const wrongSecret = refused(
    "wrong secret",
    "it holds another secret of the cluster (CHRONICLE_CLUSTER_SECRET)"
  )
  const last = yield* reader.take(1 + proofBytes)
  const isProven = timingSafeEqual(last.subarray(1), proofOf(safeguards.secret, "listener", hello, answer))
  if (last[0] !== 0 || !isProven) return yield* wrongSecret
  return { purpose, version, rest: reader.rest() } satisfies Agreement
}, inTime)

const verdictOn = (hello: Buffer, ours: Buffer, versions: ProtocolVersions): HandshakeRefused | undefined => {
  if (versionOf(hello, versions) === undefined) return noCommonVersion(hello, versions)
  const differ = safeguardsDiffer(ours[at.flags] ?? 0, hello[at.flags] ?? 0)
  if (differ !== undefined) return refused("safeguards differ", differ)
  if (purposes[hello[at.purpose] ?? 0] === undefined)
    return refused("not a node", "it wants what no node of this version offers")
  return undefined
}

const verdictCodes: { readonly [reason in RefusalReason]?: Verdict } = {
  "no common version": "version",
  "safeguards differ": "safeguards",
  "wrong secret": "secret"
}
const codeOf = (refusal: HandshakeRefused): number =>
  verdicts.indexOf(verdictCodes[refusal.reason] ?? "malformed")

/** The handshake of the node that listens. */
export const receive = Effect.fnUntraced(function* (wire: Wire) {
  const safeguards = yield* ClusterSecurity
  const versions = yield* PeerProtocol
  const random = yield* SecureRandom.SecureRandom
  const reader = exactReader(wire)
  const begin = yield* reader.take(magic.length)
  if (!begin.equals(magic)) {
    return yield* refused(
      "not a node",
      "it does not speak the nodes' protocol: a node of a version before it (end it, and start it with this version), or another program"
    )
  }
  const hello = Buffer.concat([magic, yield* reader.take(helloBytes - magic.length)])
  const answer = makeHello(safeguards, versions, yield* random.randomBytes(nonceBytes))
  const refusal = verdictOn(hello, answer, versions)
  answer[at.verdict] = refusal === undefined ? 0 : codeOf(refusal)
  const version = versionOf(hello, versions) ?? 0
  answer[at.version] = version
  yield* write(wire, answer)
  if (refusal !== undefined) return yield* refusal
  if (safeguards.tls !== undefined) {
    const isMutual = safeguards.tls.ca !== undefined
    yield* encrypt(wire, reader, {
      ...identity(safeguards.tls),
      requestCert: isMutual,
      rejectUnauthorized: isMutual
    })
  }
  const proof = yield* reader.take(proofBytes)
  if (!timingSafeEqual(proof, proofOf(safeguards.secret, "dialer", hello, answer))) {
    const wrong = refused(
      "wrong secret",
      "it does not hold the secret of the cluster (CHRONICLE_CLUSTER_SECRET)"
    )
    yield* write(wire, Buffer.concat([Buffer.from([codeOf(wrong)]), Buffer.alloc(proofBytes)]))
    return yield* wrong
  }
  yield* write(wire, Buffer.concat([Buffer.from([0]), proofOf(safeguards.secret, "listener", hello, answer)]))
  const purpose = purposes[hello[at.purpose] ?? 0] ?? "commands" // judged above
  return { purpose, version, rest: reader.rest() } satisfies Agreement
}, inTime)
