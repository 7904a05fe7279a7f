/** A cluster of nodes in one process, over a network that loses, repeats and delays messages by script. */
import { Effect } from "effect"
import {
  Answer,
  type LeaseGrant,
  type LeaseRefused,
  type Placing
} from "../../src/actors/accounts/Placement.ts"
import type { LocalNode as LocalNodeService } from "../../src/actors/commands/LocalNode.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { allShards } from "../../src/domain/Shard.ts"
import { defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { requestLeaseOf } from "./leaseRequests.ts"

type LocalNode = LocalNodeService["Service"]

/** A place whose leases are asked for by an effect, as a network needs that loses and delays messages. */
interface SimulatedPlacing extends Placing {
  readonly requestLease: (id: AccountId, lease: string) => Effect.Effect<LeaseGrant, LeaseRefused>
}

/** What may happen to a message. A request that is lost is sent again, as by the real cluster; a returned lease is not. */
export type MessageFault = "lost" | "answerLost" | "slow"

const againMs = 10
const slowMs = 30

/** Which node owns which shard, and what each believes. */
export class SimulatedCluster {
  readonly shards: number
  script: () => MessageFault | undefined = () => undefined
  /** Messages that were delivered. */
  delivered = 0
  /** By shard, the node that the others believe to own it. */
  readonly #owners: Array<number>
  /** By node, the shards it believes to own. */
  readonly #claims: ReadonlyArray<Set<number>>
  readonly #nodes = new Map<number, LocalNode>()

  constructor(nodes: number, shards: number) {
    this.shards = shards
    this.#owners = Array.from({ length: shards }, (_, shard) => shard % nodes)
    this.#claims = Array.from(
      { length: nodes },
      (_, node) => new Set(this.#owners.flatMap((owner, shard) => (owner === node ? [shard] : [])))
    )
  }

  /** The last digits of an id decide, so that a test can choose. */
  shardOf(account: string): number {
    return Number(/\d+$/.exec(account)?.[0] ?? 0) % this.shards
  }

  ownerOf(account: string): number {
    return this.#owners[this.shardOf(account)] ?? 0
  }

  join(node: number, localNode: LocalNode): void {
    this.#nodes.set(node, localNode)
  }

  /** From here on no message reaches the node. */
  cutOff(node: number): void {
    this.#nodes.delete(node)
  }

  /** The shard goes to another node, as when shards are balanced: the old owner drains first. */
  move(shard: number, to: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const from = this.#owners[shard] ?? 0
      this.#claims[from]?.delete(shard)
      const left = this.#nodes.get(from)?.leave(new Set([shard])) ?? Effect.succeed(false)
      return Effect.map(left, (isClean) => this.#arrive(shard, to, isClean))
    })
  }

  /** The shard goes to another node, and the old owner does not know. */
  seize(shard: number, to: number): void {
    this.#arrive(shard, to, false)
  }

  /** The node learns what it lost. */
  wakeUp(node: number): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      const lost = new Set([...(this.#claims[node] ?? [])].filter((shard) => this.#owners[shard] !== node))
      for (const shard of lost) this.#claims[node]?.delete(shard)
      return this.#nodes.get(node)?.leave(lost) ?? Effect.succeed(false)
    })
  }

  #arrive(shard: number, to: number, isClean: boolean): void {
    this.#owners[shard] = to
    this.#nodes.get(to)?.enter(shard, { isClean, strangers: new Set() })
    this.#claims[to]?.add(shard)
  }

  placementOf(node: number): SimulatedPlacing {
    return {
      isAlone: false,
      owns: (id) => this.#claims[node]?.has(this.shardOf(id)) ?? false,
      shardOf: (id) => this.shardOf(id),
      nodeOf: (shard) => `node-${this.#owners[shard]}`,
      ownedShards: () => allShards,
      others: () => [],
      dispatch: (id, commands, isAgain) =>
        this.#ask(id, (here) => here.dispatch(commands, isAgain)).pipe(
          Effect.timeoutOrElse({
            duration: defaultClusterLimits.askMs,
            orElse: () => Effect.succeed(commands.map(() => Answer.make({ _tag: "Unknown" })))
          })
        ),
      head: (id) => this.#ask(id, (here) => here.head(id)),
      requestLease: (id, lease) => this.#ask(id, (here) => requestLeaseOf(here, id, lease)),
      release: (id, lease, returned) =>
        Effect.suspend(() => {
          const fault = this.script()
          const released = Effect.sync(() => this.#at(id)?.release(id, lease, returned))
          return fault === "lost" ? Effect.void : fault === "slow" ? Effect.delay(released, slowMs) : released
        })
    }
  }

  #at(id: AccountId): LocalNode | undefined {
    return this.#nodes.get(this.ownerOf(id))
  }

  /** Sends a request until an answer comes. */
  #ask<A, E>(id: AccountId, question: (node: LocalNode) => Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.suspend(() => {
      const again = Effect.delay(
        Effect.suspend(() => this.#ask(id, question)),
        againMs
      )
      const here = this.#at(id)
      const fault = this.script()
      if (here === undefined || fault === "lost") return again
      this.delivered++
      if (fault === "answerLost") return Effect.andThen(Effect.exit(question(here)), again)
      return fault === "slow" ? Effect.delay(question(here), slowMs) : question(here)
    })
  }
}
