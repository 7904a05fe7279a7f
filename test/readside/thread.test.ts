/** The read side in a thread of its own: it does the same there, and whatever becomes of the thread, commands go on. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs"
import { getPriority, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { BroadcastChannel } from "node:worker_threads"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Layer, Redacted, References } from "effect"
import monthlyTotals from "../../examples/monthly-totals/projection.ts"
import { ReadSideHealth } from "../../src/actors/projections/ReadSideHealth.ts"
import { cacheFolder } from "../../src/CacheFolder.ts"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import {
  defaultReadSideLimits,
  ReadSideConfig,
  type ReadSideLimits
} from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { execute } from "../support/databases.ts"
import { deposit } from "../support/eventWriter.ts"
import { codeChannel } from "../support/faultyProjection.ts"
import { freshServices } from "../support/freshServices.ts"
import { assertCaughtUp, assertVersions, eventually, wholeLog } from "../support/readSides.ts"
import { insist, openAll, type SteadyLoad, startLoad } from "../support/steadyLoad.ts"
import { type Fault, faultChannel } from "../support/threadFaults.ts"

const faulty = fileURLToPath(new URL("../support/faultyProjection.ts", import.meta.url))
const ids = ["ann", "bob", "cid", "dee"]

const servicesWithTotals = Effect.gen(function* () {
  const services = yield* freshServices
  const { migrations } = monthlyTotals
  assert.isDefined(migrations)
  yield* Migrations.migrate("projection monthly_totals", services.readModelUrl, migrations)
  return services
})

type Services = Effect.Success<typeof servicesWithTotals>

/** Nothing is asked for again in time: a query that waits is woken by a message, or fails. */
const unwokenMs = 3_600_000

const nodeOver = (
  services: Services,
  {
    projections = [faulty],
    ...limits
  }: Partial<ReadSideLimits> & { projections?: ReadonlyArray<string> } = {}
) =>
  LedgerNode.layer(services, { projections }).pipe(
    Layer.provide(
      Layer.mergeAll(
        Layer.succeed(LedgerConfig, { ...defaultLimits, partitions: 4, sweepMs: 300 }),
        Layer.succeed(ReadSideConfig, {
          ...defaultReadSideLimits,
          backoffMaxMs: 200,
          ackWaitMs: 1_000,
          sweepGraceMs: 300,
          lostAfterMs: 600,
          // So that a thread which waits for a core is not ended for that.
          readSideHungMs: 600_000,
          readSideStartMs: 600_000,
          ...limits
        }),
        Layer.succeed(References.MinimumLogLevel, "None")
      )
    ),
    Layer.fresh
  )

const inNode = <A, E>(
  test: Effect.Effect<A, E, Layer.Success<ReturnType<typeof LedgerNode.layer>>>,
  limits?: Parameters<typeof nodeOver>[1]
) =>
  Effect.gen(function* () {
    const services = yield* servicesWithTotals
    return yield* Effect.provide(test, nodeOver(services, limits))
  }).pipe(Effect.scoped)

const report = Effect.flatMap(ReadSideHealth, (health) => health.report)
const isReady = eventually(Effect.map(report, ({ reasons }) => assert.deepStrictEqual(reasons, [])))

const readModelIsRight = Effect.gen(function* () {
  const log = yield* wholeLog
  yield* eventually(assertVersions(log))
  yield* assertCaughtUp(log)
})

const goOn = (load: SteadyLoad, more: number) => {
  const enough = load.committedUnsafe() + more
  return eventually(Effect.sync(() => assert.isAtLeast(load.committedUnsafe(), enough)))
}

const strike = (fault: Fault) =>
  Effect.acquireUseRelease(
    Effect.sync(() => new BroadcastChannel(faultChannel)),
    (channel) => Effect.sync(() => channel.postMessage(fault)),
    (channel) => Effect.sync(() => channel.close())
  )

describe("the read side in a thread of its own", () => {
  it.live("wakes each query with a read token by a message, and runs the host's projections", () =>
    inNode(
      Effect.gen(function* () {
        const ledger = yield* Ledger
        yield* openAll(ids, 1_000_000n)
        yield* isReady
        const load = yield* startLoad("tokens", ids, { pauseMs: 1 })
        yield* goOn(load, 500)
        yield* load.stop
        assert.isAtLeast(load.freshUnsafe(), 100)
        const last = yield* ledger.dispatch(deposit("ann", 1n))
        yield* eventually(
          Effect.map(ledger.balance("ann"), (view) => assert.isAbove(view.completeTo ?? 0, last.recordedAt))
        )
        yield* readModelIsRight
        const { projections, thread, relay } = yield* report
        assert.deepStrictEqual(
          projections.map(({ name }) => name),
          ["books_v1", "monthly_totals_v1"]
        )
        assert.strictEqual(thread?.state, "up")
        assert.isAbove(thread?.heapBytes ?? 0, 1_000_000)
        assert.isTrue(relay.isBusConnected)
        assert.isAtLeast(relay.events, 500)
      }),
      { tokenPollMs: unwokenMs, tokenSoonMs: unwokenMs }
    )
  )

  it.live.runIf(process.platform === "linux")("gives way to the thread of commands", () =>
    inNode(
      Effect.gen(function* () {
        yield* isReady
        // A thread may end between the listing and the look at it.
        const priorities = readdirSync("/proc/self/task").flatMap((thread) => {
          try {
            return [getPriority(Number(thread))]
          } catch {
            return []
          }
        })
        assert.strictEqual(priorities.filter((niceness) => niceness === 7).length, 1)
        assert.notStrictEqual(getPriority(), 7)
      }),
      { readSideNiceness: 7 }
    )
  )

  /** Runs with this place of compiled code named by the environment, or none. */
  const withCodeIn = <A, E, R>(folder: string | undefined, effect: Effect.Effect<A, E, R>) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        const before = process.env.NODE_COMPILE_CACHE
        setCodeFolder(folder)
        return before
      }),
      () => effect,
      (before) => Effect.sync(() => setCodeFolder(before))
    )
  const setCodeFolder = (folder: string | undefined): void => {
    if (folder === undefined) delete process.env.NODE_COMPILE_CACHE
    else process.env.NODE_COMPILE_CACHE = folder
  }

  it.live("keeps V8's compiled code beside the package, for its next life", () =>
    withCodeIn(
      undefined,
      inNode(
        Effect.gen(function* () {
          yield* isReady
          const kept = yield* Effect.acquireUseRelease(
            Effect.sync(() => new BroadcastChannel(codeChannel)),
            (channel) =>
              Effect.callback<unknown>((resume) => {
                channel.onmessage = (event: unknown) =>
                  resume(Effect.succeed((event as { readonly data: unknown }).data)) // told by the thread
                channel.postMessage("where")
              }),
            (channel) => Effect.sync(() => channel.close())
          )
          assert.isString(kept)
          assert.isTrue(String(kept).startsWith(join(cacheFolder, "v")), String(kept))
        })
      )
    )
  )

  it.live("has left its compiled code, where the environment says, before its first sign of life", () => {
    const folder = mkdtempSync(join(tmpdir(), "chronicle-code-"))
    return withCodeIn(
      folder,
      inNode(
        Effect.gen(function* () {
          yield* eventually(Effect.map(report, ({ thread }) => assert.strictEqual(thread?.state, "up")))
          assert.isAtLeast(readdirSync(folder, { recursive: true }).length, 300)
        })
      )
    ).pipe(Effect.ensuring(Effect.sync(() => rmSync(folder, { recursive: true }))))
  })

  /** How often it was looked, every 20 ms, until the assertions held: a machine with much to do looks later, not more often. */
  const looksUntil = Effect.fnUntraced(function* <R>(assertions: Effect.Effect<void, never, R>) {
    let looks = 0
    yield* eventually(
      Effect.suspend(() => {
        looks++
        return assertions
      })
    )
    return looks
  })
  /** Two seconds of them. */
  const looksMax = 100

  /** Strikes the thread under load: commands go on, it is seen, and then all is well again. */
  const survive = Effect.fnUntraced(function* (fault: Fault, why: RegExp) {
    const before = (yield* report).thread?.restarts ?? 0
    // Goes on for as long as a thread takes to be missed and to start: a hundred commands a second tell it as well as many.
    const load = yield* startLoad(fault, ids, { asks: false, pauseMs: 80 })
    yield* goOn(load, 20)
    yield* strike(fault)
    const looks = yield* looksUntil(
      Effect.map(report, ({ reasons }) => assert.match(reasons.join(), /the thread of the read side/))
    )
    // Until its memory is full, which takes as long as the machine needs, a thread may still give signs of life.
    if (fault !== "fill" && fault !== "leak") assert.isAtMost(looks, looksMax)
    // A thread that has to wait for a core may have been silent for a moment before it was struck.
    yield* eventually(Effect.map(report, ({ thread }) => assert.isAbove(thread?.restarts ?? 0, before)))
    yield* goOn(load, 50)
    yield* isReady
    yield* load.stop
    const { thread, alarms } = yield* report
    assert.match(thread?.lastEnd ?? "", why)
    assert.match(alarms[0] ?? "", /started anew/)
    // Woken across the new thread as across the first.
    const asking = yield* startLoad(`${fault}-asking`, ids)
    yield* eventually(Effect.sync(() => assert.isAtLeast(asking.freshUnsafe(), 5)))
    yield* asking.stop
  })

  const restarts = Effect.map(report, ({ thread }) => thread?.restarts)

  it.live("comes right after a thread that ends, throws or runs out of memory, and commands go on", () =>
    inNode(
      Effect.gen(function* () {
        yield* openAll(ids, 1_000_000n)
        yield* isReady
        yield* survive("exit", /exited with code: 3/)
        yield* survive("throw", /at what its log says/)
        yield* survive("fill", /memory/)
        assert.strictEqual(yield* restarts, 3)
        yield* readModelIsRight
      }),
      { readSideHeapMib: 128 }
    )
  )

  it.live("ends a thread whose memory fills up, in many turns of its event loop, and commands go on", () =>
    inNode(
      Effect.gen(function* () {
        yield* openAll(ids, 1_000_000n)
        yield* isReady
        yield* survive("leak", /its memory is full: \d+ of 256 MiB .* CHRONICLE_READ_SIDE_HEAP_MIB/)
        assert.strictEqual(yield* restarts, 1)
        yield* readModelIsRight
      }),
      { readSideHeapMib: 256 }
    )
  )

  it.live("ends a thread that hangs, and comes right after it, and commands go on", () =>
    inNode(
      Effect.gen(function* () {
        yield* openAll(ids, 1_000_000n)
        yield* isReady
        yield* survive("hang", /no sign of life within 2000 ms/)
        yield* readModelIsRight
      }),
      { readSideHungMs: 2_000 }
    )
  )

  it.live.each([
    ["in a heap that has no room for it", { readSideHeapMib: 1 }, /readSideHeapMib is 1: .* 64 MiB/],
    ["with a niceness that no system has", { readSideNiceness: 20 }, /readSideNiceness is 20: .* 19 steps/]
  ] as const)("is not started %s", ([, limits, reason]) =>
    Effect.gen(function* () {
      const services = yield* freshServices
      const exit = yield* Effect.exit(Layer.build(nodeOver(services, limits)))
      assert.isTrue(Exit.isFailure(exit))
      if (Exit.isFailure(exit)) assert.match(Cause.pretty(exit.cause), reason)
    }).pipe(Effect.scoped)
  )

  it.live("is said to be down where it cannot start, and commands go on", () =>
    inNode(
      Effect.gen(function* () {
        yield* eventually(
          Effect.map(report, ({ ready, reasons }) => {
            assert.isFalse(ready)
            assert.match(reasons.join(), /the module no-such-module.ts of a projection cannot be loaded/)
          })
        )
        yield* openAll(ids, 1n)
        const { thread } = yield* report
        assert.isAtLeast(thread?.restarts ?? 0, 1)
      }),
      { projections: ["/srv/ledger/no-such-module.ts"] }
    )
  )

  it.live("parks the account of a poison event, and no other", () =>
    Effect.gen(function* () {
      const services = yield* servicesWithTotals
      yield* execute(
        Redacted.value(services.readModelUrl),
        "ALTER TABLE books_v1_statement_lines ADD CHECK (description IS DISTINCT FROM 'poison')"
      )
      yield* Effect.gen(function* () {
        yield* openAll(ids, 1_000_000n)
        const load = yield* startLoad("poison", ids.slice(1), { asks: false })
        yield* goOn(load, 20)
        yield* insist({ ...deposit("ann", 1n, "poison"), commandId: "poison" })
        yield* eventually(
          Effect.map(report, ({ projections, alarms }) => {
            assert.strictEqual(projections[0]?.sweep.parked, 1)
            assert.include(alarms, "books_v1: an account is parked: chronicle parked says why")
          })
        )
        yield* goOn(load, 20)
        yield* load.stop
        const ledger = yield* Ledger
        assert.strictEqual((yield* ledger.balance("ann")).version, 2)
        const log = yield* wholeLog
        yield* eventually(
          Effect.gen(function* () {
            for (const id of ids.slice(1)) {
              const last = log.filter((row) => row.accountId === id).length
              assert.strictEqual((yield* ledger.balance(id)).version, last)
            }
          })
        )
      }).pipe(Effect.provide(nodeOver(services)))
    }).pipe(Effect.scoped)
  )

  it.live("publishes the last commits of a node that ends", () =>
    Effect.gen(function* () {
      const services = yield* servicesWithTotals
      yield* Effect.gen(function* () {
        yield* openAll(ids, 1n)
        yield* isReady
        yield* Effect.forEach(
          Array.from({ length: 200 }, (_, nth) => nth),
          (nth) => insist({ ...deposit(ids[nth % ids.length] ?? "", 1n), commandId: `last-${nth}` }),
          { concurrency: "unbounded", discard: true }
        )
      }).pipe(Effect.provide(nodeOver(services)))
      const unpublished = Effect.gen(function* () {
        const store = yield* EventStore
        const cursors = yield* store.relayCursors
        const writers = yield* store.listWriters
        return writers.filter(({ writerId, lastSeq }) => {
          const published = cursors.get(writerId) ?? 0
          // The fence that ends a tail is no commit.
          return published < lastSeq - 1
        })
      })
      assert.deepStrictEqual(yield* Effect.provide(unpublished, LedgerNode.stores(services)), [])
    }).pipe(Effect.scoped)
  )
})
