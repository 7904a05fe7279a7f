/**
 * The receipts of a demo's player, held against the log: whether every acknowledged event stands there (I4, I6), and at a
 * version that real time allows (I7). Apart from the audit, which sees the stores and not what callers were answered.
 */
import { Effect, Schedule } from "effect"
import { accountsOf, type Command } from "../domain/Command.ts"
import type { CommandError } from "../domain/Errors.ts"
import type { AccountId, CommandId, Version } from "../domain/Ids.ts"
import type { Position, Receipt } from "../domain/Receipt.ts"
import type { StoredEvent } from "../domain/StoredEvent.ts"
import { EventStore } from "../infra/eventstore/EventStore.ts"

/** The store may be away for a while in the middle of a day: the witness waits a minute. */
const patiently = <A, E>(read: Effect.Effect<A, E>): Effect.Effect<A> =>
  read.pipe(Effect.retry({ schedule: Schedule.spaced(500), times: 120 }), Effect.orDie)

/** Receipts that are looked up in the log at once. */
const batchMax = 500
const faultsMax = 20

export type WitnessFault = { readonly invariant: "I4" | "I6" | "I7"; readonly reason: string }

/** The versions that had been acknowledged on a command's accounts when it was first sent. */
type Floor = ReadonlyMap<AccountId, Version>

/** The acknowledged events that are not in the log as they were acknowledged. */
function* missingFrom(
  rows: ReadonlyArray<StoredEvent>,
  receipts: ReadonlyArray<Receipt>
): Iterable<WitnessFault> {
  const byKey = new Map(rows.map((row) => [`${row.accountId}@${row.version}`, row]))
  for (const { commandId, postings } of receipts) {
    for (const { account, version, hash } of postings) {
      const key = `${account}@${version}`
      const row = byKey.get(key)
      if (row === undefined)
        yield { invariant: "I6", reason: `${commandId} was acknowledged, ${key} is not in the log` }
      else if (row.hash !== hash)
        yield { invariant: "I6", reason: `${key} is not the event that was acknowledged` }
      else if (row.commandId !== commandId)
        yield { invariant: "I4", reason: `${key} belongs to ${row.commandId}` }
    }
  }
}

/**
 * A witness of everything that was acknowledged, in bounded memory: receipts are compared with the log in batches, and
 * per account only the highest acknowledged version is kept.
 *
 * Nothing is concluded from the order in which answers arrive: a repeat is answered from memory and may overtake the
 * first answer. What I7 does promise is that a command takes effect after every command that was answered before it was
 * sent; so each command is held against the versions that had been acknowledged when it was first sent.
 */
export const makeWitness = Effect.gen(function* () {
  const store = yield* EventStore
  const reached = new Map<AccountId, Version>()
  const floors = new Map<CommandId, Floor>()
  const faults: Array<WitnessFault> = []
  const broken = new Set<WitnessFault["invariant"]>()
  let pending: Array<Receipt> = []

  /** The first fault of each invariant is always kept, so that many faults of one do not hide that another is broken. */
  const blame = (invariant: WitnessFault["invariant"], reason: string): void => {
    if (faults.length < faultsMax || !broken.has(invariant)) faults.push({ invariant, reason })
    broken.add(invariant)
  }

  const compare = Effect.suspend(() => {
    const batch = pending
    pending = []
    const keys = batch.flatMap(({ postings }) => postings)
    return Effect.map(patiently(store.readEvents(keys)), (rows) => {
      for (const { invariant, reason } of missingFrom(rows, batch)) blame(invariant, reason)
    })
  })

  const floorOf = (command: Command): Floor =>
    new Map(accountsOf(command).map((account) => [account, reached.get(account) ?? 0]))

  const acknowledge = (receipt: Receipt, floor: Floor): Effect.Effect<void> => {
    for (const { account, version } of receipt.postings) {
      const least = floor.get(account) ?? 0
      // The first sending of a replayed command may lie before this play, and before everything the floor knows.
      if (!receipt.replayed && version <= least) {
        const reason = `${receipt.commandId} is at ${account}@${version}, and was sent after ${least} was acknowledged`
        blame("I7", reason)
      }
      if (version > (reached.get(account) ?? 0)) reached.set(account, version)
    }
    pending.push(receipt)
    return pending.length >= batchMax ? compare : Effect.void
  }

  return {
    /** Watches one sending of a command and its answer. A command that is sent again is judged by its first sending. */
    watch: <R>(
      command: Command,
      sending: Effect.Effect<Receipt, CommandError, R>
    ): Effect.Effect<Receipt, CommandError, R> =>
      Effect.suspend(() => {
        const { commandId } = command
        const floor = floors.get(commandId) ?? floorOf(command)
        floors.set(commandId, floor)
        return sending.pipe(
          Effect.tap((receipt) => {
            floors.delete(commandId)
            return acknowledge(receipt, floor)
          }),
          Effect.tapError((error) =>
            Effect.sync(() => {
              // After an `Indeterminate` the next sending of the same id may learn the outcome.
              if (error._tag !== "Indeterminate") floors.delete(commandId)
            })
          )
        )
      }),
    /** Compares what is left; answers what was found amiss: at least one fault of each invariant that is broken. */
    conclude: Effect.map(compare, (): ReadonlyArray<WitnessFault> => faults),
    /** The highest acknowledged version of every account. */
    positions: (): ReadonlyArray<Position> => [...reached].map(([account, version]) => ({ account, version }))
  }
})
