/**
 * Which of the connected nodes owns an account, by what each says of itself: so a command goes straight to the node that
 * decides it. This is a hint that may be old; a node that does not own the account sends the command on.
 */
import { Effect, Exit, Option } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import { type ShardRule, shardOf } from "../../domain/Shard.ts"
import { isLostConnection } from "./Failover.ts"
import type { NodeConnection } from "./NodeConnection.ts"

export type OwnerOf = (account: AccountId) => NodeConnection | undefined

/** How often each node is asked, in milliseconds, and how soon again one that is not connected. */
const askMs = 1_000
const againMs = 250
/** The same for a node that may not tell this caller, or is of a version that cannot. */
const refusedMs = 60_000

/** Follows the shards of all nodes for as long as the scope lives. */
export const followOwners = Effect.fnUntraced(function* (
  nodes: ReadonlyArray<NodeConnection>,
  callOptions: object
) {
  const owners = new Map<number, NodeConnection>()
  let rule: ShardRule | undefined

  const forget = (node: NodeConnection): void => {
    for (const [shard, owner] of owners) if (owner === node) owners.delete(shard)
  }

  const follow = Effect.fnUntraced(function* (node: NodeConnection) {
    let known: number | undefined
    for (;;) {
      const told = node.isConnectedUnsafe()
        ? yield* Effect.exit(node.client.ownedShards(undefined, callOptions))
        : undefined
      if (told === undefined || Exit.isFailure(told)) {
        known = undefined
        forget(node)
        // A token that may only read stays so, and each refusal counts against its connection.
        if (told !== undefined && isForbidden(told)) return
        yield* Effect.sleep(told === undefined || isLost(told) ? againMs : refusedMs)
        continue
      }
      const { change, owned } = told.value
      if (change !== known) {
        forget(node)
        for (const shard of owned) owners.set(shard, node)
        known = change
        rule = told.value.rule
      }
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

const isForbidden = <E extends { readonly _tag: string }>(exit: Exit.Exit<unknown, E>): boolean =>
  Option.exists(Exit.findErrorOption(exit), ({ _tag }) => _tag === "Forbidden")

const isLost = <E>(exit: Exit.Exit<unknown, E>): boolean =>
  Option.exists(Exit.findErrorOption(exit), isLostConnection)
