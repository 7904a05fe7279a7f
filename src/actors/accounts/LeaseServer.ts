/**
 * Leases accounts of this node to other nodes, so that a transaction over accounts of several nodes is decided by one
 * of them: first come, first served, each for a bounded time. LeaseClient.ts is the other side.
 *
 * After a lease has expired the other node decides no more on the account, but what it decided before may still be on
 * its way to the store. So the account is barred: it is loaded again when no other writer can write to it any more, or
 * at once when the other node returns it late, with nothing of its own on the way.
 */
import { Context, Effect, Exit, Latch, Layer } from "effect"
import type { Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import { AccountRegistry, type LoadBar } from "./AccountRegistry.ts"
import { LedgerClock } from "./LedgerClock.ts"
import type { AccountActor } from "./Lifecycle.ts"
import type { LeaseGrant, Returned } from "./Placement.ts"

/** How often leases are looked at, in milliseconds; one may last so much longer. */
const lookMs = 50

const noNodes: ReadonlySet<string> = new Set()

/** Takes the grant of a lease, or why this node makes none. */
type GrantReply = (granted: Exit.Exit<LeaseGrant, Unavailable> | "noMemory") => void

interface Lease {
  readonly actor: AccountActor
  readonly untilMs: number
  /** Since its expiry; while this is the bar on the account, the account waits for this lease and no other. */
  bar: LoadBar | undefined
}

export class LeaseServer extends Context.Service<
  LeaseServer,
  {
    /**
     * Waits until nothing is pending on the account, then keeps all others from it until it is returned. `reply` is called
     * once; calling what this returns withdraws the request.
     */
    readonly requestLease: (account: AccountId, lease: string, reply: GrantReply) => (() => void) | undefined
    /** The other node returns the account. A lease that ended otherwise, or never was, is ignored. */
    readonly release: (account: AccountId, lease: string, returned: Returned) => void
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
  const leases = new Map<string, Lease>()
  let expired = 0
  const hasLeases = Latch.makeUnsafe(false)

  /** The account is read again once the other node can write to it no more. */
  const recover = (one: Lease): void => {
    const { actor } = one
    const bar: LoadBar = { on: actor, leaseMs: 0, strangers: noNodes }
    one.bar = bar
    registry.bar(bar)
    registry.reload(actor)
  }

  const end = (one: Lease, returned: Returned): void => {
    const { actor, bar } = one
    // It may have been invalidated meanwhile, and even be loaded again: what the lease says is old then.
    const isWaiting =
      bar === undefined
        ? actor.phase === "leased"
        : registry.barOn(actor) === bar && actor.phase === "loading"
    if (!isWaiting) return
    if (returned._tag === "Reload") {
      // Only the log knows what became of it.
      if (bar === undefined) recover(one)
      return
    }
    actor.load(returned._tag === "Moved" ? returned.head : actor.committed)
    if (bar !== undefined) registry.lift(bar)
  }

  const requestLease: LeaseServer["Service"]["requestLease"] = (account, lease, reply) => {
    const actor = registry.get(account, clock.elapsedUnsafe())
    if (actor === undefined) {
      reply("noMemory")
      return undefined
    }
    const askedAt = clock.elapsedUnsafe()
    actor.requestLease({
      lease,
      refuse: reply,
      grant: (head) => {
        const now = clock.elapsedUnsafe()
        leases.set(lease, { actor, untilMs: now + leaseMs, bar: undefined })
        hasLeases.openUnsafe()
        reply(Exit.succeed({ head, waitedMs: now - askedAt, leaseMs }))
      }
    })
    return () => actor.withdrawLeaseRequest(lease)
  }

  const expire = Effect.sync(() => {
    const now = clock.elapsedUnsafe()
    for (const [lease, one] of leases) {
      if (one.untilMs > now) break // all last equally long, and stand in order of their beginning
      if (one.bar === undefined && one.actor.phase === "leased") {
        expired++
        recover(one)
      } else if (one.bar === undefined || registry.barOn(one.actor) !== one.bar) leases.delete(lease)
    }
  })
  const awaitSome = Effect.suspend(() => {
    if (leases.size === 0) hasLeases.closeUnsafe()
    return hasLeases.await
  })
  yield* awaitSome.pipe(
    Effect.andThen(Effect.sleep(lookMs)),
    Effect.andThen(expire),
    goesOn("ending leases"),
    Effect.forever,
    Effect.forkScoped
  )

  return LeaseServer.of({
    requestLease,
    release: (account, lease, returned) => {
      // The request may have come twice, when its first answer was lost: no node waits for the second.
      registry.peek(account)?.withdrawLeaseRequest(lease)
      const found = leases.get(lease)
      if (found === undefined) return
      leases.delete(lease)
      end(found, returned)
    },
    expired: () => expired
  })
})
