/** The report, which must be one page without a network, the meter behind it, and the progress on a terminal or in a log. */
import { assert, describe, it } from "@effect/vitest"
import { Meter, percentiles, type Sample, summarize } from "../../src/loadtest/Meter.ts"
import { nodeFigures } from "../../src/loadtest/NodeFigures.ts"
import type { LoadOutcome } from "../../src/loadtest/Outcome.ts"
import { makeProgress } from "../../src/loadtest/Progress.ts"
import { renderReport } from "../../src/loadtest/Report.ts"

const meterOf = (samples: number) => {
  const meter = new Meter()
  for (let index = 0; index < samples; index++) {
    for (let ms = 1; ms <= 20; ms++) meter.accepted(false, ms)
    meter.sample((index + 1) * 500, { lagMs: index, rssMiB: 100 + index, waiting: 3 })
  }
  return meter
}

const outcomeOf = (meter: Meter, overrides: Partial<LoadOutcome> = {}): LoadOutcome => ({
  scenario: "transfers-uniform",
  accounts: 10,
  nodes: [],
  concurrency: 4,
  rate: null,
  repeats: 0,
  intruder: 0,
  seed: 1,
  warmUp: 0,
  readSide: "on",
  seconds: 1,
  committed: meter.committed,
  committedPerSecond: meter.committed,
  latencyMs: summarize(meter.decided),
  fairness: 2,
  longestWaitAtSeconds: 0.5,
  rejected: 0,
  rejections: {},
  overloaded: 0,
  overloadedMs: null,
  unavailable: 0,
  indeterminate: 0,
  unresolved: 0,
  unsent: 0,
  generator: null,
  conflicts: 0,
  replayed: 0,
  resentBatches: 0,
  batch: { meanRows: 1, maxRows: 1 },
  projection: { lagMsP50: 1, lagMsP99: 2, caughtUpAfterSeconds: 0.1 },
  rssMiB: 100,
  residents: 10,
  cpuUsPerCommand: 10,
  cpu: { cores: 2, busy: 0.5, seconds: { "node-1": 1 } },
  storeCommitMs: summarize(meter.decided),
  storeBesideMs: null,
  p99OverStore: null,
  pauses: null,
  soloMs: summarize(meter.decided),
  eventStore: "PostgreSQL 18.4",
  invariants: { I1: true, I2: true, I3: true, I4: true, I5: true, I6: true, I7: true, I8: true },
  findings: [],
  ok: true,
  ...overrides
})

const stats = {
  batches: 0,
  rows: 0,
  rowsMax: 0,
  behind: 0,
  conflicts: 0,
  repeats: 0,
  unknown: 0,
  residents: 0,
  inFlight: 0
}

const page = (meter: Meter, overrides: Partial<LoadOutcome> = {}) =>
  renderReport(
    outcomeOf(meter, overrides),
    { history: meter.history, percentiles: percentiles(meter.decided) },
    "2026-11-25T00:00:00.000Z"
  )

describe("the report", () => {
  it("is one page without a script and without resources from a network", () => {
    const html = page(meterOf(10))
    assert.notMatch(html, /<script|<link|<img|<iframe|\bsrc=|\bhref=|url\(|@import|https?:/i)
    assert.strictEqual(html.match(/<svg/g)?.length, 5)
    // Every coordinate of every line is a number within the plot.
    for (const [, points = ""] of html.matchAll(/points="([^"]*)"/g)) {
      for (const point of points.split(" ")) {
        const [x = Number.NaN, y = Number.NaN] = point.split(",").map(Number)
        assert.isTrue(x >= 0 && x <= 860 && y >= 0 && y <= 300, point)
      }
    }
  })

  it("names the broken invariant, and escapes its findings", () => {
    const invariants = { I1: true, I2: false, I3: true, I4: true, I5: true, I6: true, I7: true, I8: true }
    const html = page(meterOf(3), { invariants, ok: false, findings: ["I2: <b>off</b>"] })
    assert.match(html, /I2: money is conserved<\/td><td class="no">BROKEN/)
    assert.include(html, "I2: &lt;b&gt;off&lt;/b&gt;")
    assert.notInclude(html, "<b>off")
  })

  it("has a column for each of several nodes, with how it ended", () => {
    const node = (name: string, ended: string | null) =>
      nodeFigures({
        name,
        shards: 60,
        seconds: 2,
        committed: 100,
        rejected: 0,
        overloaded: 0,
        unavailable: 0,
        indeterminate: 0,
        latencyMs: summarize(meterOf(1).decided),
        ways: { here: 30, borrowing: 20, forwarded: 50 },
        before: stats,
        after: { ...stats, rows: 90, batches: 10 },
        cpuUs: 1_500_000,
        eventLoopUtilization: 0.7515,
        rssMiB: 200,
        ended
      })
    const html = page(meterOf(3), { nodes: [node("node-1", null), node("node-2", "<SIGKILL> after 1 s")] })
    assert.include(html, "<td>committed per second</td><td>50</td><td>50</td>")
    assert.include(html, "<td>rows of a batch, mean</td><td>9</td><td>9</td>")
    assert.include(html, "<td>end</td><td>in order</td><td>&lt;SIGKILL&gt; after 1 s</td>")
    assert.notInclude(page(meterOf(3), { nodes: [node("node-1", null)] }), "<h2>Nodes</h2>")
  })

  it("can be made of a load without a committed command", () => {
    assert.notInclude(page(new Meter(), { committed: 0 }), "NaN")
  })
})

describe("the meter", () => {
  it("gives percentiles to within a bucket, and the maximum exactly", () => {
    const meter = new Meter()
    for (let ms = 1; ms <= 1_000; ms++) meter.accepted(false, ms)
    const { p50, p99, max } = summarize(meter.decided)
    assert.closeTo(p50, 500, 2)
    assert.closeTo(p99, 990, 2)
    assert.closeTo(max, 1_000, 1)
  })

  it("keeps a bounded history of the whole time", () => {
    const { history } = meterOf(5_000)
    assert.isAtMost(history.length, 600)
    assert.isAbove(history.length, 200)
    assert.closeTo(history.at(-1)?.at ?? 0, 2_500, 20)
    assert.closeTo(history[0]?.at ?? 0, 0.5, 5)
  })

  it("leaves answers from memory out of the distribution", () => {
    const meter = new Meter()
    meter.accepted(false, 100)
    for (let index = 0; index < 1_000; index++) meter.accepted(true, 0.01)
    assert.closeTo(summarize(meter.decided).p50, 100, 1)
    assert.strictEqual(meter.replayed, 1_000)
  })
})

describe("progress", () => {
  const sample: Sample = {
    at: 1,
    committedPerSecond: 12_345,
    overloadedPerSecond: 0,
    p99Ms: 20,
    lagMs: 5,
    rssMiB: 100,
    waiting: 1
  }
  const written = (isTerminal: boolean) => {
    let text = ""
    const progress = makeProgress(
      isTerminal,
      () => 60,
      (part) => {
        text += part
      }
    )
    progress.say("opening accounts: 500 of 10000")
    progress.say("opening accounts: 1000 of 10000")
    for (let count = 0; count < 20; count++) progress.show(sample, 10)
    progress.end()
    return text
  }

  it("rewrites one line on a terminal, within its width", () => {
    const text = written(true)
    assert.strictEqual(text.split("\n").length, 2)
    for (const line of text.split("\r\u001b[2K")) assert.isBelow(line.trimEnd().length, 60)
  })

  it("writes a few plain lines without a terminal", () => {
    const text = written(false)
    assert.notInclude(text, "\u001b")
    assert.notInclude(text, "\r")
    assert.strictEqual(text.trimEnd().split("\n").length, 3)
    assert.include(text, "12,345/s")
  })

  it("shows what others wrote with its control characters made visible", () => {
    let text = ""
    const progress = makeProgress(
      false,
      () => 60,
      (part) => {
        text += part
      }
    )
    progress.say("comparing acc\u001b[31m\rforged")
    assert.notInclude(text, "\u001b")
    assert.notInclude(text, "\r")
    assert.include(text, "forged")
  })

  it("reports a long step now and then without a terminal", () => {
    let text = ""
    const progress = makeProgress(
      false,
      () => 60,
      (part) => {
        text += part
      }
    )
    for (let done = 1; done <= 1_000; done++) progress.say(`accounts: ${done * 500} of 500000`)
    progress.say("comparing")
    const lines = text.trimEnd().split("\n")
    assert.strictEqual(lines[0], "accounts: 500 of 500000")
    assert.strictEqual(lines.at(-1), "comparing")
    assert.isAbove(lines.length, 4)
    assert.isBelow(lines.length, 12)
  })
})
