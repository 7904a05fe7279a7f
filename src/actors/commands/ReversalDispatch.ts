/**
 * Dispatches a reversal: what the log says of its original, and of earlier reversals of that, is looked up where it came in. Then it is
 * decided as any other command, on this node, within the deadline of the whole.
 */
import { Effect, Exit } from "effect"
import type { Command } from "../../domain/Command.ts"
import { type CommandError, Indeterminate } from "../../domain/Errors.ts"
import { reversalIdOf } from "../../domain/Original.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import { AdmissionControl } from "./AdmissionControl.ts"
import { isSelfLimiting, type Sender } from "./CommandExecutor.ts"
import { Deduplication } from "./Deduplication.ts"
import { InFlightCommands, saysNothingWasDone } from "./InFlightCommands.ts"
import { Lookups } from "./Lookups.ts"
import { resolveReversal } from "./Originals.ts"
import { makeWhyLate } from "./WhyLate.ts"

type Reverse = Extract<Command, { readonly _tag: "Reverse" }>

export const isReversal = (command: Command): command is Reverse => command._tag === "Reverse"

export interface ReversalDispatch {
  readonly dispatch: (command: Reverse, sender: Sender) => Effect.Effect<Receipt, CommandError>
  /** Where this node knows the reversal to be done, or has it under way, it is not told that nothing was done. */
  readonly refuse: (command: Reverse, error: CommandError) => Exit.Exit<never, CommandError>
}

/** `submit` takes in what is to be decided on this node. */
export const makeReversalDispatch = Effect.fnUntraced(function* (
  submit: (command: Command, sender: Sender, deadline: number) => Effect.Effect<Receipt, CommandError>
) {
  const limits = yield* LedgerConfig
  const store = yield* EventStore
  const deduplication = yield* Deduplication
  const clock = yield* LedgerClock
  const admission = yield* AdmissionControl
  const inFlight = yield* InFlightCommands.Service
  const whyLate = yield* makeWhyLate
  const lookups = new Lookups({ atOnce: limits.lookupsAtOnce, waitingMax: limits.lookupsWaitingMax })
  const lookupsFull = Effect.suspend(() => admission.lookupsFull().exit)

  const refuse: ReversalDispatch["refuse"] = ({ original, n = 1 }, error) => {
    const commandId = reversalIdOf(original, n)
    const isFalse = saysNothingWasDone(error) && deduplication.isKnown(commandId)
    const refusal = Exit.fail(isFalse ? new Indeterminate({ commandId }) : error)
    inFlight.outcomes.note(refusal)
    return refusal
  }

  /** In flight like what is decided. */
  const whileCounted = <A, E>(lookup: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.acquireUseRelease(
      Effect.sync(() => inFlight.beginWait()),
      () => lookup,
      () => Effect.sync(() => inFlight.endWait())
    )

  const dispatch: ReversalDispatch["dispatch"] = (command, sender) =>
    Effect.suspend(() => {
      const now = clock.elapsedUnsafe()
      const refusal = admission.check([], [], isSelfLimiting(sender), now)
      if (refusal !== undefined) return Effect.catch(refusal, (error) => refuse(command, error))
      const resolved = Effect.timeoutOrElse(lookups.run(resolveReversal(store, command), lookupsFull), {
        duration: limits.commandDeadlineMs,
        orElse: whyLate.ofLog
      })
      return whileCounted(resolved).pipe(
        Effect.catch((error) => refuse(command, error)),
        Effect.flatMap((found) => submit(found, sender, now + limits.commandDeadlineMs))
      )
    })

  return { dispatch, refuse } satisfies ReversalDispatch
})
