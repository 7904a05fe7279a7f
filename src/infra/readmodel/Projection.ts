/** What a projection is: a host adds one by implementing `Projection` and a migration that makes its tables. */
import type { PgTypes } from "@effect/sql-pg"
import { Predicate } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { BooksBatch } from "./ReadModel.ts"

/**
 * An INSERT, UPDATE, DELETE or MERGE with its parameters `$1` …. The text should be the same for batches of the same kind,
 * so that the database prepares it once.
 */
export interface Written {
  readonly text: string
  readonly params: ReadonlyArray<PgTypes.Parameter>
}

/**
 * One projection of the log. The engine takes care of order, gaps, repeats, parked accounts, reconciling and rebuilding.
 * Its migration makes the tables `<name>_v<version>_<table>`: the standard ones, best as copies (`LIKE books_v1_…
 * INCLUDING ALL`), and its own. What it writes must depend on nothing but the batch and its own rows.
 */
export interface Projection {
  /** Lower-case letters, digits and `_`; not `books`. */
  readonly name: string
  /** A whole number, 0 or more. Raise it when `write` changes: the new version stands beside the old one, in tables of its own. */
  readonly version: number
  /** The folder of its numbered SQL files, where they are not the read model's own. */
  readonly migrations?: string
  /**
   * Its own tables, without prefix and without the standard ones. Reserved are the names of those, `sum_prefixes`, and all that
   * begin with `next_` or `old_`. With what stands before them, `<name>_v<version>_next_<table>`, they have at most 63 characters.
   */
  readonly tables: ReadonlyArray<string>
  /** Those of its tables whose rows are only ever added. A rebuild makes their indexes once all rows are there. */
  readonly appended?: ReadonlyArray<string>
  /**
   * Writes a batch to the tables of this prefix. The pieces become one statement, together with the one that moves the
   * accounts' versions: each sees the tables as they were before it, and none sees what another writes.
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

/**
 * Heads of the accounts, the writers' cursors, parked accounts and skipped events. The table `checkpoints` is not exchanged
 * by a rebuild, for it says how far the bus was read and nothing of the tables.
 */
const standardTables = ["balances", "swept", "parked_accounts", "skipped"] as const

/** Of the projection with sums of declared prefixes: which they are, for a batch to move them. */
export const sumPrefixesTable = "sum_prefixes"

export const hasSums = ({ tables }: Pick<Projection, "tables">): boolean => tables.includes(sumPrefixesTable)

/** The name of the ledger's own projection, which no host's may have. */
export const booksName = "books"

/** Of every projection, beside the standard tables, though a rebuild leaves it where it is. */
const checkpointsTable = "checkpoints"

/** Tables that the engine makes something of under these names, so that a projection of a host cannot have them for its own. */
const reservedTables: ReadonlyArray<string> = [...standardTables, checkpointsTable, sumPrefixesTable]

/** What a rebuild puts before the names of the tables that it fills, and of those that it has exchanged and drops. */
export const rebuildMarks = { next: "next", old: "old" } as const

const isName = (value: unknown): value is string =>
  typeof value === "string" && /^[a-z][a-z0-9_]{0,30}$/.test(value)

/** What is wrong with the name that a host gave a table of its own; undefined where nothing is. */
const tableFault = (table: string): string | undefined => {
  if (reservedTables.includes(table)) return `the table name "${table}" is reserved`
  const mark = Object.values(rebuildMarks).find((one) => table.startsWith(`${one}_`))
  return mark === undefined ? undefined : `table names that begin with "${mark}_" are reserved: "${table}"`
}

/** A part of the tables' names, so it is written in digits alone. */
const versionMax = 999_999_999

const isVersion = (value: unknown): value is number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= versionMax

/** PostgreSQL cuts off what is longer, without a word: two tables could come to have one name. */
const identifierMax = 63

/**
 * Why the names that a rebuild gives its tables are too long, or the same twice. Told at the start: else it would be found out by the first
 * rebuild, when one is needed.
 */
const lengthFault = (named: Pick<Projection, "name" | "version" | "tables">): string | undefined => {
  const longest = `${prefixOf(named)}_${rebuildMarks.next}_`
  const tooLong = named.tables.find((table) => longest.length + table.length > identifierMax)
  if (tooLong !== undefined) {
    const left = identifierMax - longest.length
    return `the table name "${tooLong}" is longer than ${left} characters: PostgreSQL cuts names off after ${identifierMax}, and a rebuild makes ${longest}${tooLong}`
  }
  const twice = named.tables.find((table, nth) => named.tables.indexOf(table) !== nth)
  return twice === undefined ? undefined : `the table name "${twice}" is there twice`
}

/** Why what a module of a host exports is no projection that can run beside the books; undefined where it is one. */
export const projectionFault = (value: unknown): string | undefined => {
  if (!Predicate.hasProperty(value, "name") || !isName(value.name)) return "it has no valid name"
  if (value.name === booksName) return `the name "${booksName}" is reserved`
  if (!Predicate.hasProperty(value, "version") || !isVersion(value.version))
    return `its version is no whole number of 0 to ${versionMax}`
  if (!Predicate.hasProperty(value, "tables") || !Array.isArray(value.tables) || !value.tables.every(isName))
    return "its tables are no list of valid names"
  if (!Predicate.hasProperty(value, "write") || typeof value.write !== "function") return "it has no write"
  const { name, tables, version } = value
  return tables.map(tableFault).find((fault) => fault !== undefined) ?? lengthFault({ name, version, tables })
}

/** Whether what a module of a host exports is a projection. */
export const isProjection = (value: unknown): value is Projection => projectionFault(value) === undefined

export const prefixOf = ({ name, version }: Pick<Projection, "name" | "version">): string =>
  `${name}_v${version}`

/**
 * The tables that a rebuild fills and exchanges, in the order in which every transaction touches them. The declared prefixes come first: who
 * waits for a transaction that compares a sum, which may take minutes, has nothing yet that projectors need.
 */
export const tablesOf = (projection: Projection): ReadonlyArray<string> => {
  const [balances, ...rest] = standardTables
  const first = hasSums(projection) ? [sumPrefixesTable] : []
  return [...first, balances, ...projection.tables.filter((table) => !first.includes(table)), ...rest]
}
