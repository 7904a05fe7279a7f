/** Small loads on real services, from preparation to audit: what is counted adds up, and faults on the way are survived. */
import { execFileSync } from "node:child_process"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Redacted, References } from "effect"
import { LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { runLoadTest } from "../../src/loadtest/LoadTest.ts"
import type { LoadOutcome } from "../../src/loadtest/Outcome.ts"
import type { Progress } from "../../src/loadtest/Progress.ts"
import { type LoadSettings, scenarioNames } from "../../src/loadtest/Settings.ts"
import { freshDatabase } from "../support/databases.ts"
import { tcpProxy } from "../support/tcpProxy.ts"

const serverUrl = inject("postgresUrl")
const natsUrl = inject("natsUrl")
const silent: Progress = { say: () => {}, show: () => {}, end: () => {} }

const small: LoadSettings = {
  scenario: "transfers-uniform",
  accounts: 150,
  pace: { _tag: "Closed", concurrency: 64 },
  seconds: 1,
  seed: 1,
  repeats: 0,
  intruder: 0,
  readSide: true,
  storeBaseline: false,
  patienceSeconds: 60
}

const load = (settings: Partial<LoadSettings>, progress: Progress = silent, eventStoreUrl?: string) =>
  Effect.gen(function* () {
    const urls = {
      eventStoreUrl: Redacted.make(eventStoreUrl ?? (yield* freshDatabase(serverUrl))),
      readModelUrl: Redacted.make(yield* freshDatabase(serverUrl)),
      natsUrl
    }
    return (yield* runLoadTest({ ...small, ...settings }, urls, progress)).outcome
  }).pipe(
    // Conflicts and lost connections are the point here, and would fill the screen.
    Effect.provideService(References.MinimumLogLevel, "None")
  )

const assertSound = (outcome: LoadOutcome) => {
  assert.deepStrictEqual(outcome.findings, [])
  assert.isTrue(outcome.ok)
  assert.isAbove(outcome.committed, 0)
  assert.isAtLeast(outcome.latencyMs.max, outcome.latencyMs.p99)
  assert.isAtLeast(outcome.latencyMs.p99, outcome.latencyMs.p50)
  assert.strictEqual(outcome.unresolved, 0)
}

describe("a load test", () => {
  for (const scenario of scenarioNames) {
    it.live(`${scenario} ends with every invariant true and the read model caught up`, () =>
      Effect.gen(function* () {
        const outcome = yield* load({ scenario, readSide: scenario !== "transfers-hot" })
        assertSound(outcome)
        assert.isNotNull(outcome.projection.caughtUpAfterSeconds)
        assert.strictEqual(outcome.conflicts, 0)
        assert.match(outcome.eventStore, /^PostgreSQL \d/)
        // Four in a hundred of the mix are to be refused; which of them a short load comes to is chance.
        if (scenario === "mixed-zipf") assert.isAbove(outcome.rejected, 0)
        else assert.strictEqual(outcome.rejected, 0)
        const byReason = Object.values(outcome.rejections).reduce((sum, count) => sum + count, 0)
        assert.strictEqual(byReason, outcome.rejected)
      })
    )
  }

  it.live("at a fixed rate sends every command that is due", () =>
    Effect.gen(function* () {
      const pace = { _tag: "Open", perSecond: 300, outstandingMax: 1_000 } as const
      const outcome = yield* load({ pace, storeBaseline: true })
      assertSound(outcome)
      assert.strictEqual(outcome.committed + outcome.overloaded, 300)
      assert.strictEqual(outcome.unsent, 0)
      // All that was sent was timed, and what the store takes by itself was measured beside it.
      assert.isNotNull(outcome.generator)
      assert.isAbove(outcome.storeBesideMs?.p50 ?? 0, 0)
      assert.isAtLeast(outcome.pauses?.eventLoopMs.max ?? -1, 0)
      assert.isAtLeast(outcome.longestWaitAtSeconds ?? -1, 0)
    })
  )

  it.live("answers repeats with their first outcome, and refuses an id with another body", () =>
    Effect.gen(function* () {
      const outcome = yield* load({ repeats: 0.6, seconds: 3, readSide: false })
      assertSound(outcome)
      assert.isAbove(outcome.replayed, 0)
      assert.isAbove(outcome.rejections.CommandIdReused ?? 0, 0)
    })
  )

  it.live("with a second node behind the first one's back meets conflicts, and loses nothing", () =>
    Effect.gen(function* () {
      const outcome = yield* load({ intruder: 0.2, readSide: false })
      assertSound(outcome)
      assert.isAbove(outcome.conflicts, 0)
      assert.strictEqual(outcome.indeterminate, 0, "a conflict is decided again, and its outcome is known")
    })
  )

  it.live("goes on when the store's connections are cut in the middle of it", () =>
    Effect.gen(function* () {
      const database = yield* freshDatabase(serverUrl)
      const server = new URL(serverUrl)
      const proxy = yield* tcpProxy(server.hostname, Number(server.port))
      const through = new URL(database)
      through.port = `${proxy.port}`
      through.hostname = "127.0.0.1"
      let cuts = 0
      // Samples come twice a second: cut at the second and fourth, whole again at the next, or when the load is over.
      const saboteur: Progress = {
        ...silent,
        show: () => {
          cuts++
          if (cuts === 2 || cuts === 4) proxy.cut()
          else proxy.forward()
        },
        end: proxy.forward
      }
      const outcome = yield* load({ seconds: 5, readSide: false }, saboteur, through.toString())
      assert.isAtLeast(cuts, 2)
      assertSound(outcome)
    }).pipe(Effect.scoped)
  )

  it.live("fails when a row of the log disappears, and says which promise was broken", () =>
    Effect.gen(function* () {
      const database = yield* freshDatabase(serverUrl)
      const stealing = `
        const client = new (require("pg").Client)(process.argv[1])
        client.connect().then(() => client.query(process.argv[2])).then(() => client.end())`
      const theft = `DELETE FROM events WHERE (account_id, version) IN
        (SELECT account_id, max(version) FROM events WHERE type = 'TransferReceived' GROUP BY account_id LIMIT 1)`
      let isStolen = false
      const thief: Progress = {
        ...silent,
        // When the load is over, before anything is compared: nothing else happens until it is done.
        end: () => {
          if (!isStolen) execFileSync(process.execPath, ["-e", stealing, database, theft])
          isStolen = true
        }
      }
      const outcome = yield* load({ readSide: false, patienceSeconds: 3 }, thief, database)
      assert.isFalse(outcome.ok)
      assert.isFalse(outcome.invariants.I6)
      assert.isFalse(outcome.invariants.I1)
      assert.isNotEmpty(outcome.findings)
    })
  )

  it.live("that offers far more than a node takes is told so, and stays whole", () =>
    Effect.gen(function* () {
      const limits = yield* LedgerConfig
      const outcome = yield* load({
        pace: { _tag: "Open", perSecond: 20_000, outstandingMax: 2_000 },
        readSide: false
      }).pipe(Effect.provideService(LedgerConfig, { ...limits, inFlightMax: 200 }))
      assertSound(outcome)
      assert.isAbove(outcome.overloaded, 0)
      assert.isNotNull(outcome.overloadedMs)
      assert.isAbove(outcome.generator?.drawUsPerCommand ?? 0, 0)
    })
  )
})
