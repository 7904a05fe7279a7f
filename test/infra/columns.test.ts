/** The table of a relation's columns: names, casts, parameters and decoding come from it in one order. */
import { PgTypes } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { instantMax } from "../../src/domain/Ids.ts"
import {
  asText,
  columns,
  int4,
  int8,
  minorUnits,
  nullable,
  text,
  timestamptz,
  toInstant
} from "../../src/infra/postgres/Columns.ts"
import { columnTypes } from "../../src/infra/postgres/Driver.ts"

interface Row {
  readonly id: string
  readonly version: number
  readonly amount: bigint
  readonly note: string | null
  readonly at: number | null
  readonly tags: ReadonlyArray<string>
}

const table = columns<Row>({
  id: ["account_id", text()],
  version: ["version", int8],
  amount: ["amount", minorUnits],
  note: ["note", nullable(text())],
  at: ["effective_at", nullable(timestamptz)],
  tags: ["tags", asText(JSON.stringify, (json) => JSON.parse(json) as ReadonlyArray<string>)]
})

const row: Row = { id: "a", version: 3, amount: 10n ** 17n, note: null, at: 1_767_225_600_000, tags: ["x"] }

/** What PostgreSQL is sent for an instant: microseconds since 2000. */
const microsOf = (instant: number): bigint => {
  const bytes = Result.getOrThrow(PgTypes.encode(instant, PgTypes.OID.timestamptz, columnTypes))
  return new DataView(bytes.buffer, bytes.byteOffset, 8).getBigInt64(0)
}

/** What is made of microseconds since 2000. */
const instantOf = (micros: bigint): number => {
  const bytes = new DataView(new ArrayBuffer(8))
  bytes.setBigInt64(0, micros)
  const decoded = PgTypes.decode(new Uint8Array(bytes.buffer), PgTypes.OID.timestamptz, 1, columnTypes)
  return toInstant(Result.getOrThrow(decoded))
}

describe("an instant of a column", () => {
  it("is sent to the microsecond, and read as it was sent, from 1970 to 9999", () => {
    const instants = [0, 1, 946_684_799_999, 946_684_800_000, 217_777_670_167_842, 253_402_300_799_999]
    // Around each place where the microseconds need another bit.
    for (let bit = 0; bit <= 58; bit++) {
      for (const by of [-1, 0, 1, 2, 3]) {
        for (const epoch of [0, 946_684_800_000]) instants.push(Math.floor(2 ** bit / 1000) + by + epoch)
      }
    }
    for (let nth = 1; nth < 20_000; nth++) instants.push(nth * 12_670_115_039 + (nth % 1_000))
    for (const instant of instants.filter((each) => each >= 0 && each <= instantMax)) {
      const micros = (BigInt(instant) - 946_684_800_000n) * 1000n
      assert.strictEqual(microsOf(instant), micros, String(instant))
      assert.strictEqual(instantOf(micros), instant)
    }
  })

  it("is read as it was meant where the driver's own way wrote it inexactly", () => {
    let inexact = 0
    for (let nth = 0; nth < 2_000; nth++) {
      const instant = 217_777_670_167_842 + nth
      const bytes = Result.getOrThrow(PgTypes.encode(instant, PgTypes.OID.timestamptz))
      const micros = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigInt64(0)
      if (micros % 1000n !== 0n) inexact++
      assert.strictEqual(instantOf(micros), instant)
    }
    // Once this is none, the driver is exact, and needs nothing of ours.
    assert.isAbove(inexact, 0)
  })

  it("is a whole number of milliseconds", () => {
    for (const value of [0.5, Number.NaN, Number.POSITIVE_INFINITY, new Date(Number.NaN)]) {
      assert.isTrue(Result.isFailure(PgTypes.encode(value, PgTypes.OID.timestamptz, columnTypes)))
    }
    assert.strictEqual(microsOf(946_684_800_001), 1000n)
    assert.strictEqual(instantOf(999n), 946_684_800_000)
    assert.strictEqual(instantOf(-1n), 946_684_799_999)
  })
})

describe("a table of columns", () => {
  it("names the columns in the order of the table", () => {
    assert.strictEqual(table.list, "account_id, version, amount, note, effective_at, tags")
    assert.strictEqual(table.listOf("e"), "e.account_id, e.version, e.amount, e.note, e.effective_at, e.tags")
  })

  it("numbers casts and placeholders from the first parameter", () => {
    const some = table.pick("version", "id")
    assert.strictEqual(some.casts(6), "$6::int8[], $7::text[]")
    assert.strictEqual(some.placeholders(6), "$6, $7")
    assert.strictEqual(some.unnest("u"), "unnest($1::int8[], $2::text[]) AS u(version, account_id)")
  })

  it("makes one array parameter a column", () => {
    assert.deepStrictEqual(
      table.arrays([row, { ...row, version: 4, note: "n", at: null }]).map(({ value }) => value),
      [
        ["a", "a"],
        [3n, 4n],
        ["100000000000000000", "100000000000000000"],
        [null, "n"],
        [row.at, null],
        ['["x"]', '["x"]']
      ]
    )
    assert.deepStrictEqual(
      table.arrays([row]).map(({ oid }) => oid),
      [1009, 1016, 1231, 1009, 1185, 1009]
    )
  })

  it("makes one parameter a column of a single row", () => {
    assert.deepStrictEqual(
      table.values(row).map(({ oid, value }) => [oid, value]),
      [
        [25, "a"],
        [20, 3n],
        [1700, "100000000000000000"],
        [25, null],
        [1184, row.at],
        [25, '["x"]']
      ]
    )
  })

  it("decodes a row behind an offset as it was encoded", () => {
    const answered = ["else", "a", 3n, row.amount, null, new Date(1_767_225_600_000), '["x"]']
    assert.deepStrictEqual(table.decode(answered, 1), row)
    assert.deepStrictEqual(table.pick("amount", "id").decode([5n, "b"]), { amount: 5n, id: "b" })
  })

  it("decodes int4 as a number", () => {
    assert.deepStrictEqual(columns<{ ordinal: number }>({ ordinal: ["ordinal", int4] }).decode([7]), {
      ordinal: 7
    })
  })
})
