/** The ledger as a contender: the write path of one node with all of its promises, under the load of the load test. */

import { Context, Effect, Layer, Redacted } from "effect"
import { Audit } from "../../src/actors/audit/Audit.ts"
import { Dispatcher } from "../../src/actors/commands/Dispatcher.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import { compareLog } from "../../src/loadtest/CompareLog.ts"
import { awaitCaughtUp } from "../../src/loadtest/Lag.ts"
import { runLoad } from "../../src/loadtest/Load.ts"
import { Meter, summarize } from "../../src/loadtest/Meter.ts"
import { prepareAccounts } from "../../src/loadtest/Prepare.ts"
import { makeRng } from "../../src/loadtest/Rng.ts"
import { makeRunIds } from "../../src/loadtest/RunIds.ts"
import { makeScenario } from "../../src/loadtest/Scenario.ts"
import { driverOf, readSide, stores } from "../../src/loadtest/Services.ts"
import type { ScenarioName } from "../../src/loadtest/Settings.ts"
import type { Contender, Kind, Setting } from "./Contender.ts"

const concurrency = 1_024
const scenarios: Record<Kind, ScenarioName> = { uniform: "transfers-uniform", hot: "transfers-hot" }

export interface Ours extends Contender {
  /** The broken invariants; none if empty. */
  readonly verify: Effect.Effect<ReadonlyArray<string>>
}

/** Without `natsUrl` there are no relay and no projections. */
export const makeChronicle = Effect.fnUntraced(function* (setting: Setting, natsUrl: string | undefined) {
  const urls = {
    eventStoreUrl: Redacted.make(yield* setting.eventDatabase),
    readModelUrl: Redacted.make(yield* setting.database),
    natsUrl: natsUrl ?? ""
  }
  yield* LedgerNode.migrate(urls)
  const services = yield* Layer.build(stores(urls))
  return yield* Effect.gen(function* () {
    const name = natsUrl === undefined ? "off" : "on"
    const ids = makeRunIds(`peers-${name}`, false)
    const acknowledged = new Acknowledged(ids, setting.accounts, false)
    const rng = yield* makeRng(1)
    const pace = { _tag: "Closed", concurrency } as const
    const settings = {
      accounts: setting.accounts,
      pace,
      seconds: 0,
      seed: 1,
      repeats: 0,
      intruder: 0,
      readSide: false,
      patienceSeconds: 300
    }
    const driver = driverOf(Context.get(yield* Layer.build(LedgerNode.writeSide(ids.run)), Dispatcher))
    // Both kinds share the accounts, and have command ids of their own.
    const uniform = makeScenario({ ...settings, scenario: scenarios.uniform }, ids, rng)
    const hotIds = { ...ids, command: (number: number) => ids.command(number + 10 ** 9) }
    const hot = makeScenario({ ...settings, scenario: scenarios.hot }, hotIds, rng)
    yield* prepareAccounts(driver, uniform, acknowledged, { from: 0, to: setting.accounts }, () => {})
    const catchUp =
      natsUrl === undefined
        ? Effect.void
        : awaitCaughtUp(ids, setting.accounts, acknowledged, "5 minutes").pipe(
            Effect.provideContext(services),
            Effect.orDie
          )

    const run = Effect.fnUntraced(function* (kind: Kind, seconds: number) {
      // The read side runs in the rounds of this contender alone, so that it takes nothing from the others. It first catches up.
      if (natsUrl !== undefined) yield* Layer.build(readSide(urls)).pipe(Effect.provideContext(services))
      yield* catchUp
      const meter = new Meter()
      const next = kind === "hot" ? hot.next : uniform.next
      const took = yield* runLoad({ driver, next, pace, seconds, meter, acknowledged, onAccepted: () => {} })
      if (meter.defects.length > 0) return yield* Effect.die(new Error(meter.defects[0]))
      const { p99, max } = summarize(meter.decided)
      return { perSecond: meter.committed / took, p99Ms: p99, maxMs: max }
    }, Effect.scoped)
    const verify = Effect.gen(function* () {
      if (natsUrl !== undefined) yield* Layer.build(readSide(urls))
      yield* catchUp
      yield* compareLog(ids, setting.accounts, acknowledged)
      const audit = yield* Audit
      const report = yield* audit.verify()
      return [
        ...acknowledged.faults.map(({ invariant, reason }) => `${invariant}: ${reason}`),
        ...report.findings.map(({ invariant, reason }) => `${invariant}: ${reason}`)
      ]
    }).pipe(Effect.provide(Audit.layer), Effect.scoped, Effect.provideContext(services), Effect.orDie)
    return {
      name: natsUrl === undefined ? "Chronicle" : "Chronicle, read side on",
      note:
        natsUrl === undefined
          ? `${concurrency} clients; commands checked against the schema, decided, chained, idempotent`
          : `the same with relay, JetStream and projections on the same machine; it catches up between the rounds`,
      kinds: ["uniform", "hot"],
      run,
      verify
    } satisfies Ours
  }).pipe(Effect.provideContext(services))
})
