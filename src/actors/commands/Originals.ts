/**
 * Finds the original of a reversal in the log: what each account got from it, and what earlier reversals gave back. All of it
 * is immutable by the time that it is read, so a reversal is decided on it however often it is decided again.
 */
import { Effect, Result } from "effect"
import type { Command } from "../../domain/Command.ts"
import { CommandNotFound, type InvalidCommand, Unavailable } from "../../domain/Errors.ts"
import { counterLegOf, type Event } from "../../domain/Event.ts"
import type { AccountId, CommandId } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { movedBy, originalOf } from "../../domain/MovedByOriginal.ts"
import { type ResolvedReverse, reversalIdOf } from "../../domain/Original.ts"
import type { Position } from "../../domain/Receipt.ts"
import { decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventStore } from "../../infra/eventstore/EventStore.ts"

type Store = EventStore["Service"]

/** A row of the log with what it says. */
interface ReadRow {
  readonly row: StoredEvent
  readonly event: Event
}

/** Where the other events of a command stand, by what its first one says. */
export const furtherPositions = (first: Event): ReadonlyArray<Position> => {
  if (first.group?.events !== undefined) return first.group.events.slice(1)
  const counter = counterLegOf(first)
  if (counter !== undefined) return [counter]
  return first._tag === "JournalPosted" ? first.legs.slice(1) : []
}

/** Most reversals of one command that are looked at. */
const reversalsMax = 1_000

/** All events of a command, in order; none where no command of that id was accepted. */
export const readCommand = Effect.fnUntraced(function* (store: Store, id: CommandId) {
  const [first] = yield* store.findCommands([id])
  if (first === undefined) return []
  const head = yield* read(first)
  const further = furtherPositions(head.event)
  const rows = further.length === 0 ? [] : yield* store.readEvents(further)
  const others = yield* Effect.forEach(rows, read)
  return [head, ...others].toSorted((a, b) => a.row.ordinal - b.row.ordinal)
})

const read = (row: StoredEvent): Effect.Effect<ReadRow, Unavailable> =>
  Result.match(decodeStored(row), {
    onSuccess: (event) => Effect.succeed({ row, event }),
    onFailure: ({ message }) => Effect.fail(new Unavailable({ what: "the log", reason: message }))
  })

/** The first events of the reversals of a command, in order of n. */
export const readReversals = Effect.fnUntraced(function* (store: Store, original: CommandId) {
  const found: Array<ReadRow> = []
  for (let from = 1; from < reversalsMax; from += pageSize) {
    const ids = Array.from({ length: pageSize }, (_, nth) => reversalIdOf(original, from + nth))
    const rows = new Map((yield* store.findCommands(ids)).map((row) => [row.commandId, row]))
    for (const id of ids) {
      const row = rows.get(id)
      if (row === undefined) return found
      found.push(yield* read(row))
    }
  }
  return found
})
const pageSize = 16

/** The asset of an account, as its first event says. */
const assetsOf = Effect.fnUntraced(function* (store: Store, accounts: ReadonlyArray<AccountId>) {
  const first = yield* store.readEvents(accounts.map((account) => ({ account, version: 1 })))
  const events = yield* Effect.forEach(first, read)
  return new Map(
    events.flatMap(
      ({ row, event }): ReadonlyArray<readonly [AccountId, Asset]> =>
        event._tag === "AccountOpened" ? [[row.accountId, event.asset]] : []
    )
  )
})

/** The reversal with what the log says of its original, under the id that is its own for ever. */
export const resolveReversal = (
  store: Store,
  command: Extract<Command, { readonly _tag: "Reverse" }>
): Effect.Effect<ResolvedReverse, CommandNotFound | InvalidCommand | Unavailable> =>
  Effect.gen(function* () {
    const { n = 1, original } = command
    const events = yield* readCommand(store, original)
    if (events.length === 0) return yield* new CommandNotFound({ commandId: original })
    const assets = yield* assetsOf(store, [...new Set(events.map(({ row }) => row.accountId))])
    const moves = events.map(({ row, event }) => ({ account: row.accountId, event }))
    const nets = yield* Effect.fromResult(movedBy(original, moves, assets))
    const reversals = yield* readReversals(store, original)
    const found = originalOf(
      nets,
      reversals.map(({ event }) => event),
      n
    )
    return { ...command, commandId: reversalIdOf(original, n), found }
  }).pipe(
    Effect.catchTag("StoreUnavailable", ({ reason, store: what }) =>
      Effect.fail(new Unavailable({ what, reason }))
    )
  )
