/** Which tails a question about an instant looks through: of all writers, in bounded listings. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { eachUnsweptTail, finishedAtOnce } from "../../src/actors/projections/ProjectionLag.ts"
import type { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { sweptFinished } from "../../src/infra/readmodel/ReadModel.ts"

/** So many finished writers, and one that is not. */
const storeOf = (finished: number, limits: Array<number>) => {
  const writers = Array.from({ length: finished }, (_, nth) => ({
    ordinal: nth + 1,
    writerId: `w-${nth + 1}`,
    startedAt: 0,
    lastSeq: 1
  }))
  const open = { writerId: "open", lastSeq: 1 } as never // of a writer's row this is read alone
  return {
    listWriters: Effect.succeed([open]),
    lastFinished: Effect.succeed(finished),
    finishedWriters: ({ above, upTo, limit }) =>
      Effect.sync(() => {
        limits.push(limit)
        return writers.filter(({ ordinal }) => ordinal > above && ordinal <= upTo).slice(0, limit)
      })
  } satisfies Pick<EventStore["Service"], "listWriters" | "lastFinished" | "finishedWriters">
}

it.effect.each([
  { finished: 0, mark: 0 },
  { finished: 3, mark: 1 },
  { finished: finishedAtOnce, mark: 0 },
  { finished: 2 * finishedAtOnce + 200, mark: 0 },
  { finished: 2 * finishedAtOnce + 200, mark: 700 }
])("each of $finished finished writers above $mark is looked at once, some at a time", ({ finished, mark }) =>
  Effect.gen(function* () {
    const limits: Array<number> = []
    const visited: Array<string> = []
    yield* eachUnsweptTail(storeOf(finished, limits), new Map([[sweptFinished, mark]]), ({ writerId }) =>
      Effect.sync(() => {
        visited.push(writerId)
      })
    )
    assert.deepStrictEqual(visited, [
      "open",
      ...Array.from({ length: finished - mark }, (_, nth) => `w-${mark + nth + 1}`)
    ])
    for (const limit of limits) assert.strictEqual(limit, finishedAtOnce)
  })
)
