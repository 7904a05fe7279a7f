/** Tickets whose patience ends enter; answers as truthful as their phase allows leave; and the same for all at the end. */
import { Effect } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import type { PendingCommand } from "../accounts/Lifecycle.ts"
import type { CommitQueue } from "../commit/CommitQueue.ts"
import type { PipelineStats } from "../commit/PipelineStats.ts"
import type { CommandExecutor } from "./CommandExecutor.ts"
import { type InFlightCommands, indeterminate } from "./InFlightCommands.ts"

/** How often deadlines are looked at; a caller may wait so much longer than its deadline, in milliseconds. */
const expiryMs = 50
/** How often a closing node looks whether all is answered, in milliseconds. */
const drainLookMs = 5

/** Watches the deadlines in the scope. */
export const watchDeadlines = Effect.fnUntraced(function* (
  underWay: InFlightCommands,
  queue: CommitQueue,
  turns: CommandExecutor,
  stats: PipelineStats
) {
  const clock = yield* LedgerClock
  const limits = yield* LedgerConfig

  const expire = (until: number): void => {
    const unsent = new Set<PendingCommand>()
    const emptied = new Set<AccountId>()
    for (const ticket of underWay.commands()) {
      if (ticket.deadline > until) break // all have the same patience, and stand in order of arrival
      if (ticket.phase === "queued") unsent.add(ticket)
      else if (ticket.phase === "flying") ticket.expireWaiters(until, indeterminate(ticket))
      else {
        underWay.failUnwritten(ticket, "event store", underWay.trouble)
        for (const id of ticket.accounts) emptied.add(id)
      }
    }
    for (const id of emptied) {
      const actor = turns.residents.peek(id)
      if (actor !== undefined) actor.mailbox = actor.mailbox?.filter((ticket) => ticket.phase !== "settled")
    }
    if (unsent.size > 0) withdraw(unsent)
  }

  /** Takes tickets out of the queue for good; what was decided upon them is decided again. */
  const withdraw = (unsent: ReadonlySet<PendingCommand>): void => {
    const reason = stats.trouble ?? `no room in a batch within ${limits.commandDeadlineMs} ms`
    const evicted = queue.evict((ticket) => unsent.has(ticket))
    for (const ticket of evicted)
      if (unsent.has(ticket)) underWay.failUnwritten(ticket, "event store", reason)
    turns.again(evicted, new Set())
  }

  yield* Effect.sync(() => expire(clock.elapsedUnsafe())).pipe(
    Effect.delay(expiryMs),
    Effect.forever,
    Effect.forkScoped
  )

  /** Ends whatever is left: nobody is to wait for lanes that stop. */
  const abort = (): void => {
    expire(Number.POSITIVE_INFINITY)
    for (const ticket of underWay.commands()) underWay.complete(ticket, indeterminate(ticket))
  }

  return {
    /** Waits, bounded, until all that was accepted is answered. */
    drain: Effect.suspend(() =>
      underWay.size === 0
        ? Effect.void
        : Effect.sleep(drainLookMs).pipe(
            Effect.repeat({ while: () => underWay.size > 0 }),
            Effect.timeoutOption(limits.commandDeadlineMs),
            Effect.andThen(Effect.sync(abort))
          )
    )
  }
})
