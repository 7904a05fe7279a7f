/** Exports, trial balances, parked accounts and rebuilds at the command line, as real processes. */
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer, Stream } from "effect"
import { Csv } from "effect/encoding"
import { DevStack } from "../../src/infra/dev/DevStack.ts"
import { jsonOf, playedStack, run, variablesOf } from "../support/chronicle.ts"
import { query } from "../support/devStacks.ts"

const day = [
  "2026-03-02T09:00:00Z,c-1,open,alice,,USD,,,Alice,50.00,",
  "2026-03-02T09:00:00Z,c-2,open,bob,,USD,,,Bob,,",
  '2026-03-02T09:01:00Z,c-3,deposit,alice,,USD,500.00,,,,"wages, ""March"""',
  "2026-03-02T09:02:00Z,c-4,transfer,alice,bob,USD,120.00,,,,rent"
]

const ask = Effect.fnUntraced(function* (args: ReadonlyArray<string>) {
  return yield* run(args, { env: variablesOf(yield* DevStack) })
})

layer(Layer.effect(DevStack, playedStack(day)).pipe(Layer.provideMerge(NodeServices.layer)), {
  excludeTestServices: true,
  timeout: "4 minutes"
})("the read side at the command line", (it) => {
  it.effect("exports the same statement lines as CSV and as JSON", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-export-" })
      const [csv, json] = [`${directory}/alice.csv`, `${directory}/alice.json`]
      assert.deepInclude(
        jsonOf(yield* ask(["statement", "alice", "--export", "csv", "--out", csv, "--json"])),
        {
          file: csv,
          lines: 3
        }
      )
      yield* ask(["statement", "alice", "--export", "json", "--out", json])
      const rows = yield* Stream.make(readFileSync(csv, "utf8")).pipe(
        Stream.pipeThroughChannel(Csv.decodeString({ headers: true })),
        Stream.runCollect
      )
      const objects: ReadonlyArray<Record<string, unknown>> = JSON.parse(readFileSync(json, "utf8"))
      assert.deepStrictEqual(
        rows.map(({ type, description, amount, balance }) => [type, description, amount, balance]),
        [
          ["AccountOpened", "", "0.00", "0.00"],
          ["Deposited", 'wages, "March"', "500.00", "500.00"],
          ["TransferSent", "rent", "-120.00", "380.00"]
        ]
      )
      assert.deepStrictEqual(
        objects.map((one) =>
          Object.fromEntries(Object.entries(one).map(([key, value]) => [key, String(value ?? "")]))
        ),
        [...rows]
      )
      assert.deepStrictEqual((yield* fs.readDirectory(directory)).toSorted(), ["alice.csv", "alice.json"])
      assert.strictEqual((yield* ask(["statement", "alice", "--export", "csv"])).code, 2)
      assert.strictEqual(
        (yield* ask(["statement", "alice", "--export", "csv", "--out", `${directory}/none/x.csv`])).code,
        1
      )
    })
  )

  it.effect("exports to a pipe, which stays one, and to stdout", () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-export-" })
      const [csv, pipe] = [`${directory}/alice.csv`, `${directory}/pipe`]
      yield* ask(["statement", "alice", "--export", "csv", "--out", csv])
      const text = readFileSync(csv, "utf8")
      execFileSync("mkfifo", [pipe])
      const read = yield* Effect.forkScoped(fs.readFileString(pipe))
      const toPipe = yield* ask(["statement", "alice", "--export", "csv", "--out", pipe])
      assert.deepInclude(toPipe, { code: 0, stdout: "" })
      assert.strictEqual((yield* fs.stat(pipe)).type, "FIFO")
      assert.strictEqual(yield* Fiber.join(read), text)
      const toStdout = yield* ask(["statement", "alice", "--export", "csv", "--out", "-"])
      assert.deepInclude(toStdout, { code: 0, stdout: text })
      assert.deepStrictEqual((yield* fs.readDirectory(directory)).toSorted(), ["alice.csv", "pipe"])
    })
  )

  it.effect("balances the books as of now and of an instant, and before the first", () =>
    Effect.gen(function* () {
      const now = jsonOf(yield* ask(["trial-balance", "--json"]))
      assert.deepInclude(now, {
        lines: [{ asset: "USD/2", accounts: "50000", contras: "-50000", total: "0" }],
        parked: 0
      })
      // No account had an asset then.
      const early = "2020-01-01T00:00:00Z"
      const before = jsonOf(yield* ask(["trial-balance", "--known", early, "--json"]))
      const byOlderName = jsonOf(yield* ask(["trial-balance", "--at", early, "--json"]))
      assert.deepStrictEqual(byOlderName, before)
      assert.deepInclude(before, { lines: [], parked: 0 })
    })
  )

  it.effect("lists, retries and skips parked accounts", () =>
    Effect.gen(function* () {
      const stack = yield* DevStack
      assert.deepInclude(jsonOf(yield* ask(["parked", "--json"])), { parked: [], skipped: [] })
      yield* query(
        stack.readModelUrl,
        "INSERT INTO books_v1_parked_accounts VALUES ('bob', 3, 'a text it could not hold', now())"
      )
      const listed = yield* ask(["parked"])
      assert.match(listed.stdout, /bob +3 .* a text it could not hold/)
      const wrong = yield* ask(["parked", "skip", "bob", "--version", "2"])
      assert.strictEqual(wrong.code, 1)
      assert.include(wrong.stderr, "it is parked at version 3")
      const freed = yield* ask(["parked", "retry", "bob", "--json"])
      assert.deepInclude(jsonOf(freed), { released: ["bob"], parked: [] })
      const again = yield* ask(["parked", "retry", "bob"])
      assert.deepInclude(again, { code: 1, stdout: "" })
      assert.include(again.stderr, "account bob is not parked")
    })
  )

  it.effect("rebuilds the books, and a projection of the host with its tables", () =>
    Effect.gen(function* () {
      const stack = yield* DevStack
      yield* query(stack.readModelUrl, "UPDATE books_v1_balances SET balance = 1")
      yield* query(
        stack.readModelUrl,
        "INSERT INTO books_v1_skipped VALUES ('bob', 9, 'a text it could not hold', now())"
      )
      const broken = yield* ask(["verify"])
      assert.strictEqual(broken.code, 1)
      assert.include(broken.stdout, 'left out by "parked skip": bob at version 9: a text it could not hold')
      yield* query(
        stack.readModelUrl,
        "UPDATE books_v1_balances SET version = version - 1 WHERE account = 'bob'"
      )
      assert.deepInclude(jsonOf(yield* ask(["balance", "bob", "--json"])), { behind: 1 })
      assert.deepInclude(jsonOf(yield* ask(["rebuild", "books", "--json"])), {
        projection: "books_v1",
        events: 5
      })
      assert.strictEqual((yield* ask(["verify"])).code, 0)
      const own = ["rebuild", "monthly_totals", "--module", "examples/monthly-totals/projection.ts", "--json"]
      assert.deepInclude(jsonOf(yield* ask(own)), { projection: "monthly_totals_v1", events: 5 })
      const rows = yield* query(
        stack.readModelUrl,
        "SELECT account, came_in::text, went_out::text FROM monthly_totals_v1_totals ORDER BY account"
      )
      assert.deepStrictEqual(
        rows.map((row) => [row.account, row.came_in, row.went_out]),
        [
          ["alice", "50000", "12000"],
          ["bob", "12000", "0"]
        ]
      )
      const unknown = yield* ask(["rebuild", "nothing"])
      assert.strictEqual(unknown.code, 2)
      assert.include(unknown.stderr, 'there is no projection "nothing"')
    })
  )
})
