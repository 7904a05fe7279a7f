/** Small loads on two node processes over real services: their figures add up, and the death of one is reported. */
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Redacted, References, Schedule } from "effect"
import { ClusterConfig, defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import type { NodeProcess } from "../../src/loadtest/nodes/NodeProcess.ts"
import { runNodesTest } from "../../src/loadtest/nodes/NodesTest.ts"
import type { Progress } from "../../src/loadtest/Progress.ts"
import type { LoadSettings } from "../../src/loadtest/Settings.ts"
import { readProcesses } from "../../src/loadtest/Usage.ts"
import { start } from "../support/chronicle.ts"
import { freshAtSchema, freshEventStore } from "../support/databases.ts"

const serverUrl = inject("postgresUrl")
const natsUrl = inject("natsUrl")
const silent: Progress = { say: () => {}, show: () => {}, end: () => {} }

const small: LoadSettings = {
  scenario: "transfers-uniform",
  accounts: 200,
  pace: { _tag: "Open", perSecond: 300, outstandingMax: 1_000 },
  seconds: 2,
  seed: 1,
  repeats: 0,
  intruder: 0,
  readSide: true,
  patienceSeconds: 60
}

/** Short, so that commands do not wait long for a dead node, whose locks end with its connections. */
const hasty = {
  cluster: { ...defaultClusterLimits, askMs: 1_000 },
  ledger: { ...defaultLimits, commandDeadlineMs: 6_000, storeStatementMs: 3_000 }
}

const freshUrls = Effect.gen(function* () {
  return {
    eventStoreUrl: Redacted.make(yield* freshEventStore(serverUrl)),
    readModelUrl: Redacted.make(yield* freshAtSchema("read-model")(serverUrl)),
    natsUrl
  }
})

const isAlive = (pid: number) =>
  Effect.try(() => process.kill(pid, 0)).pipe(Effect.orElseSucceed(() => false))

const until = (condition: Effect.Effect<boolean>) =>
  Effect.repeat(condition, { schedule: Schedule.spaced(20), until: (holds) => holds })

/** `disturb` begins when each node has committed some commands of the load. */
const load = (
  settings: Partial<LoadSettings>,
  disturb: (nodes: ReadonlyArray<NodeProcess>) => Effect.Effect<void> = () => Effect.void
) =>
  Effect.gen(function* () {
    const pids: Array<number> = []
    const { outcome } = yield* runNodesTest(
      { ...small, ...settings },
      2,
      yield* freshUrls,
      silent,
      (nodes, committed) => {
        pids.push(...nodes.map(({ pid }) => pid))
        const isLoaded = Effect.sync(() => committed().every((count) => count > 0))
        return Effect.andThen(until(isLoaded), disturb(nodes))
      }
    )
    return { outcome, left: yield* Effect.filter(pids, isAlive) }
  }).pipe(
    Effect.provideService(ClusterConfig, hasty.cluster),
    Effect.provideService(LedgerConfig, hasty.ledger),
    Effect.provideService(References.MinimumLogLevel, "None")
  )

const sum = (numbers: ReadonlyArray<number>) => numbers.reduce((total, one) => total + one, 0)

describe("a load test over nodes", () => {
  it.live("adds up the figures of both nodes, and finds every invariant kept", () =>
    Effect.gen(function* () {
      const { outcome, left } = yield* load({ scenario: "mixed-zipf", repeats: 0.1, warmUp: 100 })
      assert.deepStrictEqual(outcome.findings, [])
      assert.isTrue(outcome.ok)
      const { nodes } = outcome
      assert.deepStrictEqual(
        nodes.map(({ name, ended }) => [name, ended]),
        [
          ["node-1", null],
          ["node-2", null]
        ]
      )
      for (const node of nodes) {
        assert.isAbove(node.committed, 0)
        assert.isAbove(node.rows, 0)
        assert.isAbove(node.shards ?? 0, 0)
        assert.isAbove(node.cpuSeconds, 0)
        assert.isAtLeast(outcome.latencyMs.max, node.latencyMs.max)
      }
      assert.isAbove(sum(nodes.map(({ ways }) => ways.forwarded)), 0)
      assert.isAbove(sum(nodes.map(({ ways }) => ways.here + ways.borrowing)), 0)
      assert.strictEqual(outcome.committed, sum(nodes.map(({ committed }) => committed)))
      assert.strictEqual(outcome.rejected, sum(nodes.map(({ rejected }) => rejected)))
      assert.strictEqual(outcome.conflicts, sum(nodes.map(({ conflicts }) => conflicts)))
      assert.strictEqual(outcome.unresolved, 0)
      assert.isNotNull(outcome.projection.caughtUpAfterSeconds)
      assert.deepStrictEqual(left, [])
    })
  )

  it.live("reports a node that died under load, and finds every acknowledged event in the log", () =>
    Effect.gen(function* () {
      const pace = { _tag: "Open", perSecond: 80, outstandingMax: 1_000 } as const
      const { outcome, left } = yield* load({ pace, seconds: 8, readSide: false }, ([, second]) =>
        Effect.sync(() => {
          if (second !== undefined) process.kill(second.pid, "SIGKILL")
        })
      )
      assert.isFalse(outcome.ok)
      assert.match(outcome.findings.join("\n"), /^node-2 ended \(SIGKILL\) after [\d.]+ s of load/)
      assert.match(outcome.nodes[1]?.ended ?? "", /SIGKILL/)
      assert.isNull(outcome.nodes[0]?.ended)
      assert.isAbove(outcome.nodes[0]?.committed ?? 0, 0)
      assert.isAbove(outcome.nodes[1]?.committed ?? 0, 0)
      assert.deepStrictEqual(
        Object.entries(outcome.invariants).filter(([, isKept]) => !isKept),
        []
      )
      assert.deepStrictEqual(left, [])
    })
  )

  it.live.skipIf(process.platform !== "linux")("ends its node processes when it is interrupted", () =>
    Effect.gen(function* () {
      const urls = yield* freshUrls
      const running = yield* start(
        ["loadtest", "--scenario", "transfers-hot", "--nodes", "2", "--duration", "600"],
        {
          env: {
            CHRONICLE_EVENT_STORE_URL: Redacted.value(urls.eventStoreUrl),
            CHRONICLE_READ_MODEL_URL: Redacted.value(urls.readModelUrl),
            CHRONICLE_NATS_URL: natsUrl
          }
        }
      )
      let nodes: ReadonlyArray<number> = []
      const started = until(
        Effect.map(readProcesses, ({ rows }) => {
          nodes = [...rows].flatMap(([pid, { parent }]) => (parent === running.pid ? [pid] : []))
          return nodes.length === 2
        })
      )
      const ended = Effect.flatMap(running.ended, ({ stderr }) => Effect.die(new Error(stderr)))
      yield* Effect.raceFirst(started, ended)
      yield* running.signal("SIGINT")
      const { code } = yield* running.ended
      assert.strictEqual(code, 130)
      assert.deepStrictEqual(yield* Effect.filter(nodes, isAlive), [])
    }).pipe(Effect.scoped)
  )
})
