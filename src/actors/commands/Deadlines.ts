/**
 * Deadlines: a command whose deadline has come is answered as truthfully as its phase allows. What was never sent is
 * `Unavailable`, and will never land; of what is being sent only the store knows (`Indeterminate`). The end of a node
 * is a deadline for all of its commands.
 */
import { Context, Effect, Layer, Result } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import { AccountRegistry } from "../accounts/AccountRegistry.ts"
import { LeaseClient } from "../accounts/LeaseClient.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import type { PendingCommand } from "../accounts/Lifecycle.ts"
import { CommitPipeline } from "../commit/CommitPipeline.ts"
import { CommandExecutor } from "./CommandExecutor.ts"
import { InFlightCommands, indeterminate } from "./InFlightCommands.ts"
import { makeWhyLate } from "./WhyLate.ts"

/** How often deadlines are looked at while there are commands; a caller may wait so much longer than its deadline, in milliseconds. */
const expiryMs = 50
/** How often a closing node looks whether all is answered, in milliseconds. */
const drainLookMs = 5

export class Deadlines extends Context.Service<
  Deadlines,
  {
    /** Waits, bounded by the deadline of a command, until every admitted command is answered. */
    readonly drain: Effect.Effect<void>
  }
>()("chronicle/actors/Deadlines") {
  /** Watches the deadlines in the scope. */
  static readonly layer = Layer.effect(
    Deadlines,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const limits = yield* LedgerConfig
  const clock = yield* LedgerClock
  const registry = yield* AccountRegistry
  const leases = yield* LeaseClient
  const { stats } = yield* CommitPipeline
  const inFlight = yield* InFlightCommands.Service
  const executor = yield* CommandExecutor
  const whyLate = yield* makeWhyLate

  const expire = (until: number): void => {
    const unsent = new Set<PendingCommand>()
    const waitedFor = new Set<AccountId>()
    inFlight.expireHurried(until)
    // From the last: one that stands in the line of its batch would be decided as the one before it is answered.
    for (const command of [...inFlight.expired(until)].reverse()) {
      if (command.phase === "queued") unsent.add(command)
      else if (command.phase === "committing") inFlight.expireWaiters(command, until)
      else {
        inFlight.attempt(command, () => inFlight.completeUnwritten(command, whyLate.ofCommand(command)))
        for (const id of command.accounts) waitedFor.add(id)
      }
    }
    for (const id of waitedFor) {
      registry.peek(id)?.forgetDone()
      leases.forgetDone(id)
    }
    if (unsent.size === 0) return
    const reason = stats.trouble ?? `no room in a batch within ${limits.commandDeadlineMs} ms`
    const withdrawn = Result.try(() => executor.withdraw(unsent, reason))
    // Where that met a bug they may be in the queue no more, and nothing else would answer them.
    for (const command of unsent)
      if (command.phase !== "done") inFlight.complete(command, indeterminate(command))
    Result.getOrThrow(withdrawn)
  }

  // No deadline is nearer than that: a node without commands has nothing to wake for.
  yield* inFlight.awaitSome.pipe(
    Effect.andThen(Effect.sleep(expiryMs)),
    Effect.andThen(Effect.sync(() => expire(clock.elapsedUnsafe()))),
    goesOn("watching deadlines"),
    Effect.forever,
    Effect.forkScoped
  )

  /** Answers whatever is left: no caller is to wait for lanes that stop. */
  const abort = (): void => {
    expire(Number.POSITIVE_INFINITY)
    for (const command of inFlight.commands()) inFlight.complete(command, indeterminate(command))
  }

  return Deadlines.of({
    drain: Effect.suspend(() =>
      inFlight.isIdle
        ? Effect.void
        : Effect.sleep(drainLookMs).pipe(
            Effect.repeat({ until: () => inFlight.isIdle }),
            Effect.timeoutOption(limits.commandDeadlineMs),
            Effect.andThen(Effect.sync(abort))
          )
    )
  })
})
