/** What a load is aimed at: commands enter, receipts or typed errors leave; here or on another machine. */
import type { Effect, Result } from "effect"
import type { Command } from "../domain/Command.ts"
import type { CommandError } from "../domain/Errors.ts"
import type { Receipt } from "../domain/Receipt.ts"

/** Counters of the node since its start; a remote driver answers what it knows. */
export interface DriverStats {
  readonly batches: number
  readonly rows: number
  readonly rowsMax: number
  /** Sendings behind a batch that was not durable yet. */
  readonly behind: number
  /** Accounts another writer wrote to behind the node's back. */
  readonly conflicts: number
  /** Repeats that got as far as the log. */
  readonly repeats: number
  /** Sendings to the store whose outcome had to be asked for again. */
  readonly unknown: number
  readonly residents: number
  readonly inFlight: number
}

export interface Driver {
  readonly dispatch: (command: Command) => Effect.Effect<Receipt, CommandError>
  /** What `dispatch` asks first, where it can be asked without it: whether a command would be refused for load. */
  readonly refusal?: (command: Command) => unknown
  readonly dispatchMany: (
    commands: ReadonlyArray<Command>
  ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>>
  readonly stats: () => DriverStats
}

/** Sends a share of the commands to another node, and adds up what both count. */
export const withIntruder = (node: Driver, intruder: Driver, isIntruders: () => boolean): Driver => ({
  dispatch: (command) => (isIntruders() ? intruder : node).dispatch(command),
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
