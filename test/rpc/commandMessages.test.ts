/** What a client refuses before it sends a command. */
import { assert, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { SecureRandom } from "effect/crypto"
import { dispatchChecked } from "../../src/CommandMethods.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { defaultClientLimits } from "../../src/rpc/client/ClientOptions.ts"
import { makeEncodeCommand } from "../../src/rpc/client/CommandMessages.ts"

const deposit = { _tag: "Deposit", account: "a", amount: 1n, description: "x".repeat(256) } as const

it.effect("a command of more characters than one message has for it is told how many it may have", () =>
  Effect.gen(function* () {
    const encode = makeEncodeCommand(yield* SecureRandom.SecureRandom, {
      ...defaultClientLimits,
      commandCharactersMax: 1_000
    })
    const groupOf = (count: number): CommandInput => ({
      _tag: "Group",
      commandId: "g",
      commands: Array.from({ length: count }, () => deposit)
    })
    assert.isAtMost((yield* encode(groupOf(2))).size, 1_000)
    const error = yield* Effect.flip(encode(groupOf(3)))
    assert.match(error.message, /^command: has 1\d{3} characters as JSON, at most 1000 are sent$/)
  }).pipe(Effect.provide(SecureRandom.layerWebCrypto))
)

it.effect("of a batch with a hundred faults, one is told of each further faulty command", () =>
  Effect.gen(function* () {
    const encode = makeEncodeCommand(yield* SecureRandom.SecureRandom, defaultClientLimits)
    const unknown = Object.fromEntries(Array.from({ length: 60 }, (_, nth) => [`k${nth}`, 1]))
    const faulty: CommandInput = { ...deposit, description: "rent", ...unknown }
    const results = yield* dispatchChecked([faulty, faulty, faulty], encode, () => Effect.succeed([]))
    const faults = results.map((result) =>
      Result.isFailure(result) && result.failure._tag === "InvalidCommand" ? result.failure.faults.length : 0
    )
    assert.deepEqual(faults, [60, 60, 1])
  }).pipe(Effect.provide(SecureRandom.layerWebCrypto))
)
