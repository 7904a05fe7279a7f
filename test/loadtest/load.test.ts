/** The two loops of a load in virtual time, on nodes that stall, refuse and lose answers. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { Command } from "../../src/domain/Command.ts"
import { type CommandError, Indeterminate, Overloaded } from "../../src/domain/Errors.ts"
import type { CommandId } from "../../src/domain/Ids.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import { runLoad, WarmUpFailed, warmUp } from "../../src/loadtest/Load.ts"
import { Meter, summarize } from "../../src/loadtest/Meter.ts"
import { withRepeats } from "../../src/loadtest/Repeats.ts"
import { makeRng } from "../../src/loadtest/Rng.ts"
import { makeRunIds } from "../../src/loadtest/RunIds.ts"
import type { Pace } from "../../src/loadtest/Settings.ts"

const ids = makeRunIds("run", false)
const noStats = {
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

/** Accepts each command, at versions 1, 2, 3 … of one account. */
const makeTarget = () => {
  let version = 0
  return (command: Command): Receipt => {
    version++
    return {
      commandId: command.commandId,
      replayed: false,
      recordedAt: 0,
      postings: [{ account: ids.account(0), version, hash: `hash of ${version}` }],
      readToken: `${ids.account(0)}@${version}`
    }
  }
}

const play = (
  pace: Pace,
  seconds: number,
  dispatch: (command: Command) => Effect.Effect<Receipt, CommandError>,
  options: {
    readonly next?: () => Command
    readonly judge?: Acknowledged
    readonly precheck?: (command: Command) => unknown
    readonly onReceipt?: (receipt: Receipt) => void
  } = {}
) =>
  Effect.gen(function* () {
    const meter = new Meter()
    const sent: Array<CommandId> = []
    let count = 0
    const running = yield* Effect.forkChild(
      runLoad({
        driver: {
          dispatch: (command) => {
            sent.push(command.commandId)
            return dispatch(command)
          },
          dispatchMany: () => Effect.die("not used"),
          stats: () => noStats,
          ...(options.precheck === undefined ? {} : { precheck: options.precheck })
        },
        next:
          options.next ??
          (() => ({
            _tag: "Deposit",
            commandId: ids.command(count++),
            account: ids.account(0),
            amount: 1n
          })),
        pace,
        seconds,
        meter,
        acknowledged: options.judge ?? new Acknowledged(ids, 1, false),
        onReceipt: options.onReceipt ?? (() => {}),
        onAccepted: () => {}
      })
    )
    yield* TestClock.adjust(`${seconds + 60} seconds`)
    return { took: yield* Fiber.join(running), meter, sent }
  })

/** Stalls for a second, then takes one millisecond for each command. */
const stalling = Effect.map(Clock.currentTimeMillis, (start) => {
  const accept = makeTarget()
  return (command: Command) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.as(Effect.sleep(Math.max(1, start + 1_000 - now)), command)
    ).pipe(Effect.map(accept))
})

describe("the open loop", () => {
  it.effect("sends every command that is due, and counts a stall for each command that it delayed", () =>
    Effect.gen(function* () {
      const dispatch = yield* stalling
      const { meter, took } = yield* play(
        { _tag: "Open", perSecond: 100, outstandingMax: 1_000 },
        4,
        dispatch
      )
      assert.strictEqual(meter.committed, 400)
      assert.strictEqual(meter.unsent, 0)
      assert.isAtLeast(took, 4)
      const { p50, max } = summarize(meter.decided)
      assert.isBelow(p50, 5)
      // A quarter of the commands were due during the stall, so that the p90 waited through most of it.
      assert.isAbove(summarize(meter.decided).p90, 500)
      assert.isAtLeast(max, 990)
    })
  )

  it.effect("times a command from when it was due, even if it was sent later", () =>
    Effect.gen(function* () {
      const dispatch = yield* stalling
      const { meter } = yield* play({ _tag: "Open", perSecond: 100, outstandingMax: 10 }, 2, dispatch)
      assert.strictEqual(meter.committed, 200)
      // Only 10 commands were sent during the stall, yet all 100 that were due count it.
      assert.isAbove(summarize(meter.decided).p50, 1)
      assert.isAbove(meter.decided.getValueAtPercentile(75) / 1_000, 400)
    })
  )

  it.effect("counts the commands that were due and never sent", () =>
    Effect.gen(function* () {
      const { meter } = yield* play({ _tag: "Open", perSecond: 100, outstandingMax: 10 }, 1, (command) =>
        Effect.as(Effect.sleep("30 seconds"), makeTarget()(command))
      )
      assert.strictEqual(meter.committed, 10)
      assert.strictEqual(meter.unsent, 90)
    })
  )

  it.effect("times an Overloaded from the call, and its own delay apart from it", () =>
    Effect.gen(function* () {
      const { meter } = yield* play({ _tag: "Open", perSecond: 100, outstandingMax: 1 }, 2, () =>
        Effect.andThen(Effect.sleep(30), Effect.fail(new Overloaded({ what: "this node", retryAfterMs: 10 })))
      )
      // One command at a time, 30 ms each: the load falls behind by 20 ms with each command that is due.
      assert.isAbove(meter.overloaded, 50)
      assert.isAtMost(summarize(meter.refusals).max, 35)
      assert.isAbove(summarize(meter.delays).max, 1_000)
      assert.strictEqual(meter.delays.totalCount, meter.overloaded)
    })
  )

  it.effect("stops sending some time after its end where it cannot keep the pace", () =>
    Effect.gen(function* () {
      // A machine on which reading the clock takes a millisecond, too slow for ten thousand commands a second.
      let now = 0n
      const slow: Clock.Clock = Object.assign(Object.create(yield* Clock.Clock), {
        monotonicTimeNanosUnsafe: () => {
          now += 1_000_000n
          return now
        },
        sleep: () => Effect.yieldNow
      })
      const { meter, took } = yield* play({ _tag: "Open", perSecond: 10_000, outstandingMax: 10 }, 2, () =>
        Effect.fail(new Overloaded({ what: "this node", retryAfterMs: 10 }))
      ).pipe(Effect.provideService(Clock.Clock, slow))
      assert.isAbove(meter.overloaded, 100)
      assert.isAbove(meter.unsent, 10_000)
      assert.strictEqual(meter.unsent + meter.overloaded, 20_000)
      assert.isBelow(took, 8)
    })
  )

  it.effect("reports when the longest wait ended", () =>
    Effect.gen(function* () {
      const accept = makeTarget()
      let count = 0
      const { meter } = yield* play({ _tag: "Open", perSecond: 10, outstandingMax: 100 }, 4, (command) =>
        // The command that is due after two seconds.
        Effect.as(Effect.sleep(count++ === 20 ? 700 : 10), command).pipe(Effect.map(accept))
      )
      assert.strictEqual(meter.committed, 40)
      assert.isAtLeast(meter.longest.tookMs, 700)
      assert.approximately(meter.longest.atMs, 2_700, 20)
    })
  )

  it.effect("does not send a command again after Overloaded", () =>
    Effect.gen(function* () {
      const { meter, sent } = yield* play({ _tag: "Open", perSecond: 100, outstandingMax: 100 }, 1, () =>
        Effect.fail(new Overloaded({ what: "this node", retryAfterMs: 10 }))
      )
      assert.strictEqual(meter.overloaded, 100)
      assert.strictEqual(sent.length, 100)
      assert.strictEqual(new Set(sent).size, 100)
      assert.strictEqual(meter.decided.totalCount, 0)
    })
  )

  it.effect("offers a command again in place of the next one where the node has no room for it", () =>
    Effect.gen(function* () {
      const offered: Array<CommandId> = []
      const { meter, sent } = yield* play(
        { _tag: "Open", perSecond: 100, outstandingMax: 100 },
        1,
        () => Effect.die("not used"),
        {
          precheck: ({ commandId }) => {
            offered.push(commandId)
            return "full"
          }
        }
      )
      assert.strictEqual(meter.overloaded, 100)
      assert.strictEqual(offered.length, 100)
      assert.isBelow(new Set(offered).size, 10)
      assert.strictEqual(meter.generated, new Set(offered).size)
      assert.deepStrictEqual(sent, [])
    })
  )
})

describe("a load with repeats", () => {
  /** Commands take effect at once and are answered after 20 ms. Repeats are answered at once, with what `repeated` makes of the receipt. */
  const remembering = (repeated: (receipt: Receipt) => Receipt) => {
    const accept = makeTarget()
    const known = new Map<CommandId, Receipt>()
    return (command: Command) =>
      Effect.suspend(() => {
        const first = known.get(command.commandId)
        if (first !== undefined) return Effect.succeed({ ...repeated(first), replayed: true })
        const receipt = accept(command)
        known.set(command.commandId, receipt)
        return Effect.as(Effect.sleep(20), receipt)
      })
  }
  const playRepeats = (repeated: (receipt: Receipt) => Receipt) =>
    Effect.gen(function* () {
      const rng = yield* makeRng(1)
      const judge = new Acknowledged(ids, 1, true)
      let count = 0
      const next = withRepeats(
        (): Command => ({
          _tag: "Deposit",
          commandId: ids.command(count++),
          account: ids.account(0),
          amount: 1n
        }),
        0.5,
        rng,
        () => undefined
      )
      const pace = { _tag: "Closed", concurrency: 8 } as const
      const { meter } = yield* play(pace, 1, remembering(repeated), { next, judge })
      return { meter, judge }
    })

  it.effect("finds no fault where repeats are answered before the first sending", () =>
    Effect.gen(function* () {
      const { meter, judge } = yield* playRepeats((receipt) => receipt)
      assert.deepStrictEqual(judge.faults, [])
      assert.isAbove(meter.committed, 300)
      assert.isAbove(meter.replayed, 300)
    })
  )

  it.effect("finds a repeat that was answered with another outcome", () =>
    Effect.gen(function* () {
      const { judge } = yield* playRepeats((receipt) => ({
        ...receipt,
        postings: receipt.postings.map((posting) => ({ ...posting, hash: `${posting.hash} again` }))
      }))
      assert.isFalse(judge.isKept("I4"))
    })
  )
})

describe("a summary", () => {
  it("never gives a percentile above the longest wait", () => {
    // 214,783 is the upper end of the bucket of the first two.
    for (const us of [214_700, 214_699, 1_517_898, 7]) {
      const meter = new Meter()
      meter.accepted(false, us / 1_000)
      const { p50, p99, p999, max } = summarize(meter.decided)
      assert.isAtLeast(max, p50)
      assert.isAtLeast(max, p99)
      assert.isAtLeast(max, p999)
    }
  })
})

describe("the closed loop", () => {
  it.effect("has as many commands under way as it has clients", () =>
    Effect.gen(function* () {
      const accept = makeTarget()
      let underWay = 0
      let most = 0
      const { meter } = yield* play({ _tag: "Closed", concurrency: 7 }, 1, (command) => {
        most = Math.max(most, ++underWay)
        return Effect.sleep(10).pipe(
          Effect.map(() => {
            underWay--
            return accept(command)
          })
        )
      })
      assert.strictEqual(most, 7)
      assert.strictEqual(meter.committed, 700)
    })
  )

  it.effect("sends the same command again after Overloaded", () =>
    Effect.gen(function* () {
      const accept = makeTarget()
      const refused = new Set<CommandId>()
      const { meter, sent } = yield* play({ _tag: "Closed", concurrency: 1 }, 1, (command) => {
        if (refused.has(command.commandId)) return Effect.as(Effect.sleep(1), accept(command))
        refused.add(command.commandId)
        return Effect.fail(new Overloaded({ what: "this node", retryAfterMs: 9 }))
      })
      assert.strictEqual(meter.committed, 100)
      assert.strictEqual(meter.overloaded, 100)
      assert.deepStrictEqual(sent.slice(0, 4), [0, 0, 1, 1].map(ids.command))
    })
  )

  it.effect("sends a command again until its outcome is known", () =>
    Effect.gen(function* () {
      const accept = makeTarget()
      let losses = 3
      const { meter, sent } = yield* play({ _tag: "Closed", concurrency: 1 }, 1, (command) =>
        losses-- > 0
          ? Effect.fail(new Indeterminate({ commandId: command.commandId }))
          : Effect.as(Effect.sleep(10), { ...accept(command), replayed: losses === -1 })
      )
      assert.strictEqual(meter.indeterminate, 3)
      assert.deepStrictEqual(sent.slice(0, 4), [0, 0, 0, 0].map(ids.command))
      assert.strictEqual(meter.replayed, 1)
    })
  )
})

describe("a warm-up", () => {
  /** How many commands it sent, and how many of them at most were under way at once. */
  const warm = (pace: Pace, commands: number, answer: (command: Command) => Effect.Effect<Receipt>) =>
    Effect.gen(function* () {
      let sent = 0
      let open = 0
      let openMax = 0
      const exit = yield* Effect.forkChild(
        Effect.result(
          warmUp(
            {
              driver: {
                dispatch: (command) => {
                  openMax = Math.max(openMax, ++open)
                  return Effect.ensuring(
                    answer(command),
                    Effect.sync(() => open--)
                  )
                },
                dispatchMany: () => Effect.die("not used"),
                stats: () => noStats
              },
              next: () => ({
                _tag: "Deposit",
                commandId: ids.command(sent++),
                account: ids.account(0),
                amount: 1n
              }),
              pace,
              acknowledged: new Acknowledged(ids, 1, false),
              onAccepted: () => {}
            },
            commands
          )
        )
      )
      yield* TestClock.adjust("10 minutes")
      return { sent, openMax, result: yield* Fiber.join(exit) }
    })
  const slow = () => {
    const accept = makeTarget()
    return (command: Command) => Effect.as(Effect.sleep(5), command).pipe(Effect.map(accept))
  }

  for (const pace of [
    { _tag: "Closed", concurrency: 7 },
    { _tag: "Open", perSecond: 10, outstandingMax: 100 }
  ] satisfies ReadonlyArray<Pace>) {
    it.effect(`sends its number of commands, and no more: ${pace._tag}`, () =>
      Effect.gen(function* () {
        const { sent, openMax, result } = yield* warm(pace, 100, slow())
        assert.strictEqual(result._tag, "Success")
        assert.strictEqual(sent, 100)
        assert.strictEqual(openMax, pace._tag === "Closed" ? 7 : 64)
      })
    )
  }

  it.effect("fails where a command meets a defect", () =>
    Effect.gen(function* () {
      const { result } = yield* warm({ _tag: "Closed", concurrency: 2 }, 10, () => Effect.die("a bug"))
      if (result._tag === "Success") return assert.fail("it did not fail")
      assert.instanceOf(result.failure, WarmUpFailed)
      assert.match(result.failure.message, /the warm-up failed.*a bug/s)
    })
  )

  it.effect("fails where it does not come to its end", () =>
    Effect.gen(function* () {
      const { sent, result } = yield* warm({ _tag: "Closed", concurrency: 1 }, 10, (command) =>
        Effect.map(Effect.sleep("1 minute"), () => makeTarget()(command))
      )
      assert.match(
        result._tag === "Failure" ? result.failure.message : "",
        /10 commands took more than 300 s/
      )
      assert.strictEqual(sent, 5)
    })
  )
})

it.effect("a scenario is told of each receipt, also where the first that comes is a replay", () =>
  Effect.gen(function* () {
    const told: Array<boolean> = []
    const accept = makeTarget()
    let count = 0
    const answer = (command: Command) =>
      Effect.as(Effect.sleep(100), { ...accept(command), replayed: count++ % 2 === 0 })
    yield* play({ _tag: "Closed", concurrency: 1 }, 1, answer, {
      onReceipt: ({ replayed }) => void told.push(replayed)
    })
    assert.isAtLeast(told.length, 10)
    assert.deepEqual(told.slice(0, 4), [true, false, true, false])
  })
)
