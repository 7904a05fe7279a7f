/**
 * The other nodes of the cluster as this one speaks to them: one connection each, over which every node says which shards
 * it owns, so that a request goes straight to the owner. Of two nodes the one with the smaller address dials, so that they
 * have one connection and not two.
 */
import { Clock, Context, Effect, FiberMap, Layer, Schedule } from "effect"
import { SecureRandom } from "effect/crypto"
import type { Socket } from "effect/socket"
import { makePeerConnection, type PeerConnection } from "../../infra/cluster/PeerConnection.ts"
import type { HandshakeRefused } from "../../infra/cluster/PeerHandshake.ts"
import { type ByteStream, ClusterMembers, PeerPort } from "../../infra/cluster/PeerPort.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import type { OtherNode } from "../accounts/Placement.ts"
import type { LocalNode } from "../commands/LocalNode.ts"
import { ClusterShards } from "./ClusterShards.ts"
import { PeerFormIdentity } from "./PeerCodec.ts"
import { type Introduction, PeerConversation } from "./PeerConversation.ts"
import {
  type AskPeer,
  answerRequest,
  notOwned,
  type PeerNotice,
  type PeerRequest,
  type SendToPeer
} from "./PeerMessages.ts"
import { PeerRoutes } from "./PeerRoutes.ts"

/** How often requests that wait, for an owner or for an answer, are looked at, in milliseconds. */
const lookMs = 100
/** Looks after which a node says again which shards it owns. */
const tellEveryLooks = 10
/** The pause after a connection that failed or ended, at first and at most, in milliseconds. */
const againMs = { first: 50, most: 1_000 }
/** Why a node cannot be connected to is logged once in so long, in milliseconds. */
const logEveryMs = 60_000
/** Why connections are given up that another takes the place of. */
const replaced = "the node has opened another connection"

interface Link {
  readonly connection: PeerConnection
  readonly conversation: PeerConversation
}

export class Peers extends Context.Service<
  Peers,
  {
    readonly send: SendToPeer
    readonly ask: AskPeer
    /** Says to the owner of a shard what needs no answer and may be lost. False where it has to be sent instead. */
    readonly tell: (shard: number, request: PeerNotice) => boolean
    /** Answers the requests of other nodes from now on; until then this node owns nothing. */
    readonly serve: (here: LocalNode["Service"]) => void
    /** The shards of this node have changed. */
    readonly tellShards: () => void
    /** The name of the node that said last of a shard that it is its own. */
    readonly nodeOf: (shard: number) => string | undefined
    /** The nodes that have introduced themselves, in order of their names. */
    readonly others: () => ReadonlyArray<OtherNode>
  }
>()("chronicle/actors/Peers") {
  static readonly layer = (node: string) =>
    Layer.effect(Peers, makePeers(node)).pipe(Layer.provide(SecureRandom.layerWebCrypto))
}

const makePeers = Effect.fnUntraced(function* (node: string) {
  const port = yield* PeerPort
  const { owned } = yield* ClusterShards
  const { mailboxMax, unsentBytesMax, askMs, leaseMs } = yield* ClusterConfig
  const { commandDeadlineMs } = yield* LedgerConfig
  const form = yield* PeerFormIdentity
  const runFork = Effect.runForkWith(yield* Effect.context<never>())
  const routes = new PeerRoutes(owned, mailboxMax)
  const links = new Map<string, Link>()
  const own = `${port.own.host}:${port.own.port}`
  const introduction: Introduction = { node, address: own, form, credit: mailboxMax }
  /** How long an answer is waited for. An account is leased in turn, which takes as long as the commands before it. */
  const patienceMs: { readonly [tag in PeerRequest["_tag"]]: number } = {
    Dispatch: askMs,
    Head: askMs,
    Borrow: commandDeadlineMs,
    GiveBack: leaseMs
  }
  let here: LocalNode["Service"] | undefined

  /** The other node has said who it is. */
  const introduced = (link: Link, { address }: Introduction): void => {
    if (address === own) return link.connection.end(`the node there says that it is this one, ${own}`)
    const former = links.get(address)
    if (former !== undefined) {
      // At once: what is said on it from now on, such as the return of a lease, would be lost.
      routes.forget(former.conversation)
      former.connection.end(replaced)
    }
    links.set(address, link)
    link.conversation.tellShards(owned)
  }

  const ended = ({ conversation }: Link): void => {
    const address = conversation.peer?.address
    if (address !== undefined && links.get(address)?.conversation === conversation) links.delete(address)
    routes.forget(conversation)
    conversation.end()
  }

  /** Speaks with another node until the connection ends. */
  const converse = (stream: ByteStream) =>
    Effect.gen(function* () {
      const connection = yield* makePeerConnection(stream)
      const conversation: PeerConversation = new PeerConversation({
        connection,
        introduction,
        unsentBytesMax,
        looksOf: (request) => Math.ceil(patienceMs[request._tag] / lookMs) + 1,
        answer: (request, respond) => {
          if (here !== undefined) return answerRequest(here, request, respond)
          respond(notOwned(request))
          return undefined
        },
        run: runFork,
        onIntroduced: (peer) => introduced(link, peer),
        onShards: (theirs) => routes.claim(conversation, theirs)
      })
      const link: Link = { connection, conversation }
      return yield* connection
        .receive((frame) => conversation.receive(frame))
        .pipe(
          Effect.catch(({ message }) =>
            Effect.logDebug(
              `the connection with ${conversation.peer?.node ?? "a node"} at ${stream.peer} ended: ${message}`
            )
          ),
          Effect.ensuring(Effect.sync(() => ended(link)))
        )
    }).pipe(Effect.scoped)

  port.onAccept = converse
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      port.onAccept = () => Effect.void
      for (const { connection } of links.values()) connection.end("this node ends")
    })
  )
  yield* dialOthers(own, converse)
  let looks = 0
  const look = Effect.sync(() => {
    routes.look()
    // What a node owns is told again from time to time: a word of a former owner that came late took its place.
    const isTold = ++looks % tellEveryLooks === 0
    for (const { conversation } of links.values()) {
      conversation.look()
      if (isTold) conversation.tellShards(owned)
    }
  })
  yield* look.pipe(
    // Nothing else gives up what is not answered.
    goesOn("looking at requests"),
    Effect.repeat(Schedule.spaced(lookMs)),
    Effect.forkScoped
  )

  let isTelling = false
  const tell = Effect.andThen(
    Effect.yieldNow,
    Effect.sync(() => {
      isTelling = false
      for (const { conversation } of links.values()) conversation.tellShards(owned)
      routes.look()
    })
  )
  return {
    send: routes.send,
    ask: routes.ask,
    tell: (shard, request) => routes.tell(shard, request),
    nodeOf: (shard) => routes.nodeOf(shard),
    others: () =>
      [...links.values()]
        .map(({ conversation }) => ({
          node: conversation.peer?.node ?? "",
          shards: routes.shardsOf(conversation)
        }))
        .toSorted((a, b) => (a.node < b.node ? -1 : 1)),
    serve: (node) => {
      here = node
    },
    // Many shards come or go in one turn.
    tellShards: () => {
      if (isTelling) return
      isTelling = true
      runFork(tell)
    }
  } satisfies Peers["Service"]
})

/** Keeps a connection to each member with a greater address; the others dial this node. */
const dialOthers = Effect.fnUntraced(function* (
  own: string,
  converse: (stream: ByteStream) => Effect.Effect<void>
) {
  const port = yield* PeerPort
  const members = yield* ClusterMembers
  const { membershipPollMs } = yield* ClusterConfig
  const clock = yield* Clock.Clock
  const dialling = yield* FiberMap.make<string>()

  const keep = Effect.fnUntraced(function* (address: string, to: (typeof members.addresses)[number]) {
    let pauseMs = againMs.first
    let loggedAt = Number.NEGATIVE_INFINITY
    const logRefusal = (error: HandshakeRefused | Socket.SocketError) =>
      Effect.suspend(() => {
        const now = elapsedMsUnsafe(clock)
        const isWorthALine = error._tag === "HandshakeRefused" && error.reason !== "closed"
        if (!isWorthALine || now - loggedAt < logEveryMs)
          return Effect.logDebug(`cannot connect to the node at ${address}: ${error.message}`)
        loggedAt = now
        return Effect.logWarning(`cannot speak with the node at ${address}: ${error.message}`)
      })
    const once = Effect.gen(function* () {
      const stream = yield* port.dial(to)
      pauseMs = againMs.first
      yield* converse(stream)
    }).pipe(Effect.scoped, Effect.catch(logRefusal))
    while (members.addresses.some(({ host, port }) => `${host}:${port}` === address)) {
      yield* once
      yield* Effect.sleep(pauseMs)
      pauseMs = Math.min(pauseMs * 2, againMs.most)
    }
  })

  const look = Effect.gen(function* () {
    for (const member of members.addresses) {
      const address = `${member.host}:${member.port}`
      if (own < address)
        yield* FiberMap.run(dialling, address, keep(address, member), { onlyIfMissing: true })
    }
  })
  yield* look.pipe(
    goesOn("dialling the other nodes"),
    Effect.repeat(Schedule.spaced(membershipPollMs)),
    Effect.forkScoped
  )
})
