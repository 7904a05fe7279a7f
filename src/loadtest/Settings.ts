/** The settings of a load test: what is sent, at which pace, for how long, and beside what. */

export const scenarioNames = [
  "transfers-uniform",
  "transfers-hot",
  "deposits-uniform",
  "deposits-hot",
  "mixed-zipf",
  "holds"
] as const
export type ScenarioName = (typeof scenarioNames)[number]

/**
 * Closed: a number of clients, each of which sends its next command when the last one is answered, so that the ledger
 * sets the rate. Open: a fixed number of commands per second whatever the ledger does, each timed from the instant at
 * which it was due, so that a stall counts for every command that it delays (no coordinated omission).
 */
export type Pace =
  | { readonly _tag: "Closed"; readonly concurrency: number }
  | { readonly _tag: "Open"; readonly perSecond: number; readonly outstandingMax: number }

export interface LoadSettings {
  readonly scenario: ScenarioName
  readonly accounts: number
  readonly pace: Pace
  readonly seconds: number
  /** Commands that each node is given before the load is measured; none by default. */
  readonly warmUp?: number
  /** The same seed gives the same commands. */
  readonly seed: number
  /** The share of commands that were sent before, 0 … 1. */
  readonly repeats: number
  /**
   * The share of commands, 0 … 1, that go to a second node outside the cluster. Both nodes believe to own every account,
   * and only the unique keys of the log keep their writes apart.
   */
  readonly intruder: number
  /** Accounts belong to groups that live on one node, and transfers stay within a group. Of `transfers-uniform` alone. */
  readonly affinity?: boolean
  /**
   * Of several nodes: `owner`, each caller gives a command to the node of its first account, as `LedgerClient` does;
   * `any`, to any node. Default: `owner`.
   */
  readonly callers?: "owner" | "any"
  /** False: relay and projections start only after the load. */
  readonly readSide: boolean
  /** False: the store's own commits are not measured during the load. */
  readonly storeBaseline?: boolean
  /** How long the read model may take to catch up before the test fails. */
  readonly patienceSeconds: number
}
