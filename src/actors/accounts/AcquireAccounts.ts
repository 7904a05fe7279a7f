/**
 * Locks the accounts of a command that are not all at hand: in memory, of this node, and not leased. Accounts are
 * locked one after another in one order for all nodes, the order of their ids.
 *
 * Why no command waits for ever: a command that waits for an account holds only accounts with smaller ids. So along
 * any chain of waits the ids grow, and it cannot close. An account of this node is held by a pin, which keeps it from
 * being leased and from nothing else; one of another node by a lease. Both are first come, first served. A command that has all its accounts
 * may wait for its turn, which comes, and for nothing else.
 */
import { Context, Effect, Layer } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import { AccountRegistry } from "./AccountRegistry.ts"
import { LeaseClient } from "./LeaseClient.ts"
import type { AccountActor, AccountLock, PendingCommand } from "./Lifecycle.ts"
import { Placement } from "./Placement.ts"

/** The actors of a command, one for each of its accounts, or why it cannot be decided now. */
export type Acquired = ReadonlyArray<AccountActor> | "waiting" | "noMemory"

export class AcquireAccounts extends Context.Service<
  AcquireAccounts,
  {
    /** A command that is `waiting` is resumed when it may go on. */
    readonly acquire: (command: PendingCommand, elapsedMs: number) => Acquired
    /** Keeps accounts that are all of this node and ready from being leased, until the command that has them is decided. */
    readonly keep: (command: PendingCommand, actors: ReadonlyArray<AccountActor>) => void
    /** What the actor holds is wrong: it is read again, here or by its owner. */
    readonly reload: (actor: AccountActor) => void
  }
>()("chronicle/actors/AcquireAccounts") {
  static readonly layer = Layer.effect(
    AcquireAccounts,
    Effect.gen(function* () {
      const placement = yield* Placement
      const registry = yield* AccountRegistry
      const leases = yield* LeaseClient

      const pin = (actor: AccountActor): AccountLock => {
        actor.pin()
        return {
          actor,
          until: "decided",
          isGood: () => actor.phase !== "evicted" && placement.owns(actor.id),
          release: () => actor.unpin()
        }
      }

      const lock = (
        command: PendingCommand,
        id: AccountId,
        elapsedMs: number
      ): AccountLock | "waiting" | "noMemory" => {
        if (!placement.owns(id)) return leases.join(id, command) ?? "waiting"
        const actor = registry.get(id, elapsedMs)
        if (actor === undefined) return "noMemory"
        if (actor.phase === "ready") return pin(actor)
        actor.wait(command)
        return "waiting"
      }

      /** The actors of a command that holds all its locks. */
      const locked = (command: PendingCommand): Acquired => {
        const actors = new Map<AccountId, AccountActor>()
        for (const { actor } of command.locks) {
          // An account of ours that was wrong meanwhile is being read again; it stays locked.
          if (actor.phase === "loading" && registry.peek(actor.id) === actor) {
            actor.wait(command)
            return "waiting"
          }
          actors.set(actor.id, actor)
        }
        return command.accounts.map((id) => actors.get(id) as AccountActor) // every account is locked
      }

      return {
        acquire: (command, elapsedMs) => {
          if (command.locks.some((one) => !one.isGood(elapsedMs))) command.releaseLocks()
          while (command.locks.length < command.lockOrder.length) {
            const id = command.lockOrder[command.locks.length] as AccountId // the index is below the length
            const next = lock(command, id, elapsedMs)
            if (next === "waiting" || next === "noMemory") return next
            command.addLock(next)
          }
          return locked(command)
        },
        keep: (command, actors) => {
          const byId = new Map(actors.map((actor) => [actor.id, actor]))
          for (const id of command.lockOrder) command.addLock(pin(byId.get(id) as AccountActor)) // one for each of its accounts
        },
        reload: (actor) => {
          if (!leases.invalidate(actor)) registry.reload(actor)
        }
      }
    })
  )
}
