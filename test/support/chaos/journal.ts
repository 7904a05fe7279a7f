/** Commands enter, are sent until their answers are definite, and everything that was answered stays in a journal. */
import { Effect, Result } from "effect"
import type { Command, CommandInput } from "../../../src/domain/Command.ts"
import type { CommandError } from "../../../src/domain/Errors.ts"
import type { Receipt } from "../../../src/domain/Receipt.ts"
import type { Attempt } from "../invariants.ts"

/** A command that names its id. */
export type Named = CommandInput & Pick<Command, "commandId">

/** The answer of one sending; `Indeterminate` too where nobody waited for it. */
export type Answer = Result.Result<Receipt, Pick<CommandError, "_tag">>

/** One clock for all customers, in nanoseconds. */
const now = (): number => Number(process.hrtime.bigint())
const retryMs = 50
/** So often a command is sent again once nobody else sends. */
const lastTriesMax = 100

/** To be sent again: nothing was done, or nobody knows. */
const isOpen = (tag: string) => tag === "Unavailable" || tag === "Overloaded" || tag === "Indeterminate"

export class Journal {
  /** Kept outside of the nodes, so that what they acknowledged outlives them. */
  readonly attempts: Array<Attempt> = []
  /** Answers that were older than what the same customer had been told before. */
  readonly stale: Array<string> = []
  /** Commands that were given up without a definite answer. */
  unsettled = 0
  isOver = false

  /** The receipt, or undefined where the command is refused. */
  settle(
    command: Named,
    send: (command: Named) => Effect.Effect<Answer>
  ): Effect.Effect<Receipt | undefined> {
    const { attempts } = this
    const isOver = () => this.isOver
    const giveUp = () => {
      this.unsettled++
    }
    return Effect.gen(function* () {
      for (let triesAtEnd = 0; triesAtEnd < lastTriesMax; ) {
        const start = now()
        const answer = yield* send(command)
        const told = Result.isSuccess(answer) ? answer.success : answer.failure._tag
        attempts.push({ commandId: command.commandId, start, end: now(), answer: told })
        if (Result.isSuccess(answer)) return answer.success
        if (!isOpen(answer.failure._tag)) return undefined
        if (isOver()) triesAtEnd++
        yield* Effect.sleep(retryMs)
      }
      giveUp()
      return undefined
    })
  }
}
