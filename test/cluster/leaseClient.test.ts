/** What a node does about the leases that it asks for, beside what the tests of whole nodes show. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Logger, References } from "effect"
import { TestClock } from "effect/testing"
import { LeaseClient } from "../../src/actors/accounts/LeaseClient.ts"
import { LedgerClock } from "../../src/actors/accounts/LedgerClock.ts"
import { PendingCommand } from "../../src/actors/accounts/Lifecycle.ts"
import { type LeaseReply, NotMine, Placement, type Placing } from "../../src/actors/accounts/Placement.ts"
import { accountsOf } from "../../src/domain/Command.ts"
import { Unavailable } from "../../src/domain/Errors.ts"
import { emptyHead } from "../../src/domain/Head.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { allShards } from "../../src/domain/Shard.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import {
  deposit,
  fund,
  memoryStores,
  outcomeOf,
  quiet,
  startNode,
  toCommand,
  transfer
} from "../support/ledgerWorld.ts"
import { settable } from "../support/settableClock.ts"

const far = "far" as AccountId // a valid id

/** A place with none but these accounts, whose requests for leases are answered by the test. */
const place = (own: ReadonlyArray<string> = []) => {
  const asked: Array<LeaseReply> = []
  const returned: Array<string> = []
  let withdrawn = 0
  const placing: Placing = {
    isAlone: false,
    owns: (account) => own.includes(account),
    shardOf: () => 0,
    nodeOf: () => undefined,
    ownedShards: () => allShards,
    others: () => [],
    dispatch: () => Effect.succeed([]),
    head: () => Effect.never,
    requestLease: (_account, _lease, reply) => {
      asked.push(reply)
      return () => {
        withdrawn++
      }
    },
    release: (_account, _lease, { _tag }) => {
      returned.push(_tag)
      return undefined
    }
  }
  const layer = LeaseClient.layer.pipe(Layer.provide([Layer.succeed(Placement, placing), LedgerClock.layer]))
  return { layer, placing, asked, returned, withdrawn: () => withdrawn }
}

const granted = Exit.succeed({ head: emptyHead(far), waitedMs: 0, leaseMs: 1_000 })

const waiting = (resume: () => void) => {
  const command = toCommand(transfer("near", far, 1n, "t"))
  return new PendingCommand(command, "hash", 5_000, accountsOf(command), resume)
}

it.effect("a node that ends takes back the requests for leases that are not answered", () =>
  Effect.gen(function* () {
    const { layer, withdrawn } = place()
    yield* Effect.gen(function* () {
      const { join } = yield* LeaseClient
      assert.isUndefined(
        join(
          far,
          waiting(() => {})
        )
      )
      assert.strictEqual(withdrawn(), 0)
    }).pipe(Effect.provide(layer))
    assert.strictEqual(withdrawn(), 1)
  })
)

it.effect("a lease that no command needs any more when it is granted goes back unchanged, at once", () =>
  Effect.gen(function* () {
    const { layer, asked, returned, withdrawn } = place()
    yield* Effect.gen(function* () {
      const { join, size } = yield* LeaseClient
      join(
        far,
        waiting(() => {})
      )
      asked[0]?.(granted)
      assert.deepStrictEqual(returned, ["Unchanged"])
      assert.strictEqual(size(), 0)
    }).pipe(Effect.provide(layer))
    assert.strictEqual(withdrawn(), 0)
  })
)

it.effect(
  "a defect of a command that a lease was granted to is logged, and does not reach who carries the answer",
  () => {
    const lines: Array<unknown> = []
    const logger = Logger.make(({ message }) => {
      lines.push(message)
    })
    return Effect.gen(function* () {
      const { layer, asked } = place()
      yield* Effect.gen(function* () {
        const { join } = yield* LeaseClient
        join(
          far,
          waiting(() => {
            throw new Error("a defect")
          })
        )
        asked[0]?.(granted)
      }).pipe(Effect.provide(layer))
      assert.include(JSON.stringify(lines), "a lease could not begin")
    }).pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, "Error")
    )
  }
)

it.effect(
  "nor does it keep the others that wait for the account from it, nor the account from its owner",
  () =>
    Effect.gen(function* () {
      const { layer, asked, returned } = place()
      yield* Effect.gen(function* () {
        const { join, size } = yield* LeaseClient
        let resumed = 0
        join(
          far,
          waiting(() => {
            throw new Error("a defect")
          })
        )
        join(
          far,
          waiting(() => {
            resumed++
          })
        )
        asked[0]?.(granted)
        assert.strictEqual(resumed, 1)
        assert.deepStrictEqual(returned, ["Unchanged"])
        assert.strictEqual(size(), 0)
      }).pipe(Effect.provide(layer))
    }).pipe(Effect.provide(quiet))
)

it.effect("no command joins a lease that ended while the machine was suspended", () =>
  Effect.gen(function* () {
    const machine = settable(yield* Clock.Clock)
    const { layer, asked, returned } = place()
    yield* Effect.gen(function* () {
      const { join } = yield* LeaseClient
      const locked: Array<boolean> = []
      const first: PendingCommand = waiting(() => {
        const lock = join(far, first)
        locked.push(lock !== undefined)
        if (lock !== undefined) first.addLock(lock)
      })
      join(far, first)
      asked[0]?.(granted)
      assert.deepStrictEqual(locked, [true])
      // Time elapsed stood still meanwhile, and the owner has the account again.
      machine.set(60_000)
      const second = waiting(() => {})
      assert.isUndefined(join(far, second))
      first.releaseLocks()
      assert.deepStrictEqual(returned, ["Unchanged"])
      assert.lengthOf(asked, 2, "it waits for the next lease")
    }).pipe(Effect.provide(layer), Effect.provideService(Clock.Clock, machine.clock))
  })
)

it.effect(
  "what was answered at its deadline waits for an account of another node no more, and takes no room there",
  () =>
    Effect.gen(function* () {
      const { placing, asked } = place(["near"])
      const node = yield* startNode("node", { placement: placing, limits: { inFlightPerAccountMax: 3 } })
      yield* fund(node, ["near"], 100n)
      const send = () =>
        Effect.forkChild(Effect.result(node.send(transfer("near", far, 1n))), { startImmediately: true })
      const sent = [yield* send(), yield* send(), yield* send()]
      // The node there does not answer for so long.
      yield* TestClock.adjust(defaultLimits.commandDeadlineMs + 100)
      const answers = yield* Effect.forEach(sent, Fiber.join)
      assert.deepStrictEqual(answers.map(outcomeOf), ["Unavailable", "Unavailable", "Unavailable"])
      const next = yield* send()
      yield* Effect.yieldNow
      assert.isUndefined(next.pollUnsafe(), "there is room for it")
      asked[0]?.(Exit.fail(new NotMine()))
      yield* TestClock.adjust(1_000)
      assert.lengthOf(asked, 2, "it is asked for again, for what came last")
      asked[1]?.(Exit.fail(new Unavailable({ what: "the other node", reason: "a test ends" })))
      assert.strictEqual(outcomeOf(yield* Fiber.join(next)), "Unavailable")
    }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("commands that wait for one account of another node do not fill this one", () =>
  Effect.gen(function* () {
    const own = ["near", far]
    const { placing, asked } = place(own)
    const node = yield* startNode("node", {
      placement: placing,
      limits: { inFlightMax: 20, inFlightPerAccountMax: 5 }
    })
    yield* fund(node, own, 100n)
    // It has left, and is in memory still.
    own.pop()
    const waiting = yield* Effect.forEach(Array.from({ length: 30 }), () =>
      Effect.forkChild(Effect.flip(node.send(transfer("near", far, 1n))), { startImmediately: true })
    )
    yield* Effect.yieldNow
    const refused = waiting.flatMap((fiber) => fiber.pollUnsafe() ?? [])
    const accepted = yield* Effect.exit(node.send(deposit("near", 1n)))
    // So that the node can end.
    asked[0]?.(Exit.fail(new Unavailable({ what: "the other node", reason: "a test ends" })))
    yield* Effect.forEach(waiting, Fiber.join)
    assert.lengthOf(refused, 25)
    for (const exit of refused)
      assert.deepInclude(yield* exit, { _tag: "Overloaded", what: `account ${far}` })
    assert.isTrue(Exit.isSuccess(accepted))
  }).pipe(Effect.provide([memoryStores, quiet]))
)

it.effect("nor do those that wait for many accounts of one node", () =>
  Effect.gen(function* () {
    const { placing, asked } = place(["near"])
    const placement: Placing = {
      ...placing,
      shardOf: (account) => Number(/\d*$/.exec(account)?.[0]),
      nodeOf: (shard) => (shard < 100 ? "silent" : "other")
    }
    const node = yield* startNode("node", { placement, limits: { inFlightMax: 20 } })
    yield* fund(node, ["near"], 100n)
    const send = (to: string) =>
      Effect.forkChild(Effect.flip(node.send(transfer("near", to, 1n))), { startImmediately: true })
    const waiting = yield* Effect.forEach(Array.from({ length: 30 }), (_, nth) => send(`far${nth}`))
    const another = yield* send("far100")
    yield* Effect.yieldNow
    const refused = waiting.flatMap((fiber) => fiber.pollUnsafe() ?? [])
    const isAnotherWaiting = another.pollUnsafe() === undefined
    const near = yield* Effect.exit(node.send(deposit("near", 1n)))
    // So that the node can end.
    const reply = () => {
      for (const one of asked.splice(0))
        one(Exit.fail(new Unavailable({ what: "the other node", reason: "a test ends" })))
    }
    reply()
    yield* Effect.forEach([...waiting, another], Fiber.join)
    const again = yield* send("far1")
    reply()
    assert.lengthOf(refused, 20)
    for (const exit of refused)
      assert.deepInclude(yield* exit, { _tag: "Overloaded", what: "the node of the account" })
    assert.isTrue(isAnotherWaiting, "another node leases what it has")
    assert.isTrue(Exit.isSuccess(near))
    assert.strictEqual((yield* Fiber.join(again))._tag, "Unavailable", "there is room again")
  }).pipe(Effect.provide([memoryStores, quiet]))
)
