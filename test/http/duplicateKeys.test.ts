/** A key that stands twice in one object of a JSON text is found, wherever it stands and however it is written. */
import { assert, describe, it } from "@effect/vitest"
import { duplicateKeyOf } from "../../src/http/server/DuplicateKeys.ts"
import { Rng } from "../support/Rng.ts"

const find = (text: string) => duplicateKeyOf(text, JSON.parse(text))

describe("a key of a JSON text", () => {
  it.each([
    ['{"amount":"1","amount":"2"}', ["amount"]],
    ['{"amount":"1","amount":"1"}', ["amount"]],
    ['{ "a" : 1 ,\r\n\t"a"\n : 2 }', ["a"]],
    ['{"a":1,"\\u0061":2}', ["a"]],
    ['{"":1,"":2}', [""]],
    ['{"__proto__":1,"__proto__":2}', ["__proto__"]],
    ['{"1":1,"01":2,"1":3}', ["1"]],
    ['{"a":{"b":1},"legs":[{"a":1},{"b":1,"c":{},"b":[]}]}', ["legs", "1", "b"]],
    ['{"a":{"b":1,"b":2},"a":3}', ["a", "b"]],
    ['{"amount":"1","metadata":{"a":"1","a":"2"}}', ["metadata", "a"]],
    ['[[],[{"k":[1,{"a":",","b":{}}]},{"k":[1,2,{"a":{},"a":[]}]}]]', ["1", "1", "k", "2", "a"]],
    ['{"\\\\":1,"\\\\":2}', ["\\"]],
    ['{"\\"":1,"a\\"":2,"\\"":3}', ['"']],
    [`{"${"x".repeat(200_000)}":1,"k":1,"k":2}`, ["k"]]
  ])("that stands twice is found in %j", (text, path) => {
    assert.deepEqual(find(text), path)
  })

  it("has a path that is told as far as a reader takes it in", () => {
    const deep = `${'{"a":'.repeat(1_000)}{"k":1,"k":2}${"}".repeat(1_000)}`
    assert.deepEqual(
      find(deep),
      Array.from({ length: 100 }, () => "a")
    )
  })

  it.each([
    '{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}',
    '{"a":":","b":"\\":\\\\","c:":"{\\"a\\":1,\\"a\\":2}"}',
    '{"constructor":1,"toString":2,"__proto__":{"a":1}}',
    '{"a":1,"A":2,"a ":3}',
    '"a:a:a"',
    "null",
    "[1,[2,[]],{}]",
    `${"[".repeat(50_000)}{"a":1}${"]".repeat(50_000)}`
  ])("that stands once in each object is none in %j", (text) => {
    assert.isUndefined(find(text))
  })

  it("is none in whatever was printed by JSON.stringify, and is found once one of them is repeated", () => {
    const rng = new Rng(7)
    const keys: readonly [string, ...ReadonlyArray<string>] = [
      "a",
      "b",
      ":",
      '"',
      "\\",
      "{",
      "}",
      ",",
      "\u2028",
      "__proto__",
      "",
      "\ud800"
    ]
    const make = (depth: number): unknown => {
      if (depth === 0 || rng.below(4) === 0) return rng.pick<unknown>([1, "x", ':{"a":1', null, true, "\\"])
      const members = Array.from({ length: rng.below(4) }, () => [rng.pick(keys), make(depth - 1)] as const)
      return rng.below(3) === 0 ? members.map(([, value]) => value) : Object.fromEntries(members)
    }
    for (let n = 0; n < 2_000; n++) {
      const text = JSON.stringify(make(4), null, rng.pick([0, 2]))
      assert.isUndefined(find(text), text)
      const repeated = `[${text},{"k":${text},"k":1}]`
      assert.deepEqual(find(repeated), ["1", "k"], repeated)
    }
  })
})
