/** The compact form of messages between nodes, compared with the codec of their schemas for every message that can be drawn. */
import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { compactForm, formFingerprint, formFor, textForm } from "../../src/actors/cluster/PeerCodec.ts"
import { PeerRequest, PeerResponse } from "../../src/actors/cluster/PeerMessages.ts"
import { Command } from "../../src/domain/Command.ts"
import { ByteReader, ByteWriter, compactCodec, MalformedBytes } from "../../src/infra/cluster/CompactCodec.ts"

const options = { arbitrary: { runs: 500, size: 40, seed: 11 } }

const written = <A>(write: (writer: ByteWriter, value: A) => void, value: A): Buffer => {
  const writer = new ByteWriter(8)
  write(writer, value)
  return writer.take()
}

const forms = [
  ["compact", compactForm],
  ["text", textForm]
] as const

/** What the codec of the schema makes of it: the form that every program agrees on. */
const throughSchema = <A>(schema: Schema.Codec<A, unknown>, value: A): A => {
  const codec = Schema.fromJsonString(Schema.toCodecJson(schema))
  return Schema.decodeSync(codec)(Schema.encodeSync(codec)(value))
}

/** What a node of another program is told: it may not know all fields. */
const knownToAll = (request: PeerRequest): PeerRequest =>
  request._tag === "Dispatch" ? { _tag: "Dispatch", commands: request.commands } : request
const answeredToAll = (response: PeerResponse): PeerResponse =>
  response._tag === "Head" ? { _tag: "Head", head: response.head } : response

const seen = new Set<string>()
const note = (message: PeerRequest | PeerResponse): void => {
  seen.add(message._tag)
  if (message._tag === "Dispatch") for (const command of message.commands) seen.add(command._tag)
  if (message._tag === "Answers")
    for (const answer of message.answers) seen.add(answer._tag === "Failed" ? answer.error._tag : answer._tag)
}

describe.each(forms)("the %s form", (_, form) => {
  it.prop(
    "reads every request as the schema's codec does",
    // A command by itself too: among the drawn requests few have some, and there are many kinds.
    [PeerRequest, Command],
    ([drawn, command]) => {
      for (const request of [drawn, PeerRequest.make({ _tag: "Dispatch", commands: [command] })]) {
        note(request)
        const reader = new ByteReader(written(form.request.write, request))
        assert.deepStrictEqual(
          Result.getOrThrow(form.request.read(reader)),
          throughSchema(PeerRequest, form === textForm ? knownToAll(request) : request)
        )
        assert.isTrue(reader.isAtEnd)
      }
    },
    options
  )

  it.prop(
    "reads every response as the schema's codec does",
    [PeerResponse],
    ([response]) => {
      note(response)
      const reader = new ByteReader(written(form.response.write, response))
      assert.deepStrictEqual(
        Result.getOrThrow(form.response.read(reader)),
        throughSchema(PeerResponse, form === textForm ? answeredToAll(response) : response)
      )
      assert.isTrue(reader.isAtEnd)
    },
    options
  )

  it("was given messages of every kind", () => {
    for (const tag of ["Dispatch", "Head", "Borrow", "GiveBack", "Answers", "Lent", "Refused", "Taken"])
      assert.isTrue(seen.has(tag), tag)
    for (const tag of ["OpenAccount", "Deposit", "Transfer", "PostJournal", "CloseAccount"])
      assert.isTrue(seen.has(tag), tag)
    for (const tag of ["Done", "Moved", "Unknown", "InsufficientFunds", "InvalidCommand", "Indeterminate"])
      assert.isTrue(seen.has(tag), tag)
  })
})

describe("the compact form", () => {
  it.prop(
    "throws a typed error for a message that was cut or changed, and never reads beyond it",
    [PeerRequest, Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1_000_000 }))],
    ([request, place]) => {
      const bytes = written(compactForm.request.write, request)
      const end = place % bytes.length
      const read = (some: Buffer) =>
        Result.try({
          try: () => compactForm.request.read(new ByteReader(some)),
          catch: (cause) => cause
        })
      const cut = read(Buffer.from(bytes.subarray(0, end)))
      assert.isTrue(Result.isFailure(cut) && cut.failure instanceof MalformedBytes)
      const changed = Buffer.from(bytes)
      changed[end] = (changed[end] ?? 0) ^ (1 + (place % 255))
      const other = read(changed)
      assert.isTrue(Result.isSuccess(other) || other.failure instanceof MalformedBytes)
    },
    options
  )

  it("takes less than half of the bytes of JSON for a transfer and its receipt", () => {
    const hash = "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"
    const request = Schema.decodeUnknownSync(PeerRequest)({
      _tag: "Dispatch",
      commands: [{ _tag: "Transfer", from: "acc-1", to: "acc-2", amount: "1250", commandId: "c-1" }]
    })
    const response = Schema.decodeUnknownSync(PeerResponse)({
      _tag: "Answers",
      answers: [
        {
          _tag: "Done",
          receipt: {
            commandId: "c-1",
            replayed: false,
            recordedAt: 1_764_000_000_000,
            postings: [
              { account: "acc-1", version: 7, hash },
              { account: "acc-2", version: 9, hash }
            ],
            readToken: "acc-1@7,acc-2@9"
          }
        }
      ]
    })
    const ratio = <A>(of: (form: typeof compactForm) => (writer: ByteWriter, value: A) => void, value: A) =>
      written(of(compactForm), value).length / written(of(textForm), value).length
    assert.isBelow(
      ratio((form) => form.request.write, request),
      0.4
    )
    assert.isBelow(
      ratio((form) => form.response.write, response),
      0.6
    )
  })

  it("is used only with a node whose schemas are the same", () => {
    assert.strictEqual(formFor(formFingerprint, formFingerprint), compactForm)
    assert.strictEqual(formFor(formFingerprint, `${formFingerprint}.`), textForm)
  })

  it.each<[what: string, one: Schema.Constraint, other: Schema.Constraint]>([
    ["a field more", Schema.Struct({ a: Schema.String }), Schema.Struct({ a: Schema.String, b: Schema.Int })],
    [
      "a field that may be absent",
      Schema.Struct({ a: Schema.String }),
      Schema.Struct({ a: Schema.optionalKey(Schema.String) })
    ],
    ["a literal more", Schema.Literals(["a", "b"]), Schema.Literals(["a", "b", "c"])],
    ["literals in another order", Schema.Literals(["a", "b"]), Schema.Literals(["b", "a"])],
    ["a number of another kind", Schema.Int, Schema.Finite]
  ])("has another fingerprint for %s", (_, one, other) => {
    assert.notStrictEqual(compactCodec(one, []).fingerprint, compactCodec(other, []).fingerprint)
  })

  const ends = [2 ** 52 - 1, 1 - 2 ** 52, 2 ** 52, -(2 ** 52), 2 ** 53 - 1, 1 - 2 ** 53]
  it.each([0, 1, -1, 127, 128, 2 ** 31, -(2 ** 31), 2 ** 40, ...ends])(
    "keeps the whole number %d",
    (value) => {
      const codec = compactCodec(Schema.Int, [])
      assert.strictEqual(codec.read(new ByteReader(written(codec.write, value))), value)
    }
  )

  it.each([0n, 1n, -1n, 2n ** 53n - 1n, 2n ** 53n, -(2n ** 64n), 10n ** 38n - 1n, 1n - 10n ** 38n])(
    "keeps the amount %d",
    (value) => {
      const codec = compactCodec(Schema.BigInt, [])
      assert.strictEqual(codec.read(new ByteReader(written(codec.write, value))), value)
    }
  )

  it.each([
    "",
    "a",
    "ä",
    "x".repeat(63),
    "x".repeat(64),
    "ü".repeat(40),
    "\u{1f600}".repeat(100),
    "\ud800",
    "a\udfff"
  ])("keeps the text %j", (value) => {
    const codec = compactCodec(Schema.String, [])
    assert.strictEqual(codec.read(new ByteReader(written(codec.write, value))), value)
  })

  it("keeps a key that objects have a meaning for", () => {
    const codec = compactCodec(Schema.Record(Schema.String, Schema.String), [])
    const value = Object.fromEntries([["__proto__", "x"]])
    assert.deepStrictEqual(Object.entries(codec.read(new ByteReader(written(codec.write, value)))), [
      ["__proto__", "x"]
    ])
  })
})

describe("the text form", () => {
  it("does not understand a field that only the other node's program knows, instead of dropping it", () => {
    const writer = new ByteWriter()
    writer.text(JSON.stringify({ _tag: "Head", account: "a", at: 7 }))
    assert.deepStrictEqual(
      textForm.request.read(new ByteReader(writer.take())),
      Result.fail("not understood" as const)
    )
  })
})
