/** Small load tests on real services, from preparation to audit: the figures add up, and faults on the way are survived or found. */
import { execFileSync } from "node:child_process"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Redacted, References } from "effect"
import { LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { runLoadTest } from "../../src/loadtest/LoadTest.ts"
import type { LoadOutcome } from "../../src/loadtest/Outcome.ts"
import type { Progress } from "../../src/loadtest/Progress.ts"
import { type LoadSettings, scenarioNames } from "../../src/loadtest/Settings.ts"
import { freshAtSchema, freshEventStore } from "../support/databases.ts"
import { tcpProxy } from "../support/tcpProxy.ts"

const serverUrl = inject("postgresUrl")
const natsUrl = inject("natsUrl")
const freshReadModel = freshAtSchema("read-model")
const silent: Progress = { say: () => {}, show: () => {}, end: () => {} }

/** As many as the machine takes: each of them is projected and audited afterwards. */
const unpaced = { _tag: "Closed", concurrency: 64 } as const

const small: LoadSettings = {
  scenario: "transfers-uniform",
  accounts: 150,
  pace: { _tag: "Open", perSecond: 600, outstandingMax: 1_000 },
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
      eventStoreUrl: Redacted.make(eventStoreUrl ?? (yield* freshEventStore(serverUrl))),
      readModelUrl: Redacted.make(yield* freshReadModel(serverUrl)),
      natsUrl
    }
    return (yield* runLoadTest({ ...small, ...settings }, urls, progress)).outcome
  }).pipe(
    // The warnings of conflicts and lost connections, which these tests provoke, would fill the screen.
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
    it.live(`${scenario}: ends with every invariant kept and the read model caught up`, () =>
      Effect.gen(function* () {
        const isUnpaced = scenario === "transfers-uniform"
        const outcome = yield* load({
          scenario,
          readSide: scenario !== "transfers-hot",
          ...(isUnpaced ? { pace: unpaced } : {})
        })
        assertSound(outcome)
        assert.isNotNull(outcome.projection.caughtUpAfterSeconds)
        assert.strictEqual(outcome.conflicts, 0)
        assert.match(outcome.eventStore, /^PostgreSQL \d/)
        // Four in a hundred commands of the mix must be refused, for reasons that the seed draws.
        if (scenario === "mixed-zipf") assert.isAbove(outcome.rejected, 0)
        // Where a load takes long enough for holds to expire, some are captured afterwards.
        else
          assert.includeMembers(scenario === "holds" ? ["HoldExpired"] : [], Object.keys(outcome.rejections))
        const byReason = Object.values(outcome.rejections).reduce((sum, count) => sum + count, 0)
        assert.strictEqual(byReason, outcome.rejected)
      })
    )
  }

  it.live("counts no command of a warm-up, and finds every invariant kept after it", () =>
    Effect.gen(function* () {
      const pace = { _tag: "Open", perSecond: 50, outstandingMax: 1_000 } as const
      const said: Array<string> = []
      const outcome = yield* load(
        { pace, warmUp: 400, readSide: false },
        { ...silent, say: (text) => said.push(text) }
      )
      assertSound(outcome)
      assert.strictEqual(outcome.committed + outcome.overloaded, 50)
      assert.strictEqual(outcome.warmUp, 400)
      assert.include(said, "warming up, with 400 commands")
    })
  )

  it.live("sends every command that is due at a fixed rate", () =>
    Effect.gen(function* () {
      const pace = { _tag: "Open", perSecond: 300, outstandingMax: 1_000 } as const
      const outcome = yield* load({ pace, storeBaseline: true })
      assertSound(outcome)
      assert.strictEqual(outcome.committed + outcome.overloaded, 300)
      assert.strictEqual(outcome.unsent, 0)
      // The load timed itself, and the commits of the store alone were measured beside it.
      assert.isNotNull(outcome.generator)
      assert.isAbove(outcome.storeBesideMs?.p50 ?? 0, 0)
      assert.isAtLeast(outcome.pauses?.eventLoopMs.max ?? -1, 0)
      assert.isAtLeast(outcome.longestWaitAtSeconds ?? -1, 0)
    })
  )

  it.live("gets the first outcome for a repeat, and a refusal for a repeat with another body", () =>
    Effect.gen(function* () {
      const outcome = yield* load({ repeats: 0.6, readSide: false })
      assertSound(outcome)
      assert.isAbove(outcome.replayed, 0)
      assert.isAbove(outcome.rejections.CommandIdReused ?? 0, 0)
    })
  )

  it.live("loses nothing to the conflicts with a second node outside the cluster", () =>
    Effect.gen(function* () {
      const outcome = yield* load({ intruder: 0.2, readSide: false })
      assertSound(outcome)
      assert.isAbove(outcome.conflicts, 0)
      assert.strictEqual(
        outcome.indeterminate,
        0,
        "a command in conflict is decided again, and its outcome is known"
      )
    })
  )

  it.live("goes on when the connections of the store are cut during the load", () =>
    Effect.gen(function* () {
      const database = yield* freshEventStore(serverUrl)
      const server = new URL(serverUrl)
      const proxy = yield* tcpProxy(server.hostname, Number(server.port))
      const through = new URL(database)
      through.port = `${proxy.port}`
      through.hostname = "127.0.0.1"
      let cuts = 0
      // There are two samples a second. The second and fourth cut the connections; the next one, or the end, restores them.
      const saboteur: Progress = {
        ...silent,
        show: () => {
          cuts++
          if (cuts === 2 || cuts === 4) proxy.cut()
          else proxy.forward()
        },
        end: proxy.forward
      }
      const outcome = yield* load({ seconds: 3, readSide: false }, saboteur, through.toString())
      assert.isAtLeast(cuts, 2)
      assertSound(outcome)
    }).pipe(Effect.scoped)
  )

  it.live("fails when an event of the log disappears, and says which invariant is broken", () =>
    Effect.gen(function* () {
      const database = yield* freshEventStore(serverUrl)
      const stealing = `
        const client = new (require("pg").Client)(process.argv[1])
        client.connect().then(() => client.query(process.argv[2])).then(() => client.end())`
      const theft = `DELETE FROM events WHERE (account_id, version) IN
        (SELECT account_id, max(version) FROM events WHERE type = 'TransferReceived' GROUP BY account_id LIMIT 1)`
      let isStolen = false
      const thief: Progress = {
        ...silent,
        // After the load and before anything is compared, because the theft blocks this thread until it is done.
        end: () => {
          if (!isStolen) execFileSync(process.execPath, ["-e", stealing, database, theft])
          isStolen = true
        }
      }
      const outcome = yield* load({ readSide: false, patienceSeconds: 1 }, thief, database)
      assert.isFalse(outcome.ok)
      assert.isFalse(outcome.invariants.I6)
      assert.isFalse(outcome.invariants.I1)
      assert.isNotEmpty(outcome.findings)
    })
  )

  it.live("is refused what a node has no room for, with every invariant kept", () =>
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
