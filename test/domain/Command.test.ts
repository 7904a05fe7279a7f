/** What comes from outside becomes a valid command or faults with their paths. */
import { assert, describe, it } from "@effect/vitest"
import { Option, Result, Schema } from "effect"
import { AccountMetadata, accountsOf, fromHost, fromJson } from "../../src/domain/Command.ts"
import {
  AccountId,
  AnyCommandId,
  CommandId,
  ContraId,
  commandOfTransfer,
  Instant
} from "../../src/domain/Ids.ts"
import { amountMax } from "../../src/domain/Money.ts"
import { reversalIdOf } from "../../src/domain/Original.ts"
import { drawn } from "../support/drawn.ts"

const open = { _tag: "OpenAccount", commandId: "c", account: "a", asset: "USD/2", owner: "Ada" }
const deposit = { _tag: "Deposit", commandId: "c", account: "a", amount: 1n }
const transfer = { _tag: "Transfer", commandId: "c", from: "a", to: "b", amount: 1n }
const legs = [
  { account: "a", side: "debit", amount: 1n },
  { account: "b", side: "credit", amount: 1n }
]
const journal = { _tag: "PostJournal", commandId: "c", legs }
const rate = { base: "USD/2", quote: "EUR/2", rate: "10/11", rounding: "half-even" }
const { commandId: _, ...member } = deposit
const long = (length: number) => "x".repeat(length)
const keys = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, ""]))

const pathsOf = (input: unknown): ReadonlyArray<string> => {
  const result = fromHost(input)
  return Result.isFailure(result) ? result.failure.faults.map(({ path }) => path.join(".")) : []
}

it.each<[string, unknown]>([
  ["the least", open],
  ["longest ids", { ...deposit, account: long(64), commandId: long(64) }],
  ["the largest amount", { ...deposit, amount: amountMax }],
  ["any text of Unicode", { ...open, owner: "Zoë 王 😀 \u2028 ' \" \\ %" }],
  ["16 metadata keys", { ...open, metadata: keys(16) }],
  ["metadata keys of the names of methods", { ...open, metadata: { constructor: "x", toString: "y" } }],
  ["an empty metadata value", { ...open, metadata: { note: "" } }],
  [
    "a full context",
    { ...deposit, context: { caller: "x", correlationId: "y", causationId: "z", traceparent: "t" } }
  ],
  ["a past effective time", { ...transfer, effectiveAt: 0 }],
  ["a full rate", { ...journal, fx: [rate] }],
  ["a leg on a contra account", { ...journal, legs: [{ ...legs[0], account: "external:x" }, legs[1]] }],
  ["100 legs", { ...journal, legs: Array.from({ length: 100 }, () => legs[0]) }]
])("accepts %s", (_, input) => {
  assert.deepEqual<unknown>(Result.getOrThrow(fromHost(input)), input)
})

it.each<[string, unknown, ReadonlyArray<string>]>([
  ["no object", null, [""]],
  ["an unknown kind", { _tag: "Steal", commandId: "c" }, [""]],
  ["a missing field", { _tag: "Deposit", commandId: "c", account: "a" }, ["amount"]],
  ["an unknown field", { ...deposit, expectdVersion: 1 }, ["expectdVersion"]],
  ["one of the name of a method", { ...deposit, toString: "x" }, ["toString"]],
  ["a method in its place", { ...deposit, constructor: Object }, ["constructor"]],
  ["one of the name of the prototype", { ...deposit, ["__proto__"]: {} }, ["__proto__"]],
  ["one in the context", { ...deposit, context: { caler: "x" } }, ["context.caler"]],
  ["one in a leg", { ...journal, legs: [legs[0], { ...legs[1], amont: 1n }] }, ["legs.1.amont"]],
  ["a map in place of metadata", { ...deposit, metadata: new Map([["note", "x"]]) }, ["metadata"]],
  ["a date in place of a context", { ...deposit, context: new Date(0) }, ["context"]],
  ["a text object in place of metadata", { ...deposit, metadata: Object("ab") }, ["metadata"]],
  [
    "a map in place of a group's member's metadata",
    { _tag: "Group", commandId: "c", commands: [member, { ...member, metadata: new Map() }] },
    ["commands.1.metadata"]
  ],
  ["nothing of an amount", { ...deposit, amount: 0n }, ["amount"]],
  ["a negative amount", { ...deposit, amount: -1n }, ["amount"]],
  ["an amount above the largest", { ...deposit, amount: amountMax + 1n }, ["amount"]],
  ["an amount that is a number", { ...deposit, amount: 1 }, ["amount"]],
  ["an overdraft below zero", { ...open, overdraftLimit: -1n }, ["overdraftLimit"]],
  ["an empty id", { ...deposit, commandId: "" }, ["commandId"]],
  ["an id too long", { ...deposit, commandId: long(129) }, ["commandId"]],
  ["an id with a space", { ...deposit, account: "a b" }, ["account"]],
  ["an id with a line feed at its end", { ...deposit, account: "a\n" }, ["account"]],
  ["an id with a dot, which is no subject token", { ...deposit, account: "a.b" }, ["account"]],
  ["the prefix of contra accounts alone", { ...deposit, contra: "external:" }, ["contra"]],
  ["an id of the external accounts", { ...open, account: "external:bank" }, ["account"]],
  ["a contra that is not external", { ...deposit, contra: "bank" }, ["contra"]],
  ["an asset without scale", { ...open, asset: "USD" }, ["asset"]],
  ["an asset of scale 19", { ...open, asset: "USD/19" }, ["asset"]],
  ["an instant that is no integer", { ...deposit, effectiveAt: 1.5 }, ["effectiveAt"]],
  ["an instant before 1970", { ...deposit, effectiveAt: -1 }, ["effectiveAt"]],
  ["a negative version", { ...deposit, expectedVersion: -1 }, ["expectedVersion"]],
  ["a text too long", { ...transfer, description: long(257) }, ["description"]],
  ["NUL in the owner", { ...open, owner: "A\u0000" }, ["owner"]],
  ["NUL in a description", { ...transfer, description: "\u0000" }, ["description"]],
  ["NUL in a reason", { _tag: "FreezeAccount", commandId: "c", account: "a", reason: "\u0000" }, ["reason"]],
  ["NUL in the context", { ...deposit, context: { caller: "\u0000" } }, ["context.caller"]],
  ["a lone surrogate in the owner", { ...open, owner: "\ud800" }, ["owner"]],
  ["a lone surrogate in a description", { ...journal, description: "x\udc00" }, ["description"]],
  [
    "a lone surrogate in the context",
    { ...deposit, context: { traceparent: "\ud83d" } },
    ["context.traceparent"]
  ],
  ["NUL in a metadata value", { ...open, metadata: { k: "\u0000" } }, ["metadata.k"]],
  ["NUL in a metadata key", { ...open, metadata: { "k\u0000": "" } }, ["metadata.k\u0000"]],
  ["a lone surrogate in a metadata key", { ...open, metadata: { "\ud800": "" } }, ["metadata.\ud800"]],
  ["an empty metadata key", { ...open, metadata: { "": "x" } }, ["metadata."]],
  ["a metadata key too long", { ...open, metadata: { [long(65)]: "x" } }, [`metadata.${long(65)}`]],
  ["17 metadata keys", { ...open, metadata: keys(17) }, ["metadata"]],
  ["one leg", { ...journal, legs: legs.slice(1) }, ["legs"]],
  ["101 legs", { ...journal, legs: Array.from({ length: 101 }, () => legs[0]) }, ["legs"]],
  ["a fault deep inside", { ...journal, legs: [legs[0], { ...legs[1], side: "dbit" }] }, ["legs.1.side"]],
  [
    "legs on contra accounts alone",
    { ...journal, legs: legs.map((leg) => ({ ...leg, account: "external:x" })) },
    ["legs"]
  ],
  [
    "a leg on the prefix of contra accounts alone",
    { ...journal, legs: [legs[0], { ...legs[1], account: "external:" }] },
    ["legs.1.account"]
  ],
  ["a leg on no id", { ...journal, legs: [legs[0], { ...legs[1], account: "a b" }] }, ["legs.1.account"]],
  ["a rate that is no fraction", { ...journal, fx: [{ ...rate, rate: "1.0837" }] }, ["fx.0.rate"]],
  ["a rate over zero", { ...journal, fx: [{ ...rate, rate: "1/0" }] }, ["fx.0.rate"]],
  [
    "a rate of too many digits",
    { ...journal, fx: [{ ...rate, rate: `1/1${"0".repeat(30)}` }] },
    ["fx.0.rate"]
  ],
  ["an unknown rounding", { ...journal, fx: [{ ...rate, rounding: "nearest" }] }, ["fx.0.rounding"]],
  ["11 rates", { ...journal, fx: Array.from({ length: 11 }, () => rate) }, ["fx"]],
  ["no rates", { ...journal, fx: [] }, ["fx"]],
  ["an empty group", { _tag: "Group", commandId: "c", commands: [] }, ["commands"]],
  [
    "an id of its own in a group",
    { _tag: "Group", commandId: "c", commands: [deposit] },
    ["commands.0.commandId"]
  ],
  [
    "a group in a group",
    { _tag: "Group", commandId: "c", commands: [{ _tag: "Group", commands: [] }] },
    ["commands.0"]
  ],
  [
    "101 commands in a group",
    { _tag: "Group", commandId: "c", commands: Array.from({ length: 101 }, () => member) },
    ["commands"]
  ],
  [
    "501 events in a group",
    {
      _tag: "Group",
      commandId: "c",
      commands: Array.from({ length: 6 }, () => ({
        _tag: "PostJournal",
        legs: Array.from({ length: 84 }, () => legs[0])
      }))
    },
    ["commands"]
  ],
  ["an unknown side", { _tag: "FreezeAccount", commandId: "c", account: "a", side: "left" }, ["side"]],
  ["several faults at once", { ...transfer, from: "", to: "", amount: 0n }, ["amount", "from", "to"]]
])("refuses %s and names its path", (_, input, paths) => {
  assert.sameMembers([...pathsOf(input)], [...paths])
})

describe("JSON", () => {
  it("carries amounts as strings of digits", () => {
    const decoded = fromJson({ ...deposit, amount: amountMax.toString() })
    assert.deepEqual<unknown>(Result.getOrThrow(decoded), { ...deposit, amount: amountMax })
  })

  it.each([1, 1.5, "1.5", "0x1", " 1", "1 ", "", "1e3", "−1", "007", "-0", "+1", null, true])(
    "refuses %j as an amount",
    (amount) => {
      const decoded = fromJson({ ...deposit, amount })
      assert.isTrue(Result.isFailure(decoded))
      if (Result.isFailure(decoded)) assert.deepEqual(decoded.failure.faults[0]?.path, ["amount"])
    }
  )

  it("keeps metadata keys that are names of every object's members", () => {
    const input: unknown = JSON.parse(
      JSON.stringify(open).replace("}", ',"metadata":{"__proto__":"p","constructor":"c","toString":"t"}}')
    )
    const decoded = Result.getOrThrow(fromJson(input))
    assert.strictEqual(decoded._tag, "OpenAccount")
    if (decoded._tag !== "OpenAccount") return
    assert.sameMembers(Object.keys(decoded.metadata ?? {}), ["__proto__", "constructor", "toString"])
    const json = JSON.stringify(Schema.encodeSync(AccountMetadata)(decoded.metadata ?? {}))
    assert.deepEqual(JSON.parse(json), JSON.parse('{"__proto__":"p","constructor":"c","toString":"t"}'))
    assert.notProperty({}, "p")
  })
})

it("names the accounts in the order of the legs", () => {
  const accounts = (input: unknown): ReadonlyArray<string> => accountsOf(Result.getOrThrow(fromHost(input)))
  assert.deepEqual(accounts(deposit), ["a"])
  assert.deepEqual(accounts(transfer), ["a", "b"])
  assert.deepEqual(accounts({ ...journal, legs: legs.toReversed() }), ["b", "a"])
})

describe("ids", () => {
  it.prop(
    "of accounts are safe in a URL, a NATS subject and a read token",
    [AccountId, ContraId],
    (ids) => {
      for (const id of ids) {
        assert.strictEqual(encodeURIComponent(id).replaceAll("%3A", ":"), id)
        assert.notMatch(id, /[.*>\s@,]/)
      }
    },
    drawn
  )

  it.prop(
    "of commands are kept by a part of a URL, and are none that the ledger makes",
    [CommandId],
    ([id]) => {
      assert.strictEqual(decodeURIComponent(encodeURIComponent(id)), id)
      assert.notInclude(id, "~")
      assert.isAtMost(id.length, 128)
    },
    drawn
  )

  it("of commands are 1 to 128 of all their characters, and leave room for those made of them", () => {
    const longest = `AZaz09_:-./@=+${"x".repeat(114)}` as CommandId
    const [isOwn, isAny] = [Schema.is(CommandId), Schema.is(AnyCommandId)]
    for (const id of [longest, ".", "/", "+", "=", "@", "pay/2026@x.example=+"]) assert.isTrue(isOwn(id), id)
    for (const id of [`${longest}x`, "", "a b", "a~b", "~a", "a%", "ä", "a\n", "a,b", "a?b", "a#b"])
      assert.isFalse(isOwn(id), id)
    const made = [longest, reversalIdOf(longest, 999), `${longest}~499`, "~r1~123", "g~0"]
    for (const id of made) assert.isTrue(isAny(id), id)
    for (const id of ["~r0~a", "~r1", "g~", "g~007", "g~1000", "a~b", `~r1~${longest}x`])
      assert.isFalse(isAny(id), id)
  })

  it("of a transfer in a group lead to the group, and every other id to itself", () => {
    const commandOf = (id: string) => commandOfTransfer(id as CommandId)
    for (const [id, command] of [
      ["g~1", "g"],
      ["a.b/c~499", "a.b/c"],
      ["g", "g"],
      ["~r1~123", "~r1~123"],
      ["~r12~g", "~r12~g"]
    ] as const)
      assert.strictEqual<string>(commandOf(id), command)
  })

  it.prop(
    "instants are dates",
    [Instant],
    ([instant]) => {
      assert.strictEqual(new Date(instant).getTime(), instant)
    },
    drawn
  )
})

const messageOf = (decoded: ReturnType<typeof fromHost>): string => {
  const failure = Result.getFailure(decoded)
  return Option.isSome(failure) ? failure.value.message : "accepted"
}

it.each<[string, unknown, RegExp]>([
  [
    "an unknown kind",
    { ...deposit, _tag: "Depositt" },
    /_tag must be one of OpenAccount, Deposit, .*, not "Depositt"$/
  ],
  ["no kind", {}, /_tag must be one of OpenAccount, Deposit, .*Group$/],
  [
    "a kind that no group may have",
    { _tag: "Group", commandId: "c d", commands: [{ _tag: "CaptureHold", account: "a", hold: "h" }] },
    /^commandId: .*; commands\.0: _tag must be one of OpenAccount, Deposit, .*CloseAccount, not "CaptureHold"$/
  ],
  [
    "a group of texts",
    { _tag: "Group", commandId: "c", commands: ["a"] },
    /^commands\.0: must be an object, not a string$/
  ],
  ["null", null, /must be an object, not null/],
  ["an array", [], /must be an object, not an array/],
  [
    "an amount that is text",
    { ...deposit, amount: "5" },
    /amount: must be a bigint of minor units, such as 1250n/
  ],
  ["an amount that is a number", { ...deposit, amount: 5 }, /amount: must be a bigint of minor units/],
  [
    "an instant before 1970",
    { ...deposit, effectiveAt: -1 },
    /effectiveAt: must lie between 0 \(1970\) and 253402300799999/
  ],
  [
    "an instant that is a text",
    { ...deposit, effectiveAt: "2026" },
    /effectiveAt: must be epoch milliseconds/
  ],
  ["a missing field", { _tag: "Deposit", commandId: "c", account: "a" }, /amount: is missing/],
  ["an unknown field", { ...deposit, amuont: 1n }, /amuont: is not known here/],
  ["an unknown field that draws", { ...deposit, "a\u001b[2J": 1 }, /a\\x1b\[2J: is not known here/],
  [
    "a long description",
    { ...deposit, description: "x".repeat(257) },
    /description: must have at most 256 characters/
  ],
  [
    "a negative version",
    { ...deposit, expectedVersion: -1 },
    /expectedVersion: must be a version: a whole number of 0 or more/
  ],
  ["an owner that is a number", { ...open, owner: 5 }, /^owner: must be of type string$/],
  ["one leg", { ...journal, legs: legs.slice(1) }, /^legs: must have a length of at least 2$/],
  ["17 metadata keys", { ...open, metadata: keys(17) }, /^metadata: must have at most 16 entries$/],
  [
    "an unknown side",
    { _tag: "FreezeAccount", commandId: "c", account: "a", side: "left" },
    /^side: must be one of "debits" \| "credits" \| "both"$/
  ]
])("says to a host what is wrong with %s", (_, input, message) => {
  assert.match(messageOf(fromHost(input)), message)
})

it.each<[string, unknown]>([
  ["a number", 5],
  ["a fraction", "1.5"],
  ["an exponent", "1e3"],
  ["nothing", ""],
  ["null", null]
])("says to a JSON client how amounts are written where it sends %s", (_, amount) => {
  const message = messageOf(fromJson({ ...deposit, amount }))
  assert.match(message, /amount: must be a string of whole minor units, such as "1250"/)
  assert.notInclude(message, "bigint")
})

describe("of a value with many faults", () => {
  const empty = (count: number) => Array.from({ length: count }, () => ({}))

  it("a hundred are told, and how many there are besides", () => {
    const result = fromHost({ ...journal, legs: empty(50) })
    const faults = Result.isFailure(result) ? result.failure.faults : []
    assert.lengthOf(faults, 101)
    assert.deepInclude(faults[0], { path: ["legs", "0", "account"] })
    assert.deepEqual(faults[100], { path: [], message: "has 50 faults more" })
  })

  // To look for all of them, and to say each, would take a node as many seconds.
  it.each<[string, unknown, string]>([
    ["legs", { ...journal, legs: empty(200_000) }, "legs.0.account"],
    ["commands of a group", { _tag: "Group", commandId: "c", commands: empty(200_000) }, "commands.0"],
    ["fields that there are not", { ...deposit, ...keys(20_000) }, "k0"],
    ["metadata", { ...open, metadata: { ...keys(20_000), "": "" } }, "metadata."]
  ])("and there are very many %s, one is told", (_, input, path) => {
    assert.deepEqual(pathsOf(input), [path])
  })

  it("and it is nested deeply, it is refused like any other", () => {
    const nested: unknown = JSON.parse(`${"[".repeat(100_000)}${"]".repeat(100_000)}`)
    assert.deepEqual(pathsOf({ ...journal, legs: [nested, nested] }), ["legs.0"])
  })
})
