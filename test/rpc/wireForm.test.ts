/**
 * The form of calls and answers on the wire, byte for byte: nodes and clients of different versions speak to each other while a
 * ledger is upgraded, so what an earlier version sends must be read, and what it reads must be sent.
 */
import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { SchemaBinary } from "effect/encoding"
import { makeReadArguments, queryOf } from "../../src/QueryMethods.ts"
import { LedgerRpc, type Procedure } from "../../src/rpc/LedgerRpc.ts"

/** None of the procedures' schemas needs a service. */
type Plain = Schema.Codec<unknown, unknown>
const binary = (schema: Plain): Plain => SchemaBinary.toCodec(schema)
const json = (schema: Plain): Plain => Schema.toCodecJson(schema)

const rpcOf = (procedure: Procedure) => {
  const rpc = LedgerRpc.requests.get(procedure)
  if (rpc === undefined) return assert.fail(procedure)
  // What the type of a procedure whose name varies does not tell.
  return { payload: rpc.payloadSchema as Plain, success: rpc.successSchema as Plain }
}
const hexOf = (schema: Plain, value: unknown): string =>
  Buffer.from(Schema.encodeSync(binary(schema))(value) as Uint8Array).toString("hex")

/** As version 0.1 sent them. */
const payloads: ReadonlyArray<readonly [Procedure, unknown, string]> = [
  ["balance", { account: "a", readToken: "a@1" }, "1220e0f5f8d314016190dd9d9b3b0405614031"],
  ["strongBalance", { account: "a" }, "0820e0f5f8d3140161"],
  ["balanceAt", { account: "a", version: 3 }, "1020e0f5f8d3140161b8e9b59c23020406"],
  [
    "balanceAt",
    { account: "a", recordedAt: 1_790_000_000_000 },
    "1520e0f5f8d314016180e4b6f36b070480b083c59868"
  ],
  ["history", { account: "a", after: 3, limit: 4 }, "1820c8dccfdb0d020406e0f5f8d3140161a093dbb619020408"],
  [
    "statement",
    { account: "a", from: 1, to: 2, axis: "effective", cursor: "5", limit: 3, readToken: "a@1" },
    "4220e0f5f8d3140161a093dbb619020406a082a99121020404a0dff5ca360a0565666665637469766590dd9d9b3b0405614031a887b0f34a020402f8a0c6cd71020535"
  ],
  ["transfer", { commandId: "x", readToken: "a@1" }, "122090dd9d9b3b0405614031f8f9b2d47c0178"],
  ["accounts", { cursor: "a", limit: 2 }, "1120a093dbb619020404f8a0c6cd71020561"],
  ["accounts", {}, "0120"],
  ["trialBalance", undefined, "0120"],
  ["trialBalanceAt", { recordedAt: 5 }, "092080e4b6f36b02040a"],
  ["events", { account: "a", after: 2, follow: true }, "1820c8dccfdb0d020404e0f5f8d314016180f789db2d020101"],
  ["subscribe", { after: "now", accountPrefix: "a" }, "1320c8dccfdb0d04056e6f77c097bf9043020561"],
  [
    "dispatch",
    { command: { _tag: "Deposit", amount: "5" } },
    "262090aba9d6491f7b225f746167223a224465706f736974222c22616d6f756e74223a2235227d"
  ],
  ["dispatchMany", { commands: [1, {}] }, "0d2098dd95a45b06020131027b7d"]
]

const stats = {
  inFlight: 1,
  residents: 2,
  batches: 3,
  rows: 4,
  rowsMax: 5,
  behind: 6,
  committed: 7,
  conflicts: 8,
  repeats: 9,
  unknown: 10,
  fenced: 11,
  trouble: undefined,
  commitMs: 1.5
}

/** Answers as of an instant as they were before they said which. */
const dated = {
  balanceAt: {
    account: "a",
    asset: "USD/2",
    owner: "Ada",
    status: "open",
    balance: 5n,
    available: 5n,
    overdraftLimit: 0n,
    metadata: {},
    version: 3,
    recordedAt: 7,
    hash: "00",
    eventsRead: 3
  },
  trialBalanceAt: { recordedAt: 8, lines: [], parked: 0 }
}

describe("the wire", () => {
  it.each(payloads)("carries a call of %s with %j as version 0.1 did", (procedure, payload, hex) => {
    const { payload: payloadSchema } = rpcOf(procedure)
    assert.strictEqual(hexOf(payloadSchema, payload), hex)
    assert.deepEqual(Schema.decodeSync(binary(payloadSchema))(Buffer.from(hex, "hex")), payload)
  })

  it("carries an option by a later name under that which version 0.1 knows", () => {
    const read = makeReadArguments("statement", queryOf("statement"))
    for (const order of [{ by: "effective" }, { axis: "effective" }, { by: "effective", axis: "effective" }])
      assert.deepEqual(
        Result.getOrThrow(read(["a", order])),
        { account: "a", axis: "effective" },
        JSON.stringify(order)
      )
    for (const name of ["balanceAt", "trialBalanceAt"] as const) {
      const readInstant = makeReadArguments(name, queryOf(name))
      const asked = (instants: object) => (name === "balanceAt" ? ["a", instants] : [instants])
      for (const instants of [{ knownAt: 5 }, { recordedAt: 5 }, { knownAt: 5, recordedAt: 5 }])
        assert.deepEqual(
          Result.getOrThrow(readInstant(asked(instants))),
          { ...(name === "balanceAt" ? { account: "a" } : {}), recordedAt: 5 },
          `${name} ${JSON.stringify(instants)}`
        )
    }
  })

  it("has the procedures of version 0.1", () => {
    const names: ReadonlyArray<Procedure> = [
      ...payloads.map(([procedure]) => procedure),
      "contraBalances",
      "stats",
      "health"
    ]
    for (const name of names) assert.isTrue(LedgerRpc.requests.has(name), name)
  })

  it.each(Object.keys(stats).filter((name) => name !== "trouble" && name !== "commitMs"))(
    "reads the statistics of a node that does not know %s yet",
    (name) => {
      const { success: successSchema } = rpcOf("stats")
      const older = Object.fromEntries(Object.entries(stats).filter(([one]) => one !== name))
      const olderSchema = Schema.Struct({
        ...Object.fromEntries(Object.keys(older).map((one) => [one, Schema.Int])),
        trouble: Schema.UndefinedOr(Schema.String),
        commitMs: Schema.Number
      })
      for (const form of [binary, json])
        assert.deepEqual(
          Schema.decodeUnknownSync(form(successSchema))(Schema.encodeSync(form(olderSchema))(older)),
          { ...stats, [name]: 0 }
        )
    }
  )

  it.each(["balanceAt", "trialBalanceAt"] as const)(
    "carries an answer of %s between nodes of which one does not know its instant yet",
    (name) => {
      const { success: successSchema } = rpcOf(name)
      const older = dated[name]
      // Both answers are structs, which the type of a procedure whose name varies does not tell.
      const { knownAt, ...fields } = (successSchema as Schema.Struct<Readonly<Record<string, Plain>>>).fields
      assert.isDefined(knownAt)
      const olderSchema = Schema.Struct(fields)
      for (const form of [binary, json]) {
        const decode = (schema: Plain) => Schema.decodeUnknownSync(form(schema))
        const encode = (schema: Plain) => Schema.encodeSync(form(schema))
        assert.deepEqual(decode(successSchema)(encode(olderSchema)(older)), older)
        const newer = { ...older, knownAt: 8 }
        assert.deepEqual(decode(olderSchema)(encode(successSchema)(newer)), older)
      }
    }
  )

  it("sends every number of the statistics, which clients of version 0.1 require", () => {
    assert.deepEqual(Schema.encodeSync(json(rpcOf("stats").success))(stats), {
      ...stats,
      trouble: null
    })
  })
})
