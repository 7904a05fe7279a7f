/**
 * Instants as text: every form that is read, every form that is refused with its reason, whatever the machine's zone.
 */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Result, Schema } from "effect"
import { instantMax, printInstant } from "../../src/domain/Ids.ts"
import { intervalFault, parseInstant } from "../../src/domain/InstantText.ts"
import { drawn } from "../support/drawn.ts"

const nine = 1_772_442_900_000 // 2026-03-02T09:15Z

it.each<[string, number]>([
  ["2026-03-02T09:15:00Z", nine],
  ["2026-03-02T09:15Z", nine],
  ["2026-03-02t09:15:00z", nine],
  ["2026-03-02T09:15:00.000Z", nine],
  ["2026-03-02T09:15:00.5Z", nine + 500],
  ["2026-03-02T09:15:00.123000Z", nine + 123],
  ["2026-03-02T10:15:00+01:00", nine],
  ["2026-03-02T03:45:00-05:30", nine],
  ["2026-03-02T09:15:00-00:00", nine],
  ["2026-03-01T23:15:00-10:00", nine],
  ["2026-03-02", 1_772_409_600_000],
  ["2024-02-29", 1_709_164_800_000],
  ["1970-01-01T00:00:00Z", 0],
  ["1970-01-01T01:00:00+01:00", 0],
  ["9999-12-31T23:59:59.999Z", instantMax],
  ["1772442900000", nine],
  ["253402300799999", instantMax]
])("reads %s as %d", (text, instant) => {
  assert.deepEqual(parseInstant(text), Result.succeed(instant))
})

const refused: Record<string, ReadonlyArray<string>> = {
  "is no instant": [
    ..."invoice 12|02.03.2026|03/02/2026|5|2026|20260302|1772442900|yesterday|now|-1|1e12|0x19".split("|"),
    ..."2026-3-2|2026-03|2026-W10-1|2026-061|Mar 2 2026|2026-03-02 09:15Z|2026-03-02T09Z".split("|"),
    ..."2026-03-02Z|2026-03-02T09:15:00+0100|2026-03-02T09:15:00+1|2026-03-02T09:15:00 Z".split("|"),
    ..."2026-03-02T09:15:00Z[UTC]|2026-03-02T09:15:00UTC|+12026-03-02|2026-03-02T09:15:00,5Z".split("|"),
    ...["", " ", " 2026-03-02", "2026-03-02\n", "２０２６-03-02", "1772442900000.5", "1".repeat(16)]
  ],
  "is no day of the calendar": [
    ..."2026-02-30|2026-02-29|1900-02-29|2026-13-01|2026-00-10|2026-01-00|2026-04-31T09:00:00Z".split("|")
  ],
  "has no time zone": ["2026-03-02T09:15", "2026-03-02T09:15:00", "2026-03-02T09:15:00.123"],
  "is no time of a day": [
    ..."2026-03-02T24:00:00Z|2026-03-02T09:60:00Z|2026-03-02T23:59:60Z|2026-03-02T09:15:00+24:00".split("|")
  ],
  "is finer than a millisecond": ["2026-03-02T09:15:00.1234Z", "2026-03-02T09:15:00.0000000001Z"],
  "is outside of the ledger's time": [
    ..."1969-12-31|0000-01-01|0050-06-01|1970-01-01T00:00:00+00:01|9999-12-31T23:59:59.999-00:01".split("|"),
    "253402300800000"
  ]
}

describe.each(Object.entries(refused))("an instant that %s", (reason, texts) => {
  it.each(texts)("is refused: %j", (text) => {
    const fault = Result.getOrThrow(Result.flip(parseInstant(text)))
    assert.isTrue(fault.startsWith(reason), fault)
  })
})

const anyInstant = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: instantMax })))
const anyOffset = Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: -1439, maximum: 1439 })))

describe("every instant", () => {
  it.prop(
    "is read back from what is printed",
    [anyInstant],
    ([instant]) => {
      assert.deepEqual(parseInstant(printInstant(instant)), Result.succeed(instant))
      if (instant >= 100_000_000_000) assert.deepEqual(parseInstant(String(instant)), Result.succeed(instant))
    },
    drawn
  )

  it.prop(
    "is the same at any offset",
    [anyInstant, anyOffset],
    ([instant, offset]) => {
      const local = instant + offset * 60_000
      if (local < 0 || local > instantMax) return
      const two = (value: number) => String(value).padStart(2, "0")
      const minutes = Math.abs(offset)
      const zone = `${offset < 0 ? "-" : "+"}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`
      assert.deepEqual(parseInstant(printInstant(local).replace("Z", zone)), Result.succeed(instant))
    },
    drawn
  )
})

const anyPart = (most: number) =>
  Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: most })))

/** The days of each month, written out by hand: what the reader's own calendar is compared with. */
const daysIn = (year: number, month: number) =>
  [
    31,
    year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28,
    31,
    30,
    31,
    30,
    31,
    31,
    30,
    31,
    30,
    31
  ][month - 1] ?? 0

it.prop(
  "reads a day exactly where the calendar has it",
  [anyPart(8029), anyPart(13), anyPart(32)],
  ([years, month, day]) => {
    const year = 1970 + years
    const two = (value: number) => String(value).padStart(2, "0")
    const exists = month >= 1 && day >= 1 && day <= daysIn(year, month)
    const read = parseInstant(`${year}-${two(month)}-${two(day)}`)
    assert.strictEqual(Result.isSuccess(read), exists)
    if (exists) assert.deepEqual(read, Result.succeed(Date.UTC(year, month - 1, day)))
  },
  drawn
)

it("refuses an interval that ends before it begins, and no other", () => {
  assert.isString(intervalFault(2, 1))
  for (const [from, to] of [
    [1, 2],
    [1, 1],
    [undefined, 1],
    [1, undefined],
    [undefined, undefined]
  ] as const)
    assert.isUndefined(intervalFault(from, to))
})
