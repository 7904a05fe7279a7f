/** How many commands wait enters; whether one more may come leaves. */
import type { LedgerLimits } from "../../infra/config/LedgerConfig.ts"

/** How long more may wait for the lanes than these need, in milliseconds. */
const burstMs = 1_000
/** Batches that wait for a lane, of commands with one row: enough to begin the next with. */
const batches = 0.75
/** The part of them at which nothing stands any more: all lanes together take two thirds at once, of transfers. */
const calm = 1 / 8

type Limits = Pick<LedgerLimits, "inFlightMax" | "lanes" | "batchRowsMax">

/**
 * A burst may fill the node up to `inFlightMax`. A load that stands may not: beyond what keeps the lanes busy it gains
 * nothing by waiting for them, where every command ages, and is copied by every collection. So after a while of more
 * than that the rest is refused at once, until it is gone: a queue that a batch has just left is not a calm one
 * (after Nichols and Jacobson, "Controlling queue delay", 2012, with the length of the queue in place of its delay).
 */
export class Admission {
  readonly #limits: Limits
  readonly #steadyMax: number
  #calmAt = Number.NEGATIVE_INFINITY

  constructor(limits: Limits) {
    this.#limits = limits
    this.#steadyMax = batches * limits.lanes * limits.batchRowsMax
  }

  /** `underWay`: all that is not answered; `waiting`: what is decided and not sent, less the crowds of single accounts. */
  isFull(underWay: number, waiting: number, nowMs: number): boolean {
    if (waiting < this.#steadyMax * calm) this.#calmAt = nowMs
    const stands = nowMs - this.#calmAt > burstMs
    return underWay >= this.#limits.inFlightMax || (stands && waiting >= this.#steadyMax)
  }
}
