/** The journal of a play: refused commands, each on the disk before the call that records it returns. */
import { Effect, FileSystem, Path, Result, Schema, Semaphore } from "effect"
import type { PlatformError } from "effect/PlatformError"

/** A command of the file that the ledger refused. */
const Refusal = Schema.Struct({
  /** Index of the command in the file, from 1. */
  ordinal: Schema.Int,
  /** Covers this command and all before it, so that another file's journal is noticed. */
  digest: Schema.String,
  /** The tag of the error. */
  reason: Schema.String,
  /** Journals of earlier versions have none. */
  message: Schema.optionalKey(Schema.String)
})
type Refusal = typeof Refusal.Type

/**
 * What a player must remember beyond the ledger's own memory. Accepted commands are in the log and answer
 * "replayed" for ever; a refused one leaves nothing there, and sent again on a later state it might be accepted.
 */
export interface PlayJournal {
  /** What earlier lives of this play recorded, by ordinal. */
  readonly refused: ReadonlyMap<number, Refusal>
  /** Returns once the refusal is on the disk. Refusals that come together share one sync. */
  readonly record: (refusal: Refusal) => Effect.Effect<void, PlatformError>
}

const FromLine = Schema.fromJsonString(Refusal)
const decodeLine = Schema.decodeResult(FromLine)
const encodeLine = Schema.encodeSync(FromLine)

/** Opens or creates the journal at `path`; a tail that a crash tore is cut off. */
export const openPlayJournal = Effect.fn("PlayJournal.open")(function* (path: string) {
  const files = yield* FileSystem.FileSystem
  const file = yield* files.open(path, { flag: "a+" })
  const { refused, length, torn } = readWhole(yield* files.readFile(path))
  if (torn) yield* file.truncate(length)
  yield* file.sync
  yield* syncFolder(path)

  let pending: Array<Refusal> = []
  let failure: PlatformError | undefined
  const turn = yield* Semaphore.make(1)
  const flush = Effect.gen(function* () {
    // What stands in the file after a failed write or sync is unknown: nothing may follow it in this life.
    if (failure !== undefined) return yield* Effect.fail(failure)
    if (pending.length === 0) return
    const batch = pending
    pending = []
    yield* file.writeAll(
      new TextEncoder().encode(batch.map((refusal) => `${encodeLine(refusal)}\n`).join(""))
    )
    yield* file.sync
  }).pipe(
    Effect.tapError((error) =>
      Effect.sync(() => {
        failure = error
      })
    )
  )
  const record = (refusal: Refusal) =>
    Effect.suspend(() => {
      pending.push(refusal)
      // The first caller in turn writes all refusals that are pending by then; the others find none.
      return turn.withPermit(Effect.uninterruptible(flush))
    })
  return { refused, record } satisfies PlayJournal
})

/** All complete lines up to the first that is none: an entry that was synced has only whole ones before it. */
const readWhole = (bytes: Uint8Array) => {
  const refused = new Map<number, Refusal>()
  const decoder = new TextDecoder()
  let length = 0
  for (;;) {
    const end = bytes.indexOf(10, length)
    if (end < 0) break
    const refusal = decodeLine(decoder.decode(bytes.subarray(length, end)))
    if (Result.isFailure(refusal)) break
    refused.set(refusal.success.ordinal, refusal.success)
    length = end + 1
  }
  return { refused, length, torn: length < bytes.length }
}

/** Makes the name of a new file durable. Not every platform can sync a folder; a killed process needs none. */
const syncFolder = Effect.fnUntraced(function* (path: string) {
  const files = yield* FileSystem.FileSystem
  const { dirname } = yield* Path.Path
  yield* Effect.scoped(Effect.flatMap(files.open(dirname(path)), (folder) => folder.sync)).pipe(Effect.ignore)
})
