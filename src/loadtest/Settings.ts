/** What a load test is asked to do: a scenario, a pace, a time, a seed. */

export const scenarioNames = ["transfers-uniform", "transfers-hot", "deposits-hot", "mixed-zipf"] as const
export type ScenarioName = (typeof scenarioNames)[number]

/**
 * Closed: so many clients, each sends its next command when the last one is answered; the rate is what the ledger
 * gives. Open: so many commands a second whatever the ledger does, each timed from the instant it was due, so
 * that a stall counts for every command it delays (no coordinated omission).
 */
export type Pace =
  | { readonly _tag: "Closed"; readonly concurrency: number }
  | { readonly _tag: "Open"; readonly perSecond: number; readonly outstandingMax: number }

export interface LoadSettings {
  readonly scenario: ScenarioName
  readonly accounts: number
  readonly pace: Pace
  readonly seconds: number
  /** The same seed rng the same commands. */
  readonly seed: number
  /** The share of commands that are one sent before, 0 … 1. */
  readonly repeats: number
  /**
   * The share of commands, 0 … 1, that go to a second node which is told nothing of the first: each takes the
   * accounts for its own, and only the keys of the log keep them apart.
   */
  readonly intruder: number
  /** False: relay and projections wait until the load is over. */
  readonly readSide: boolean
  /** False: no thread measures beside the load what the store takes by itself. */
  readonly storeBeside?: boolean
  /** How long the read model may take to catch up before it is given up on. */
  readonly patienceSeconds: number
}
