/**
 * Leases accounts of other nodes for commands of this one, so that a transaction over accounts of several nodes is
 * decided here. One lease serves the commands that wait for the account and those that come shortly after; then the
 * account goes back to its owner (LeaseServer.ts).
 */
import { Clock, Context, Effect, Exit, FiberSet, Layer, Random, Result } from "effect"
import type { Head } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { CountByNode } from "./CountByNode.ts"
import { LedgerClock } from "./LedgerClock.ts"
import { AccountActor, type AccountLock, type PendingCommand, resumeAll } from "./Lifecycle.ts"
import {
  type LeaseGrant,
  type LeaseRefused,
  type LeaseReply,
  type PeerBusy,
  Placement,
  type Returned
} from "./Placement.ts"

/** An account of another node, on which this one decides while the lease lasts. */
interface LeasedAccount {
  readonly actor: AccountActor
  readonly lease: string
  /** Commands that were decided on it, or will be when they have the rest of their accounts. */
  readonly users: Set<PendingCommand>
  /** The node that was asked for it, as far as that is known. */
  readonly node: string | undefined
  /** Commands that wait for the account to come, or for the next lease; changed by `setWaiting` and `wait`. */
  waiting: Array<PendingCommand>
  /** The head at the beginning of the lease; undefined until the account is here. */
  granted: Head | undefined
  /** Withdraws the request for the lease, where it is known how. */
  withdraw: (() => void) | undefined
  /** No command joins from here on, so that the owner gets the account back. */
  closesAtMs: number
  /** By then the owner may have taken it back; nothing may be decided on it any more. */
  endsAtMs: number
  /** The same by the machine's clock, which goes on while the machine is suspended; where it was set back, the other one counts. */
  endsAtWallMs: number
  joined: number
  isOpening: boolean
  /** Another writer wrote to it, or an outcome is not known. */
  isBroken: boolean
}

export class LeaseClient extends Context.Service<
  LeaseClient,
  {
    /** A lock on the account; undefined when the command waits, and is resumed when it may look again. */
    readonly join: (account: AccountId, command: PendingCommand) => AccountLock | undefined
    /** What this leased account holds is wrong: nothing more is decided on it. False where it is not leased. */
    readonly invalidate: (actor: AccountActor) => boolean
    /** The shard came to this node: nothing more is decided on what the former owner leased to it. */
    readonly invalidateShard: (shard: number) => void
    /** Lets those commands go that were answered while they waited for the account. */
    readonly forgetDone: (account: AccountId) => void
    /** Commands that wait for the account, or for which it is leased. */
    readonly inFlight: (account: AccountId) => number
    /** It was asked for, and is not here yet. */
    readonly isAsked: (account: AccountId) => boolean
    /** The account is of another node, for whose accounts as many commands wait as may. */
    readonly isNodeFull: (account: AccountId) => boolean
    /** Accounts that are asked for or leased. */
    readonly size: () => number
  }
>()("chronicle/actors/LeaseClient") {
  static readonly layer = Layer.effect(
    LeaseClient,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const placement = yield* Placement
  const limits = yield* ClusterConfig
  const { inFlightMax } = yield* LedgerConfig
  const clock = yield* LedgerClock
  const wall = yield* Clock.Clock
  const run = yield* FiberSet.makeRuntime<never>()
  const life = (yield* Random.nextIntBetween(0, 36 ** 7)).toString(36)
  const leased = new Map<AccountId, LeasedAccount>()
  /** How many commands wait for accounts of each other node. */
  const waitingByNode = new CountByNode()
  // Half of what this node takes is left for all else.
  const waitingMax = Math.ceil(inFlightMax / 2)
  let leases = 0

  const setWaiting = (one: LeasedAccount, commands: Array<PendingCommand>): void => {
    waitingByNode.add(one.node, commands.length - one.waiting.length)
    one.waiting = commands
  }

  const wait = (one: LeasedAccount, command: PendingCommand): undefined => {
    waitingByNode.add(one.node, 1)
    one.waiting.push(command)
  }

  const takeWaiting = (one: LeasedAccount): ReadonlyArray<PendingCommand> => {
    const { waiting } = one
    setWaiting(one, [])
    return waiting
  }

  /** The answer may be here before this returns. */
  const ask = (account: AccountId, waiting: Array<PendingCommand>): void => {
    const now = clock.elapsedUnsafe()
    const nowWall = wall.currentTimeMillisUnsafe()
    const one: LeasedAccount = {
      actor: new AccountActor(account, now),
      lease: `${life}.${++leases}`,
      users: new Set(),
      node: placement.nodeOf(placement.shardOf(account)),
      waiting: [],
      granted: undefined,
      withdraw: undefined,
      closesAtMs: 0,
      endsAtMs: 0,
      endsAtWallMs: 0,
      joined: 0,
      isOpening: false,
      isBroken: false
    }
    setWaiting(one, waiting)
    leased.set(account, one)
    const reply: LeaseReply = (exit) => {
      if (Exit.isFailure(exit)) return void run(refused(one, exit))
      // Who carries the answer has others to carry, which a defect here must not keep from them.
      const begun = Result.try(() => begin(one, exit.value, now, nowWall))
      if (Result.isFailure(begun)) run(Effect.logError("a lease could not begin", begun.failure))
    }
    const asked = placement.requestLease(account, one.lease, reply)
    if (Effect.isEffect(asked)) run(Effect.map(Effect.exit(asked), reply))
    else one.withdraw = asked
  }
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const one of leased.values()) if (one.granted === undefined) one.withdraw?.()
    })
  )

  const release = (account: AccountId, lease: string, returned: Returned): void => {
    const rest = placement.release(account, lease, returned)
    if (rest !== undefined) run(rest)
  }

  const begin = (one: LeasedAccount, grant: LeaseGrant, askedAt: number, askedAtWall: number): void => {
    const { actor } = one
    one.granted = grant.head
    one.endsAtMs = askedAt + grant.waitedMs + grant.leaseMs
    one.endsAtWallMs = askedAtWall + grant.waitedMs + grant.leaseMs
    one.closesAtMs = Math.min(clock.elapsedUnsafe() + limits.shareMs, one.endsAtMs)
    actor.load(grant.head)
    // The first to leave must not return it while the others are still to come.
    one.isOpening = true
    // Each of them may come to wait once more.
    const resumed = resumeAll(takeWaiting(one))
    one.isOpening = false
    returnIfUnused(one)
    Result.getOrThrow(resumed)
  }

  const refused = Effect.fnUntraced(function* (
    one: LeasedAccount,
    exit: Exit.Exit<unknown, LeaseRefused | PeerBusy>
  ) {
    const { actor, lease } = one
    // The owner may have granted it, with an answer that was lost.
    release(actor.id, lease, { _tag: "Unchanged" })
    const failure = Exit.isFailure(exit) ? Exit.findErrorOption(exit) : undefined
    if (failure?._tag === "Some" && failure.value._tag !== "NotMine") {
      const refusal = failure.value._tag === "PeerBusy" ? "PeerBusy" : Exit.fail(failure.value)
      leased.delete(actor.id)
      return Result.getOrThrow(resumeAll(takeWaiting(one), refusal))
    }
    // Until then others wait with them, and are counted with them.
    yield* Effect.sleep(limits.retryMs)
    leased.delete(actor.id)
    Result.getOrThrow(resumeAll(takeWaiting(one)))
  })

  const returnIfUnused = (one: LeasedAccount): void => {
    const { actor, granted } = one
    if (granted === undefined || one.isOpening || one.users.size > 0 || leased.get(actor.id) !== one) return
    leased.delete(actor.id)
    actor.evict()
    release(actor.id, one.lease, returnOf(one, granted))
    const waiting = takeWaiting(one).filter(({ phase }) => phase !== "done")
    if (waiting.length > 0) ask(actor.id, waiting)
  }

  /** Not over by either clock: the owner cannot have the account back. */
  const isGood = (one: LeasedAccount, elapsedMs: number): boolean =>
    !one.isBroken && elapsedMs < one.endsAtMs && wall.currentTimeMillisUnsafe() < one.endsAtWallMs

  const lockOf = (one: LeasedAccount, command: PendingCommand): AccountLock => ({
    actor: one.actor,
    until: "done",
    isGood: (elapsedMs) => isGood(one, elapsedMs),
    release: () => {
      one.users.delete(command)
      returnIfUnused(one)
    }
  })

  return LeaseClient.of({
    join: (account, command) => {
      const one = leased.get(account)
      if (one === undefined) {
        ask(account, [command])
        return undefined
      }
      const now = clock.elapsedUnsafe()
      const isOpen = isGood(one, now) && now < one.closesAtMs && one.joined < limits.shareMax
      if (one.granted === undefined || !isOpen) {
        return wait(one, command)
      }
      one.joined++
      one.users.add(command)
      return lockOf(one, command)
    },
    invalidate: (actor) => {
      const one = leased.get(actor.id)
      if (one?.actor !== actor) return actor.phase === "evicted"
      one.isBroken = true
      actor.invalidate()
      return true
    },
    invalidateShard: (shard) => {
      for (const one of leased.values()) {
        if (placement.shardOf(one.actor.id) !== shard) continue
        one.isBroken = true
        if (one.granted !== undefined) one.actor.invalidate()
      }
    },
    forgetDone: (account) => {
      const one = leased.get(account)
      if (one === undefined) return
      setWaiting(
        one,
        one.waiting.filter(({ phase }) => phase !== "done")
      )
    },
    inFlight: (account) => {
      const one = leased.get(account)
      return one === undefined ? 0 : one.users.size + one.waiting.length
    },
    isAsked: (account) => {
      const one = leased.get(account)
      return one !== undefined && one.granted === undefined
    },
    isNodeFull: (account) =>
      // Where all together are fewer, no node has so many: that costs a look, where hardly ever any has.
      waitingByNode.all >= waitingMax &&
      !placement.owns(account) &&
      waitingByNode.of(placement.nodeOf(placement.shardOf(account))) >= waitingMax,
    size: () => leased.size
  })
})

const returnOf = ({ actor, isBroken }: LeasedAccount, granted: Head): Returned => {
  // With something still being sent (this node is closing) only the log knows.
  if (isBroken || actor.uncommitted > 0) return { _tag: "Reload" }
  return actor.committed === granted ? { _tag: "Unchanged" } : { _tag: "Moved", head: actor.committed }
}
