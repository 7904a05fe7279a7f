/** Other nodes that need accounts of ours enter, in order of arrival; each gets the account for a while, and it returns. */
import { Clock, Effect, Exit } from "effect"
import { Overloaded } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import type { AccountActor } from "./AccountActor.ts"
import type { AccountRegistry } from "./AccountRegistry.ts"
import { LedgerClock } from "./LedgerClock.ts"
import type { GivenBack, Loan, NotLent } from "./Placement.ts"

/** How often leases are looked at, in milliseconds; one may last so much longer. */
const lookMs = 50

interface Lease {
  readonly actor: AccountActor
  readonly untilMs: number
}

export interface LeaseServer {
  /** Waits until nothing is open on the account, then keeps everybody else from it until it is given back. */
  readonly lend: (account: AccountId, lease: string) => Effect.Effect<Loan, NotLent>
  /** The borrower is done. A lease that ended, or never was, is ignored. */
  readonly release: (account: AccountId, lease: string, given: GivenBack) => void
  /** Something of the account was settled or let go of: it may be lent now. */
  readonly look: (actor: AccountActor) => void
  /** Leases that ended before the account was given back, since the start of the node. */
  readonly expired: () => number
}

/** `onReady` is called when the account is ours again. Watches the leases in the scope. */
export const makeLeaseServer = Effect.fnUntraced(function* (
  residents: AccountRegistry,
  onReady: (actor: AccountActor) => void
) {
  const { leaseMs } = yield* ClusterConfig
  const clock = yield* LedgerClock
  const wall = yield* Clock.Clock
  const leases = new Map<string, Lease>()
  let lapsed = 0

  const look = (actor: AccountActor): void => {
    if (actor.borrowers.length === 0) {
      if (actor.phase !== "lending") return
      actor.phase = "ready"
      return onReady(actor)
    }
    if (actor.phase === "ready") actor.phase = "lending"
    if (actor.phase !== "lending" || actor.uncommitted + actor.pins > 0) return
    const borrower = actor.borrowers.shift()
    if (borrower === undefined) return
    actor.phase = "lent"
    leases.set(borrower.lease, { actor, untilMs: wall.currentTimeMillisUnsafe() + leaseMs })
    borrower.grant(actor)
  }

  const lend = (account: AccountId, lease: string): Effect.Effect<Loan, NotLent> =>
    Effect.callback<Loan, NotLent>((resume) => {
      const actor = residents.get(account, clock.elapsedUnsafe())
      if (actor === undefined) {
        return resume(Exit.fail(new Overloaded({ what: "memory for accounts", retryAfterMs: leaseMs })))
      }
      const askedAt = wall.currentTimeMillisUnsafe()
      const borrower = {
        lease,
        refuse: resume,
        grant: ({ committed }: AccountActor) =>
          resume(
            Exit.succeed({ head: committed, waitedMs: wall.currentTimeMillisUnsafe() - askedAt, leaseMs })
          )
      }
      actor.borrowers.push(borrower)
      look(actor)
      return Effect.sync(() => {
        actor.borrowers = actor.borrowers.filter((one) => one !== borrower)
        look(actor)
      })
    })

  const end = (lease: string, actor: AccountActor, given: GivenBack): void => {
    leases.delete(lease)
    if (actor.phase !== "lent") return
    if (given._tag === "Reload") return residents.reload(actor)
    if (given._tag === "Moved") actor.load(given.head)
    actor.phase = "ready"
    onReady(actor)
  }

  const watch = Effect.sync(() => {
    const now = wall.currentTimeMillisUnsafe()
    for (const [lease, { actor, untilMs }] of leases) {
      if (untilMs > now) break // all last equally long, and stand in order of their beginning
      lapsed++
      end(lease, actor, { _tag: "Reload" })
    }
  })
  yield* watch.pipe(Effect.delay(lookMs), Effect.forever, Effect.forkScoped)

  return {
    lend,
    release: (account, lease, given) => {
      // The question may have come twice, when its first answer was lost: nobody waits for the second.
      const actor = residents.peek(account)
      if (actor !== undefined && actor.borrowers.length > 0) {
        actor.borrowers = actor.borrowers.filter((one) => one.lease !== lease)
        look(actor)
      }
      const found = leases.get(lease)
      if (found !== undefined) end(lease, found.actor, given)
    },
    look,
    expired: () => lapsed
  } satisfies LeaseServer
})
