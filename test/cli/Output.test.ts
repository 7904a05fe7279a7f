/** What commands print: tables in display columns, and nothing raw that others wrote. */
import { assert, describe, it } from "@effect/vitest"
import { Console, Effect } from "effect"
import { makeOutput, printJson, tableLines } from "../../src/cli/Output.ts"

/** What is printed on stdout, call by call. */
const printed = Effect.fnUntraced(function* (self: Effect.Effect<void>) {
  const lines: Array<string> = []
  const console: Console.Console = {
    ...(yield* Console.Console),
    log: (line: unknown) => void lines.push(String(line))
  }
  yield* Effect.provideService(self, Console.Console, console)
  return lines
})

describe("a table", () => {
  it("aligns columns by the width that a terminal shows", () => {
    const lines = tableLines(
      [
        ["東京", "1.00", "a"],
        ["Zoe\u0308", "12.00", "b"],
        ["Ada", "3.00", "c"]
      ],
      "lrl"
    )
    assert.deepEqual(lines, ["  東京   1.00  a", "  Zoe\u0308   12.00  b", "  Ada    3.00  c"])
  })

  it("keeps a row in one line, whatever its cells hold", () => {
    const forged = "rent\r  7  2026-03-02  Deposited  1,000,000.00 USD"
    const lines = tableLines(
      [
        [forged, "1.00"],
        ["a\u001b[31mb\u202e", "2.00"]
      ],
      "lr"
    )
    assert.deepEqual(lines, [
      "  rent\\r  7  2026-03-02  Deposited  1,000,000.00 USD  1.00",
      `  a\\x1b[31mb\\u{202e}${" ".repeat(34)}2.00`
    ])
  })
})

describe("output", () => {
  it.effect("shows control characters in lines and headings instead of obeying them", () =>
    Effect.gen(function* () {
      const output = makeOutput(false)
      const lines = yield* printed(
        Effect.andThen(output.line("owner: \u001b[2Jnobody\n"), output.heading("a\rb"))
      )
      assert.deepEqual(lines.slice(0, 2), ["owner: \\x1b[2Jnobody\\n", ""])
      assert.match(lines[2] ?? "", /^── a\\rb ─+$/)
    })
  )

  it.effect("prints JSON of the same value without a raw control or direction character", () =>
    Effect.gen(function* () {
      const value = { owner: "\u009b2J\u202eАда\u2028" }
      const [line = "", ...more] = yield* printed(printJson(value))
      assert.deepEqual(more, [])
      assert.notMatch(line, /[\p{Cc}\p{Bidi_Control}\p{Zl}]/u)
      assert.deepEqual(JSON.parse(line), value)
    })
  )
})
