/** A load during which the store is restarted or cannot be reached: every invariant must hold. */

import { assert, describe, layer } from "@effect/vitest"
import { Effect, Fiber, Redacted, References } from "effect"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import { auditStores } from "../../src/loadtest/AuditStores.ts"
import { compareLog } from "../../src/loadtest/CompareLog.ts"
import { runLoad } from "../../src/loadtest/Load.ts"
import { startNode } from "../../src/loadtest/LoadTest.ts"
import { Meter } from "../../src/loadtest/Meter.ts"
import { prepareAccounts } from "../../src/loadtest/Prepare.ts"
import { makeRng } from "../../src/loadtest/Rng.ts"
import { makeRunIds } from "../../src/loadtest/RunIds.ts"
import { makeScenario } from "../../src/loadtest/Scenario.ts"
import { stores } from "../../src/loadtest/Services.ts"
import { OwnServers } from "../support/ownServers.ts"
import { tcpProxy } from "../support/tcpProxy.ts"

const accounts = 100
const pace = { _tag: "Closed", concurrency: 64 } as const
/** Commands to be committed before the store goes away, and again after it has come back. */
const enough = 300
/** The most loads of half a second, together far longer than any store takes to start. */
const roundsMax = 300

/** Takes the store away, and gives it back once the load has met the outage (`met`). */
type Disturb<R> = (met: Effect.Effect<void>) => Effect.Effect<unknown, never, R>

const disturbInTheMiddle = Effect.fnUntraced(function* <R>(
  run: string,
  scenarioName: "transfers-uniform" | "transfers-hot",
  disturb: Disturb<R>
) {
  const ids = makeRunIds(run, false)
  const settings = {
    scenario: scenarioName,
    accounts,
    pace,
    seconds: 1,
    seed: 1,
    repeats: 0,
    intruder: 0,
    readSide: false,
    patienceSeconds: 60
  } as const
  const scenario = makeScenario(settings, ids, yield* makeRng(1))
  const acknowledged = new Acknowledged(ids, accounts, false)
  const driver = yield* startNode(run)
  yield* prepareAccounts(driver, scenario, acknowledged, { from: 0, to: accounts }, () => {})
  const meter = new Meter()
  let committedWhenBack: number | undefined
  /** Whether a caller was told of the outage, or the node sent a batch again. */
  const isMet = () => driver.stats().unknown + meter.unavailable + meter.indeterminate > 0
  const met = Effect.sync(isMet).pipe(Effect.delay(5), Effect.repeat({ until: (is) => is }), Effect.asVoid)
  const restarting = yield* Effect.sync(() => meter.committed).pipe(
    Effect.delay(5),
    Effect.repeat({ until: (committed) => committed >= enough }),
    Effect.andThen(disturb(met)),
    Effect.andThen(Effect.sync(() => (committedWhenBack = meter.committed))),
    Effect.forkChild
  )
  const goesOn = () => committedWhenBack === undefined || meter.committed < committedWhenBack + enough
  for (let round = 0; goesOn() && round < roundsMax; round++) {
    const load = { driver, next: scenario.next, pace, seconds: 0.5, meter, acknowledged }
    yield* runLoad({ ...load, onAccepted: () => {} })
  }
  yield* Fiber.join(restarting)
  const rows = yield* compareLog(ids, accounts, acknowledged)
  const audited = yield* auditStores(() => {})
  return { meter, acknowledged, rows, audited, goesOn: goesOn(), stats: driver.stats() }
})

/** Short times, so that an outage is noticed soon, and small batches, so that several are under way. */
const limits = {
  ...defaultLimits,
  commandDeadlineMs: 2_000,
  storeConnectMs: 1_000,
  storeStatementMs: 1_000,
  batchRowsMax: 40
}

const judge = ({ meter, acknowledged, rows, audited, goesOn, stats }: Disturbed) => {
  assert.isFalse(goesOn, "after the outage the load committed as much again")
  assert.deepStrictEqual(meter.defects, [])
  assert.strictEqual(meter.rejectedCount, 0)
  // The log holds what was acknowledged once, in order, what stayed open at most once, and nothing else.
  assert.deepStrictEqual(acknowledged.faults, [])
  assert.isAtLeast(rows, 2 * (accounts + 2 * enough))
  assert.deepStrictEqual(audited.findings, [])
  assert.deepStrictEqual([...new Set(Object.values(audited.invariants))], [true])
  // There was no other writer, hence a conflict would be a batch of our own that was committed twice.
  assert.strictEqual(stats.conflicts, 0)
}
type Disturbed = Effect.Success<ReturnType<typeof disturbInTheMiddle>>

describe("a load during an outage of its store", () => {
  layer(OwnServers.layer, { timeout: "4 minutes", excludeTestServices: true })((it) => {
    const scenarios = ["transfers-uniform", "transfers-hot"] as const
    for (const [how, scenario] of (["killed", "in order"] as const).flatMap((how) =>
      scenarios.map((scenario) => [how, scenario] as const)
    )) {
      it.effect(
        `goes on afterwards and has lost nothing (${scenario}, store ${how === "killed" ? "killed" : "stopped in order"})`,
        () =>
          Effect.gen(function* () {
            const servers = yield* OwnServers
            const urls = {
              eventStoreUrl: servers.eventStoreUrl,
              readModelUrl: servers.readModelUrl,
              natsUrl: servers.nats.url
            }
            yield* LedgerNode.migrate(urls)
            const disturbed = yield* disturbInTheMiddle(
              `restart-${how.replace(" ", "-")}-${scenario}`,
              scenario,
              (met) => servers.restartPostgres(how, met)
            ).pipe(Effect.scoped, Effect.provide(stores(urls)), Effect.provideService(LedgerConfig, limits))
            judge(disturbed)
            assert.strictEqual(disturbed.acknowledged.openCount, 0, "nothing stayed open")
            if (scenario === "transfers-hot") assert.isAbove(disturbed.stats.behind, 10)
          }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
      )
    }

    it.effect("goes on after a partition, and ends during another", () =>
      Effect.gen(function* () {
        const servers = yield* OwnServers
        const url = new URL(Redacted.value(servers.eventStoreUrl))
        const proxy = yield* tcpProxy(url.hostname, Number(url.port))
        url.port = String(proxy.port)
        const direct = {
          eventStoreUrl: servers.eventStoreUrl,
          readModelUrl: servers.readModelUrl,
          natsUrl: servers.nats.url
        }
        yield* LedgerNode.migrate(direct)
        const disturbed = yield* disturbInTheMiddle("partition", "transfers-hot", (met) =>
          Effect.sync(proxy.hold).pipe(
            Effect.andThen(met),
            // Longer than a statement may take, so that both lanes meet the outage.
            Effect.andThen(Effect.sleep(3_000)),
            Effect.andThen(Effect.sync(proxy.forward))
          )
        ).pipe(
          // The node ends without a store in which it could fence its writers.
          Effect.tap(() => Effect.sync(proxy.hold)),
          Effect.scoped,
          Effect.provide(stores({ ...direct, eventStoreUrl: Redacted.make(url.toString()) })),
          Effect.provideService(LedgerConfig, limits)
        )
        judge(disturbed)
        assert.isAbove(disturbed.stats.behind, 10)
        assert.isAbove(disturbed.meter.indeterminate, 0)
      }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
    )
  })
})
