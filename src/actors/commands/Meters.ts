/** Settlements and tickets enter; counts of outcomes, and of what is under way, leave: for the metrics. */
import type { AccountId } from "../../domain/Ids.ts"
import type { CommandExit, CommandPhase } from "../accounts/Lifecycle.ts"
import type { InFlightCommands } from "./InFlightCommands.ts"

/** What this node answered since its start, each command once. Costs a command one addition. */
export class Outcomes {
  accepted = 0
  /** Answered with the outcome of an earlier sending. */
  replayed = 0
  /** Callers that joined a command under way. */
  joined = 0
  /** By the error's tag; `Defect` where a bug of ours ended it. */
  readonly refused = new Map<string, number>()

  note(settlement: CommandExit): void {
    if (settlement._tag === "Success") {
      if (settlement.value.replayed) this.replayed++
      else this.accepted++
      return
    }
    const [reason] = settlement.cause.reasons
    const tag = reason?._tag === "Fail" ? reason.error._tag : "Defect"
    this.refused.set(tag, (this.refused.get(tag) ?? 0) + 1)
  }
}

/** What is under way at this moment. */
export interface Load {
  readonly phases: Readonly<Record<Exclude<CommandPhase, "settled">, number>>
  /** How long the oldest command has been under way, in milliseconds. */
  readonly oldestMs: number
  /** The most commands that wait on one account: the depth of its mailbox, decided ones included. */
  readonly accountMost: number
}

/** Walks everything under way (at most `inFlightMax`): for a scrape, not for a command. */
export const loadOf = (underWay: InFlightCommands, now: number, patienceMs: number): Load => {
  const phases = { waiting: 0, queued: 0, flying: 0 }
  const depths = new Map<AccountId, number>()
  let oldestMs = 0
  let accountMost = 0
  for (const { phase, accounts, deadline } of underWay.commands()) {
    if (phase === "settled") continue
    phases[phase]++
    oldestMs = Math.max(oldestMs, now - (deadline - patienceMs))
    for (const account of accounts) {
      const depth = (depths.get(account) ?? 0) + 1
      depths.set(account, depth)
      accountMost = Math.max(accountMost, depth)
    }
  }
  return { phases, oldestMs, accountMost }
}

/** What the metrics tell of the write side, beside `DispatcherStats`. */
export interface DispatcherMeters extends Load {
  readonly outcomes: Outcomes
  /** Decided commands that wait for a lane. */
  readonly queued: number
  /** Of the last heartbeat: this node's clock against the store's, in milliseconds. */
  readonly clockSkewMs: number
}
