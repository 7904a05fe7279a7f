/** Rows are changed by hand while no node runs: `chronicle verify` must name each of them, and exit with 1. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { DevStack, type DevStackService } from "../../src/infra/dev/DevStack.ts"
import { jsonOf, playedStack, run, variablesOf } from "../support/chronicle.ts"
import { query } from "../support/devStacks.ts"

const line = (id: string, kind: string, rest: string) => `2026-03-02T09:00:00Z,${id},${kind},${rest}`

const day = [
  line("v-1", "open", "alice,,USD,,,Alice,,"),
  line("v-2", "open", "bob,,USD,,,Bob,100.00,"),
  line("v-3", "deposit", "alice,,USD,500.00,,,,wages"),
  line("v-4", "transfer", "alice,bob,USD,120.00,,,,rent"),
  line("v-5", "deposit", "alice,,USD,30.00,,,,"),
  line("v-6", "withdraw", "alice,,USD,10.00,,,,"),
  line("v-7", "journal", ",,USD,,alice=-5.00;bob=5.00,,,"),
  line("v-8", "deposit", "bob,,USD,1.00,,,,")
]

const verify = (stack: DevStackService, ...more: ReadonlyArray<string>) =>
  run(["verify", ...more], { env: variablesOf(stack) })

interface Tampering {
  readonly what: string
  readonly store: "eventStoreUrl" | "readModelUrl"
  readonly change: string
  readonly undo: string
  /** The row that the first finding must name, and the invariant it breaks. */
  readonly named: { readonly invariant: string; readonly account: string; readonly version: number }
}

/** `alice`: 1 opened, 2 deposited 500, 3 sent 120, 4 deposited 30, 5 withdrawn 10, 6 a journal's leg of -5. */
const row = (version: number) => `account_id = 'alice' AND version = ${version}`
const set = (column: string, from: string, to: string, version: number) => ({
  change: `UPDATE events SET ${column} = replace(${column}, '${from}', '${to}') WHERE ${row(version)}`,
  undo: `UPDATE events SET ${column} = replace(${column}, '${to}', '${from}') WHERE ${row(version)}`
})

const tamperings: ReadonlyArray<Tampering> = [
  {
    what: "a text in a payload",
    store: "eventStoreUrl",
    ...set("payload", "wages", "gifts", 2),
    named: { invariant: "I5", account: "alice", version: 2 }
  },
  {
    what: "an amount",
    store: "eventStoreUrl",
    ...set("payload", '"50000"', '"60000"', 2),
    named: { invariant: "I5", account: "alice", version: 2 }
  },
  {
    what: "a hash",
    store: "eventStoreUrl",
    change: `UPDATE events SET hash = reverse(hash) WHERE ${row(4)}`,
    undo: `UPDATE events SET hash = reverse(hash) WHERE ${row(4)}`,
    named: { invariant: "I5", account: "alice", version: 4 }
  },
  {
    what: "a version",
    store: "eventStoreUrl",
    change: `UPDATE events SET version = 9 WHERE ${row(6)}`,
    undo: `UPDATE events SET version = 6 WHERE ${row(9)}`,
    named: { invariant: "I1", account: "alice", version: 6 }
  },
  {
    what: "a row deleted",
    store: "eventStoreUrl",
    change: `CREATE TABLE kept AS SELECT * FROM events WHERE ${row(3)}; DELETE FROM events WHERE ${row(3)}`,
    undo: "INSERT INTO events SELECT * FROM kept; DROP TABLE kept",
    named: { invariant: "I1", account: "alice", version: 3 }
  },
  {
    what: "the last row deleted",
    store: "eventStoreUrl",
    change: `CREATE TABLE kept AS SELECT * FROM events WHERE ${row(6)}; DELETE FROM events WHERE ${row(6)}`,
    undo: "INSERT INTO events SELECT * FROM kept; DROP TABLE kept",
    named: { invariant: "I1", account: "alice", version: 6 }
  },
  {
    what: "a balance in the read model",
    store: "readModelUrl",
    change: "UPDATE books_v1_balances SET balance = balance + 1 WHERE account = 'bob'",
    undo: "UPDATE books_v1_balances SET balance = balance - 1 WHERE account = 'bob'",
    named: { invariant: "I8", account: "bob", version: 4 }
  }
]

const statements = Effect.fnUntraced(function* (
  stack: DevStackService,
  store: Tampering["store"],
  text: string
) {
  for (const statement of text.split("; ")) yield* query(stack[store], statement)
})

layer(Layer.effect(DevStack, playedStack(day)).pipe(Layer.provideMerge(NodeServices.layer)), {
  excludeTestServices: true,
  timeout: "4 minutes"
})("verify on the command line", (it) => {
  it.effect("finds nothing in untouched books, nor in one account of them", () =>
    Effect.gen(function* () {
      const stack = yield* DevStack
      const clean = yield* verify(stack, "--json")
      assert.strictEqual(clean.code, 0, clean.stderr)
      assert.deepInclude(jsonOf(clean), { accounts: 2, events: 10, behind: 0, findings: [], ok: true })
      const one = yield* verify(stack, "bob", "--json")
      assert.deepInclude(jsonOf(one), { accounts: 1, events: 4, ok: true })
    })
  )

  it.effect.each(tamperings)("names the row: $what", ({ store, change, undo, named }) =>
    Effect.gen(function* () {
      const stack = yield* DevStack
      yield* statements(stack, store, change)
      const found = yield* verify(stack, "--json")
      yield* statements(stack, store, undo)
      assert.strictEqual(found.code, 1, found.stderr)
      const { findings, invariants, ok } = jsonOf(found)
      assert.isFalse(ok)
      assert.isTrue(Array.isArray(findings))
      assert.deepInclude(Array.isArray(findings) ? findings[0] : undefined, named)
      assert.deepInclude(invariants, { [named.invariant]: false })
    })
  )

  it.effect("prints the invariant, the row and the reason", () =>
    Effect.gen(function* () {
      const stack = yield* DevStack
      yield* query(stack.readModelUrl, "UPDATE books_v1_balances SET balance = 0 WHERE account = 'bob'")
      const told = yield* verify(stack)
      yield* query(stack.readModelUrl, "UPDATE books_v1_balances SET balance = 12600 WHERE account = 'bob'")
      assert.strictEqual(told.code, 1)
      assert.match(told.stdout, /✗ I8 derived.*\n +I8 read model bob@4: .*balance is 0, the log says 12600\n/)
      assert.match(told.stderr, /^chronicle: one row breaks an invariant$/m)
    })
  )

  it.effect("finds nothing once every row is restored", () =>
    Effect.gen(function* () {
      const clean = yield* verify(yield* DevStack, "--json")
      assert.strictEqual(clean.code, 0, clean.stdout)
    })
  )
})
