/** Events survive the log: written as rows, read back the same, upcast from older rows, refused where unreadable. */
import { hash } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { Command, CommandContext } from "../../src/domain/Command.ts"
import { Event } from "../../src/domain/Event.ts"
import {
  canonicalCommand,
  genesis,
  hashCommand,
  isLinked,
  link,
  linked as linkDecided,
  type Unlinked
} from "../../src/domain/HashChain.ts"
import { emptyHead, follow, type Head } from "../../src/domain/Head.ts"
import { AccountId, CommandId, Instant } from "../../src/domain/Ids.ts"
import { Balance } from "../../src/domain/Money.ts"
import {
  boundBy,
  decodeStored,
  encodeContext,
  encodePayload,
  readStored,
  type StoredEvent,
  schemaVersionOf,
  UnreadableEvent
} from "../../src/domain/StoredEvent.ts"
import { drawn } from "../support/drawn.ts"
import { command } from "./books.ts"

const Ids = Schema.toType(Schema.Tuple([AccountId, CommandId]))
const After = Schema.toType(Schema.Struct({ balance: Balance, held: Balance, available: Balance }))

const account = "alice" as AccountId // a literal that its schema accepts
const base: Unlinked = {
  accountId: account,
  version: 1,
  type: "AccountOpened",
  schemaVersion: 2,
  payload: '{"asset":"USD/2","owner":"Ada","overdraftLimit":"0","metadata":{}}',
  commandId: "c-1" as CommandId, // as above
  ordinal: 0,
  commandHash: "abc",
  recordedAt: 1_700_000_000_000,
  effectiveAt: null,
  context: null
}
const linked = (row: Partial<Unlinked>, previous = genesis): StoredEvent => {
  const unlinked = { ...base, ...row }
  return { ...unlinked, hash: link(previous, unlinked) }
}

const today = { type: "Deposited", schemaVersion: 2 }
const halfBound = '{"amount":"5","contra":"external:bank","after":{"balance":"5","held":"0"}}'

describe("the stored form", () => {
  it.prop(
    "gives every event back as it was written, with what it binds",
    [Schema.toType(Event), After],
    ([event, after]) => {
      const row = linked({
        type: event._tag,
        schemaVersion: schemaVersionOf(event._tag),
        payload: encodePayload(event, after).stored
      })
      assert.deepEqual(Result.getOrThrow(readStored(row)), { event, after })
      assert.deepEqual(Result.getOrThrow(decodeStored(row)), event)
      assert.deepEqual(boundBy(row), after)
    },
    drawn
  )

  it.prop(
    "writes what the schema encodes, also where it is written out",
    [Schema.toType(Event), After],
    ([event, after]) => {
      const { _tag, ...payload } = Schema.encodeSync(Event)(event)
      const { balance, held, available } = after
      const bound = { after: { balance: `${balance}`, held: `${held}`, available: `${available}` } }
      const { stored, chained } = encodePayload(event, after)
      assert.strictEqual(stored, JSON.stringify({ ...payload, ...bound }))
      const covered = JSON.stringify([_tag, schemaVersionOf(_tag), stored])
      assert.strictEqual(`[${chained}]`, covered, "what the hash chain covers")
    },
    drawn
  )

  it.prop(
    "keeps the context as JSON, and nothing of an empty one",
    [CommandContext],
    ([context]) => {
      const text = encodeContext(context)
      if (Object.keys(context).length === 0) assert.isNull(text)
      else assert.deepEqual(JSON.parse(text ?? ""), { ...context })
    },
    drawn
  )

  it("reads an account opened under schema version 1, without overdraft and metadata", () => {
    const row = linked({ schemaVersion: 1, payload: '{"asset":"JPY/0","owner":"Old Bank"}' })
    assert.deepEqual<unknown>(Result.getOrThrow(decodeStored(row)), {
      _tag: "AccountOpened",
      asset: "JPY/0",
      owner: "Old Bank",
      overdraftLimit: 0n,
      metadata: {}
    })
    assert.isTrue(isLinked(genesis, row), "the hash is of the row as it was written, not of today's form")
  })

  const bound = '"after":{"balance":"8","held":"3","available":"5"}'
  const sent = `{"amount":"5","to":"bob","toVersion":4,${bound}}`
  const received = sent.replace('"to"', '"from"').replace("toVersion", "fromVersion")
  it.each<[string, string]>([
    ["as it is written", sent],
    ["of the receiver", received],
    [
      "with nothing held",
      sent.replace('"held":"3"', '"held":"0"').replace('"available":"5"', '"available":"8"')
    ],
    ["with a balance below zero", sent.replace('"balance":"8"', '"balance":"-8"')],
    ["of the largest amount", sent.replace('"5"', `"${"9".repeat(36)}"`)],
    ["of a larger amount", sent.replace('"5"', `"1${"0".repeat(36)}"`)],
    ["of nothing", sent.replace('"5"', '"0"')],
    ["with zeros before the amount", sent.replace('"5"', '"05"')],
    ["with a space", sent.replace(":4", ": 4")],
    ["with the fields in another order", `{"to":"bob","amount":"5","toVersion":4,${bound}}`],
    ["with a field more", sent.replace(',"after"', ',"rest":1,"after"')],
    ["with a description", sent.replace(',"after"', ',"description":"rent","after"')],
    ["with a field twice", sent.replace(',"after"', ',"to":"carol","after"')],
    ["to a contra account", sent.replace("bob", "external:bank")],
    ["to an id of other characters", sent.replace("bob", "b b")],
    ["to an id that is too long", sent.replace("bob", "b".repeat(65))],
    ["with a version that is no whole number", sent.replace(":4", ":4.5")],
    ["with a version below zero", sent.replace(":4", ":-4")],
    ["with a version as text", sent.replace(":4", ':"4"')],
    ["that binds half", sent.replace(',"available":"5"', "")],
    ["with something after its end", `${sent} `]
  ])("reads the leg of a transfer %s as its schema does", (_, payload) => {
    for (const type of ["TransferSent", "TransferReceived"] as const) {
      for (const schemaVersion of [1, 2]) {
        const { after, ...fields } = JSON.parse(payload)
        const expected = Schema.decodeUnknownResult(Event)({ ...fields, _tag: type })
        const read = readStored(linked({ type, schemaVersion, payload }))
        const isBound = schemaVersion === 1 || after.available !== undefined
        assert.strictEqual(Result.isSuccess(read), Result.isSuccess(expected) && isBound)
        if (Result.isFailure(read) || Result.isFailure(expected)) continue
        assert.deepEqual(read.success.event, expected.success)
        const { balance, held, available } = after
        const units = () => ({ balance: BigInt(balance), held: BigInt(held), available: BigInt(available) })
        assert.deepEqual(read.success.after, schemaVersion === 1 ? undefined : units())
      }
    }
  })

  it.each<[string, Partial<Unlinked>, RegExp]>([
    ["a newer schema version", { schemaVersion: 4 }, /newer/],
    ["a row of today that binds nothing", { schemaVersion: 3 }, /does not say/],
    ["a deposit of today that binds half", { ...today, payload: halfBound }, /does not say/],
    ["a schema version before the first", { schemaVersion: 0 }, /no upcast/],
    ["an unknown type", { type: "Exploded", schemaVersion: 1 }, /cannot be read/],
    ["a type of Object.prototype", { type: "constructor", schemaVersion: 1 }, /cannot be read/],
    ["broken JSON", { payload: '{"asset":' }, /no JSON object/],
    ["JSON that is no object", { payload: "[1]" }, /no JSON object/],
    ["a missing field", { payload: '{"asset":"USD/2"}' }, /owner/],
    ["a field of another type", { payload: base.payload.replace('"0"', "0") }, /overdraftLimit/]
  ])("refuses %s and says where the row stands", (_, row, reason) => {
    const decoded = decodeStored(linked(row))
    assert.isTrue(Result.isFailure(decoded))
    if (Result.isFailure(decoded)) {
      assert.instanceOf(decoded.failure, UnreadableEvent)
      assert.match(decoded.failure.message, reason)
      assert.match(decoded.failure.message, /alice@1/)
    }
  })
})

describe("the hash chain", () => {
  const changes: { readonly [Column in keyof Unlinked]: Unlinked[Column] } = {
    accountId: "alicf" as AccountId, // as above
    version: 2,
    type: "AccountClosed",
    schemaVersion: 1,
    payload: base.payload.replace("Ada", "Adb"),
    commandId: "c-2" as CommandId, // as above
    ordinal: 1,
    commandHash: null,
    recordedAt: base.recordedAt + 1,
    effectiveAt: base.recordedAt,
    context: "{}"
  }

  it.each(Object.entries(changes))("notices that the column %s was changed", (column, value) => {
    const row = linked({})
    assert.isTrue(isLinked(genesis, row))
    assert.isFalse(isLinked(genesis, { ...row, [column]: value }))
  })

  it("notices another hash before it", () => {
    const row = linked({}, "before")
    assert.isTrue(isLinked("before", row))
    assert.isFalse(isLinked("befor", row))
    assert.isFalse(isLinked(genesis, row))
  })

  it("does not confuse a text that moved from one column to its neighbour", () => {
    const one = linked({ type: "A", payload: "B", context: "C" })
    const other = linked({ type: "AB", payload: "", context: "C" })
    assert.notStrictEqual(one.hash, other.hash)
  })

  it.prop(
    "is the same for a decided row, whose text is put together by hand",
    [
      Schema.toType(Event),
      After,
      Ids,
      Schema.NullOr(Schema.String),
      Schema.NullOr(Instant),
      Schema.Literals([0, 1, 99])
    ],
    ([event, after, [accountId, commandId], context, effectiveAt, ordinal]) => {
      const { stored, chained } = encodePayload(event, after)
      const row = {
        ...base,
        ordinal,
        // Only the first event of a command has one.
        commandHash: ordinal === 0 ? base.commandHash : null,
        accountId,
        commandId,
        type: event._tag,
        schemaVersion: schemaVersionOf(event._tag),
        payload: stored,
        context,
        effectiveAt
      }
      assert.strictEqual(linkDecided("before", { ...row, hash: "" }, chained).hash, link("before", row))
    },
    drawn
  )

  it("is the same for the same row in every release", () => {
    assert.strictEqual(linked({}).hash, "uGaYVrSKIIez3Pdqn1eCj2sjAanjuoZx_n2SGiqF3ZY")
  })
})

describe("following a stream", () => {
  const rows = (() => {
    const first = linked({})
    const second = linked(
      { version: 2, type: "Deposited", schemaVersion: 1, payload: '{"amount":"5","contra":"external:bank"}' },
      first.hash
    )
    const third = linked(
      { version: 3, type: "Withdrawn", schemaVersion: 1, payload: '{"amount":"5","contra":"external:bank"}' },
      second.hash
    )
    return [first, second, third] as const
  })()
  const followAll = (rows: ReadonlyArray<StoredEvent>) =>
    rows.reduce<ReturnType<typeof follow>>(
      (head, row) => Result.flatMap(head, (head) => follow(head, row)),
      Result.succeed<Head>(emptyHead(account))
    )
  /** The same row with a hash that fits again: a forger who can compute hashes. */
  const relinked = (row: StoredEvent, change: Partial<Unlinked>, previous: string) => {
    const { hash: _, ...unlinked } = row
    return linked({ ...unlinked, ...change }, previous)
  }

  const deposited = (balance: string, held: string, available: string) =>
    linked(
      {
        ...today,
        version: 2,
        payload: JSON.stringify({
          amount: "5",
          contra: "external:bank",
          after: { balance, held, available }
        })
      },
      rows[0].hash
    )

  it("goes on with rows that bind the balance after rows that did not yet", () => {
    const head = Result.getOrThrow(followAll([rows[0], deposited("5", "0", "5")]))
    assert.deepInclude(head.account, { balance: 5n, held: 0n })
  })

  it("ends at the last row's version, hash and balance", () => {
    const head = Result.getOrThrow(followAll(rows))
    assert.strictEqual(head.hash, rows[2].hash)
    assert.strictEqual(head.account.version, 3)
    assert.deepInclude(head.account, { balance: 0n, status: "open" })
  })

  it.each<[string, string, ReadonlyArray<StoredEvent>]>([
    ["a missing row", "I1", [rows[0], rows[2]]],
    ["a row twice", "I1", [rows[0], rows[0]]],
    ["a changed row", "I5", [rows[0], { ...rows[1], payload: rows[1].payload.replace("5", "6") }]],
    [
      "a forged row that hides behind its own hash",
      "I5",
      [relinked(rows[0], { payload: rows[0].payload.replace("Ada", "Eve") }, genesis), rows[1]]
    ],
    ["time going back", "time", [rows[0], relinked(rows[1], { recordedAt: 1 }, rows[0].hash)]],
    ["a row that cannot be read", "form", [relinked(rows[0], { payload: "{}" }, genesis)]],
    ["an event that cannot follow", "form", [rows[0], relinked(rows[0], { version: 2 }, rows[0].hash)]],
    ["a balance that the events do not come to", "form", [rows[0], deposited("6", "0", "6")]],
    ["money held that no event holds", "form", [rows[0], deposited("5", "1", "5")]],
    ["money available that is not there", "form", [rows[0], deposited("5", "0", "6")]],
    ["money that was never there", "I3", [rows[0], relinked(rows[2], { version: 2 }, rows[0].hash)]]
  ])("names %s as a breach of %s", (_, invariant, broken) => {
    const head = followAll(broken)
    assert.isTrue(Result.isFailure(head))
    if (Result.isFailure(head)) assert.strictEqual(head.failure.invariant, invariant)
  })
})

describe("the hash of a command", () => {
  const full = {
    _tag: "OpenAccount",
    commandId: "c",
    account: "a",
    asset: "USD/2",
    owner: "Ada",
    overdraftLimit: 5n,
    effectiveAt: 1,
    expectedVersion: 0,
    metadata: { x: "1", y: "2" }
  } as const

  it("does not depend on the order of keys, at any depth", () => {
    const reversed = Object.fromEntries(
      Object.entries({ ...full, metadata: { y: "2", x: "1" } }).toReversed()
    )
    // the entries are those of `full`, only in another order
    assert.strictEqual(hashCommand(command(reversed as typeof full)), hashCommand(command(full)))
  })

  it.prop(
    "does not depend on the context",
    [Schema.toType(Command), CommandContext],
    ([command, context]) => {
      assert.strictEqual(hashCommand({ ...command, context }), hashCommand(command))
    },
    drawn
  )

  it.prop(
    "is that of the canonical text, written out or not",
    [Schema.toType(Command)],
    ([command]) => {
      assert.strictEqual(hashCommand(command), hash("sha256", canonicalCommand(command), "base64url"))
    },
    drawn
  )

  it.each([
    ["commandId", "d"],
    ["account", "b"],
    ["asset", "USD/3"],
    ["owner", "Adb"],
    ["overdraftLimit", 6n],
    ["effectiveAt", 2],
    ["expectedVersion", 1],
    ["metadata", { x: "1", y: "3" }],
    ["metadata", { x: "1" }],
    ["metadata", JSON.parse('{"x":"1","y":"2","__proto__":"3"}')]
  ])("depends on %s", (key, value) => {
    assert.notStrictEqual(hashCommand(command({ ...full, [key]: value })), hashCommand(command(full)))
  })

  it("depends on the kind, and on the order of a journal's legs", () => {
    const freeze = { commandId: "c", account: "a" }
    assert.notStrictEqual(
      hashCommand(command({ _tag: "FreezeAccount", ...freeze })),
      hashCommand(command({ _tag: "CloseAccount", ...freeze }))
    )
    const legs = [
      { account: "a", side: "debit", amount: 1n },
      { account: "b", side: "credit", amount: 1n }
    ] as const
    assert.notStrictEqual(
      hashCommand(command({ _tag: "PostJournal", commandId: "c", legs })),
      hashCommand(command({ _tag: "PostJournal", commandId: "c", legs: legs.toReversed() }))
    )
  })
})
