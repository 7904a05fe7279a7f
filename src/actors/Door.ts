/** Commands knock; those that the node has no room for now are told when to come back. */
import { Exit } from "effect"
import { Overloaded } from "../domain/Errors.ts"
import type { CommandId } from "../domain/Ids.ts"
import type { LedgerLimits } from "../infra/LedgerConfig.ts"
import type { AccountActor } from "./AccountActor.ts"
import { Admission } from "./Admission.ts"
import type { CommitQueue } from "./CommitQueue.ts"
import type { UnderWay } from "./UnderWay.ts"

export type Refused = Exit.Exit<never, Overloaded>

export interface DoorParts {
  readonly limits: LedgerLimits
  readonly underWay: UnderWay
  readonly queue: CommitQueue
  readonly now: () => number
  /** What a commit takes lately, in milliseconds. */
  readonly commitMs: () => number
  /** An id accepted lately, whose outcome needs no room. */
  readonly isKnown: (commandId: CommandId) => boolean
}

export class Door {
  readonly #parts: DoorParts
  readonly #admission: Admission
  #said: { readonly error: Overloaded; readonly exit: Refused } | undefined

  constructor(parts: DoorParts) {
    this.#parts = parts
    this.#admission = new Admission(parts.limits)
  }

  /** One error for all who are told the same: the stack trace of a new one is six sevenths of a refusal's cost. */
  say(what: string): { readonly error: Overloaded; readonly exit: Refused } {
    const { limits, queue, commitMs } = this.#parts
    const waiting = 1 + queue.size / limits.batchRowsMax
    const retryAfterMs = Math.ceil(Math.min(commitMs() * waiting, limits.commandDeadlineMs))
    if (this.#said?.error.what !== what || this.#said.error.retryAfterMs !== retryAfterMs) {
      const error = new Overloaded({ what, retryAfterMs })
      this.#said = { error, exit: Exit.fail(error) }
    }
    return this.#said
  }

  /** Whether there is room for one more command of these accounts, as far as they are in memory. */
  refuse(actors: ReadonlyArray<AccountActor | undefined>, now: number): Refused | undefined {
    if (this.#admission.isFull(this.#parts.underWay.size, now)) return this.say("this node").exit
    for (const actor of actors) {
      if (actor !== undefined && this.#admission.isCrowded(actor.underWay, now)) {
        return this.say(`account ${actor.id}`).exit
      }
    }
    return undefined
  }

  /** The same before anything of the command but its id is looked at. */
  refuseUnseen(id: unknown): Refused | undefined {
    const { underWay, isKnown, now } = this.#parts
    if (!this.#admission.isFull(underWay.size, now())) return undefined
    // It may be under way, or done: then its outcome is known, however full the node is.
    const commandId = id as CommandId // what is none is not found
    if (underWay.get(commandId) !== undefined || isKnown(commandId)) return undefined
    const { exit } = this.say("this node")
    underWay.outcomes.note(exit)
    return exit
  }
}
