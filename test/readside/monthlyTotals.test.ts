/** The example of one more projection: a file and its migration, live, rebuilt, and independent of the books. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Redacted } from "effect"
import monthlyTotals, { type MonthlyTotal, totalsOf } from "../../examples/monthly-totals/projection.ts"
import * as ProjectionFibers from "../../src/actors/projections/CustomProjection.ts"
import { ProjectionRegistry } from "../../src/actors/projections/ProjectionRegistry.ts"
import { rebuild } from "../../src/actors/projections/Rebuild.ts"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { execute } from "../support/databases.ts"
import { deposit, EventWriter, openAccount, transfer, withdraw } from "../support/eventWriter.ts"
import { assertCaughtUp, eventually, foldLog, play } from "../support/readSides.ts"
import { rebuildWorld } from "../support/rebuilds.ts"
import { accountId } from "../support/storedEvents.ts"

const at = (month: string, day: number) => Date.parse(`${month}-${String(day).padStart(2, "0")}T23:30:00Z`)

/** Months by effective time: some days of three months, in no order. */
const steps = ["2026-03", "2026-01", "2026-03", "2026-02"].map((month, index) => [
  { ...deposit("ann", 1_000n + BigInt(index)), effectiveAt: at(month, 28 - index) },
  { ...transfer("ann", "bob", 30n), effectiveAt: at(month, 1) },
  { ...withdraw("bob", 5n), effectiveAt: at(month, 15) }
])

/** The totals by the statement lines of the books, without the projection under test. */
const expectedOf = (eventWriter: EventWriter, account: string): ReadonlyArray<MonthlyTotal> => {
  const totals = new Map<string, MonthlyTotal>()
  for (const line of foldLog(eventWriter.log).lines) {
    if (line.account !== account) continue
    const month = new Date(line.effectiveAt).toISOString().slice(0, 7)
    const { cameIn, wentOut, lines } = totals.get(month) ?? { cameIn: 0n, wentOut: 0n, lines: 0 }
    const [plus, minus] = line.amount > 0n ? [line.amount, 0n] : [0n, -line.amount]
    totals.set(month, { month, cameIn: cameIn + plus, wentOut: wentOut + minus, lines: lines + 1 })
  }
  return [...totals.values()].toSorted((a, b) => (a.month < b.month ? -1 : 1))
}

const asExpected = (eventWriter: EventWriter) =>
  Effect.gen(function* () {
    const sql = yield* ReadModelSql
    for (const account of ["ann", "bob"]) {
      assert.deepStrictEqual(yield* totalsOf(sql, accountId(account)), expectedOf(eventWriter, account))
    }
  })

describe("the monthly totals", () => {
  it.live("are rebuilt from the log while the books go on", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const { migrations } = monthlyTotals
      assert.isDefined(migrations)
      yield* Migrations.migrate("projection monthly_totals", Redacted.make(world.databaseUrl), migrations)
      const eventWriter = new EventWriter("writer-1", Date.now())
      yield* Effect.gen(function* () {
        yield* play(eventWriter, [openAccount("ann"), openAccount("bob")], ...steps)
        yield* eventually(assertCaughtUp(eventWriter.log))
        yield* eventually(asExpected(eventWriter))
        assert.isAtLeast(expectedOf(eventWriter, "ann").length, 4)

        // Its tables are gone: it alone fails, and says so.
        yield* execute(world.databaseUrl, "ALTER TABLE monthly_totals_v1_totals RENAME TO elsewhere")
        yield* play(eventWriter, ...steps)
        yield* eventually(assertCaughtUp(eventWriter.log))
        const projections = yield* ProjectionRegistry
        yield* eventually(
          Effect.sync(() => {
            const [books, monthly] = projections.statesUnsafe()
            assert.deepStrictEqual([books?.name, monthly?.name], ["books_v1", "monthly_totals_v1"])
            assert.isUndefined(books?.sweep.lastError)
            assert.strictEqual(
              monthly?.sweep.lastError,
              "read model: a table, a column or a right is missing (42P01)"
            )
          })
        )
        yield* execute(world.databaseUrl, "ALTER TABLE elsewhere RENAME TO monthly_totals_v1_totals")
        yield* eventually(asExpected(eventWriter))

        yield* execute(world.databaseUrl, "UPDATE monthly_totals_v1_totals SET came_in = 0")
        const report = yield* rebuild(monthlyTotals)
        assert.strictEqual(report.events, eventWriter.log.length)
        yield* asExpected(eventWriter)
        yield* play(eventWriter, ...steps)
        yield* eventually(asExpected(eventWriter))
        yield* eventually(assertCaughtUp(eventWriter.log))
      }).pipe(Effect.provide(ProjectionFibers.layerOf(monthlyTotals).pipe(Layer.provideMerge(world.process))))
    })
  )
})
