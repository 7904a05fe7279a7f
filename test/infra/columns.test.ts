/** The table of a relation's columns: names, casts, parameters and decoding come from it in one order. */
import { assert, describe, it } from "@effect/vitest"
import {
  asText,
  columns,
  int4,
  int8,
  minorUnits,
  nullable,
  text,
  timestamptz
} from "../../src/infra/postgres/Columns.ts"

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
