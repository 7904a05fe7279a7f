/** Commands knock; those that the node has no room for now are told when to come back. */
import { Exit } from "effect"
import { Overloaded } from "../../domain/Errors.ts"
import type { AccountId, CommandId } from "../../domain/Ids.ts"
import type { LedgerLimits } from "../../infra/config/LedgerConfig.ts"
import type { AccountActor } from "../accounts/AccountActor.ts"
import type { CommitQueue } from "../commit/CommitQueue.ts"
import { Admission } from "./Admission.ts"
import type { InFlightCommands } from "./InFlightCommands.ts"

/** What an `Overloaded` names that is not of one account. */
export const wholeNode = "this node"

export type Refused = Exit.Exit<never, Overloaded>

export interface AdmissionParts {
  readonly limits: LedgerLimits
  readonly underWay: InFlightCommands
  readonly queue: CommitQueue
  readonly now: () => number
  /** What a commit takes lately, in milliseconds. */
  readonly commitMs: () => number
  /** Whether this node decides on the account; no account is nobody's. */
  readonly owns: (account: AccountId | undefined) => boolean
  /** An id accepted lately, whose outcome needs no room. */
  readonly isKnown: (commandId: CommandId) => boolean
}

export class AdmissionControl {
  readonly #parts: AdmissionParts
  readonly #admission: Admission
  #said: { readonly error: Overloaded; readonly exit: Refused } | undefined

  constructor(parts: AdmissionParts) {
    this.#parts = parts
    this.#admission = new Admission(parts.limits)
  }

  /** One error for all who are told the same: the stack trace of a new one is six sevenths of a refusal's cost. */
  overloaded(what: string): { readonly error: Overloaded; readonly exit: Refused } {
    const { limits, queue, commitMs } = this.#parts
    const waiting = 1 + queue.size / limits.batchRowsMax
    const retryAfterMs = Math.ceil(Math.min(commitMs() * waiting, limits.commandDeadlineMs))
    if (this.#said?.error.what !== what || this.#said.error.retryAfterMs !== retryAfterMs) {
      const error = new Overloaded({ what, retryAfterMs })
      this.#said = { error, exit: Exit.fail(error) }
    }
    return this.#said
  }

  /**
   * Whether there is room for one more command of these accounts, as far as they are in memory. One that is paced by
   * whoever sends it (a batch, another node) never stands in a crowd of its own making.
   */
  check(actors: ReadonlyArray<AccountActor | undefined>, isPaced: boolean, now: number): Refused | undefined {
    const { limits, underWay } = this.#parts
    if (isPaced ? underWay.size >= limits.inFlightMax : this.#isFull(now))
      return this.overloaded(wholeNode).exit
    for (const actor of actors) {
      if (actor !== undefined && actor.underWay >= limits.inFlightPerAccountMax) {
        return this.overloaded(`account ${actor.id}`).exit
      }
    }
    return undefined
  }

  /** The same before a command is checked; `input` may be anything. Only for what this node would decide itself. */
  precheck(input: unknown): Refused | undefined {
    const { underWay, isKnown, owns, now } = this.#parts
    if (!this.#isFull(now()) || !owns(firstNamed(input))) return undefined
    // It may be under way, or done: then its outcome is known, however full the node is.
    const commandId = member(input, "commandId") as CommandId // what is none is not found
    if (underWay.get(commandId) !== undefined || isKnown(commandId)) return undefined
    const { exit } = this.overloaded(wholeNode)
    underWay.outcomes.note(exit)
    return exit
  }

  #isFull(now: number): boolean {
    const { underWay, queue } = this.#parts
    return this.#admission.isFull(underWay.size, queue.size - underWay.crowd, now)
  }
}

const member = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined

/** So many under way on one account are a crowd: what comes to it waits for it, whatever the lanes do. */
const crowdMin = 100

export const isOfHotAccount = (actors: ReadonlyArray<AccountActor | undefined>): boolean =>
  actors.some((actor) => actor !== undefined && actor.underWay >= crowdMin)

/** What stands where the first account of a command does; undefined where nothing does, or no text. */
const firstNamed = (input: unknown): AccountId | undefined => {
  const legs = member(input, "legs")
  const named = member(input, "from") ?? member(input, "account") ?? member(member(legs, "0"), "account")
  return typeof named === "string" ? (named as AccountId) : undefined // of this node or not, whatever it is
}
