/**
 * Which of the connected nodes owns an account, by what each says of itself: so a command goes straight to the node that
 * decides it. This is a hint that may be old; a node that does not own the account sends the command on.
 */
import { Effect, Exit, Option } from "effect"
import type { RpcClientError } from "effect/rpc"
import type { CommandError } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { type ShardRule, shardOf } from "../../domain/Shard.ts"
import { isLostConnection } from "./Failover.ts"
import type { NodeConnection } from "./NodeConnection.ts"

export type OwnerOf = (account: AccountId) => NodeConnection | undefined

/** How often each node is asked, in milliseconds, and how soon again one that is not connected. */
const askMs = 1_000
const againMs = 250
/** The same for a node of a version that cannot tell; a new connection, behind which another process may be, is asked at once. */
const refusedMs = 60_000

/** What an answer without shards says of the node. */
type Silence =
  /** Its connection was lost, and so perhaps the node. */
  | { readonly _tag: "Lost" }
  /** It had no time for this question, and owns what it owned. */
  | { readonly _tag: "Busy"; readonly againMs: number }
  /** It may not tell this caller, or is of a version that cannot, for as long as its process lives. */
  | { readonly _tag: "Refused"; readonly againMs: number }

/** Follows the shards of all nodes for as long as the scope lives. */
export const followOwners = Effect.fnUntraced(function* (
  nodes: ReadonlyArray<NodeConnection>,
  callOptions: object
) {
  /** What each node said last, the latest at the end: two may claim a shard for a moment, and one of them is right. */
  const told = new Map<NodeConnection, ReadonlyArray<number>>()
  let owners: ReadonlyMap<number, NodeConnection> = new Map()
  let rule: ShardRule | undefined

  /** Undefined where the node tells nothing more. A shard that it does not claim any more is of another that does. */
  const note = (node: NodeConnection, owned: ReadonlyArray<number> | undefined): void => {
    if (isSame(told.get(node), owned)) return
    told.delete(node)
    if (owned !== undefined) told.set(node, owned)
    owners = new Map([...told].flatMap(([owner, shards]) => shards.map((shard) => [shard, owner] as const)))
  }

  const follow = Effect.fnUntraced(function* (node: NodeConnection) {
    for (;;) {
      const connection = node.connectionsUnsafe()
      const answer = node.isConnectedUnsafe()
        ? yield* Effect.exit(node.client.ownedShards(undefined, callOptions))
        : undefined
      if (answer !== undefined && Exit.isSuccess(answer)) {
        rule = answer.value.rule
        note(node, answer.value.owned)
        yield* Effect.sleep(askMs)
        continue
      }
      const silence: Silence = answer === undefined ? { _tag: "Lost" } : silenceOf(answer)
      if (silence._tag === "Busy") {
        yield* Effect.sleep(silence.againMs)
        continue
      }
      note(node, undefined)
      if (silence._tag === "Lost") yield* Effect.sleep(againMs)
      // Each refusal counts against the connection.
      else
        for (
          let waited = 0;
          waited < silence.againMs && node.connectionsUnsafe() === connection;
          waited += askMs
        )
          yield* Effect.sleep(askMs)
    }
  })
  // With one node there is nothing to choose.
  if (nodes.length > 1)
    yield* Effect.forEach(nodes, (node) => Effect.forkScoped(follow(node)), { discard: true })

  const ownerOf: OwnerOf = (account) =>
    rule === undefined || owners.size === 0 ? undefined : owners.get(shardOf(account, rule))
  return ownerOf
})

const isSame = (one: ReadonlyArray<number> | undefined, other: ReadonlyArray<number> | undefined): boolean =>
  one?.length === other?.length && (one === undefined || one.every((shard, nth) => shard === other?.[nth]))

/** Of an answer that is a defect, as to a procedure that the node does not know, there is no error. */
const silenceOf = (exit: Exit.Exit<unknown, CommandError | RpcClientError.RpcClientError>): Silence => {
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  if (error === undefined) return { _tag: "Refused", againMs: refusedMs }
  if (isLostConnection(error)) return { _tag: "Lost" }
  switch (error._tag) {
    case "Overloaded":
      return { _tag: "Busy", againMs: Math.min(refusedMs, Math.max(askMs, error.retryAfterMs)) }
    case "Unavailable":
      return { _tag: "Busy", againMs: askMs }
    case "Forbidden":
      return { _tag: "Refused", againMs: Number.POSITIVE_INFINITY }
    default:
      return { _tag: "Refused", againMs: refusedMs }
  }
}
