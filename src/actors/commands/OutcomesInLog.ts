/**
 * The first outcomes of commands that the log has. Most have one further event, one of a journal or a group may have
 * thousands: they are read in parts of bounded size, each command is told as its part is there, and nothing else waits
 * for that.
 */
import { Effect, Result } from "effect"
import type { Position, Posting } from "../../domain/Receipt.ts"
import { printToken } from "../../domain/Receipt.ts"
import { boundBy, decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import type { PendingCommand } from "../accounts/Lifecycle.ts"
import { InFlightCommands } from "./InFlightCommands.ts"
import { furtherPositions } from "./Originals.ts"
import { startPartedReads } from "./PartedReads.ts"
import type { KeptReceipt } from "./ReceiptCache.ts"

/** Rows of one query: what was written to them, the metadata of a journal in each leg say, may come to some megabytes. */
const rowsMax = 1_000

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
  const inFlight = yield* InFlightCommands.Service
  const landed = yield* startPartedReads<Landed, ReadonlyMap<string, Posting>>({
    what: "reading outcomes",
    sizeMax: rowsMax,
    sizeOf: ({ further }) => further.length,
    isOver: ({ command }) => command.phase === "done",
    read: (part) =>
      readPostings(
        store,
        part.flatMap(({ further }) => further)
      ),
    deliver: ({ command, first, further }, found) => {
      inFlight.attempt(command, () => {
        const postings = further.flatMap((position) => found.get(keyOf(position)) ?? [])
        tell(command, keptReceiptOf(first, postings))
      })
    },
    end: ({ command }, defect) => inFlight.end(command, defect)
  })

  return {
    /** `first` is the first event under the command's id: it will not be decided, and its outcome is read. */
    read: (command: PendingCommand, first: StoredEvent): void => {
      const further = furtherPositionsOf(first)
      if (further.length === 0) return tell(command, keptReceiptOf(first, []))
      if (first.commandHash === command.commandHash) command.markRepeat()
      command.noteDecided()
      landed.add({ command, first, further })
    },
    trouble: landed.trouble
  }
})

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
