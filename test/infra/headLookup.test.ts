/** The look-up of single heads: few statements for many questions, and no answer from before its question. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber } from "effect"
import type { AccountId } from "../../src/domain/Ids.ts"
import { StoreUnavailable } from "../../src/infra/eventstore/EventStoreTypes.ts"
import type { ReadHead } from "../../src/infra/readmodel/ReadModel.ts"
import { makeHeadLookup } from "../../src/infra/readmodel/ReadModelReads.ts"
import { accountId } from "../support/storedEvents.ts"

const headOf = (id: AccountId, version: number): ReadHead => ({
  account: {
    _tag: "Opened",
    id,
    version,
    status: "open",
    asset: "USD/2" as ReadHead["account"]["asset"], // well-formed
    owner: "x",
    overdraftLimit: 0n,
    balance: 0n,
    held: 0n,
    holds: [],
    metadata: {}
  },
  hash: "",
  recordedAt: 0,
  isParked: false
})

/** A table whose statements read when they begin, and answer when they are let. */
const makeTable = () => {
  const statements: Array<{
    readonly accounts: ReadonlyArray<AccountId>
    readonly answer: Deferred.Deferred<void, StoreUnavailable>
  }> = []
  const versions = new Map<AccountId, number>()
  const look = (accounts: ReadonlyArray<AccountId>) =>
    Effect.suspend(() => {
      const read = accounts.flatMap((id) => {
        const version = versions.get(id)
        return version === undefined ? [] : [[id, headOf(id, version)] as const]
      })
      const answer = Deferred.makeUnsafe<void, StoreUnavailable>()
      statements.push({ accounts, answer })
      return Effect.as(Deferred.await(answer), new Map(read))
    })
  return { statements, versions, look }
}

/** Lets every fiber go as far as it can. */
const settle = Effect.forEach(Array.from({ length: 20 }), () => Effect.yieldNow, { discard: true })
const [a, b, c] = [accountId("a"), accountId("b"), accountId("c")]

describe("asking for a balance", () => {
  it.effect("shares a statement where no further one may start", () =>
    Effect.gen(function* () {
      const { statements, versions, look } = makeTable()
      for (const id of [a, b]) versions.set(id, 1)
      const ask = makeHeadLookup(look, { statementsMax: 1, accountsMax: 100 })
      const first = yield* Effect.forkChild(ask(a))
      yield* settle
      assert.deepStrictEqual(
        statements.map((one) => one.accounts),
        [[a]]
      )
      const later = yield* Effect.forEach([b, b, a, c], (id) => Effect.forkChild(ask(id)))
      yield* settle
      assert.lengthOf(statements, 1)
      yield* Deferred.succeed(statements[0]?.answer ?? assert.fail(), undefined)
      yield* settle
      assert.deepStrictEqual(statements[1]?.accounts, [b, a, c])
      yield* Deferred.succeed(statements[1]?.answer ?? assert.fail(), undefined)
      assert.strictEqual((yield* Fiber.join(first))?.account.id, a)
      const answers = yield* Fiber.joinAll(later)
      assert.deepStrictEqual(
        answers.map((head) => head?.account.id),
        [b, b, a, undefined]
      )
      assert.lengthOf(statements, 2)
    })
  )

  it.effect("joins no statement that was sent before it", () =>
    Effect.gen(function* () {
      const { statements, versions, look } = makeTable()
      versions.set(a, 1)
      const ask = makeHeadLookup(look, { statementsMax: 1, accountsMax: 100 })
      const before = yield* Effect.forkChild(ask(a))
      yield* settle
      versions.set(a, 2)
      const after = yield* Effect.forkChild(ask(a))
      yield* settle
      yield* Deferred.succeed(statements[0]?.answer ?? assert.fail(), undefined)
      yield* settle
      yield* Deferred.succeed(statements[1]?.answer ?? assert.fail(), undefined)
      assert.strictEqual((yield* Fiber.join(before))?.account.version, 1)
      assert.strictEqual((yield* Fiber.join(after))?.account.version, 2)
    })
  )

  it.effect("fails for all that shared the statement, and not for the next", () =>
    Effect.gen(function* () {
      const { statements, versions, look } = makeTable()
      versions.set(a, 1)
      const ask = makeHeadLookup(look, { statementsMax: 1, accountsMax: 100 })
      const asked = yield* Effect.forEach([a, b], (id) => Effect.forkChild(ask(id)))
      yield* settle
      yield* Deferred.fail(
        statements[0]?.answer ?? assert.fail(),
        new StoreUnavailable({ store: "read model", reason: "gone" })
      )
      for (const fiber of asked) assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
      const again = yield* Effect.forkChild(ask(a))
      yield* settle
      yield* Deferred.succeed(statements[1]?.answer ?? assert.fail(), undefined)
      assert.strictEqual((yield* Fiber.join(again))?.account.version, 1)
    })
  )

  it.effect("leaves the others their answer when it is interrupted", () =>
    Effect.gen(function* () {
      const { statements, versions, look } = makeTable()
      for (const id of [a, b, c]) versions.set(id, 1)
      const ask = makeHeadLookup(look, { statementsMax: 1, accountsMax: 100 })
      const flying = yield* Effect.forkChild(ask(a))
      yield* settle
      const [waiting, other] = [yield* Effect.forkChild(ask(b)), yield* Effect.forkChild(ask(c))]
      yield* settle
      yield* Fiber.interrupt(flying)
      yield* Fiber.interrupt(waiting)
      yield* Deferred.succeed(statements[0]?.answer ?? assert.fail(), undefined)
      yield* settle
      assert.deepStrictEqual(statements[1]?.accounts, [c])
      yield* Deferred.succeed(statements[1]?.answer ?? assert.fail(), undefined)
      assert.strictEqual((yield* Fiber.join(other))?.account.id, c)
    })
  )
})
