/**
 * Sends the commands of the chaos runs until each has a definite answer, and keeps every answer outside of the nodes, so
 * that the verdict can hold against the log what a node acknowledged before it was killed.
 */
import { Effect, Result } from "effect"
import type { Command, CommandInput } from "../../../src/domain/Command.ts"
import type { CommandError } from "../../../src/domain/Errors.ts"
import type { Receipt } from "../../../src/domain/Receipt.ts"
import type { Attempt } from "../invariants.ts"

/** A command with an id, so that it can be sent again. */
export type Identified = CommandInput & Pick<Command, "commandId">

/** The answer to one sending. `Indeterminate` also stands for an answer that was not waited for. */
export type Answer = Result.Result<Receipt, Pick<CommandError, "_tag">>

/** Nanoseconds of one clock for all customers. */
const now = (): number => Number(process.hrtime.bigint())
const retryMs = 50
/** How often a command without a definite answer is sent again after the run is over. */
const lastTriesMax = 100

/** Whether the command must be sent again, because nothing was done or the outcome is unknown. */
const isOpen = (tag: string) => tag === "Unavailable" || tag === "Overloaded" || tag === "Indeterminate"

export class Journal {
  readonly attempts: Array<Attempt> = []
  /** Balances that were older than a receipt that the same customer had before the question. */
  readonly stale: Array<string> = []
  /** Commands that never got a definite answer. */
  undecided = 0
  isOver = false

  /** Sends the command until it is decided. The answer is the receipt, or undefined where it was refused. */
  sendUntilDecided(
    command: Identified,
    send: (command: Identified) => Effect.Effect<Answer>
  ): Effect.Effect<Receipt | undefined> {
    const attempt = Effect.gen({ self: this }, function* () {
      const start = now()
      const answer = yield* send(command)
      const { commandId } = command
      const outcome = Result.isSuccess(answer) ? answer.success : answer.failure._tag
      this.attempts.push({ commandId, start, end: now(), answer: outcome })
      return answer
    })
    return Effect.gen({ self: this }, function* () {
      for (let triesAtEnd = 0; triesAtEnd < lastTriesMax; ) {
        const answer = yield* attempt
        if (Result.isSuccess(answer)) return answer.success
        if (!isOpen(answer.failure._tag)) return undefined
        if (this.isOver) triesAtEnd++
        yield* Effect.sleep(retryMs)
      }
      this.undecided++
      return undefined
    })
  }
}
