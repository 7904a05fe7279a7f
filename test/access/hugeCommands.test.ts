/** Commands and payloads of RPC with more in them than any has: they are refused before they are copied or decoded. */
import { assert, describe, it, vi } from "@effect/vitest"
import { Effect, Result, Schema } from "effect"
import { RpcSerialization } from "effect/rpc"
import { permitCommand } from "../../src/access/Authorization.ts"
import type { Caller } from "../../src/access/Tokens.ts"
import { fromHost } from "../../src/domain/Command.ts"
import { LedgerRpc } from "../../src/rpc/LedgerRpc.ts"
import { MalformedPayload, tolerantOfPayloads } from "../../src/rpc/server/Payloads.ts"

const fields = (count: number) =>
  Object.fromEntries(Array.from({ length: count }, (_, nth) => [`k${nth}`, "v"]))

describe("a command with very many values in it", () => {
  const caller: Caller = {
    name: "till",
    isAuthenticated: true,
    scopes: new Set(["command"]),
    accounts: undefined,
    commandIds: undefined
  }

  it.each([
    ["fields", fields(13_000)],
    ["metadata", { _tag: "Deposit", account: "a", amount: "1", metadata: fields(13_000) }],
    ["legs", { _tag: "PostJournal", legs: Array.from({ length: 4_000 }, () => fields(3)) }],
    ["commands", { _tag: "Group", commands: Array.from({ length: 4_000 }, () => fields(3)) }]
  ])("is refused for having so many %s, and nothing else is said of it", (_, command) => {
    const permitted = permitCommand(caller, command)
    const faults =
      Result.isFailure(permitted) && permitted.failure._tag === "InvalidCommand"
        ? permitted.failure.faults
        : []
    assert.deepEqual(faults, [
      { path: [], message: "has more than 12000 values in it, which no command has" }
    ])
  })

  it("is refused before one of its fields is read", () => {
    let reads = 0
    const get = () => ++reads
    const command = new Proxy(fields(13_000), { get })
    assert.isTrue(Result.isFailure(permitCommand(caller, command)))
    assert.strictEqual(reads, 0)
  })

  it("is let through where it is the largest there may be", () => {
    const leg = { account: "a", side: "debit", amount: "1", asset: "USD/2" }
    const rate = { base: "USD/2", quote: "EUR/2", rate: "10/11", rounding: "half-even" }
    const member = {
      _tag: "PostJournal",
      legs: Array.from({ length: 5 }, () => leg),
      fx: Array.from({ length: 10 }, () => rate),
      effectiveAt: 1_700_000_000_000,
      expectedVersion: 1,
      description: "rent",
      metadata: fields(16)
    }
    const commands = Array.from({ length: 100 }, () => member)
    const permitted = permitCommand(caller, { _tag: "Group", commandId: "c", commands })
    assert.isTrue(Result.isSuccess(Result.flatMap(permitted, (command) => fromHost(command))))
  })
})

it("of a payload with many fields the first hundred are looked at", () => {
  const schema = LedgerRpc.requests.get("balanceAt")?.payloadSchema
  if (schema === undefined) return assert.fail("no such procedure")
  const codec = tolerantOfPayloads(RpcSerialization.ndjson.codecFor)(schema) as Schema.Codec<unknown, unknown>
  const decoded = Schema.decodeUnknownSync(codec)({ account: "a", ...fields(5_000) })
  if (!(decoded instanceof MalformedPayload)) return assert.fail("it was taken")
  assert.lengthOf(Object.keys(decoded.payload as object), 100)
  assert.lengthOf(decoded.error.faults, 99)
})

it.effect("a payload of bytes is taken without a name for each of its bytes", () =>
  Effect.gen(function* () {
    const { codecFor } = yield* RpcSerialization.RpcSerialization
    const schema = LedgerRpc.requests.get("dispatch")?.payloadSchema
    if (schema === undefined) return assert.fail("no such procedure")
    const command = { _tag: "Deposit", account: "a", amount: "1", description: "x".repeat(100_000) }
    const bytes = Schema.encodeSync(codecFor(schema) as Schema.Codec<unknown, unknown>)({ command })
    const codec = tolerantOfPayloads(codecFor)(schema) as Schema.Codec<unknown, unknown>
    const listings = [vi.spyOn(Object, "keys"), vi.spyOn(Object, "values")]
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        for (const listing of listings) listing.mockRestore()
      })
    )
    assert.deepEqual(Schema.decodeUnknownSync(codec)(bytes), { command })
    const listed = listings.flatMap(({ mock }) => mock.calls.flat())
    assert.isTrue(ArrayBuffer.isView(bytes))
    assert.isFalse(listed.some((value) => ArrayBuffer.isView(value)))
  }).pipe(Effect.scoped, Effect.provide(RpcSerialization.layerSchemaBinary()))
)
