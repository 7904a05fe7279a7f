/**
 * The columns of a relation, told once: a table of `field: ["column", type]` gives the names for a SELECT, the casts
 * and the array parameters for an INSERT, and the decoding of rows. A list kept by hand for each of these can come to
 * differ from the others in its order, which no type would notice.
 */
import { PgTypes } from "@effect/sql-pg"
import { Result } from "effect"
import type { Instant } from "../../domain/Ids.ts"

const { OID } = PgTypes

/** How values of one SQL type are written and read. */
interface ColumnType<A> {
  /** As in a cast: `int8`. */
  readonly sql: string
  readonly oid: number
  /** One value as a parameter, from what `encode` made. */
  parameter(encoded: unknown): PgTypes.Parameter
  /** Makes what the driver takes for this type; absent where it takes the value as it is. */
  readonly encode?: (value: A) => unknown
  /** Reads what the driver answers for this type. */
  readonly decode: (value: unknown) => A
}

/** A `timestamptz` of the driver, which is a `Date`. */
export const toInstant = (value: unknown): Instant => (value as Date).getTime()

// The casts below name what the driver answers for the type. Ids and assets were branded when they were written.

export const text = <A extends string = string>(): ColumnType<A> => ({
  sql: "text",
  oid: OID.text,
  parameter: PgTypes.text,
  decode: (value) => value as A
})

export const int4: ColumnType<number> = {
  sql: "int4",
  oid: OID.int4,
  parameter: PgTypes.int4,
  decode: Number
}

/** To make a bigint takes 28 ns, half of what a row of the log takes here; most versions are small. */
const smallBigInts: ReadonlyArray<bigint> = Array.from({ length: 1_024 }, (_, value) => BigInt(value))
const toBigInt = (value: number): bigint => smallBigInts[value] ?? BigInt(value)

/** Numbers below 2^53: versions, sequence numbers, positions. */
export const int8: ColumnType<number> = {
  sql: "int8",
  oid: OID.int8,
  parameter: PgTypes.int8,
  encode: toBigInt,
  decode: Number
}

/** Amounts in minor units: whole numbers, which the driver gives and takes as text, for they are wider than `int8`. */
export const minorUnits: ColumnType<bigint> = {
  sql: "numeric",
  oid: OID.numeric,
  parameter: PgTypes.numeric,
  encode: String,
  decode: (value) => BigInt(String(value))
}

export const bool: ColumnType<boolean> = {
  sql: "bool",
  oid: OID.bool,
  parameter: PgTypes.bool,
  decode: (value) => value === true
}

export const timestamptz: ColumnType<Instant> = {
  sql: "timestamptz",
  oid: OID.timestamptz,
  parameter: PgTypes.timestamptz,
  decode: toInstant
}

export const nullable = <A>({
  sql,
  oid,
  parameter,
  encode,
  decode
}: ColumnType<A>): ColumnType<A | null> => ({
  sql,
  oid,
  parameter,
  ...(encode === undefined ? {} : { encode: (value: A | null) => (value === null ? null : encode(value)) }),
  decode: (value) => (value === null ? null : decode(value))
})

/** A column of text whose values have another form in the program: JSON, say. */
export const asText = <A>(encode: (value: A) => string, decode: (value: string) => A): ColumnType<A> => ({
  sql: "text",
  oid: OID.text,
  parameter: PgTypes.text,
  encode,
  decode: (value) => decode(value as string)
})

/** An array parameter in the binary format: 118,000 rows a second, 95,000 as text literals (batches of 1,000). */
const arrayOf = (values: ReadonlyArray<unknown>, elementOid: number): PgTypes.Parameter =>
  Result.getOrThrow(PgTypes.array(values, elementOid))
export const textArray = (values: ReadonlyArray<string | null>) => arrayOf(values, OID.text)
export const int8Array = (values: ReadonlyArray<number>) => arrayOf(values.map(toBigInt), OID.int8)
/** One number below 2^53 as a parameter. */
export const int8Value = (value: number) => PgTypes.int8(toBigInt(value))

/** Every field of a row with its column, in the order in which they are selected and inserted. */
type ColumnTable<Row> = {
  readonly [Field in keyof Row]-?: readonly [name: string, type: ColumnType<Row[Field]>]
}

export interface Columns<Row> {
  /** Number of columns. */
  readonly size: number
  /** `account_id, version, …` */
  readonly list: string
  /** `found.account_id, found.version, …` */
  readonly listOf: (table: string) => string
  /** `$6::text[], $7::int8[], …`: the parameters that `arrays` makes, the first of them numbered `first`. */
  readonly casts: (first?: number) => string
  /** `unnest($1::text[], …) AS wanted(account_id, …)` */
  readonly unnest: (alias: string, first?: number) => string
  /** One array parameter a column. */
  readonly arrays: (rows: ReadonlyArray<Row>) => ReadonlyArray<PgTypes.Parameter>
  /** `$1, $2, …`: the parameters that `values` makes, the first of them numbered `first`. */
  readonly placeholders: (first?: number) => string
  /** One parameter a column. */
  readonly values: (row: Row) => ReadonlyArray<PgTypes.Parameter>
  /** A row of `SELECT list`; `offset` columns of something else come before. */
  readonly decode: (row: ReadonlyArray<unknown>, offset?: number) => Row
  /**
   * The same where the row may hold anything: what is no value of its column stays as the database has it, and equals none. For audits,
   * which only compare it.
   */
  readonly decodeAny: (row: ReadonlyArray<unknown>) => Row
  /** The same relation by fewer columns, in this order. */
  readonly pick: <Field extends keyof Row>(...fields: ReadonlyArray<Field>) => Columns<Pick<Row, Field>>
}

interface Column {
  readonly field: string
  readonly name: string
  // Values of any column pass here; `columns` has checked each table entry against its field.
  readonly type: ColumnType<unknown>
}

/** `columns<StoredEvent>({ accountId: ["account_id", text<AccountId>()], … })`: a field left out does not compile. */
export const columns = <Row extends object>(table: ColumnTable<Row>): Columns<Row> =>
  fromColumns(
    Object.entries(table).map(([field, entry]) => {
      const [name, type] = entry as readonly [string, ColumnType<unknown>] // what every entry of the table is
      return { field, name, type }
    })
  )

const fromColumns = <Row extends object>(all: ReadonlyArray<Column>): Columns<Row> => {
  const list = all.map(({ name }) => name).join(", ")
  const casts = (first = 1) => all.map(({ type }, index) => `$${first + index}::${type.sql}[]`).join(", ")
  const fill = fillOf(all)
  const empty = Object.fromEntries(all.map(({ field }) => [field, undefined]))
  const decode = (row: ReadonlyArray<unknown>, offset = 0): Row => {
    const decoded: Record<string, unknown> = { ...empty }
    let index = offset
    for (const { field, type } of all) decoded[field] = type.decode(row[index++])
    return decoded as Row // the table has every field of Row
  }
  const decodeEach = (row: ReadonlyArray<unknown>): Row => {
    const values = all.map(({ field, type }, index) => [
      field,
      Result.getOrElse(
        Result.try(() => type.decode(row[index])),
        () => row[index]
      )
    ])
    return Object.fromEntries(values) as Row // the same, but for values that are none of their columns
  }
  return {
    size: all.length,
    list,
    listOf: (table) => all.map(({ name }) => `${table}.${name}`).join(", "),
    casts,
    unnest: (alias, first) => `unnest(${casts(first)}) AS ${alias}(${list})`,
    arrays: (rows) => {
      const filled = fill(rows)
      return all.map(({ type }, index) => arrayOf(filled[index] ?? [], type.oid))
    },
    placeholders: (first = 1) => all.map((_, index) => `$${first + index}`).join(", "),
    values: (row) => {
      const filled = fill([row])
      return all.map(({ type }, index) => type.parameter(filled[index]?.[0]))
    },
    decode,
    decodeAny: (row) =>
      Result.getOrElse(
        Result.try(() => decode(row)),
        () => decodeEach(row)
      ),
    pick: (...fields) =>
      fromColumns(fields.flatMap((field) => all.filter((column) => column.field === field)))
  }
}

type FillColumns = (rows: ReadonlyArray<unknown>) => ReadonlyArray<Array<unknown>>

/**
 * Reads all columns of all rows, as the driver takes them, in one pass: rows lie apart in memory, so a pass a column
 * costs twice as much. The function is made from text, because one line of code that reads twelve fields by their names
 * is several times slower than twelve lines that read one each: 318 against 45 µs for 1,000 rows of the log. Where the
 * process forbids code from text, the slow one serves.
 */
const fillOf = (all: ReadonlyArray<Column>): FillColumns => {
  const slow: FillColumns = (rows) =>
    all.map(({ field, type: { encode } }) =>
      rows.map((row) => {
        const value = (row as Readonly<Record<string, unknown>>)[field] // a key of the rows that `columns` was given
        return encode === undefined ? value : encode(value)
      })
    )
  if (!all.every(({ field }) => /^\w+$/.test(field))) return slow
  const each = (line: (column: Column, index: number) => string) => all.map(line).join("\n")
  const text = `
    ${each((_, index) => `const encode${index} = all[${index}].type.encode`)}
    return (rows) => {
      ${each((_, index) => `const column${index} = new Array(rows.length)`)}
      let at = 0
      for (const row of rows) {
        ${each(({ field, type }, index) => {
          const value = `row.${field}`
          return `column${index}[at] = ${type.encode === undefined ? value : `encode${index}(${value})`}`
        })}
        at++
      }
      return [${all.map((_, index) => `column${index}`).join(", ")}]
    }`
  // What it makes is the function of the text above.
  const made = Result.try(() => new Function("all", text)(all) as FillColumns)
  return Result.getOrElse(made, () => slow)
}
