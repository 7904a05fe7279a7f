/** Accounts that another writer wrote to enter; a warning a second at most, with what it left out, leaves. */
import { Effect } from "effect"
import type { AccountActor } from "./AccountActor.ts"
import { LedgerClock } from "./LedgerClock.ts"
import { about, type Ticket } from "./Ticket.ts"

/** Two nodes that fight over many accounts must not also fill the disk with saying so. */
const everyMs = 1_000
/** Account ids that one warning names. */
const namedMax = 10

export const makeSplitBrainAlarm = Effect.gen(function* () {
  const clock = yield* LedgerClock
  let warnedAt = Number.NEGATIVE_INFINITY
  let unsaid = 0
  return Effect.fnUntraced(function* (stale: ReadonlySet<AccountActor>, tickets: ReadonlyArray<Ticket>) {
    if (stale.size === 0) return
    const now = clock.nowUnsafe()
    if (now - warnedAt < everyMs) {
      unsaid += stale.size
      return
    }
    const accounts = new Set([...stale].map((actor) => actor.id))
    const before = unsaid === 0 ? "" : ` (and ${unsaid} times since the last warning)`
    warnedAt = now
    unsaid = 0
    yield* Effect.logWarning(
      `split brain: another writer wrote to accounts this node owned; they are reloaded${before}`,
      [...accounts].slice(0, namedMax)
    ).pipe(about(tickets.filter((ticket) => ticket.accounts.some((id) => accounts.has(id)))))
  })
})
