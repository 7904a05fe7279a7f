/** Accounts that another writer wrote to enter; a warning a second at most, and none of them untold, leaves. */
import { Effect } from "effect"
import type { AccountActor } from "../accounts/AccountActor.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import { about, type PendingCommand } from "../accounts/Lifecycle.ts"

/** Two nodes that fight over many accounts must not also fill the disk with saying so. */
const everyMs = 1_000
/** Account ids that one warning names. */
const namedMax = 10

/** The numbers of all warnings of a node add up to its count of conflicts, also when it ends in between. */
export const makeSplitBrainAlarm = Effect.gen(function* () {
  const clock = yield* LedgerClock
  let warnedAt = Number.NEGATIVE_INFINITY
  let unsaid = 0

  const warn = (count: number, accounts: ReadonlyArray<string>) =>
    Effect.logWarning(
      `split brain: another writer wrote to accounts this node owned, ${count} times; they are reloaded`,
      accounts
    )
  const catchUp = Effect.suspend(() => {
    const count = unsaid
    unsaid = 0
    return count === 0 ? Effect.void : warn(count, [])
  })
  yield* catchUp.pipe(Effect.delay(everyMs), Effect.forever, Effect.forkScoped)
  yield* Effect.addFinalizer(() => catchUp)

  return Effect.fnUntraced(function* (
    stale: ReadonlySet<AccountActor>,
    tickets: ReadonlyArray<PendingCommand>
  ) {
    if (stale.size === 0) return
    const now = clock.nowUnsafe()
    if (now - warnedAt < everyMs) {
      unsaid += stale.size
      return
    }
    const accounts = new Set([...stale].map((actor) => actor.id))
    warnedAt = now
    yield* warn(stale.size, [...accounts].slice(0, namedMax)).pipe(
      about(tickets.filter((ticket) => ticket.accounts.some((id) => accounts.has(id))))
    )
  })
})
