/**
 * Finds the original of a reversal in the log: what each account got from it, and what earlier reversals gave back. All of it
 * is immutable by the time that it is read, so a reversal is decided on it however often it is decided again.
 */
import { Effect, Result } from "effect"
import { contrasOf } from "../../domain/Books.ts"
import type { Command } from "../../domain/Command.ts"
import { CommandNotFound, InvalidCommand, Unavailable } from "../../domain/Errors.ts"
import { amountOf, counterLegOf, type Event } from "../../domain/Event.ts"
import { type AccountId, type AccountOrContra, type CommandId, isContra } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { type Original, type OriginalLeg, type ResolvedReverse, reversalIdOf } from "../../domain/Original.ts"
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

/** What each place has from the events of a command in the end. A contra has no asset of its own, and may have several. */
interface Net {
  readonly account: AccountOrContra
  readonly asset: Asset
  net: bigint
}

const netsOf = (
  events: ReadonlyArray<ReadRow>,
  assets: ReadonlyMap<AccountId, Asset>
): ReadonlyArray<Net> => {
  const nets = new Map<string, Net>()
  const add = (account: AccountOrContra, asset: Asset, units: bigint) => {
    const key = `${account} ${asset}`
    const before = nets.get(key)
    if (before === undefined) nets.set(key, { account, asset, net: units })
    else before.net += units
  }
  for (const { event, row } of events) {
    const asset = assets.get(row.accountId)
    if (asset === undefined) continue
    const amount = amountOf(event)
    if (amount !== 0n) add(row.accountId, asset, amount)
    for (const contra of contrasOf(event, asset)) add(contra.contra, contra.asset, contra.amount)
  }
  return [...nets.values()].filter(({ net }) => net !== 0n)
}

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
    const nets = netsOf(events, assets)
    if (nets.length === 0 || original.startsWith("~"))
      return yield* InvalidCommand.at(
        "original",
        "is a command that moved no money, or a reversal: neither can be reversed"
      )
    if (nets.every(({ account }) => isContra(account)))
      return yield* InvalidCommand.at(
        "original",
        "moved money between contra accounts alone in the end, which have no stream to give it back on: book it as a group"
      )
    const earlier = (yield* readReversals(store, original)).slice(0, n - 1)
    const found: Original = {
      legs: nets.map((leg): OriginalLeg => ({ ...leg, reversed: reversedOf(earlier, leg) })),
      isNext: earlier.length === n - 1
    }
    return { ...command, commandId: reversalIdOf(original, n), found }
  }).pipe(
    Effect.catchTag("StoreUnavailable", ({ reason, store: what }) =>
      Effect.fail(new Unavailable({ what, reason }))
    )
  )

const reversedOf = (earlier: ReadonlyArray<ReadRow>, { account, asset }: Net): bigint => {
  let sum = 0n
  for (const { event } of earlier) {
    const gave = "reverses" in event ? event.reverses?.gave : undefined
    for (const leg of gave ?? [])
      if (leg.account === account && (leg.asset ?? asset) === asset) sum += leg.amount
  }
  return sum
}
