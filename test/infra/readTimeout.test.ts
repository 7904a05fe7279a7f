/** A peer that sends nothing: whether it takes what it is sent meanwhile tells if it is gone. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Socket } from "effect/socket"
import { TestClock } from "effect/testing"
import { withReadTimeout } from "../../src/infra/cluster/SocketTimeouts.ts"

const silentMs = 4_000

interface Sent {
  readonly taken: number
  readonly queued: number
  readonly unacknowledged: number
}

/** Reads from a peer that says nothing, and of which it is told what it has taken. */
const readFrom = Effect.fnUntraced(function* (sentUnsafe: () => Sent) {
  let isEnded = false
  const silent = Socket.make({
    reader: Effect.succeed({ pull: Effect.never, upgrade: () => Effect.void }),
    writer: Effect.succeed({ write: () => Effect.void, writeAll: () => Effect.void })
  })
  const { reader } = withReadTimeout(silent, silentMs, {
    bytesReadUnsafe: () => 0,
    sent: Effect.sync(sentUnsafe),
    endUnsafe: () => {
      isEnded = true
    }
  })
  const { pull } = yield* reader
  yield* Effect.forkScoped(pull, { startImmediately: true })
  return () => isEnded
})

it.effect("a peer that takes a large message slowly is kept for as long as it takes something", () =>
  Effect.gen(function* () {
    let unsent = 1_000_000
    const isEnded = yield* readFrom(() => ({
      taken: 1_000_000 - unsent,
      queued: 0,
      unacknowledged: unsent
    }))
    for (; unsent > 0; unsent -= 20_000) {
      assert.isFalse(isEnded(), `${unsent} bytes to go`)
      yield* TestClock.adjust(500)
    }
    yield* TestClock.adjust(2 * silentMs)
    assert.isTrue(isEnded())
  })
)

it.effect("a peer that takes no more than pings is ended", () =>
  Effect.gen(function* () {
    let looks = 0
    const isEnded = yield* readFrom(() => {
      const unacknowledged = (looks++ % 2) * 100
      return { taken: looks * 100 - unacknowledged, queued: 0, unacknowledged }
    })
    yield* TestClock.adjust(silentMs + 1_000)
    assert.isTrue(isEnded())
  })
)

it.effect("a peer that takes messages slowly is kept while further ones are written", () =>
  Effect.gen(function* () {
    let taken = 0
    const isEnded = yield* readFrom(() => ({ taken, queued: 500_000, unacknowledged: 100_000 }))
    for (; taken < 1_000_000; taken += 20_000) {
      assert.isFalse(isEnded(), `${taken} bytes taken`)
      yield* TestClock.adjust(500)
    }
    yield* TestClock.adjust(2 * silentMs)
    assert.isTrue(isEnded())
  })
)

it.effect("a peer that stands still is ended, though its kernel takes what is written", () =>
  Effect.gen(function* () {
    let looks = 0
    const isEnded = yield* readFrom(() => ({ taken: looks++ * 50_000, queued: 0, unacknowledged: 10_000 }))
    yield* TestClock.adjust(silentMs + 1_000)
    assert.isTrue(isEnded())
  })
)
