/** Batches whose commands are faulty are answered in short turns, in which a node serves others, and no more is told of them than a reader takes in. */
import { assert, layer } from "@effect/vitest"
import { Clock, Effect, Result } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger, token } from "../support/callers.ts"
import { sendInMemory } from "../support/httpWorld.ts"
import { countingTurns } from "../support/settableClock.ts"

/** Of what goes on in turns of 5 ms, by a clock by which each look takes one; a phase of the work may end in a turn and the next one begin. */
const looksMax = 20

/** A command, one of whose fields is good for nothing but to have many of. */
const withFields = (count: number) => ({
  _tag: "Deposit",
  account: "bob",
  amount: "1",
  ...Object.fromEntries(Array.from({ length: count }, (_, nth) => [`a${nth}`, 1]))
})

interface Line {
  readonly problem?: { readonly faults: ReadonlyArray<unknown> }
  readonly done?: number
}

layer(memoryLedger, { excludeTestServices: true })("a batch of faulty commands", (it) => {
  const tokens = [token("all", ["command"]), token("some", ["command"], ["b"])]

  const post = (body: string, caller: string) =>
    Effect.gen(function* () {
      const turns = yield* countingTurns(yield* Clock.Clock)
      const send = yield* sendInMemory({ tokens, clock: turns.clock })
      const headers = { "content-type": "application/x-ndjson", authorization: `Bearer secret-${caller}` }
      const text = yield* Effect.promise(async () =>
        (await send("/v1/batch", { method: "POST", body, headers })).text()
      )
      const answers = text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Line)
      return { answers, turns }
    }).pipe(Effect.scoped)

  it.effect.each([
    ["no JSON", "x"],
    ["none at all", ""],
    ["no objects", "7"],
    ["of no kind", "{}"]
  ])("is answered over HTTP in short turns where its lines are %s", ([, line]) =>
    Effect.gen(function* () {
      const lines = 2_000
      const { answers, turns } = yield* post(`${line}\n`.repeat(lines), "all")
      assert.deepEqual(answers.at(-1), { done: line === "" ? 0 : lines })
      assert.isAtLeast(turns.looks(), lines)
      assert.isAtMost(turns.mostInTurn(), looksMax)
    })
  )

  it.effect("is checked in short turns in process, too", () =>
    Effect.gen(function* () {
      const { dispatchMany } = yield* Ledger
      const turns = yield* countingTurns(yield* Clock.Clock)
      const commands = Array.from({ length: 1_000 }, () => withFields(1))
      const results = yield* Effect.provideService(dispatchMany(commands as never), Clock.Clock, turns.clock)
      assert.isTrue(results.every(Result.isFailure))
      assert.isAtLeast(turns.looks(), 1_000)
      assert.isAtMost(turns.mostInTurn(), looksMax)
    }).pipe(Effect.scoped)
  )

  it.effect.each(["all", "some"])(
    "tells a hundred faults, and one of each further command, to a caller that may name %s accounts",
    (caller) =>
      Effect.gen(function* () {
        const { answers } = yield* post(`${JSON.stringify(withFields(40))}\n`.repeat(100), caller)
        const faults = answers.flatMap(({ problem }) =>
          problem === undefined ? [] : [problem.faults.length]
        )
        assert.deepEqual(faults, [40, 40, 40, ...Array.from({ length: 97 }, () => 1)])
      })
  )
})
