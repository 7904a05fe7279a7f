/**
 * Reads of the log for commands, in parts: what is asked for in the same tick is read together, and what could not be read is read again
 * for as long as a command waits for it. What met a bug of this program is read again apart from the others, and alone it ends with that.
 */
import { Clock, Effect, Latch, Result } from "effect"
import { makeTurns, mapInTurns } from "../../infra/config/Elapsed.ts"
import type { StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { PartSize } from "../../infra/eventstore/PartSize.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"

const retryMs = 200

interface PartedReadsOptions<Asked, Found> {
  /** What the node's log calls these reads. */
  readonly what: string
  /** A part is no larger than that, unless it is one alone that is. */
  readonly sizeMax: number
  /** What one of them counts, by default 1. */
  readonly sizeOf?: (asked: Asked) => number
  /** No command waits for it any more: it is not read. */
  readonly isOver: (asked: Asked) => boolean
  readonly read: (part: ReadonlyArray<Asked>) => Effect.Effect<Found, StoreUnavailable>
  /** Called for each of a part that was read, in short turns. */
  readonly deliver: (asked: Asked, found: Found) => void
  /** Called for one whose reading met a bug, though it was read alone. */
  readonly end: (asked: Asked, defect: unknown) => void
}

/** Starts the fiber that reads what is added. */
export const startPartedReads = Effect.fnUntraced(function* <Asked, Found>({
  what,
  sizeMax,
  sizeOf = () => 1,
  isOver,
  read,
  deliver,
  end
}: PartedReadsOptions<Asked, Found>) {
  const clock = yield* Clock.Clock
  const wake = Latch.makeUnsafe(false)
  const part = new PartSize(sizeMax)
  let waiting: Array<Asked> = []
  let trouble: string | undefined

  const takePart = (): ReadonlyArray<Asked> => {
    waiting = waiting.filter((one) => !isOver(one))
    let size = 0
    const end = waiting.findIndex((one, index) => {
      size += sizeOf(one)
      return index === part.size || (index > 0 && size > sizeMax)
    })
    return waiting.splice(0, end < 0 ? waiting.length : end)
  }

  /** One that was alone comes last: it may be the one that cannot be read. */
  const putBack = (taken: ReadonlyArray<Asked>): void => {
    part.noteFailure()
    waiting = taken.length > 1 ? taken.concat(waiting) : waiting.concat(taken)
    wake.openUnsafe()
  }

  const afterDefect = Effect.fnUntraced(function* (taken: ReadonlyArray<Asked>, defect: unknown) {
    yield* Effect.logError(`${what} failed and goes on`, defect)
    if (taken.length > 1) putBack(taken)
    else for (const one of taken) end(one, defect)
    return undefined
  })

  const readSome = Effect.gen(function* () {
    yield* wake.await
    // What is asked for in the same tick is read together, and never inside of `add`.
    yield* Effect.yieldNow
    const taken = takePart()
    if (waiting.length === 0) wake.closeUnsafe()
    const found = yield* Effect.result(Effect.suspend(() => read(taken))).pipe(
      Effect.catchDefect((defect) => afterDefect(taken, defect))
    )
    if (found === undefined) return
    if (Result.isFailure(found)) {
      trouble = found.failure.reason
      yield* Effect.sleep(retryMs)
      return putBack(taken)
    }
    part.noteSuccess()
    trouble = undefined
    // A thousand large commands take seconds to decide.
    yield* mapInTurns(taken, (one) => deliver(one, found.success), makeTurns(clock))
  })
  yield* readSome.pipe(goesOn(what), Effect.forever, Effect.forkScoped)

  return {
    add: (asked: Asked): void => {
      waiting.push(asked)
      wake.openUnsafe()
    },
    /** Why the store did not answer the last read; undefined where it did. */
    trouble: () => trouble
  }
})
