/**
 * What the parts of one batch share, which go by several ways: the room that it has at other nodes, and whether a command of it had no
 * outcome in all of its time. What stands behind such a command is not sent any more. Its caller has waited as long as for commands that
 * are sent alone; and where another node has that command still, it may be done yet, after what stands behind it.
 */
import { Exit, Result, type Semaphore } from "effect"
import { type CommandError, Unavailable } from "../../domain/Errors.ts"
import type { Receipt } from "../../domain/Receipt.ts"

export type Outcome = Result.Result<Receipt, CommandError>

/** One error for all: its stack trace costs more than all else of such a command. */
const error = new Unavailable({
  what: "this batch",
  reason: "a command before it had no outcome in all its time"
})

/** What is told of a command that is not sent any more. */
export const withheld = { error, outcome: Result.fail(error), exit: Exit.fail(error) }

/** Not where it was `Overloaded`: that is the answer of a node that has no room, and nothing of the command is under way. */
const hasNoOutcome = (outcome: Outcome): boolean => {
  if (Result.isSuccess(outcome)) return false
  const { _tag } = outcome.failure
  return _tag === "Unavailable" || _tag === "Indeterminate"
}

/** It was known before, or there was no room: as one hears at once of a node whose store stands still, too. */
const isNothingNew = (outcome: Outcome): boolean => {
  if (Result.isSuccess(outcome)) return outcome.success.replayed
  const { _tag } = outcome.failure
  return _tag === "CommandIdReused" || _tag === "Overloaded"
}

/** Nothing came of these that was not known before: the node that was given them gets nowhere. */
export const isInVain = (outcomes: ReadonlyArray<Outcome>): boolean =>
  outcomes.every((outcome) => hasNoOutcome(outcome) || isNothingNew(outcome))

export class BatchUnderWay {
  /** Of commands that are away; shared by all other nodes. */
  readonly room: Semaphore.Semaphore
  readonly #deadlineMs: number
  readonly #elapsedMs: () => number
  readonly #silent = new Set<string | undefined>()
  /** When the first was sent of those without an outcome since anything new came; undefined where none was. */
  #openSinceMs: number | undefined
  #overAtMs: number | undefined

  constructor(room: Semaphore.Semaphore, deadlineMs: number, elapsedMs: () => number) {
    this.room = room
    this.#deadlineMs = deadlineMs
    this.#elapsedMs = elapsedMs
  }

  /** A command had no outcome in all its time: nothing is sent that stands behind it, on any way. */
  get isOver(): boolean {
    return this.#overAtMs !== undefined
  }

  /** Until then what is not sent any more, and is under way by itself, is waited for: all of it together as long as for one command. */
  get waitsUntilMs(): number {
    return (this.#overAtMs ?? this.#elapsedMs()) + this.#deadlineMs
  }

  /**
   * Answers whether one of these, which were sent at `sentAtMs` and all answered at `doneAtMs`, had no outcome in all its time; or these and
   * those noted before them, of which nothing new came: each that waits for a store which fails it earlier would do so for as long again.
   */
  note(outcomes: ReadonlyArray<Outcome>, sentAtMs: number, doneAtMs = this.#elapsedMs()): boolean {
    if (!isInVain(outcomes)) this.#openSinceMs = undefined
    else if (outcomes.some(hasNoOutcome)) this.#openSinceMs ??= sentAtMs
    const sinceMs = this.#openSinceMs ?? sentAtMs
    const isOver = doneAtMs - sinceMs >= this.#deadlineMs && outcomes.some(hasNoOutcome)
    if (isOver) this.#overAtMs ??= this.#elapsedMs()
    return isOver
  }

  /** The node had such a command: nothing more of the batch is sent there, though it may have no account in common with that. */
  noteSilent(node: string | undefined): void {
    this.#silent.add(node)
  }

  isSilent(node: string | undefined): boolean {
    return this.#silent.has(node)
  }
}
