/**
 * Admission control: which commands this node has no room for. Every `Overloaded` of the write path is made here.
 *
 * A burst may fill the node up to its bound; sustained overload is shed early, because a longer queue adds latency and
 * work for the garbage collector, not throughput.
 */
import { Context, Effect, Exit, Layer } from "effect"
import { commandIdOfInput, firstAccountOfInput } from "../../domain/Command.ts"
import { Overloaded } from "../../domain/Errors.ts"
import type { AccountId, CommandId } from "../../domain/Ids.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { LedgerConfig, type LedgerLimits } from "../../infra/config/LedgerConfig.ts"
import { LeaseClient } from "../accounts/LeaseClient.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import type { AccountActor } from "../accounts/Lifecycle.ts"
import { Placement } from "../accounts/Placement.ts"
import { CommitPipeline } from "../commit/CommitPipeline.ts"
import { CommitQueue } from "../commit/CommitQueue.ts"
import { Deduplication } from "./Deduplication.ts"
import { InFlightCommands } from "./InFlightCommands.ts"

/** What an `Overloaded` names that is not of one account. */
export const wholeNode = "this node"

/** When one of many look-ups in the log may have made room, in milliseconds. */
const lookupRetryMs = 100

/** A refusal, as an error and as the exit of a command. */
interface Refusal {
  readonly error: Overloaded
  readonly exit: Exit.Exit<never, Overloaded>
}

export class AdmissionControl extends Context.Service<
  AdmissionControl,
  {
    /**
     * The refusal of a command for these accounts (with their actors, as far as they are in memory), or undefined where there is
     * room. A caller that is self-limiting (a batch, another node) waits for some answers before it sends more: it is refused
     * at the bounds alone.
     */
    readonly check: (
      accounts: ReadonlyArray<AccountId>,
      actors: ReadonlyArray<AccountActor | undefined>,
      isSelfLimiting: boolean,
      now: number
    ) => Refusal["exit"] | undefined
    /**
     * The same before a command is validated, which costs more than its refusal; `input` may be anything. Only for
     * commands that this node would decide itself. Counts as a refusal.
     */
    readonly precheck: (input: unknown) => Refusal["exit"] | undefined
    /** `retryAfterMs` is estimated from the commit queue where it is not given. */
    readonly overloaded: (what: string, retryAfterMs?: number) => Refusal
    /** The node that owns an account takes no more from this one, or answers too little of it: it has room again once leases have ended. */
    readonly peerBusy: () => Refusal
    /** As many look-ups of its kind wait for the log as may. */
    readonly lookupsFull: () => Refusal
    /** What is decided and not committed takes half the memory that it may: a batch waits, so that others find room. */
    readonly isHalfFull: () => boolean
    /** It takes all of it. */
    readonly isHeavy: () => boolean
  }
>()("chronicle/actors/AdmissionControl") {
  static readonly layer = Layer.effect(
    AdmissionControl,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const limits = yield* LedgerConfig
  const { leaseMs } = yield* ClusterConfig
  const clock = yield* LedgerClock
  const placement = yield* Placement
  const queue = yield* CommitQueue.Service
  const inFlight = yield* InFlightCommands.Service
  const deduplication = yield* Deduplication
  const leases = yield* LeaseClient
  const { stats } = yield* CommitPipeline
  const shedding = new LoadShedding(limits)
  let last: Refusal | undefined

  const isHeavy = (): boolean => queue.bytes >= limits.decidedBytesMax
  const isHalfFull = (): boolean => queue.bytes >= limits.decidedBytesMax / 2

  /** What waits for hot accounts does not wait for lanes. */
  const isFull = (now: number): boolean =>
    shedding.isFull(inFlight.size, queue.size - inFlight.ofHotAccounts, now)

  const retryAfterQueue = (): number => {
    const batches = 1 + Math.max(queue.size / limits.batchRowsMax, queue.bytes / limits.batchBytesMax)
    return Math.ceil(Math.min(stats.commitMs * batches, limits.commandDeadlineMs))
  }

  /** One error for all that are told the same: the stack trace of a new one is six sevenths of a refusal's cost. */
  const overloaded = (what: string, retryAfterMs = retryAfterQueue()): Refusal => {
    if (last?.error.what !== what || last.error.retryAfterMs !== retryAfterMs) {
      const error = new Overloaded({ what, retryAfterMs })
      last = { error, exit: Exit.fail(error) }
    }
    return last
  }

  const peerBusy = () => overloaded("the node of the account", leaseMs)

  return AdmissionControl.of({
    check: (accounts, actors, isSelfLimiting, now) => {
      if (isHeavy() || (isSelfLimiting ? inFlight.size >= limits.inFlightMax : isFull(now)))
        return overloaded(wholeNode).exit
      for (let nth = 0; nth < accounts.length; nth++) {
        const account = accounts[nth] as AccountId // the index is below the length
        // One that has left may be in memory still.
        const pending = (actors[nth]?.inFlight ?? 0) + leases.inFlight(account)
        if (pending >= limits.inFlightPerAccountMax) return overloaded(`account ${account}`).exit
        if (leases.isNodeFull(account)) return peerBusy().exit
      }
      return undefined
    },
    precheck: (input) => {
      if (!isFull(clock.elapsedUnsafe()) && !isHeavy()) return undefined
      const account = firstAccountOfInput(input)
      if (account === undefined || !placement.owns(account)) return undefined
      // It may be in flight, or done: then its outcome is known, however full the node is.
      const commandId = commandIdOfInput(input)
      if (typeof commandId === "string" && deduplication.isKnown(commandId as CommandId)) return undefined // what is none is not found
      const { exit } = overloaded(wholeNode)
      inFlight.outcomes.note(exit)
      return exit
    },
    overloaded,
    isHalfFull,
    isHeavy,
    peerBusy,
    lookupsFull: () => overloaded("the look-up of holds and reversals in the log", lookupRetryMs)
  })
})

/** An account with so many commands in flight is hot: what comes to it waits for it, whatever the lanes do. */
const hotMin = 100

const isHot = (actor: AccountActor | undefined): boolean => actor !== undefined && actor.inFlight >= hotMin

export const isOfHotAccount = (actors: ReadonlyArray<AccountActor | undefined>): boolean => actors.some(isHot)

/** How long the queue may stay longer than the lanes need, in milliseconds. */
const burstMs = 1_000
/** What the lanes need: batches that wait for a lane, of commands with one row, so that it can begin the next at once. */
const steadyBatches = 0.75
/** The part of them at which the queue has drained: all lanes together take two thirds at once, of transfers. */
const drainedPart = 1 / 8

/**
 * Absorbs bursts, sheds sustained overload: CoDel (Nichols and Jacobson, "Controlling queue delay", 2012), with the
 * length of the queue in place of its delay. If the commit queue stays above `steadyMax` for longer than `burstMs`, new
 * commands are refused until it has drained. A queue that a batch has just left is not drained yet.
 */
export class LoadShedding {
  readonly #inFlightMax: number
  readonly #steadyMax: number
  #drainedAt = Number.NEGATIVE_INFINITY

  constructor(limits: Pick<LedgerLimits, "inFlightMax" | "lanes" | "batchRowsMax">) {
    this.#inFlightMax = limits.inFlightMax
    this.#steadyMax = steadyBatches * limits.lanes * limits.batchRowsMax
  }

  /** `inFlight`: all that is not answered; `queued`: what is decided and not sent, less what waits for hot accounts. */
  isFull(inFlight: number, queued: number, nowMs: number): boolean {
    if (queued < this.#steadyMax * drainedPart) this.#drainedAt = nowMs
    const isSustained = nowMs - this.#drainedAt > burstMs
    return inFlight >= this.#inFlightMax || (isSustained && queued >= this.#steadyMax)
  }
}
