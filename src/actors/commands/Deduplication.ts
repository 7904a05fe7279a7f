/**
 * Deduplication by command id: a command that was accepted once answers its first outcome for ever (I4), from memory
 * where it is recent, else from the log.
 */
import { Context, Data, Effect, Exit, FiberSet, Layer } from "effect"
import { accountsOf, type Command } from "../../domain/Command.ts"
import { CommandIdReused } from "../../domain/Errors.ts"
import { hashCommand } from "../../domain/HashChain.ts"
import type { CommandId } from "../../domain/Ids.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import type { CommandExit, PendingCommand } from "../accounts/Lifecycle.ts"
import { explained, isUnexplained } from "./HoldOutcome.ts"
import { InFlightCommands } from "./InFlightCommands.ts"
import { Lookups } from "./Lookups.ts"
import { startReadingRest } from "./OutcomesInLog.ts"
import { startPartedReads } from "./PartedReads.ts"
import { type KeptReceipt, ReceiptCache } from "./ReceiptCache.ts"

const lookupMax = 1_000
/** How long after a repeat every id is looked up before it is decided, in milliseconds: repeats come in storms. */
const stormMs = 10_000

/** What the memory of this node knows of a command id. */
type Found = Data.TaggedEnum<{
  /** The same command was sent before and is not answered yet. */
  InFlight: { readonly pending: PendingCommand }
  /** Another command has the id, and is not answered yet: only once it is accepted is the id its own. */
  Contested: { readonly pending: PendingCommand }
  /** It was accepted, or another command has the id. */
  Remembered: { readonly exit: CommandExit }
  /** Nothing; the log may know it all the same. */
  Unknown: {}
}>
const Found = Data.taggedEnum<Found>()
const unknown = Found.Unknown()

export class Deduplication extends Context.Service<
  Deduplication,
  {
    /** `hashOf` answers the hash of the command, which is costly; it is called only where the id is known. */
    readonly find: (command: Command, hashOf: () => string) => Found
    /** An id that was accepted lately, or is in flight, be it of this command or of another. */
    readonly isKnown: (commandId: CommandId) => boolean
    /**
     * The outcome of this command is known, or it is under way: nothing is decided for it where it is submitted in this same step. Not where
     * another command of its id is under way, for once that is refused this one would be decided.
     */
    readonly isSettled: (command: Command) => boolean
    readonly remember: (command: PendingCommand, receipt: Receipt) => void
    /** True while the log should be asked for ids before they are decided. */
    readonly mustCheckLogFirst: (nowMs: number) => boolean
    /** A repeat got as far as a commit. */
    readonly noteRepeat: (nowMs: number) => void
    /** Looks the id up in the log, in a batch with others; then resumes the command, with the outcome if there is one. */
    readonly lookUp: (command: PendingCommand) => void
    /** Why the store did not answer the last look-up; undefined where it did. */
    readonly trouble: () => string | undefined
  }
>()("chronicle/actors/Deduplication") {
  static readonly layer = Layer.effect(
    Deduplication,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const limits = yield* LedgerConfig
  const inFlight = yield* InFlightCommands.Service
  const recent = new ReceiptCache(limits.outcomesMax)
  const { lookUp, trouble } = yield* startLookups(recent)
  let checkLogUntil = Number.NEGATIVE_INFINITY

  return Deduplication.of({
    find: (command, hashOf) => {
      const { commandId } = command
      const same = inFlight.get(commandId)
      if (same !== undefined) {
        if (same.commandHash === hashOf()) return Found.InFlight({ pending: same })
        return Found.Contested({ pending: same })
      }
      const kept = recent.hashOf(commandId)
      if (kept === undefined) return unknown
      const receipt = kept === hashOf() ? recent.receiptOf(command) : undefined
      return Found.Remembered({ exit: receipt === undefined ? reused(commandId) : Exit.succeed(receipt) })
    },
    isKnown: (commandId) => inFlight.get(commandId) !== undefined || recent.has(commandId),
    isSettled: (command) => {
      const same = inFlight.get(command.commandId)
      return same === undefined ? recent.has(command.commandId) : same.commandHash === hashCommand(command)
    },
    remember: (command, receipt) => recent.keep(command.commandHash, receipt, accountsOf(command.command)),
    mustCheckLogFirst: (now) => now < checkLogUntil,
    noteRepeat: (now) => {
      checkLogUntil = now + stormMs
    },
    lookUp,
    trouble
  })
})

export const reused = (commandId: CommandId): CommandExit => Exit.fail(new CommandIdReused({ commandId }))

/** Starts the fiber that looks ids up in the log. */
const startLookups = Effect.fnUntraced(function* (recent: ReceiptCache) {
  const store = yield* EventStore
  const inFlight = yield* InFlightCommands.Service
  const { explain } = yield* startExplaining

  const tell = (command: PendingCommand, { commandHash, receipt }: KeptReceipt): void => {
    const isSame = commandHash === command.commandHash
    // Another command's accounts are not those that a repeat of the accepted one names, though both may write to the same.
    recent.keep(commandHash, receipt, isSame ? accountsOf(command.command) : [])
    command.resume(isSame ? Exit.succeed({ ...receipt, replayed: true }) : reused(command.command.commandId))
  }

  const rest = yield* startReadingRest(tell)
  const firsts = yield* startPartedReads<PendingCommand, ReadonlyMap<CommandId, StoredEvent>>({
    what: "looking up command ids",
    sizeMax: lookupMax,
    isOver: isDone,
    read: (commands) =>
      findFirsts(
        store,
        commands.map(({ command }) => command.commandId)
      ),
    deliver: (command, found) => {
      if (isDone(command)) return
      inFlight.attempt(command, () => {
        const first = found.get(command.command.commandId)
        if (first !== undefined) rest.read(command, first)
        else if (isUnexplained(command.rejection)) explain(command)
        else command.resume()
      })
    },
    end: (command, defect) => inFlight.end(command, defect)
  })
  return {
    lookUp: (command: PendingCommand): void => {
      command.noteLookUp()
      firsts.add(command)
    },
    trouble: () => firsts.trouble() ?? rest.trouble()
  }
})

const isDone = (command: PendingCommand): boolean => command.phase === "done"

/** The first events of those ids that were accepted. */
const findFirsts = (store: EventStore["Service"], ids: ReadonlyArray<CommandId>) =>
  Effect.map(
    ids.length === 0 ? Effect.succeed([]) : store.findCommands([...new Set(ids)]),
    (rows) => new Map(rows.map((row) => [row.commandId, row]))
  )

/**
 * A hold that was not found may have been closed: the command ends with what the log says of it. Many events may have to be
 * looked through, so other commands do not wait for that; meanwhile the command is in flight, and its deadline ends the search.
 */
const startExplaining = Effect.gen(function* () {
  const store = yield* EventStore
  const { lookupsAtOnce: atOnce, lookupsWaitingMax: waitingMax, holdLookupMs } = yield* LedgerConfig
  const clock = yield* LedgerClock
  const inFlight = yield* InFlightCommands.Service
  const lookups = new Lookups({ atOnce, waitingMax })
  const run = yield* FiberSet.makeRuntime<never>()

  const search = (command: PendingCommand): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { rejection, recordedAt } = command
      if (rejection === undefined || isDone(command)) return Effect.void
      const until = clock.elapsedUnsafe() + holdLookupMs
      const isWanted = () => !isDone(command) && clock.elapsedUnsafe() < until
      return Effect.map(explained(store, rejection, recordedAt, isWanted), (outcome) =>
        command.resume(Exit.fail(outcome))
      )
    })
  return {
    explain: (command: PendingCommand): void => {
      const full = Effect.sync(() => command.resume("LookupsFull"))
      run(
        Effect.catchDefect(lookups.run(search(command), full), (defect) =>
          Effect.sync(() => inFlight.end(command, defect))
        )
      )
    }
  }
})
