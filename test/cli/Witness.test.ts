/** The witness of a play: what real time forbids is blamed, and an order in which answers merely arrived is not. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer } from "effect"
import { makeWitness, type WitnessFault } from "../../src/cli/Witness.ts"
import type { Command } from "../../src/domain/Command.ts"
import { type CommandError, Indeterminate, Overloaded } from "../../src/domain/Errors.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { accountId, commandId, storedEvent } from "../support/storedEvents.ts"

const deposit = (id: string): Command => ({
  _tag: "Deposit",
  commandId: commandId(id),
  account: accountId("alice"),
  amount: 1n
})

/** The events of the log: versions 1 to 9 of alice, each of the command `alice-<version>`. */
const log = Array.from({ length: 9 }, (_, index) => storedEvent({ account: "alice", version: index + 1 }))

const receipt = (version: number, change: Partial<Receipt & { hash: string }> = {}): Receipt => {
  const { hash = log[version - 1]?.hash ?? "", ...rest } = change
  const posting = { account: accountId("alice"), version, hash }
  return {
    commandId: commandId(`alice-${version}`),
    replayed: false,
    recordedAt: 0,
    postings: [posting],
    readToken: `alice@${version}`,
    ...rest
  }
}

const store = Layer.effect(
  EventStore,
  Effect.map(EventStore, (real) => ({
    ...real,
    readEvents: (keys: ReadonlyArray<Pick<StoredEvent, "version"> & { readonly account: string }>) =>
      Effect.succeed(
        log.filter((row) => keys.some((key) => key.account === row.accountId && key.version === row.version))
      )
  }))
).pipe(Layer.provide(EventStore.layerMemory))

const witnessed = (
  play: (witness: Effect.Success<typeof makeWitness>) => Effect.Effect<unknown, unknown>
): Effect.Effect<ReadonlyArray<WitnessFault["invariant"]>, unknown> =>
  Effect.gen(function* () {
    const witness = yield* makeWitness
    yield* play(witness)
    return (yield* witness.conclude).map((fault) => fault.invariant)
  }).pipe(Effect.provide(store))

describe("the witness of a play", () => {
  it.effect("accepts versions that rise from sending to sending", () =>
    Effect.gen(function* () {
      const faults = yield* witnessed((witness) =>
        Effect.forEach([1, 2, 5], (version) =>
          witness.watch(deposit(`alice-${version}`), Effect.succeed(receipt(version)))
        )
      )
      assert.deepEqual(faults, [])
    })
  )

  it.effect("accepts a repeat whose answer from memory overtakes the first answer", () =>
    Effect.gen(function* () {
      const faults = yield* witnessed((witness) =>
        Effect.gen(function* () {
          const answer = yield* Deferred.make<Receipt, CommandError>()
          const first = yield* Effect.forkChild(witness.watch(deposit("alice-1"), Deferred.await(answer)), {
            startImmediately: true
          })
          yield* witness.watch(deposit("alice-1"), Effect.succeed(receipt(1, { replayed: true })))
          yield* Deferred.succeed(answer, receipt(1))
          yield* Fiber.join(first)
        })
      )
      assert.deepEqual(faults, [])
    })
  )

  it.effect("accepts answers that arrive in another order than the commands took effect", () =>
    Effect.gen(function* () {
      const faults = yield* witnessed((witness) =>
        Effect.gen(function* () {
          const answer = yield* Deferred.make<Receipt, CommandError>()
          const earlier = yield* Effect.forkChild(witness.watch(deposit("alice-1"), Deferred.await(answer)), {
            startImmediately: true
          })
          yield* witness.watch(deposit("alice-2"), Effect.succeed(receipt(2)))
          yield* Deferred.succeed(answer, receipt(1))
          yield* Fiber.join(earlier)
        })
      )
      assert.deepEqual(faults, [])
    })
  )

  it.effect("judges a command that is sent again by its first sending", () =>
    Effect.gen(function* () {
      const unknown = new Indeterminate({ commandId: commandId("alice-1") })
      const faults = yield* witnessed((witness) =>
        Effect.gen(function* () {
          yield* Effect.flip(witness.watch(deposit("alice-1"), Effect.fail(unknown)))
          yield* witness.watch(deposit("alice-2"), Effect.succeed(receipt(2)))
          yield* witness.watch(deposit("alice-1"), Effect.succeed(receipt(1)))
        })
      )
      assert.deepEqual(faults, [])
    })
  )

  it.effect("blames a command that took effect before what was acknowledged when it was sent", () =>
    Effect.gen(function* () {
      const faults = yield* witnessed((witness) =>
        Effect.gen(function* () {
          yield* witness.watch(deposit("alice-2"), Effect.succeed(receipt(2)))
          yield* witness.watch(deposit("alice-1"), Effect.succeed(receipt(1)))
        })
      )
      assert.deepEqual(faults, ["I7"])
    })
  )

  it.effect("blames it after a repeat too, and after a refusal of the same id that did nothing", () =>
    Effect.gen(function* () {
      const full = new Overloaded({ what: "the queue", retryAfterMs: 1 })
      const faults = yield* witnessed((witness) =>
        Effect.gen(function* () {
          yield* Effect.flip(witness.watch(deposit("alice-1"), Effect.fail(full)))
          yield* witness.watch(deposit("alice-2"), Effect.succeed(receipt(2, { replayed: true })))
          yield* witness.watch(deposit("alice-1"), Effect.succeed(receipt(1)))
        })
      )
      assert.deepEqual(faults, ["I7"])
    })
  )

  it.effect("blames a receipt whose event the log lacks, has with another hash, or of another command", () =>
    Effect.gen(function* () {
      const faults = yield* witnessed((witness) =>
        Effect.forEach(
          [receipt(10), receipt(1, { hash: "another" }), receipt(2, { commandId: commandId("another") })],
          (one) => witness.watch(deposit(one.commandId), Effect.succeed({ ...one, replayed: true }))
        )
      )
      assert.deepEqual(faults, ["I6", "I6", "I4"])
    })
  )

  it.effect("names each broken invariant, however many faults of another came before", () =>
    Effect.gen(function* () {
      const lost = (nth: number) => ({ ...receipt(10 + nth), replayed: true })
      const faults = yield* witnessed((witness) =>
        Effect.gen(function* () {
          // The log is looked into with each 500th receipt: these are blamed before what comes after them.
          for (let nth = 0; nth < 500; nth++)
            yield* witness.watch(deposit(`alice-${10 + nth}`), Effect.succeed(lost(nth)))
          yield* witness.watch(deposit("alice-1"), Effect.succeed(receipt(1)))
          yield* witness.watch(
            deposit("another"),
            Effect.succeed({ ...receipt(2, { commandId: commandId("another") }), replayed: true })
          )
        })
      )
      assert.sameMembers([...new Set(faults)], ["I6", "I7", "I4"])
      assert.lengthOf(faults, 22, "and their number is bounded")
    })
  )
})
