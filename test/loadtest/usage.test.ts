/** The processor time of a load by program, from two tables of processes. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type ProcessTable, readProcesses, usageBetween } from "../../src/loadtest/Usage.ts"

const look = (
  rows: ReadonlyArray<readonly [pid: number, parent: number, name: string, ticks: number]>,
  idleMs: number,
  totalMs: number
): ProcessTable => ({
  rows: new Map(rows.map(([pid, parent, name, ticks]) => [pid, { parent, name, ticks }])),
  idleMs,
  totalMs
})

describe("the usage of processor time", () => {
  it("counts the services that this process started, by program, and no other process", () => {
    const me = process.pid
    const before = look(
      [
        [9_000_001, me, "postgres", 100],
        [9_000_002, 9_000_001, "postgres", 50],
        [9_000_003, me, "node", 10],
        [9_000_004, 1, "postgres", 10]
      ],
      1_000,
      4_000
    )
    // One backend has ended, and its time is its parent's now. Another one has started.
    const after = look(
      [
        [9_000_001, me, "postgres", 180],
        [9_000_005, 9_000_001, "postgres", 25],
        [9_000_003, me, "node", 910],
        [9_000_004, 1, "postgres", 990]
      ],
      1_500,
      6_000
    )
    assert.deepStrictEqual(usageBetween(before, after, { "node-1": 9.004 }, new Set([9_000_003])).seconds, {
      "node-1": 9,
      postgres: 0.55
    })
    assert.strictEqual(usageBetween(before, after, {}).busy, 0.75)
  })

  it.live.skipIf(process.platform !== "linux")("reads the time of this process from the kernel's table", () =>
    Effect.gen(function* () {
      const { rows } = yield* readProcesses
      const before = rows.get(process.pid) ?? { parent: 0, ticks: 0 }
      assert.strictEqual(before.parent, process.ppid)
      const { user, system } = process.cpuUsage()
      assert.isAtMost(before.ticks, (user + system) / 10_000 + 1)
      assert.isAbove(before.ticks, 0)
    })
  )
})
