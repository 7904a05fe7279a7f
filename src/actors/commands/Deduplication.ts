/** Command ids that may have been accepted before enter; their first outcomes leave, from memory or from the log. */
import { Effect, Exit, Latch, Result } from "effect"
import type { Command } from "../../domain/Command.ts"
import { CommandIdReused } from "../../domain/Errors.ts"
import type { Event } from "../../domain/Event.ts"
import type { CommandId } from "../../domain/Ids.ts"
import { type Position, printToken, type Receipt } from "../../domain/Receipt.ts"
import { decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import type { CommandExit, PendingCommand } from "../accounts/Lifecycle.ts"
import { ReceiptCache } from "./ReceiptCache.ts"

const lookupMax = 1_000
const retryMs = 200
/** How long after a repeat every id is looked up before it is decided: repeats come in storms. */
const stormMs = 10_000

export interface Deduplication {
  /** The settlement of an id accepted lately, from memory. `hashOf` is asked only where there is one. */
  readonly lookupCached: (command: Command, hashOf: () => string) => CommandExit | undefined
  /** An id accepted lately: `recall` has a settlement for it. */
  readonly isKnown: (commandId: CommandId) => boolean
  readonly remember: (ticket: PendingCommand, receipt: Receipt) => void
  /** True while ids should be looked up before they are decided. */
  readonly isStorm: (nowMs: number) => boolean
  /** A repeat got as far as the log. */
  readonly noteStorm: (nowMs: number) => void
  /** Looks an id up in the log, in a batch with others; `events` says what becomes of the ticket. */
  readonly lookUp: (ticket: PendingCommand) => void
}

export interface DeduplicationEvents {
  readonly onKnown: (ticket: PendingCommand, settlement: CommandExit) => void
  readonly onUnknown: (ticket: PendingCommand) => void
  readonly onUnavailable: (reason: string) => void
}

interface Outcome {
  readonly commandHash: string
  readonly receipt: Receipt
}

/** Starts the look-ups in the scope. */
export const makeDeduplication = Effect.fnUntraced(function* (events: DeduplicationEvents) {
  const store = yield* EventStore
  const limits = yield* LedgerConfig
  const recent = new ReceiptCache(limits.outcomesMax)
  const wake = Latch.makeUnsafe(false)
  let pending: Array<PendingCommand> = []
  let stormUntil = Number.NEGATIVE_INFINITY

  const settlementOf = (commandId: CommandId, outcome: Outcome, commandHash: string): CommandExit =>
    outcome.commandHash === commandHash
      ? Exit.succeed({ ...outcome.receipt, replayed: true })
      : Exit.fail(new CommandIdReused({ commandId }))

  const lookUpSome = Effect.gen(function* () {
    yield* wake.await
    // What is asked for in the same tick is looked up in one query, and never inside of `lookUp`.
    yield* Effect.yieldNow
    const batch = pending.splice(0, lookupMax)
    if (pending.length === 0) wake.closeUnsafe()
    const waiting = batch.filter((ticket) => ticket.phase !== "settled")
    const found = yield* findOutcomes(
      store,
      waiting.map((ticket) => ticket.command.commandId)
    ).pipe(
      Effect.catch((error) => {
        events.onUnavailable(error.message)
        return Effect.sleep(retryMs).pipe(Effect.as(undefined))
      })
    )
    if (found === undefined) {
      pending = waiting.concat(pending)
      wake.openUnsafe()
      return
    }
    for (const ticket of waiting) {
      const { commandId } = ticket.command
      const outcome = found.get(commandId)
      if (outcome === undefined) events.onUnknown(ticket)
      else {
        recent.keep(outcome.commandHash, outcome.receipt)
        events.onKnown(ticket, settlementOf(commandId, outcome, ticket.commandHash))
      }
    }
  })
  yield* lookUpSome.pipe(
    Effect.catchDefect((defect) => Effect.logError("looking up repeats failed and goes on", defect)),
    Effect.forever,
    Effect.forkScoped
  )

  return {
    lookupCached: (command, hashOf) => {
      const { commandId } = command
      const kept = recent.hashOf(commandId)
      if (kept === undefined) return undefined
      const receipt = kept === hashOf() ? recent.receiptOf(command) : undefined
      return receipt === undefined ? Exit.fail(new CommandIdReused({ commandId })) : Exit.succeed(receipt)
    },
    isKnown: (commandId) => recent.has(commandId),
    remember: (ticket, receipt) => recent.keep(ticket.commandHash, receipt),
    isStorm: (now) => now < stormUntil,
    noteStorm: (now) => {
      stormUntil = now + stormMs
    },
    lookUp: (ticket) => {
      pending.push(ticket)
      wake.openUnsafe()
    }
  } satisfies Deduplication
})

/** The first outcomes of those ids that were accepted: two queries, however many they are. */
const findOutcomes = Effect.fnUntraced(function* (
  store: EventStore["Service"],
  ids: ReadonlyArray<CommandId>
) {
  const outcomes = new Map<CommandId, Outcome>()
  if (ids.length === 0) return outcomes
  const firsts = yield* store.findCommands([...new Set(ids)])
  const others = firsts.flatMap(furtherLegs)
  const rows = others.length === 0 ? [] : yield* store.readEvents(others)
  const byKey = new Map(rows.map((row) => [`${row.accountId}@${row.version}`, row]))
  for (const first of firsts) {
    const further = furtherLegs(first).flatMap(
      ({ account, version }) => byKey.get(`${account}@${version}`) ?? []
    )
    const postings = [first, ...further].map(({ accountId, version, hash }) => ({
      account: accountId,
      version,
      hash
    }))
    outcomes.set(first.commandId, {
      commandHash: first.commandHash ?? "",
      receipt: {
        commandId: first.commandId,
        replayed: true,
        recordedAt: first.recordedAt,
        postings,
        readToken: printToken(postings)
      }
    })
  }
  return outcomes
})

/** Where the other legs of a command stand, by the first one's posting reference. */
const furtherLegs = (first: StoredEvent): ReadonlyArray<Position> =>
  Result.match(decodeStored(first), {
    onFailure: () => [],
    onSuccess: (event: Event) => {
      if (event._tag === "TransferSent") return [{ account: event.to, version: event.toVersion }]
      return event._tag === "JournalPosted" ? event.legs.slice(1) : []
    }
  })
