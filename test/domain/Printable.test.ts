/** What others wrote, as it is printed: one line, and nothing in it that a terminal would obey. */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { printable, printableJson } from "../../src/domain/Printable.ts"
import { drawn } from "../support/drawn.ts"

it.each<[string, string]>([
  ["rent", "rent"],
  ["Zoë 東京 👩‍👧 نص", "Zoë 東京 👩‍👧 نص"],
  ["a\rb\nc\td", "a\\rb\\nc\\td"],
  ["\u001b[31mred\u001b[0m", "\\x1b[31mred\\x1b[0m"],
  ["\u009b2J", "\\x9b2J"],
  ["\u0000\u007f\u0085", "\\x00\\x7f\\x85"],
  ["1\u202e23", "1\\u{202e}23"],
  ["\u2066a\u2069\u200e\u061c\ufeff", "\\u{2066}a\\u{2069}\\u{200e}\\u{61c}\\u{feff}"],
  ["a\u2028b\u2029c", "a\\u{2028}b\\u{2029}c"],
  ["\u{e0041}", "\\u{e0041}"],
  ["\ud800", "\\u{d800}"]
])("prints %j as %s", (text, printed) => {
  assert.strictEqual(printable(text), printed)
})

const harmful = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}\ufeff]/u

describe("any text", () => {
  it.prop(
    "is printed without a control or direction character",
    [Schema.String],
    ([text]) => {
      assert.notMatch(printable(`\u001b${text}\u202e\r`), harmful)
    },
    drawn
  )

  it.prop(
    "is the same value in JSON, without a control or direction character",
    [Schema.String],
    ([text]) => {
      const value = { text: `\u009b${text}\u202e\u{e0041}` }
      const json = printableJson(JSON.stringify(value))
      assert.notMatch(json, harmful)
      assert.deepEqual(JSON.parse(json), value)
    },
    drawn
  )
})
