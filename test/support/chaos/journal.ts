/**
 * Sends the commands of the chaos runs until each has a definite answer, and keeps every answer outside of the nodes, so
 * that the verdict can hold against the log what a node acknowledged before it was killed.
 */
import { Effect, Option, Result } from "effect"
import type { Command, CommandInput } from "../../../src/domain/Command.ts"
import type { CommandError } from "../../../src/domain/Errors.ts"
import type { Receipt } from "../../../src/domain/Receipt.ts"
import type { AccountView } from "../../../src/domain/Views.ts"
import type { Refusal, ToldBalance } from "../answers.ts"
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
  /** What was refused for good, and the strong balances that were told. */
  readonly refusals: Array<Refusal> = []
  readonly balances: Array<ToldBalance> = []
  /** Balances that were older than a receipt that the same customer had before the question. */
  readonly stale: Array<string> = []
  /** Commands that never got a definite answer. */
  undecided = 0
  isOver = false

  /** Asks for a strong balance, and keeps what is told. */
  askStrong<E>(account: string, ask: Effect.Effect<AccountView | undefined, E>): Effect.Effect<void> {
    return Effect.suspend(() => {
      const start = now()
      return Effect.map(Effect.option(ask), (view) => {
        if (Option.isNone(view) || view.value === undefined) return
        const { version, balance } = view.value
        this.balances.push({ account, start, end: now(), version, balance })
      })
    })
  }

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
      const end = now()
      this.attempts.push({ commandId, start, end, answer: outcome })
      if (typeof outcome === "string" && !isOpen(outcome))
        this.refusals.push({ command, start, end, tag: outcome })
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
