/** `chronicle demo` as a person runs it: real processes on a data directory of their own, and what they print. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { dayFile, type Ended, jsonOf, run } from "../support/chronicle.ts"
import { freshDataDir, nothingRunsOn, preparedDataDir } from "../support/devStacks.ts"

const refusedByReason = {
  AccountNotActive: 22,
  CommandIdReused: 4,
  HoldExpired: 1,
  InsufficientFunds: 105,
  InvalidCommand: 1
}
const allHold = { I1: true, I2: true, I3: true, I4: true, I5: true, I6: true, I7: true, I8: true }

const demo = (dataDir: string, ...more: ReadonlyArray<string>) => run(["demo", "--data", dataDir, ...more])

const succeeded = (ended: Ended): void => {
  assert.deepInclude(ended, { code: 0 }, ended.stderr)
  // A database that hesitates for seconds, as on a busy machine, is worth a warning.
  const said = ended.stderr.replaceAll(/^\[[\d:.]+\] WARN .*\n( .*\n)*/gm, "")
  assert.match(said, /^(played [\d,]+ lines\n)*$/, "stderr has progress and nothing else")
}

layer(NodeServices.layer, { excludeTestServices: true })("demo", (it) => {
  it.effect(
    "played a second time on the same data accepts nothing new",
    () =>
      Effect.gen(function* () {
        const dataDir = yield* freshDataDir
        const first = yield* demo(dataDir, "--json")
        succeeded(first)
        const { seconds, refusals, ...counts } = jsonOf(first)
        assert.isAbove(Number(seconds), 0)
        assert.isTrue(Array.isArray(refusals) && refusals.length === 133)
        assert.deepInclude(Array.isArray(refusals) && refusals[0], {
          line: 374,
          reason: "InsufficientFunds"
        })
        assert.deepEqual(counts, {
          commands: 2647,
          accepted: 2481,
          refused: refusedByReason,
          replayed: 33,
          faults: {},
          faultLines: [],
          skipped: 0,
          assertions: 3,
          failedAssertions: [],
          accounts: 200,
          events: 5523,
          invariants: allHold,
          ok: true
        })
        const before = yield* run(["statement", "USD:fees", "--limit", "1000", "--json", "--data", dataDir])

        const second = yield* demo(dataDir, "--json")
        succeeded(second)
        const { seconds: _, ...again } = jsonOf(second)
        assert.deepEqual(again, { ...counts, refusals, accepted: 0, replayed: 2481 + 33 })
        const after = yield* run(["statement", "USD:fees", "--limit", "1000", "--json", "--data", dataDir])
        assert.deepEqual(jsonOf(after), jsonOf(before))
        yield* nothingRunsOn(dataDir)
      }),
    420_000
  )

  it.effect(
    "prints each refused or faulty line with its reason, balances, the past and verdicts",
    () =>
      Effect.gen(function* () {
        const dataDir = yield* preparedDataDir
        const told = yield* demo(dataDir, "--file", "examples/faulty.csv")
        succeeded(told)
        for (const words of [
          "skipped    1  lines with an amount of zero",
          "at fault  20  lines of the file",
          'line 7: malformed: 2026-03-02T09:01:00Z,f-04,deposit,faulty:alice,,USD,1.00,,,,"never closed (a quote is never closed)',
          "line 8: malformed: 2026-03-02T09:01:00Z,f-05,deposit,faulty:alice,,USD,1.00,,, (it has 10 fields, the header has 11)",
          "line 10, kind: unknown kind: teleport",
          "line 12, amount: missing",
          "line 16, account: bad id: faulty alice",
          "line 24, asset: unknown asset: DOGE",
          "line 29, amount: too many decimals: 0.5",
          "line 33, amount: not positive: -5.00",
          "line 37, amount: overflow: 10000000000000000000000000000000000.00",
          "line 39, counterparty: same account: faulty:alice",
          "line 43, legs: too many legs",
          "as of version 2                 100.00 USD",
          "✓ I8 derived"
        ])
          assert.include(told.stdout, words)
        assert.notInclude(told.stdout, "✗")
        assert.match(told.stdout, /faulty:alice +70\.00 USD/)

        // Another day on the same data: its refusals are its own, and both can be played again.
        const other = yield* dayFile([
          "2026-03-02T09:00:00Z,o-1,open,other:alice,,USD,,,Alice,,",
          "2026-03-02T09:00:00Z,o-2,withdraw,other:alice,,USD,1.00,,,,",
          "2026-03-02T09:00:00Z,o-3,deposit,other:alice,,USD,1.00,,,,",
          // Twice in a row: the repeat is answered from memory, and may be answered first.
          "2026-03-02T09:00:00Z,o-3,deposit,other:alice,,USD,1.00,,,,",
          "no command at all",
          "2026-03-02T09:00:00Z,o-4,deposit,other alice,,USD,1.00,,,,",
          "2026-03-02T09:00:00Z,o-5,deposit,other:nobody,,USD,1.00,,,,",
          "2026-03-02T09:00:00Z,o-6,deposit,other:bob\u001b[2J,,USD,1.00,,,,"
        ])
        const played = yield* demo(dataDir, "--file", other, "--json")
        succeeded(played)
        const refusals = [
          {
            line: 3,
            id: "o-2",
            reason: "InsufficientFunds",
            message: "account other:alice has 0.00 USD, which does not cover 1.00 USD"
          },
          {
            line: 8,
            id: "o-5",
            reason: "AccountNotFound",
            message: "account other:nobody does not exist"
          }
        ]
        assert.deepInclude(jsonOf(played), {
          refusals,
          faultLines: [
            {
              line: 6,
              reason: "malformed",
              text: "no command at all",
              detail: "it has one field, the header has 11"
            },
            {
              line: 7,
              column: "account",
              reason: "bad id",
              text: "other alice",
              detail: "must be 1 to 64 characters of A-Z a-z 0-9 _ : -"
            },
            {
              line: 9,
              column: "account",
              reason: "bad id",
              text: "other:bob\u001b[2J",
              detail: "must be 1 to 64 characters of A-Z a-z 0-9 _ : -"
            }
          ],
          commands: 5,
          accepted: 2,
          replayed: 1,
          refused: { AccountNotFound: 1, InsufficientFunds: 1 },
          faults: { "bad id": 2, malformed: 1 },
          invariants: allHold,
          ok: true
        })
        const story = yield* demo(dataDir, "--file", other)
        for (const { line, id, reason, message } of refusals)
          assert.include(story.stdout, `    line ${line}, ${id}: ${reason}: ${message}\n`)
        const strict = yield* demo(dataDir, "--file", other, "--strict")
        assert.deepInclude(strict, { code: 1, stdout: strict.stdout })
        assert.match(strict.stderr, /^chronicle: --strict: 2 lines were refused, 3 are at fault$/m)
        assert.match(story.stdout, /accepted +0 [\s\S]*replayed +3 [\s\S]*refused +2 /)
        assert.include(story.stdout, "line 9, account: bad id: other:bob\\x1b[2J")

        // A day whose earlier lines were changed is not the day that was played.
        const changed = yield* dayFile([
          "2026-03-02T09:00:00Z,o-1,open,other:alice,,USD,,,Alice,,",
          "2026-03-02T09:00:00Z,o-2,withdraw,other:alice,,USD,2.00,,,,"
        ])
        const refused = yield* demo(dataDir, "--file", changed, "--json")
        assert.strictEqual(refused.code, 1)
        assert.match(
          refused.stdout,
          /^\{"error":\{"_tag":"\w+","message":"the file was changed since it was played/
        )
        assert.match(refused.stderr, /^chronicle: the file was changed since it was played on these data/m)
      }),
    420_000
  )

  it.effect("says what is wrong with a file or an option before it starts anything", () =>
    Effect.gen(function* () {
      const dataDir = yield* freshDataDir
      const missing = yield* demo(dataDir, "--file", "no-such-file.csv", "--json")
      assert.deepInclude(missing, { code: 2, stdout: "" })
      assert.match(missing.stderr, /^chronicle: .*--file.*no-such-file\.csv/)
      const rate = yield* demo(dataDir, "--rate", "0")
      assert.deepInclude(rate, { code: 2, stdout: "" })
      assert.include(rate.stderr, "must be 1 to")
      const noDay = yield* demo(dataDir, "--file", "package.json")
      assert.deepInclude(noDay, { code: 1, stdout: "" })
      assert.match(noDay.stderr, /^chronicle: the first line must be "time,command_id,/)
      const fs = yield* FileSystem.FileSystem
      assert.isFalse(yield* fs.exists(dataDir), "nothing was started")
    })
  )
})
