/** What a load is sent to: a node in this process, or a test double. */
import type { Effect, Result } from "effect"
import type { Command } from "../domain/Command.ts"
import type { CommandError } from "../domain/Errors.ts"
import type { Receipt } from "../domain/Receipt.ts"

/** Counters of the node since its start. */
export interface DriverStats {
  readonly batches: number
  readonly rows: number
  readonly rowsMax: number
  /** Batches that were sent while their predecessor was not yet committed. */
  readonly behind: number
  /** Accounts that another writer wrote to although this node owned them. */
  readonly conflicts: number
  /** Repeated commands that were noticed only by the store. */
  readonly repeats: number
  /** Batches that were sent again because the store had not said whether they were committed. */
  readonly unknown: number
  readonly residents: number
  readonly inFlight: number
}

export interface Driver {
  readonly dispatch: (command: Command) => Effect.Effect<Receipt, CommandError>
  /** Whether `dispatch` would answer `Overloaded`, at a fraction of its cost; undefined means that it would not. */
  readonly precheck?: (command: Command) => unknown
  readonly dispatchMany: (
    commands: ReadonlyArray<Command>
  ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>>
  readonly stats: () => DriverStats
}

/** Sends some of the commands to another node, and adds up the counters of both. */
export const withIntruder = (node: Driver, intruder: Driver, isForIntruder: () => boolean): Driver => ({
  dispatch: (command) => (isForIntruder() ? intruder : node).dispatch(command),
  dispatchMany: node.dispatchMany,
  stats: () => addStats(node.stats(), intruder.stats())
})

export const addStats = (one: DriverStats, other: DriverStats): DriverStats => ({
  batches: one.batches + other.batches,
  rows: one.rows + other.rows,
  rowsMax: Math.max(one.rowsMax, other.rowsMax),
  behind: one.behind + other.behind,
  conflicts: one.conflicts + other.conflicts,
  repeats: one.repeats + other.repeats,
  unknown: one.unknown + other.unknown,
  residents: one.residents + other.residents,
  inFlight: one.inFlight + other.inFlight
})
