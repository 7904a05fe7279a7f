/** The write side of one node as a service, and the list of layers that it is made of. */
import { Context, Effect, type Exit, Layer, type Result } from "effect"
import type { Command } from "../../domain/Command.ts"
import type { CommandError, Overloaded, Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { AccountRegistry } from "../accounts/AccountRegistry.ts"
import { AcquireAccounts } from "../accounts/AcquireAccounts.ts"
import { LeaseClient } from "../accounts/LeaseClient.ts"
import { LeaseServer } from "../accounts/LeaseServer.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import type { ToldHead } from "../accounts/Placement.ts"
import { CommitPipeline } from "../commit/CommitPipeline.ts"
import { CommitQueue } from "../commit/CommitQueue.ts"
import type { PipelineStats } from "../commit/CommitStats.ts"
import * as OwnershipBarrier from "../commit/OwnershipBarrier.ts"
import { WriterRegistry } from "../commit/WriterRegistry.ts"
import { AdmissionControl } from "./AdmissionControl.ts"
import { CommandExecutor } from "./CommandExecutor.ts"
import { CommandRouter } from "./CommandRouter.ts"
import { Deadlines } from "./Deadlines.ts"
import { Deduplication } from "./Deduplication.ts"
import { Forwarding } from "./Forwarding.ts"
import { type DispatcherMeters, InFlightCommands } from "./InFlightCommands.ts"
import { LocalNode } from "./LocalNode.ts"

/** This node's state, for health and reports. */
export interface DispatcherStats extends PipelineStats {
  readonly inFlight: number
  readonly residents: number
}

export class Dispatcher extends Context.Service<
  Dispatcher,
  {
    /** The name of this node. */
    readonly node: string
    /** Decides and commits one command, here or where its first account lives. Interrupting does not take it back. */
    readonly dispatch: (command: Command) => Effect.Effect<Receipt, CommandError>
    /**
     * The `Overloaded` that a command would meet here just now, if any: to be asked first, since validating a command
     * costs more than refusing it. Says nothing of what another node decides. Counts as a refusal.
     */
    readonly precheck: (input: unknown) => Exit.Exit<never, Overloaded> | undefined
    /**
     * An ordered batch of one caller, with a result for each. On every account its commands take effect in the given
     * order, whichever nodes own the accounts.
     */
    readonly dispatchMany: (
      commands: ReadonlyArray<Command>
    ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>>
    /** The committed head of an account, from its actor, and the instant of its node when that told it. */
    readonly head: (account: AccountId) => Effect.Effect<ToldHead, Unavailable>
    readonly stats: () => DispatcherStats
    /** More of the same, for the metrics; walks everything in flight. */
    readonly meters: () => DispatcherMeters
    /** What other nodes ask of this one. */
    readonly localNode: LocalNode["Service"]
  }
>()("chronicle/actors/Dispatcher") {
  /** `node` names this process in the writers it registers. */
  static readonly layer = (node: string) =>
    Layer.effect(Dispatcher, make(node)).pipe(Layer.provide(parts(node)))
}

/**
 * The parts of the write side, upmost first; each needs only parts below it. They end in the same order, so that what
 * was admitted is answered before the lanes stop, and the writers are fenced after that.
 */
const parts = (node: string) =>
  Layer.fresh(
    CommandRouter.layer.pipe(
      Layer.provideMerge(Forwarding.layer),
      Layer.provideMerge(LocalNode.layer),
      Layer.provideMerge(Deadlines.layer),
      Layer.provideMerge(CommandExecutor.layer),
      Layer.provideMerge(AdmissionControl.layer),
      Layer.provideMerge(Deduplication.layer),
      Layer.provideMerge(InFlightCommands.layer),
      Layer.provideMerge(CommitPipeline.layer),
      Layer.provideMerge(OwnershipBarrier.layer),
      Layer.provideMerge(WriterRegistry.layer(node)),
      Layer.provideMerge(CommitQueue.layer),
      Layer.provideMerge(AcquireAccounts.layer),
      Layer.provideMerge(LeaseClient.layer),
      Layer.provideMerge(LeaseServer.layer),
      Layer.provideMerge(AccountRegistry.layer)
    )
  )

const make = Effect.fnUntraced(function* (node: string) {
  const limits = yield* LedgerConfig
  const clock = yield* LedgerClock
  const router = yield* CommandRouter
  const forwarding = yield* Forwarding
  const localNode = yield* LocalNode
  const admission = yield* AdmissionControl
  const inFlight = yield* InFlightCommands.Service
  const pipeline = yield* CommitPipeline
  const queue = yield* CommitQueue.Service
  const writers = yield* WriterRegistry
  const registry = yield* AccountRegistry
  yield* Effect.addFinalizer(() => localNode.close)

  return Dispatcher.of({
    node,
    dispatch: router.dispatch,
    precheck: (input) =>
      inFlight.isClosing || writers.refusal() !== undefined ? undefined : admission.precheck(input),
    dispatchMany: router.dispatchMany,
    head: router.head,
    stats: () => ({
      ...pipeline.stats,
      // What the last commit met is old once nothing waits: a node that no caller asks would never be ready again.
      trouble: writers.trouble() ?? (inFlight.size === 0 ? undefined : pipeline.stats.trouble),
      inFlight: inFlight.size + forwarding.away(),
      residents: registry.size()
    }),
    meters: () => ({
      ...inFlight.load(clock.elapsedUnsafe(), limits.commandDeadlineMs),
      outcomes: inFlight.outcomes,
      queued: queue.size,
      clockSkewMs: writers.skewMs(),
      recordedAheadMs: writers.aheadMs()
    }),
    localNode
  })
})
