/** How many commands are under way enters; whether one more may come leaves. */
import type { LedgerLimits } from "../infra/LedgerConfig.ts"

/** How long more may be under way than the lanes need, in milliseconds: of one account first, then of all. */
const accountBurstMs = 500
const burstMs = 1_000
/** Batches a lane is given, of commands with one row: the one in the air, and some to begin the next with. */
const batches = 1.25

/**
 * A burst may fill the node up to `inFlightMax`. A load that stands may not: beyond what keeps the lanes busy it gains
 * nothing by waiting inside, where every command ages, and is copied by every collection. So after a while of more than
 * that the rest is refused at once, until half of it is gone: a queue that a batch has just left is not a calm one
 * (after Nichols and Jacobson, "Controlling queue delay", 2012, with the length of the queue in place of its delay).
 * Where it is one account that crowds the node, that one is cut first, and the others need not be.
 */
export class Admission {
  /** Commands of a load that stands. */
  readonly steadyMax: number
  readonly #limits: Pick<LedgerLimits, "inFlightMax" | "inFlightPerAccountMax">
  #calmAt = Number.NEGATIVE_INFINITY

  constructor(
    limits: Pick<LedgerLimits, "inFlightMax" | "inFlightPerAccountMax" | "lanes" | "batchRowsMax">
  ) {
    this.#limits = limits
    this.steadyMax = Math.min(limits.inFlightMax, batches * limits.lanes * limits.batchRowsMax)
  }

  /** Whether so many of the node are too many for one more. */
  isFull(underWay: number, nowMs: number): boolean {
    if (underWay < this.steadyMax / 2) this.#calmAt = nowMs
    const stands = nowMs - this.#calmAt > burstMs
    return underWay >= (stands ? this.steadyMax : this.#limits.inFlightMax)
  }

  /** Whether so many of one account are too many for one more of it; asked after `isFull`. */
  isCrowded(underWay: number, nowMs: number): boolean {
    const stands = nowMs - this.#calmAt > accountBurstMs
    const { inFlightPerAccountMax } = this.#limits
    return underWay >= (stands ? Math.min(inFlightPerAccountMax, this.steadyMax / 2) : inFlightPerAccountMax)
  }
}
