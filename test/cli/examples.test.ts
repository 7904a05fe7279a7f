/** The bank's day that is shipped: equal to what its generator makes, with the outcome that its README states. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem, Path, Stream } from "effect"
import { generateDay } from "../../scripts/generate-day.ts"
import { columns, faultReasons } from "../../src/cli/DayFields.ts"
import { readDayFile } from "../../src/cli/DayFile.ts"
import { type PlayResult, play } from "../../src/cli/DayPlayer.ts"
import { openPlayJournal } from "../../src/cli/PlayJournal.ts"
import { FakeLedger, inOrder, Life } from "./fakes.ts"

const commandsOf = (path: string) =>
  readDayFile(path).pipe(
    Stream.runCollect,
    Effect.map((lines) => lines.flatMap((line) => (line._tag === "Command" ? [line.command] : [])))
  )

layer(NodeServices.layer)("examples", (it) => {
  it.effect("day.csv equals what its generator makes, byte for byte", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const [stored, made] = [yield* files.readFileString("examples/day.csv"), yield* generateDay]
      assert.strictEqual(made.length, stored.length)
      assert.isTrue(made === stored, "run scripts/generate-day.ts and look at the difference")
    })
  )

  it.effect("day.csv has the outcome that the README states, also from a journal on disk", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const { join } = yield* Path.Path
      const journalPath = join(yield* files.makeTempDirectoryScoped(), "day.journal")
      const readme = yield* files.readFileString("examples/README.md")
      const counts = new Map(
        [...readme.matchAll(/^\| (\w+) \| (\d+) \|$/gm)].map(([, name, n]) => [name, Number(n)])
      )
      const ledger = new FakeLedger()
      const once = Effect.gen(function* () {
        const journal = yield* openPlayJournal(journalPath)
        return yield* play(readDayFile("examples/day.csv"), {
          journal,
          dispatch: ledger.dispatch(new Life())
        })
      }).pipe(Effect.scoped)
      const told = ({ commands, accepted, replayed, refused }: PlayResult) =>
        new Map(Object.entries({ commands, accepted, replayed, ...refused }))

      const first = yield* once
      assert.deepEqual(told(first), counts)
      assert.deepEqual(first.faults, [])
      assert.deepInclude(first, { assertions: 3, failedAssertionCount: 3 }, "no ledger was given to ask")
      const { PlaceHold, CaptureHold, ReleaseHold, Reverse, Exchange } = first.kinds
      assert.deepEqual([PlaceHold, CaptureHold, ReleaseHold, Reverse, Exchange], [4, 3, 1, 1, 1])
      const commands = yield* commandsOf("examples/day.csv")
      assert.deepEqual(ledger.endState, inOrder(commands))

      const second = yield* once
      assert.deepInclude(second, { accepted: 0, refused: first.refused })
      assert.deepEqual(ledger.endState, inOrder(commands))
    })
  )

  it.effect(
    "day.csv has 200 accounts in three assets of different scale, one frozen, one closed, some overdrawn",
    () =>
      Effect.gen(function* () {
        const { accounts } = inOrder(yield* commandsOf("examples/day.csv"))
        const opened = [...accounts.values()].flatMap((account) =>
          account._tag === "Opened" ? [account] : []
        )
        assert.strictEqual(opened.length, 200)
        assert.sameMembers([...new Set(opened.map(({ asset }) => `${asset}`))], ["USD/2", "JPY/0", "BTC/8"])
        assert.strictEqual(opened.filter(({ status }) => status === "frozen").length, 1)
        assert.strictEqual(opened.filter(({ status }) => status === "closed").length, 1)
        assert.isAbove(opened.filter(({ balance }) => balance < 0n).length, 0)
      })
  )

  it.effect("faulty.csv has a line of each fault, as the comment before it says", () =>
    Effect.gen(function* () {
      const files = yield* FileSystem.FileSystem
      const text = (yield* files.readFileString("examples/faulty.csv")).split("\n")
      const lines = yield* Stream.runCollect(readDayFile("examples/faulty.csv"))
      const faults = lines.flatMap((line) => (line._tag === "Fault" ? [line.fault] : []))
      assert.sameMembers([...new Set(faults.map(({ reason }) => reason))], [...faultReasons])
      assert.strictEqual(lines.filter(({ _tag }) => _tag === "Command").length, 5, "the good lines")
      assert.strictEqual(lines.filter(({ _tag }) => _tag === "Skipped").length, 1, "a line of nothing")
      for (const { line, reason } of faults) {
        const comment = text.slice(0, line).findLast((before) => before.startsWith("#"))
        assert.isTrue(comment?.startsWith(`# ${reason}`), `line ${line} is "${reason}", under "${comment}"`)
      }
    })
  )

  it.effect("the README names every column and every reason", () =>
    Effect.gen(function* () {
      const readme = yield* (yield* FileSystem.FileSystem).readFileString("examples/README.md")
      for (const word of [...columns, ...faultReasons]) assert.include(readme, `\`${word}\``)
    })
  )
})
