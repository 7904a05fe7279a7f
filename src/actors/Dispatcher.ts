/** Commands enter, bounded; each is decided on its actors, committed, and answered with a receipt or a typed error. */
import { Context, Effect, Exit, Layer, Result } from "effect"
import type { Command } from "../domain/Command.ts"
import {
  type CommandError,
  CommandIdReused,
  Indeterminate,
  Overloaded,
  Unavailable
} from "../domain/Errors.ts"
import { hashCommand } from "../domain/HashChain.ts"
import type { BrokenLog, Head } from "../domain/Head.ts"
import type { AccountId, CommandId, Instant } from "../domain/Ids.ts"
import { printToken, type Receipt } from "../domain/Receipt.ts"
import { LedgerConfig } from "../infra/LedgerConfig.ts"
import { type AccountActor, takeTurn } from "./AccountActor.ts"
import { makeCommitPipeline, type PipelineStats } from "./CommitPipeline.ts"
import { CommitQueue } from "./CommitQueue.ts"
import { LedgerClock } from "./LedgerClock.ts"
import { makeRepeats } from "./Repeats.ts"
import { makeResidents } from "./Residents.ts"
import { type Settlement, Ticket } from "./Ticket.ts"
import { makeWriters } from "./Writers.ts"

/** How often deadlines are looked at; a caller may wait so much longer than its deadline, in milliseconds. */
const expiryMs = 50
/** How often a closing node looks whether all is answered, in milliseconds. */
const drainLookMs = 5
/** Commands of one `dispatchMany` that are admitted at once. */
const chunkMax = 1_000
/** Defects that one command may cause before it fails with them. */
const defectsMax = 2

/** This node's state, for health and reports. */
export interface DispatcherStats extends PipelineStats {
  readonly inFlight: number
  readonly residents: number
}

export class Dispatcher extends Context.Service<
  Dispatcher,
  {
    /** Decides and commits one command. Interrupting the caller does not take the command back. */
    readonly dispatch: (command: Command) => Effect.Effect<Receipt, CommandError>
    /** An ordered batch of one caller: on every account in the given order, with a result for each. */
    readonly dispatchMany: (
      commands: ReadonlyArray<Command>
    ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>>
    /** The committed head of an account, from its actor. */
    readonly head: (account: AccountId) => Effect.Effect<Head, Unavailable>
    /** The earliest instant at which something of the account (or of any) is decided and not settled. */
    readonly openSince: (account?: AccountId) => Instant | undefined
    readonly stats: () => DispatcherStats
  }
>()("chronicle/actors/Dispatcher") {
  /** `node` names this process in the writers it registers. */
  static readonly layer = (node: string) => Layer.effect(Dispatcher, make(node))
}

const make = Effect.fnUntraced(function* (node: string) {
  const limits = yield* LedgerConfig
  const clock = yield* LedgerClock
  const queue = new CommitQueue()
  const inFlight = new Map<CommandId, Ticket>()
  let isClosing = false
  let trouble = "no answer"

  const earliest = (tickets: Iterable<Ticket>): Instant | undefined => {
    let instant: Instant | undefined
    for (const ticket of tickets) {
      if (ticket.legs.length > 0) instant = Math.min(instant ?? ticket.recordedAt, ticket.recordedAt)
    }
    return instant
  }
  const openSince = (account?: AccountId): Instant | undefined =>
    earliest(
      account === undefined
        ? inFlight.values()
        : [...inFlight.values()].filter((ticket) => ticket.accounts.includes(account))
    )

  /** The one place where a ticket ends. */
  const finish = (ticket: Ticket, settlement: Settlement): void => {
    if (ticket.phase === "settled") return
    ticket.phase = "settled"
    inFlight.delete(ticket.command.commandId)
    ticket.answer(settlement)
  }

  const unavailable = (what: string, reason: string) => Exit.fail(new Unavailable({ what, reason }))

  /** Ends a ticket of which this dispatch wrote nothing. */
  const giveUp = (ticket: Ticket, what: string, reason: string): void => {
    const { commandId } = ticket.command
    finish(ticket, ticket.isRepeat ? Exit.fail(new Indeterminate({ commandId })) : unavailable(what, reason))
  }

  const overloaded = (what: string) => {
    const waiting = 1 + queue.size / limits.batchRowsMax
    const retryAfterMs = Math.ceil(Math.min(pipeline.stats.commitMs * waiting, limits.commandDeadlineMs))
    return Exit.fail(new Overloaded({ what, retryAfterMs }))
  }

  /** Finds the actors of a ticket; decides it when all are ready, else leaves it with the first that is not. */
  const route = (ticket: Ticket): void => {
    if (ticket.phase === "settled") return
    const refusal = writers.refusal()
    if (refusal !== undefined) return giveUp(ticket, "this node", refusal)
    const now = clock.nowUnsafe()
    const actors: Array<AccountActor> = []
    for (const id of ticket.accounts) {
      const actor = residents.get(id, now)
      if (actor === undefined) return finish(ticket, overloaded("memory for accounts"))
      actors.push(actor)
    }
    const loading = actors.find((actor) => actor.phase !== "ready")
    if (loading !== undefined) {
      loading.mailbox.push(ticket)
      return
    }
    const turn = Result.try(() => takeTurn(ticket, actors, now))
    if (Result.isFailure(turn)) return crash(ticket, actors, turn.failure)
    queue.push(ticket)
    pipeline.wake()
  }

  /** Let it crash: the actors are rebuilt from the log, what waited on them is decided again. */
  const crash = (ticket: Ticket, actors: ReadonlyArray<AccountActor>, defect: unknown): void => {
    ticket.attempts++
    const stale = new Set(actors)
    const evicted = queue.evict((one) => one.touched.some((actor) => stale.has(actor)))
    for (const actor of stale) residents.reload(actor)
    if (ticket.attempts >= defectsMax) finish(ticket, Exit.die(defect))
    for (const one of [...evicted, ticket]) route(one)
  }

  const reloadIfLanded = (ids: ReadonlyArray<AccountId>): void => {
    for (const id of ids) {
      const actor = residents.peek(id)
      if (actor?.phase === "loading" && actor.uncommitted === 0) residents.reload(actor)
    }
  }

  const residents = yield* makeResidents({
    onReady: (actor) => {
      const { mailbox, readers } = actor
      actor.mailbox = []
      actor.readers = new Set()
      for (const ticket of mailbox) route(ticket)
      for (const reader of readers) reader(Exit.succeed(actor.committed))
    },
    onBroken: (actor, broken: BrokenLog) => {
      const failure = unavailable(`account ${actor.id}`, broken.message)
      for (const ticket of actor.mailbox) finish(ticket, failure)
      for (const reader of actor.readers) reader(failure)
    },
    onUnavailable: (reason) => {
      trouble = reason
    }
  })

  const repeats = yield* makeRepeats({
    onKnown: finish,
    onUnknown: (ticket) => {
      ticket.isNew = true
      if (ticket.refusal === undefined) route(ticket)
      else finish(ticket, Exit.fail(ticket.refusal))
    },
    onUnavailable: (reason) => {
      trouble = reason
    }
  })

  const writers = yield* makeWriters(node, openSince)

  const pipeline = yield* makeCommitPipeline(queue, writers, {
    onDurable: (ticket) => {
      if (ticket.refusal !== undefined) {
        // An id that was accepted once keeps its outcome for ever, whatever today's state says (I4).
        if (ticket.isNew) finish(ticket, Exit.fail(ticket.refusal))
        else {
          ticket.phase = "waiting"
          repeats.lookUp(ticket)
        }
      } else {
        const receipt = receiptOf(ticket)
        repeats.remember(ticket, receipt)
        finish(ticket, Exit.succeed(receipt))
      }
      reloadIfLanded(ticket.accounts)
    },
    onLost: (ticket) => finish(ticket, Exit.fail(new Indeterminate({ commandId: ticket.command.commandId }))),
    onRepeat: (ticket) => {
      ticket.isRepeat = true
      repeats.noteStorm(clock.nowUnsafe())
      repeats.lookUp(ticket)
      reloadIfLanded(ticket.accounts)
    },
    onEvicted: (tickets, stale) => {
      for (const actor of stale) residents.reload(actor)
      for (const ticket of tickets) {
        reloadIfLanded(ticket.accounts)
        if (ticket.attempts <= limits.redecideMax) route(ticket)
        else giveUp(ticket, "this account", `conflicts with another writer ${ticket.attempts} times over`)
      }
    }
  })

  /** Takes a command in, or says at once why not. `resume` is called exactly once. */
  const admit = (command: Command, resume: (settlement: Settlement) => void): void => {
    const commandHash = hashCommand(command)
    const underWay = inFlight.get(command.commandId)
    if (underWay !== undefined) {
      const deadline = clock.nowUnsafe() + limits.commandDeadlineMs
      if (underWay.commandHash === commandHash) return underWay.join(resume, deadline)
      return resume(Exit.fail(new CommandIdReused({ commandId: command.commandId })))
    }
    const known = repeats.recall(command.commandId, commandHash)
    if (known !== undefined) return resume(known)
    if (isClosing) return resume(unavailable("this node", "it is closing"))
    const refusal = writers.refusal()
    if (refusal !== undefined) return resume(unavailable("this node", refusal))
    if (inFlight.size >= limits.inFlightMax) return resume(overloaded("this node"))
    const now = clock.nowUnsafe()
    const ticket = new Ticket(command, commandHash, now + limits.commandDeadlineMs)
    for (const id of ticket.accounts) {
      const actor = residents.peek(id)
      if (actor !== undefined && actor.uncommitted + actor.mailbox.length >= limits.inFlightPerAccountMax) {
        return resume(overloaded(`account ${id}`))
      }
    }
    ticket.await(resume)
    inFlight.set(command.commandId, ticket)
    if (repeats.isStorm(now)) repeats.lookUp(ticket)
    else route(ticket)
  }

  /** Answers all whose deadline is not after `until`, as truthfully as their phase allows. */
  const expire = (until: Instant): void => {
    const unsent = new Set<Ticket>()
    const emptied = new Set<AccountId>()
    for (const ticket of inFlight.values()) {
      if (ticket.deadline > until) break // all have the same patience, and the map is in order of arrival
      const { commandId } = ticket.command
      if (ticket.phase === "queued") unsent.add(ticket)
      else if (ticket.phase === "flying")
        ticket.answerUntil(until, Exit.fail(new Indeterminate({ commandId })))
      else {
        giveUp(ticket, "event store", trouble)
        for (const id of ticket.accounts) emptied.add(id)
      }
    }
    for (const id of emptied) {
      const actor = residents.peek(id)
      if (actor !== undefined) actor.mailbox = actor.mailbox.filter((ticket) => ticket.phase !== "settled")
    }
    if (unsent.size === 0) return
    const reason = pipeline.stats.trouble ?? `no room in a batch within ${limits.commandDeadlineMs} ms`
    const evicted = queue.evict((ticket) => unsent.has(ticket))
    for (const ticket of evicted) if (unsent.has(ticket)) giveUp(ticket, "event store", reason)
    for (const ticket of evicted) {
      reloadIfLanded(ticket.accounts)
      route(ticket)
    }
  }
  yield* Effect.sync(() => expire(clock.nowUnsafe())).pipe(
    Effect.delay(expiryMs),
    Effect.forever,
    Effect.forkScoped
  )

  /** Ends whatever is left: nobody is to wait for lanes that stop. */
  const abort = (): void => {
    expire(Number.POSITIVE_INFINITY)
    for (const ticket of inFlight.values()) {
      finish(ticket, Exit.fail(new Indeterminate({ commandId: ticket.command.commandId })))
    }
  }

  // Added last, so it runs first: what was accepted is answered before the lanes stop.
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      isClosing = true
      if (inFlight.size === 0) return Effect.void
      return Effect.sleep(drainLookMs).pipe(
        Effect.repeat({ while: () => inFlight.size > 0 }),
        Effect.timeoutOption(limits.commandDeadlineMs),
        Effect.andThen(Effect.sync(abort))
      )
    })
  )

  const dispatch = (command: Command): Effect.Effect<Receipt, CommandError> =>
    Effect.callback<Receipt, CommandError>((resume) => admit(command, resume))

  /** Waits until the accounts are in memory, so that a batch is decided in its order. */
  const warm = (commands: ReadonlyArray<Command>) => {
    const cold = new Set<AccountId>()
    for (const command of commands) {
      for (const id of new Ticket(command, "", 0).accounts) {
        if (residents.peek(id)?.phase !== "ready") cold.add(id)
      }
    }
    return Effect.forEach(cold, (id) => Effect.ignore(head(id)), { concurrency: "unbounded", discard: true })
  }

  const dispatchMany = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    const results: Array<Effect.Effect<Result.Result<Receipt, CommandError>>> = []
    for (let start = 0; start < commands.length; start += chunkMax) {
      const chunk = commands.slice(start, start + chunkMax)
      yield* warm(chunk)
      const pending = chunk.map((command) => {
        let settled: Settlement | undefined
        let waiting: ((settlement: Settlement) => void) | undefined
        admit(command, (settlement) => {
          settled = settlement
          waiting?.(settlement)
        })
        return Effect.callback<Receipt, CommandError>((resume) => {
          if (settled !== undefined) resume(settled)
          else waiting = resume
        }).pipe(Effect.result)
      })
      results.push(...pending)
    }
    return yield* Effect.all(results)
  })

  const head = (account: AccountId): Effect.Effect<Head, Unavailable> =>
    Effect.callback<Head, Unavailable>((resume) => {
      const actor = residents.get(account, clock.nowUnsafe())
      if (actor === undefined) return resume(unavailable("this node", "memory for accounts is full"))
      if (actor.phase === "ready") return resume(Exit.succeed(actor.committed))
      actor.readers.add(resume)
      return Effect.sync(() => actor.readers.delete(resume))
    }).pipe(
      Effect.timeoutOrElse({
        duration: limits.queryDeadlineMs,
        orElse: () => Effect.fail(new Unavailable({ what: "event store", reason: trouble }))
      })
    )

  return Dispatcher.of({
    dispatch,
    dispatchMany,
    head,
    openSince,
    stats: () => ({ ...pipeline.stats, inFlight: inFlight.size, residents: residents.size() })
  })
})

/** The receipt of a command whose rows this node wrote. */
const receiptOf = (ticket: Ticket): Receipt => {
  const postings = ticket.legs.map(({ row }) => ({
    account: row.accountId,
    version: row.version,
    hash: row.hash
  }))
  return {
    commandId: ticket.command.commandId,
    replayed: false,
    recordedAt: ticket.recordedAt,
    postings,
    readToken: printToken(postings)
  }
}
