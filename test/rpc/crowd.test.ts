/** Ten thousand calls at once over one connection: each is answered once, and calls beyond the limits are refused instead of kept. */
import { assert, layer } from "@effect/vitest"
import { Effect, Result } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { deposit, open, tally } from "../support/ledgerWorld.ts"
import { connect, memoryLedger, openTcp } from "../support/rpcWorld.ts"

const calls = 10_000
/** Deadline of the calls: as long as the test may take. */
const patient = { commandDeadlineMs: 100_000, queryDeadlineMs: 100_000 }

layer(memoryLedger, { excludeTestServices: true })("ten thousand calls on one connection", (it) => {
  it.effect(
    "are all answered, each command once",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const inside = yield* Ledger
          yield* inside.dispatch(open("crowd"))
          const { url } = yield* openTcp()
          const way = yield* connect({ urls: [url], limits: patient })
          const receipts = yield* Effect.forEach(
            Array.from({ length: calls }),
            (_, nth) => way.ledger.dispatch(deposit("crowd", 1n, `crowd-${nth}`)),
            { concurrency: "unbounded" }
          )
          const versions = receipts.map(({ postings }) => postings[0]?.version ?? 0).sort((a, b) => a - b)
          assert.deepEqual(
            versions,
            Array.from({ length: calls }, (_, index) => index + 2)
          )
          assert.strictEqual((yield* inside.strongBalance("crowd")).balance, BigInt(calls))
        })
      ),
    420_000
  )

  it.effect("wait in bounded number, and are forgotten when they are given up", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* inside.dispatch(open("queue"))
        const { url } = yield* openTcp({ ledger: { ...inside, strongBalance: () => Effect.never } })
        const limits = { ...patient, inFlightMax: 2, waitingMax: 3, queryDeadlineMs: 2_000 }
        const way = yield* connect({ urls: [url], limits })
        yield* way.client.awaitConnected
        const asked = Effect.forEach(
          Array.from({ length: 8 }),
          () => Effect.result(way.ledger.strongBalance("queue")),
          { concurrency: "unbounded" }
        )
        for (const _ of ["at first", "again"]) {
          const results = yield* asked
          assert.deepEqual(tally(results.map((one) => (Result.isSuccess(one) ? "done" : one.failure._tag))), {
            Unavailable: 5,
            Overloaded: 3
          })
          assert.match(
            results.map((one) => (Result.isSuccess(one) ? "" : one.failure.message)).join("\n"),
            /calls of this client were before it/
          )
        }
        assert.strictEqual((yield* way.ledger.balanceAt("queue", { version: 1 })).version, 1)
      })
    )
  )

  it.effect(
    "come to the only node that is up a few at a time, and wait for it instead of being refused",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const inside = yield* Ledger
          yield* inside.dispatch(open("few"))
          let [atNode, mostAtNode] = [0, 0]
          const strongBalance: typeof inside.strongBalance = (account) =>
            Effect.acquireUseRelease(
              Effect.sync(() => {
                mostAtNode = Math.max(mostAtNode, ++atNode)
              }),
              () => Effect.andThen(Effect.sleep(20), inside.strongBalance(account)),
              () => Effect.sync(() => void atNode--)
            )
          // The node refuses what is more, as it does for every peer.
          const live = yield* openTcp({
            ledger: { ...inside, strongBalance },
            limits: { inFlightPerConnectionMax: 3 }
          })
          const dead = [yield* openTcp(), yield* openTcp()]
          yield* Effect.forEach(dead, ({ stop }) => stop)
          const way = yield* connect({
            urls: [live.url, ...dead.map(({ url }) => url)],
            limits: { ...patient, inFlightMax: 2 }
          })
          yield* way.client.awaitConnected
          const results = yield* Effect.forEach(
            Array.from({ length: 30 }),
            () => Effect.result(way.ledger.strongBalance("few")),
            { concurrency: "unbounded" }
          )
          assert.deepEqual(tally(results.map((one) => (Result.isSuccess(one) ? "done" : one.failure._tag))), {
            done: 30
          })
          assert.strictEqual(mostAtNode, 2)
        })
      )
  )
})
