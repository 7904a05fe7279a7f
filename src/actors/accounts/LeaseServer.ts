/**
 * Leases accounts of this node to other nodes, so that a transaction over accounts of several nodes is decided by one
 * of them: first come, first served, each for a bounded time. LeaseClient.ts is the other side.
 */
import { Clock, Context, Effect, Exit, Layer } from "effect"
import type { Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { AccountRegistry } from "./AccountRegistry.ts"
import { LedgerClock } from "./LedgerClock.ts"
import type { AccountActor } from "./Lifecycle.ts"
import { type GivenBack, type LeaseGrant, NoMemory } from "./Placement.ts"

/** How often leases are looked at, in milliseconds; one may last so much longer. */
const lookMs = 50

interface Lease {
  readonly actor: AccountActor
  readonly untilMs: number
}

export class LeaseServer extends Context.Service<
  LeaseServer,
  {
    /** Waits until nothing is pending on the account, then keeps all others from it until it is returned. */
    readonly lend: (account: AccountId, lease: string) => Effect.Effect<LeaseGrant, Unavailable | NoMemory>
    /** The other node returns the account. A lease that expired, or never was, is ignored. */
    readonly release: (account: AccountId, lease: string, given: GivenBack) => void
    /** Leases that expired before the account was returned, since the start of the node. */
    readonly expired: () => number
  }
>()("chronicle/actors/LeaseServer") {
  static readonly layer = Layer.effect(
    LeaseServer,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const { leaseMs } = yield* ClusterConfig
  const registry = yield* AccountRegistry
  const clock = yield* LedgerClock
  const wall = yield* Clock.Clock
  const leases = new Map<string, Lease>()
  let expired = 0

  const end = (lease: string, actor: AccountActor, given: GivenBack): void => {
    leases.delete(lease)
    // It may have been invalidated meanwhile, and even be loaded again: what the lease says is old then.
    if (actor.phase !== "leased") return
    if (given._tag === "Reload") registry.reload(actor)
    else if (given._tag === "Moved") actor.load(given.head)
    else actor.leaseReturned()
  }

  const lend: LeaseServer["Service"]["lend"] = (account, lease) =>
    Effect.callback((resume) => {
      const actor = registry.get(account, clock.elapsedUnsafe())
      if (actor === undefined) return resume(Exit.fail(new NoMemory()))
      const askedAt = wall.currentTimeMillisUnsafe()
      actor.requestLease({
        lease,
        refuse: resume,
        grant: (head) => {
          const now = wall.currentTimeMillisUnsafe()
          leases.set(lease, { actor, untilMs: now + leaseMs })
          resume(Exit.succeed({ head, waitedMs: now - askedAt, leaseMs }))
        }
      })
      return Effect.sync(() => actor.withdrawLeaseRequest(lease))
    })

  const expire = Effect.sync(() => {
    const now = wall.currentTimeMillisUnsafe()
    for (const [lease, { actor, untilMs }] of leases) {
      if (untilMs > now) break // all last equally long, and stand in order of their beginning
      expired++
      end(lease, actor, { _tag: "Reload" })
    }
  })
  yield* expire.pipe(Effect.delay(lookMs), Effect.forever, Effect.forkScoped)

  return LeaseServer.of({
    lend,
    release: (account, lease, given) => {
      // The request may have come twice, when its first answer was lost: no node waits for the second.
      registry.peek(account)?.withdrawLeaseRequest(lease)
      const found = leases.get(lease)
      if (found !== undefined) end(lease, found.actor, given)
    },
    expired: () => expired
  })
})
