/** A load on a store whose process is ended and started again in the middle of it: every promise given is kept. */
import { assert, describe, layer } from "@effect/vitest"
import { Effect, Fiber, References } from "effect"
import { LedgerConfig } from "../../src/infra/LedgerConfig.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import { auditAll } from "../../src/loadtest/Audited.ts"
import { makeDraws } from "../../src/loadtest/Draws.ts"
import { runLoad } from "../../src/loadtest/Load.ts"
import { startNode } from "../../src/loadtest/LoadTest.ts"
import { Meter } from "../../src/loadtest/Meter.ts"
import { makeNames } from "../../src/loadtest/Names.ts"
import { prepareAccounts } from "../../src/loadtest/Prepare.ts"
import { makeScenario } from "../../src/loadtest/Scenario.ts"
import { checkLog } from "../../src/loadtest/Walk.ts"
import { migrate, stores } from "../../src/loadtest/World.ts"
import { OwnServers } from "../support/ownServers.ts"

const accounts = 100
const pace = { _tag: "Closed", concurrency: 64 } as const
/** Commands to be committed before the store goes, and again after it came back. */
const enough = 300
/** A load of half a second is begun so often at most: far longer than any store takes to start. */
const roundsMax = 300

const restartInTheMiddle = Effect.fnUntraced(function* (run: string, how: "in order" | "killed") {
  const servers = yield* OwnServers
  const names = makeNames(run, false)
  const settings = {
    scenario: "transfers-uniform",
    accounts,
    pace,
    seconds: 1,
    seed: 1,
    repeats: 0,
    intruder: 0,
    readSide: false,
    patienceSeconds: 60
  } as const
  const scenario = makeScenario(settings, names, yield* makeDraws(1))
  const acknowledged = new Acknowledged(names, accounts, false)
  const driver = yield* startNode(run)
  yield* prepareAccounts(driver, scenario, acknowledged, { from: 0, to: accounts }, () => {})
  const meter = new Meter()
  let committedWhenBack: number | undefined
  /** Somebody met the outage: was told so, or sent again. */
  const isMet = () => driver.stats().unknown + meter.unavailable + meter.indeterminate > 0
  const met = Effect.sync(isMet).pipe(Effect.delay(5), Effect.repeat({ until: (is) => is }), Effect.asVoid)
  const restarting = yield* Effect.sync(() => meter.committed).pipe(
    Effect.delay(5),
    Effect.repeat({ until: (committed) => committed >= enough }),
    Effect.andThen(servers.restartPostgres(how, met)),
    Effect.andThen(Effect.sync(() => (committedWhenBack = meter.committed))),
    Effect.forkChild
  )
  const goesOn = () => committedWhenBack === undefined || meter.committed < committedWhenBack + enough
  for (let round = 0; goesOn() && round < roundsMax; round++) {
    const load = { driver, next: scenario.next, pace, seconds: 0.5, meter, acknowledged }
    yield* runLoad({ ...load, onAccepted: () => {} })
  }
  yield* Fiber.join(restarting)
  const rows = yield* checkLog(names, accounts, acknowledged)
  const audited = yield* auditAll(() => {})
  return { meter, acknowledged, rows, audited, goesOn: goesOn(), stats: driver.stats() }
})

describe("a load while its store is restarted", () => {
  layer(OwnServers.layer, { timeout: "4 minutes", excludeTestServices: true })((it) => {
    for (const how of ["killed", "in order"] as const) {
      it.effect(
        `goes on after it was ${how === "killed" ? "killed" : "ended in order"}, and loses nothing`,
        () =>
          Effect.gen(function* () {
            const { eventStoreUrl, readModelUrl, nats } = yield* OwnServers
            const urls = { eventStoreUrl, readModelUrl, natsUrl: nats.url }
            yield* migrate(urls)
            const limits = yield* LedgerConfig
            const { meter, acknowledged, rows, audited, goesOn, stats } = yield* restartInTheMiddle(
              `restart-${how === "killed" ? "killed" : "ended"}`,
              how
            ).pipe(
              Effect.scoped,
              Effect.provide(stores(urls)),
              Effect.provideService(LedgerConfig, {
                ...limits,
                commandDeadlineMs: 2_000,
                storeConnectMs: 1_000,
                storeStatementMs: 1_000
              })
            )
            assert.isFalse(goesOn, "after the restart the load committed as much again")
            assert.deepStrictEqual(meter.defects, [])
            assert.strictEqual(meter.rejectedCount, 0)
            // What was acknowledged is in the log once, in order; nothing else is; nothing stayed open.
            assert.deepStrictEqual(acknowledged.faults, [])
            assert.strictEqual(acknowledged.openCount, 0)
            assert.isAtLeast(rows, 2 * (accounts + 2 * enough))
            assert.deepStrictEqual(audited.findings, [])
            assert.deepStrictEqual([...new Set(Object.values(audited.invariants))], [true])
            // No other writer was there: a conflict would be our own landing twice.
            assert.strictEqual(stats.conflicts, 0)
          }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
      )
    }
  })
})
