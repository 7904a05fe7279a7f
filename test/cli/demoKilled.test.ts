/** A play of a day that is killed at six random moments and begun again ends in the state of an undisturbed play. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { viewOf } from "../../src/domain/Views.ts"
import { startDevStack } from "../../src/infra/dev/DevStack.ts"
import { Queries } from "../../src/infra/readmodel/Queries.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { jsonOf, printed, run, start } from "../support/chronicle.ts"
import { nothingRunsOn, preparedDataDir, query } from "../support/devStacks.ts"
import { Rng } from "../support/Rng.ts"

const kills = 6
/** Lines of the day, and how many a second are played: a place in the file is a moment, on an idle machine. */
const lines = 2_634
const rate = 1_200

const demo = (dataDir: string, ...more: ReadonlyArray<string>) => ["demo", "--data", dataDir, ...more]

/** All that the ledger knows after a day, but for when it was recorded and by whom. */
const endState = (dataDir: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const stack = yield* startDevStack({ dataDir, durable: false })
      return {
        events: yield* query(
          stack.eventStoreUrl,
          `SELECT account_id, version::text AS version, type, payload, command_id, ordinal::text AS ordinal,
             command_hash FROM events ORDER BY account_id, version`
        ),
        accounts: yield* Effect.gen(function* () {
          const { rows } = yield* (yield* Queries).accounts({ limit: 1_000 })
          return rows
            .map((head) => viewOf(head, head.recordedAt))
            .map(({ recordedAt: _, hash: __, ...view }) => view)
        }).pipe(Effect.provide(LedgerNode.layerReader(stack)))
      }
    })
  )

interface Row {
  readonly [column: string]: unknown
}

/**
 * The events of the accounts on which a hold has expired are those of the clock: when it did, and whether its notice stands before or
 * behind what came next. Of these which there are is compared.
 */
const untimed = (rows: ReadonlyArray<Row>) => {
  const timed = new Set(rows.flatMap(({ type, account_id }) => (type === "HoldExpired" ? [account_id] : [])))
  const isTimed = ({ account_id }: Row) => timed.has(account_id)
  return {
    accounts: [...timed],
    events: rows.filter((row) => !isTimed(row)),
    kinds: rows
      .filter(isTimed)
      .map(({ type, command_id }) => `${type} ${command_id}`)
      .toSorted()
  }
}

layer(NodeServices.layer, { excludeTestServices: true })("demo killed", (it) => {
  // Each run draws other moments; the seed in the name of the test repeats them.
  const seed = Number(process.env.CHRONICLE_TEST_SEED ?? Date.now() % 2 ** 31)
  it.effect(
    `comes to the end of an undisturbed play after ${kills} kills at random moments, seed ${seed}`,
    () =>
      Effect.gen(function* () {
        const rng = new Rng(seed)
        const [calm, stormy] = [yield* preparedDataDir, yield* preparedDataDir]
        const undisturbed = yield* run(demo(calm, "--json"))
        assert.deepInclude(undisturbed, { code: 0 }, undisturbed.stderr)

        const places = Array.from({ length: kills }, () => rng.below(lines)).toSorted((a, b) => a - b)
        for (const place of places) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const life = yield* start(demo(stormy, "--rate", String(rate)))
              yield* printed(life, /^Playing /m)
              // A moment of the rng, not a wait: whatever it hits must do no harm.
              yield* Effect.sleep((place / rate) * 1_000)
              yield* life.signal("SIGKILL")
              const { code, signal, stdout, stderr } = yield* life.ended
              // Where the rng drew one of the last lines, a test that is held up comes too late for it.
              assert.isTrue(signal === "SIGKILL" || code === 0, `${code} ${signal} ${stdout}${stderr}`)
            })
          )
          yield* nothingRunsOn(stormy)
        }

        const last = yield* run(demo(stormy, "--json"))
        assert.deepInclude(last, { code: 0 }, last.stderr)
        const { refused, commands, accounts, events, invariants, ...counts } = jsonOf(last)
        const expected = jsonOf(undisturbed)
        assert.deepInclude(expected, { refused, commands, accounts, events, invariants })
        assert.strictEqual(
          Number(counts.accepted) + Number(counts.replayed),
          Number(expected.accepted) + Number(expected.replayed)
        )
        assert.isAbove(Number(counts.replayed), Number(expected.replayed), "earlier lives got somewhere")
        const [wanted, found] = [yield* endState(calm), yield* endState(stormy)]
        assert.strictEqual(wanted.accounts.length, 200)
        assert.strictEqual(wanted.events.length, Number(events))
        assert.deepEqual(found.accounts, wanted.accounts)
        assert.deepEqual(untimed(found.events), untimed(wanted.events))
      }),
    600_000
  )
})
