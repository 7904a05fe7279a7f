/**
 * Which accounts this node owns in a cluster, and its way to the owners of the others: what the write path asks for, over
 * the shards that the cluster gave to this node and the connections to the nodes that have the others.
 */
import { Effect, Exit, Layer, Option } from "effect"
import { Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { shardOf } from "../../domain/Shard.ts"
import { LockCertainty } from "../../infra/cluster/LockCertainty.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import {
  type Answer,
  type LeaseGrant,
  type LeaseRefused,
  NotMine,
  PeerBusy,
  Placement,
  type Placing
} from "../accounts/Placement.ts"
import { ClusterShards } from "./ClusterShards.ts"
import type { PeerNotice, PeerRequest, PeerResponse, Unanswered } from "./PeerMessages.ts"
import { Peers } from "./Peers.ts"

const makePlacing = Effect.gen(function* () {
  const certainty = yield* LockCertainty
  const { owned, told } = yield* ClusterShards
  const peers = yield* Peers
  const { shards, affinitySegments } = yield* ClusterConfig
  const rule = { shards, affinitySegments }
  const shardOfAccount = (account: AccountId): number => shardOf(account, rule)
  const ask = (account: AccountId, request: PeerRequest) => peers.send(shardOfAccount(account), request)
  /** Where no answer came, or the owner is losing the shard, the account is moving: nothing was done. */
  const moving = Effect.fail(new NotMine())
  const refusalOf = (response: PeerResponse) =>
    response._tag === "Refused" ? Effect.fail(response.error) : moving

  return {
    isAlone: false,
    owns: (account) => owned[shardOfAccount(account)] === true && certainty.isCertain(),
    shardOf: shardOfAccount,
    nodeOf: peers.nodeOf,
    ownedShards: told,
    others: peers.others,
    dispatch: (account, commands, isAgain) => {
      const all = (answer: Answer): ReadonlyArray<Answer> => commands.map(() => answer)
      return Effect.matchEffect(
        ask(account, { _tag: "Dispatch", commands, ...(isAgain ? { isAgain } : {}) }),
        {
          onSuccess: (response) =>
            Effect.succeed(response._tag === "Answers" ? response.answers : all({ _tag: "Unknown" })),
          onFailure: ({ reason }): Effect.Effect<ReadonlyArray<Answer>, PeerBusy | Unavailable> => {
            if (reason === "lost") return Effect.succeed(all({ _tag: "Unknown" }))
            return Effect.fail(reason === "full" ? new PeerBusy() : otherVersion(account))
          }
        }
      )
    },
    head: (account) =>
      ask(account, { _tag: "Head", account }).pipe(
        Effect.catch(() => moving),
        Effect.flatMap((response) =>
          response._tag === "Head"
            ? Effect.succeed({ head: response.head, at: response.at })
            : refusalOf(response)
        ),
        // A question is not refused for want of memory.
        Effect.catchTag("Overloaded", () => moving)
      ),
    requestLease: (account, lease, reply) =>
      peers.ask(shardOfAccount(account), { _tag: "Borrow", account, lease }, (answer) =>
        reply(grantOf(answer))
      ),
    release: (account, lease, returned) => {
      const request: PeerNotice = { _tag: "GiveBack", account, lease, given: returned }
      if (peers.tell(shardOfAccount(account), request)) return undefined
      return ask(account, request).pipe(
        Effect.catchCause((cause) => Effect.logDebug("a leased account was not returned", cause)),
        Effect.asVoid
      )
    }
  } satisfies Placing
})

const movingExit = Exit.fail(new NotMine())

/** What the answer to the request for a lease comes to. */
const grantOf = (
  answer: Exit.Exit<PeerResponse, Unanswered>
): Exit.Exit<LeaseGrant, LeaseRefused | PeerBusy> => {
  if (Exit.isFailure(answer)) {
    const unanswered = Exit.findErrorOption(answer)
    return Option.isSome(unanswered) && unanswered.value.isFull ? Exit.fail(new PeerBusy()) : movingExit
  }
  const response = answer.value
  if (response._tag === "Lent") return Exit.succeed(response.loan)
  return response._tag === "Refused" ? Exit.fail(response.error) : movingExit
}

const otherVersion = (account: AccountId): Unavailable =>
  new Unavailable({
    what: `the node of account ${account}`,
    reason: "it runs another version of the program, which does not know this command"
  })

/** This node's place among those that share its shards. */
export const layerPlacement = Layer.effect(Placement, makePlacing)
