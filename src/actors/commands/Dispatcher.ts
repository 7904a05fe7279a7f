/** Commands enter, bounded; each is decided on its actors, committed, and answered with a receipt or a typed error. */
import { Context, Effect, Exit, Layer, type Result } from "effect"
import { accountsOf, type Command } from "../../domain/Command.ts"
import { type CommandError, CommandIdReused, type Unavailable } from "../../domain/Errors.ts"
import { hashCommand } from "../../domain/HashChain.ts"
import type { Head } from "../../domain/Head.ts"
import type { AccountId, Instant } from "../../domain/Ids.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import { type CommandExit, PendingCommand, receiptOf } from "../accounts/Lifecycle.ts"
import { Placement } from "../accounts/Placement.ts"
import { makeCommitPipeline } from "../commit/CommitPipeline.ts"
import { CommitQueue } from "../commit/CommitQueue.ts"
import type { PipelineStats } from "../commit/PipelineStats.ts"
import { makeWriterRegistry } from "../commit/WriterRegistry.ts"
import { AdmissionControl, isOfHotAccount, type Refused } from "./AdmissionControl.ts"
import { makeCommandExecutor } from "./CommandExecutor.ts"
import { type Admit, makeCommandRouter } from "./CommandRouter.ts"
import { watchDeadlines } from "./Deadlines.ts"
import { makeDeduplication } from "./Deduplication.ts"
import { InFlightCommands, indeterminate, unavailable } from "./InFlightCommands.ts"
import type { LocalNode } from "./LocalNode.ts"
import { type DispatcherMeters, loadOf } from "./Meters.ts"

/** This node's state, for health and reports. */
export interface DispatcherStats extends PipelineStats {
  readonly inFlight: number
  readonly residents: number
}

export class Dispatcher extends Context.Service<
  Dispatcher,
  {
    /** Decides and commits one command, here or where its first account lives. Interrupting does not take it back. */
    readonly dispatch: (command: Command) => Effect.Effect<Receipt, CommandError>
    /**
     * The `Overloaded` that a command would meet here just now, if any: to be asked first, since checking a command costs
     * more than refusing it. Says nothing of what another node decides. Counts as a refusal.
     */
    readonly refusal: (input: unknown) => Refused | undefined
    /**
     * An ordered batch of one caller, with a result for each. Commands whose first accounts are of one group (see
     * `Placement`) or all of this node take effect in the given order; between others there is no order.
     */
    readonly dispatchMany: (
      commands: ReadonlyArray<Command>
    ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>>
    /** The committed head of an account, from its actor. */
    readonly head: (account: AccountId) => Effect.Effect<Head, Unavailable>
    /** The earliest instant at which something of the account (or of any) is decided and not settled. */
    readonly openSince: (account?: AccountId) => Instant | undefined
    readonly stats: () => DispatcherStats
    /** More of the same, for the metrics; walks all that is under way. */
    readonly meters: () => DispatcherMeters
    /** What other nodes ask of this one. */
    readonly here: LocalNode
  }
>()("chronicle/actors/Dispatcher") {
  /** `node` names this process in the writers it registers. */
  static readonly layer = (node: string) => Layer.effect(Dispatcher, make(node))
}

const make = Effect.fnUntraced(function* (node: string) {
  const limits = yield* LedgerConfig
  const clock = yield* LedgerClock
  const placement = yield* Placement
  const queue = new CommitQueue()
  const underWay = new InFlightCommands()
  let isClosing = false

  const writers = yield* makeWriterRegistry(node, () => underWay.openSince())

  const turns = yield* makeCommandExecutor({
    queue,
    underWay,
    refusal: writers.refusal,
    overloaded: (what) => door.overloaded(what).exit,
    onQueued: () => pipeline.wake()
  })

  const repeats = yield* makeDeduplication({
    onKnown: (ticket, settlement) => underWay.complete(ticket, settlement),
    onUnknown: (ticket) => {
      if (ticket.rejection === undefined) turns.route(ticket)
      else underWay.complete(ticket, Exit.fail(ticket.rejection))
    },
    onUnavailable: (reason) => {
      underWay.trouble = reason
    }
  })

  const pipeline = yield* makeCommitPipeline(queue, writers, {
    onDurable: (ticket) => {
      if (ticket.rejection === undefined) {
        const receipt = receiptOf(ticket)
        repeats.remember(ticket, receipt)
        underWay.complete(ticket, Exit.succeed(receipt))
      } else {
        // An id that was accepted once keeps its outcome for ever, whatever today's state says (I4). A look of before
        // the decision proves nothing: another node may have accepted the id while the account was being loaded.
        ticket.phase = "waiting"
        ticket.release()
        repeats.lookUp(ticket)
      }
      turns.noteLanded(ticket)
    },
    onLost: (ticket) => underWay.complete(ticket, indeterminate(ticket)),
    onRepeat: (ticket) => {
      ticket.isRepeat = true
      ticket.release()
      repeats.noteStorm(clock.elapsedUnsafe())
      repeats.lookUp(ticket)
      turns.reloadIfLanded(ticket.accounts)
    },
    onEvicted: turns.again
  })

  const door: AdmissionControl = new AdmissionControl({
    limits,
    underWay,
    queue,
    now: () => clock.elapsedUnsafe(),
    commitMs: () => pipeline.stats.commitMs,
    owns: (account) => account !== undefined && placement.owns(account),
    isKnown: repeats.isKnown
  })

  /** Answers a command that does not become a ticket. */
  const turnAway = (settlement: CommandExit, resume: (settlement: CommandExit) => void): void => {
    underWay.outcomes.note(settlement)
    resume(settlement)
  }

  /** Takes a command in, or says at once why not. `resume` is called exactly once. */
  const admit: Admit = (command, resume, isPaced): void => {
    const { commandId } = command
    const now = clock.elapsedUnsafe()
    const deadline = now + limits.commandDeadlineMs
    let hash: string | undefined
    // Only when it is needed: in an overload most commands are refused, and it is most of what a refusal would cost.
    const hashOf = () => {
      hash ??= hashCommand(command)
      return hash
    }
    const same = underWay.get(commandId)
    if (same !== undefined) {
      if (same.commandHash === hashOf()) {
        underWay.outcomes.joined++
        return same.join(resume, deadline)
      }
      return turnAway(Exit.fail(new CommandIdReused({ commandId })), resume)
    }
    const known = repeats.lookupCached(command, hashOf)
    if (known !== undefined) return turnAway(known, resume)
    if (isClosing) return turnAway(unavailable("this node", "it is closing"), resume)
    const refusal = writers.refusal()
    if (refusal !== undefined) return turnAway(unavailable("this node", refusal), resume)
    const accounts = accountsOf(command)
    const actors = accounts.map(turns.residents.peek)
    const full = door.check(actors, isPaced, now)
    if (full !== undefined) return turnAway(full, resume)
    const ticket = new PendingCommand(command, hashOf(), deadline, accounts)
    ticket.isOfHotAccount = isOfHotAccount(actors)
    ticket.await(resume)
    underWay.add(ticket)
    if (repeats.isStorm(now)) repeats.lookUp(ticket)
    else turns.routeAt(ticket, now, actors)
  }

  const deadlines = yield* watchDeadlines(underWay, queue, turns, pipeline.stats)
  const close = Effect.suspend(() => {
    isClosing = true
    return deadlines.drain
  })
  // Added last, so it runs first: what was accepted is answered before the lanes stop.
  yield* Effect.addFinalizer(() => close)

  const reception = yield* makeCommandRouter({
    admit,
    underWay,
    turns,
    overload: (what) => door.overloaded(what).error,
    isClosing: () => isClosing
  })

  return Dispatcher.of({
    dispatch: reception.dispatch,
    refusal: (input) => (isClosing || writers.refusal() !== undefined ? undefined : door.precheck(input)),
    dispatchMany: reception.dispatchMany,
    head: reception.head,
    openSince: (account) => underWay.openSince(account),
    stats: () => ({
      ...pipeline.stats,
      // What the last commit met is old once nothing waits: a node that nobody asks would never be ready again.
      trouble: writers.trouble() ?? (underWay.size === 0 ? undefined : pipeline.stats.trouble),
      inFlight: underWay.size + reception.away(),
      residents: turns.residents.size()
    }),
    meters: () => ({
      ...loadOf(underWay, clock.elapsedUnsafe(), limits.commandDeadlineMs),
      outcomes: underWay.outcomes,
      queued: queue.size,
      clockSkewMs: writers.skewMs()
    }),
    here: {
      ...reception.here,
      loans: () => ({ borrowed: turns.borrowing.size(), lapsed: turns.lending.expired() }),
      close
    }
  })
})
