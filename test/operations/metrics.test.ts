/** The metrics of a node: they count what the node does, and name no account, command or caller. */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { openHttpLayer } from "../support/httpWorld.ts"
import { deposit, open, withdraw } from "../support/ledgerWorld.ts"
import { ownPort } from "../support/ports.ts"
import { eventually } from "../support/readSides.ts"
import { memoryLedger } from "../support/rpcWorld.ts"

class Port extends Context.Service<Port, number>()("chronicle/test/Port") {}

/** The HTTP server of a node, as `serve` starts it. */
const server = Layer.unwrap(
  Effect.map(ownPort, (port) => openHttpLayer(port).pipe(Layer.provideMerge(Layer.succeed(Port, port))))
).pipe(Layer.provideMerge(memoryLedger))

/** The value of each series, by its name with labels. */
const parse = (text: string): ReadonlyMap<string, number> =>
  new Map(
    text
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => {
        const space = line.lastIndexOf(" ")
        return [line.slice(0, space), Number(line.slice(space + 1))]
      })
  )

const scrape = Effect.gen(function* () {
  const port = yield* Port
  const response = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/metrics`))
  assert.strictEqual(response.status, 200)
  assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/)
  return yield* Effect.promise(() => response.text())
})

/** How much a series grew. A series that is new began at 0. */
const growth = (before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>, series: string) =>
  (after.get(series) ?? Number.NaN) - (before.get(series) ?? 0)

layer(server, { excludeTestServices: true })("the metrics", (it) => {
  it.effect("count each command once, as accepted, replayed or refused", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      const before = parse(yield* scrape)
      yield* ledger.dispatch(open("metered"))
      yield* ledger.dispatch(deposit("metered", 5n, "metered-1"))
      yield* ledger.dispatch(deposit("metered", 5n, "metered-1"))
      yield* Effect.flip(ledger.dispatch(withdraw("metered", 9n)))
      yield* Effect.flip(ledger.dispatch(withdraw("metered", 9n)))
      const after = parse(yield* scrape)
      const by = (series: string) => growth(before, after, series)
      assert.strictEqual(by('chronicle_commands_total{outcome="accepted"}'), 2)
      assert.strictEqual(by('chronicle_commands_total{outcome="replayed"}'), 1)
      assert.strictEqual(by('chronicle_refused_total{error="InsufficientFunds"}'), 2)
      assert.strictEqual(by("chronicle_events_total"), 2)
      assert.strictEqual(by("chronicle_conflicts_total"), 0)
      assert.isAtLeast(after.get("chronicle_residents") ?? 0, 1)
      assert.strictEqual(after.get('chronicle_under_way{phase="flying"}'), 0)
      assert.isAbove(after.get("process_resident_memory_bytes") ?? 0, 10_000_000)
    })
  )

  it.effect("add each batch to the histograms of rows and seconds", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      yield* ledger.dispatch(open("batched"))
      const before = parse(yield* scrape)
      yield* ledger.dispatchMany(Array.from({ length: 200 }, () => deposit("batched", 1n)))
      const after = parse(yield* scrape)
      const by = (series: string) => growth(before, after, series)
      const flushes = by("chronicle_commits_total")
      assert.isAbove(flushes, 0)
      assert.strictEqual(by("chronicle_commit_batch_rows_sum"), 200)
      assert.strictEqual(by("chronicle_commit_batch_rows_count"), flushes)
      assert.strictEqual(by("chronicle_commit_seconds_count"), flushes)
      assert.strictEqual(by('chronicle_commit_seconds_bucket{le="+Inf"}'), flushes)
    })
  )

  it.effect("show relay and projection of each partition", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      yield* ledger.dispatch(open("followed"))
      yield* ledger.dispatch(deposit("followed", 1n))
      yield* eventually(
        Effect.gen(function* () {
          const after = parse(yield* scrape)
          const ours = [...after.keys()].filter((name) =>
            name.startsWith("chronicle_projected_events_total{")
          )
          const projected = ours.reduce((sum, series) => sum + (after.get(series) ?? 0), 0)
          const committed = after.get("chronicle_events_total") ?? 0
          assert.isAtLeast(committed, 2)
          assert.strictEqual(projected, committed)
          assert.strictEqual(after.get("chronicle_relayed_events_total"), committed)
          assert.strictEqual(after.get('chronicle_parked_accounts{projection="books_v1"}'), 0)
          assert.isDefined(
            after.get('chronicle_projection_behind_events{projection="books_v1",partition="0"}')
          )
          assert.strictEqual(after.get("chronicle_bus_up"), 1)
        })
      )
    })
  )

  it.effect("have one help text and one type for each name", () =>
    Effect.gen(function* () {
      const lines = (yield* scrape).split("\n")
      const types = lines.filter((line) => line.startsWith("# TYPE ")).map((line) => line.split(" ")[2] ?? "")
      const helps = lines.filter((line) => line.startsWith("# HELP ")).map((line) => line.split(" ")[2] ?? "")
      assert.isAbove(types.length, 30)
      assert.deepEqual(types, [...new Set(types)])
      assert.deepEqual(helps, types)
      // No label names an account, a command or a caller, because each would make a series of its own.
      assert.notMatch(lines.join("\n"), /metered|batched|followed/)
    })
  )
})
