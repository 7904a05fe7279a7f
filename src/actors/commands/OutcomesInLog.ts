/**
 * The first outcomes of commands that the log has. Most have one further event, one of a journal or a group may have
 * thousands: they are read in parts of bounded size, each command is told as its part is there, and nothing else waits
 * for that.
 */
import { Effect, Latch, Result } from "effect"
import type { Position, Posting } from "../../domain/Receipt.ts"
import { printToken } from "../../domain/Receipt.ts"
import { boundBy, decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { PartSize } from "../../infra/eventstore/PartSize.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"
import type { PendingCommand } from "../accounts/Lifecycle.ts"
import { furtherPositions } from "./Originals.ts"
import type { KeptReceipt } from "./ReceiptCache.ts"

/** Rows of one query: what was written to them, the metadata of a journal in each leg say, may come to some megabytes. */
const rowsMax = 1_000
const retryMs = 200

/** A command whose id the log has, with the first event of that id, and where its others stand. */
interface Landed {
  readonly command: PendingCommand
  readonly first: StoredEvent
  readonly further: ReadonlyArray<Position>
}

/** Starts the fiber that reads the rest of what landed; each command is told its first receipt once. */
export const startReadingRest = Effect.fnUntraced(function* (
  tell: (command: PendingCommand, found: KeptReceipt) => void
) {
  const store = yield* EventStore
  const wake = Latch.makeUnsafe(false)
  const atOnce = new PartSize(rowsMax)
  let landed: Array<Landed> = []
  let trouble: string | undefined

  const readSome = Effect.gen(function* () {
    yield* wake.await
    // What is found in the same tick is read together, and never inside of `read`.
    yield* Effect.yieldNow
    landed = landed.filter(({ command }) => command.phase !== "done")
    const part = landed.splice(0, Math.min(atOnce.size, sizeOfPart(landed)))
    if (landed.length === 0) wake.closeUnsafe()
    const found = yield* readPostings(
      store,
      part.flatMap(({ further }) => further)
    ).pipe(
      Effect.catch((error) => {
        trouble = error.reason
        return Effect.sleep(retryMs).pipe(Effect.as(undefined))
      })
    )
    if (found === undefined) {
      atOnce.noteFailure()
      // One that was alone comes last: it may be the one that cannot be read.
      landed = part.length > 1 ? part.concat(landed) : landed.concat(part)
      wake.openUnsafe()
      return
    }
    atOnce.noteSuccess()
    trouble = undefined
    for (const { command, first, further } of part) {
      const postings = further.flatMap((position) => found.get(keyOf(position)) ?? [])
      tell(command, keptReceiptOf(first, postings))
    }
  })
  yield* readSome.pipe(goesOn("reading outcomes"), Effect.forever, Effect.forkScoped)

  return {
    /** `first` is the first event under the command's id: it will not be decided, and its outcome is read. */
    read: (command: PendingCommand, first: StoredEvent): void => {
      const further = furtherPositionsOf(first)
      if (further.length === 0) return tell(command, keptReceiptOf(first, []))
      if (first.commandHash === command.commandHash) command.markRepeat()
      command.noteDecided()
      landed.push({ command, first, further })
      wake.openUnsafe()
    },
    trouble: () => trouble
  }
})

/** How many of them, from the first, have no more rows than one query may bring; one at least. */
const sizeOfPart = (landed: ReadonlyArray<Landed>): number => {
  let rows = 0
  const over = landed.findIndex(({ further }, nth) => {
    rows += further.length
    return nth > 0 && rows > rowsMax
  })
  return over < 0 ? landed.length : over
}

/** What the receipt says of each of these events; a command that has more than one query may bring takes several. */
const readPostings = Effect.fnUntraced(function* (
  store: EventStore["Service"],
  positions: ReadonlyArray<Position>
) {
  const postings = new Map<string, Posting>()
  for (let from = 0; from < positions.length; from += rowsMax) {
    for (const row of yield* store.readEvents(positions.slice(from, from + rowsMax))) {
      const posting = postingOf(row)
      postings.set(keyOf(posting), posting)
    }
  }
  return postings
})

const keyOf = ({ account, version }: Position): string => `${account}@${version}`

const postingOf = (row: StoredEvent): Posting => ({
  account: row.accountId,
  version: row.version,
  hash: row.hash,
  ...boundBy(row)
})

const keptReceiptOf = (first: StoredEvent, further: ReadonlyArray<Posting>): KeptReceipt => {
  const postings = [postingOf(first), ...further]
  return {
    commandHash: first.commandHash ?? "",
    receipt: {
      commandId: first.commandId,
      replayed: true,
      recordedAt: first.recordedAt,
      postings,
      readToken: printToken(postings)
    }
  }
}

/** Where the other events of a command stand, by the references in the first one. */
const furtherPositionsOf = (first: StoredEvent): ReadonlyArray<Position> =>
  Result.match(decodeStored(first), { onFailure: () => [], onSuccess: furtherPositions })
