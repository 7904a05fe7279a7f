/** Streams that can hand their items on, and those that cannot. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Stream } from "effect"
import {
  type ItemSource,
  openSource,
  streamOf,
  unwrapSource
} from "../../src/actors/subscriptions/ItemSource.ts"

const numbers = (log: Array<string>) => {
  let last = 0
  const source: ItemSource<number> = {
    next: Effect.sync(() => [++last]),
    handOn: (take) => Effect.sync(() => void take([++last]))
  }
  return streamOf<number, string>(
    Effect.acquireRelease(
      Effect.sync(() => {
        log.push("opened")
        return source
      }),
      () => Effect.sync(() => log.push("closed"))
    )
  )
}

const handedOnBy = (stream: Stream.Stream<number, string>) =>
  Effect.scoped(
    Effect.gen(function* () {
      const taken: Array<number> = []
      const { next, handOn } = yield* openSource(stream)
      const first = yield* next
      yield* handOn((items) => {
        taken.push(...items)
        return true
      })
      return { first, taken }
    })
  )

describe("the source of a stream", () => {
  it.effect(
    "hands its items on, also where the stream is found by an effect, and is open for as long as its scope",
    () =>
      Effect.gen(function* () {
        for (const wrapped of [(stream: Stream.Stream<number, string>) => stream, foundLater]) {
          const log: Array<string> = []
          assert.deepEqual(yield* handedOnBy(wrapped(numbers(log))), { first: [1], taken: [2] })
          assert.deepEqual(log, ["opened", "closed"])
        }
      })
  )

  it.effect("is one that hands nothing on where an operator has made another stream of it", () =>
    Effect.gen(function* () {
      const doubled = Stream.map(numbers([]), (n) => n * 2)
      assert.deepEqual(yield* handedOnBy(doubled), { first: [2], taken: [] })
    })
  )

  it.effect("is read like every other stream, to its end and with its errors", () =>
    Effect.gen(function* () {
      assert.deepEqual(yield* Stream.runCollect(Stream.take(foundLater(numbers([])), 3)), [1, 2, 3])
      const refused = unwrapSource<number, string>(Effect.fail("refused"))
      assert.deepEqual(yield* Effect.exit(Stream.runDrain(refused)), Exit.fail("refused"))
      assert.deepEqual(yield* Effect.exit(Effect.scoped(openSource(refused))), Exit.fail("refused"))
      const { next } = yield* openSource(Stream.make(1))
      assert.deepEqual(yield* next, [1])
      assert.isTrue(Exit.isFailure(yield* Effect.exit(next)))
    }).pipe(Effect.scoped)
  )
})

const foundLater = (stream: Stream.Stream<number, string>) => unwrapSource(Effect.succeed(stream))
