/** What a projection is: the events' effects enter its `write`, rows of its own tables leave. */
import type { PgTypes } from "@effect/sql-pg"
import type { AccountId } from "../../domain/Ids.ts"
import type { BooksBatch } from "./ReadModel.ts"

/** An INSERT, UPDATE, DELETE or MERGE, and its parameters `$1` …: the same text for batches of the same kind. */
export interface Written {
  readonly text: string
  readonly params: ReadonlyArray<PgTypes.Parameter>
}

/**
 * One projection of the log. Whatever it is, the machine is the same: order, gaps, repeats, poison, sweep, rebuild.
 * Its migration makes the tables `<name>_v<version>_<table>`: the standard ones, best as copies (`LIKE books_v1_…
 * INCLUDING ALL`), and its own. What it writes must depend on the batch and on its own rows alone.
 */
export interface Projection {
  /** Lower-case letters, digits and `_`. */
  readonly name: string
  /** Raise it when `write` changes: the new version stands beside the old one, in tables of its own. */
  readonly version: number
  /** The folder of its numbered SQL files, where they are not the read model's own. */
  readonly migrations?: string
  /** Its own tables, without prefix; those of `standardTables` come on top. */
  readonly tables: ReadonlyArray<string>
  /** Those of them whose rows are only ever added: a rebuild makes their indexes when all rows are there. */
  readonly appended?: ReadonlyArray<string>
  /**
   * The rows of a batch, for tables of this prefix. The pieces become one statement with that which moves the
   * accounts' versions: each sees the tables as they were before, none what another of them writes.
   *
   * A batch that the database refuses (division by zero, a constraint, `RAISE EXCEPTION` with whatever SQLSTATE, …) is
   * halved until the guilty event is alone; its account is parked, and all others go on. Where a table or a right is
   * missing, the projection as a whole waits and says so.
   */
  readonly write: (prefix: string, batch: BooksBatch) => ReadonlyArray<Written>
  /**
   * Takes back all that the events of one account wrote, by what its own rows say. Needed where rows turn out to come
   * from events that the log does not have; a projection without it must be rebuilt then. The pieces become one
   * statement, as those of `write` do.
   */
  readonly erase?: (
    prefix: string,
    of: { readonly account: AccountId; readonly partition: number }
  ) => ReadonlyArray<Written>
}

/** Heads of the accounts, cursors, poison; `checkpoints` is left out, it tells of the bus and not of the tables. */
export const standardTables = ["balances", "swept", "parked_accounts", "skipped"] as const

export const prefixOf = ({ name, version }: Pick<Projection, "name" | "version">): string =>
  `${name}_v${version}`

/** The tables that a rebuild fills and exchanges, in the order in which every transaction touches them. */
export const tablesOf = ({ tables }: Projection): ReadonlyArray<string> => {
  const [balances, ...rest] = standardTables
  return [balances, ...tables, ...rest]
}
