/** Routes a command: it is decided on this node, or sent to the node that owns its first account. */
import { Context, Effect, Exit, Fiber, Layer, Result, Schedule } from "effect"
import { wavesOf } from "../../domain/BatchOrder.ts"
import { type Command, firstAccountOf } from "../../domain/Command.ts"
import { type CommandError, Indeterminate, type Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { reversalIdOf } from "../../domain/Original.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { KeptOrder } from "../accounts/KeptOrder.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import type { CommandExit } from "../accounts/Lifecycle.ts"
import { type NotMine, Placement, type ToldHead } from "../accounts/Placement.ts"
import { AdmissionControl } from "./AdmissionControl.ts"
import { type BatchUnderWay, isInVain, type Outcome, withheld } from "./BatchUnderWay.ts"
import { CommandExecutor, type Sender } from "./CommandExecutor.ts"
import { Deduplication } from "./Deduplication.ts"
import { Forwarding, moving, saysNothingWasDone } from "./Forwarding.ts"
import { InFlightCommands } from "./InFlightCommands.ts"
import { LocalNode, Outcomes } from "./LocalNode.ts"
import { Lookups } from "./Lookups.ts"
import { resolveReversal } from "./Originals.ts"
import { makeWhyLate } from "./WhyLate.ts"

/** Commands of one batch that are submitted, or sent, at once. */
const chunkMax = 1_000
/** Chunks of one `dispatchMany` that are in flight at once. */
const chunksMax = 2

/** The group of accounts whose node decides a command; undefined where that is this node. */
type Owner = number | undefined

type Reverse = Extract<Command, { readonly _tag: "Reverse" }>

const isReversal = (command: Command): command is Reverse => command._tag === "Reverse"

/** Commands of a batch that were submitted here, at `sentAtMs`. */
interface Chunk {
  readonly submitted: Outcomes
  readonly sentAtMs: number
}

/** A command of a batch that is not sent yet. */
interface Left {
  readonly command: Command
  readonly index: number
  readonly owner: Owner
}

export class CommandRouter extends Context.Service<
  CommandRouter,
  {
    readonly dispatch: (command: Command) => Effect.Effect<Receipt, CommandError>
    readonly dispatchMany: (
      commands: ReadonlyArray<Command>
    ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>>
    readonly head: (account: AccountId) => Effect.Effect<ToldHead, Unavailable>
  }
>()("chronicle/actors/CommandRouter") {
  static readonly layer = Layer.effect(
    CommandRouter,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const placement = yield* Placement
  const limits = yield* LedgerConfig
  const cluster = yield* ClusterConfig
  const executor = yield* CommandExecutor
  const store = yield* EventStore
  const localNode = yield* LocalNode
  const { forward, beginBatch } = yield* Forwarding
  const deduplication = yield* Deduplication
  const clock = yield* LedgerClock
  const admission = yield* AdmissionControl
  const inFlight = yield* InFlightCommands.Service
  const whyLate = yield* makeWhyLate
  const lookups = new Lookups({ atOnce: limits.lookupsAtOnce, waitingMax: limits.lookupsWaitingMax })
  // A reversal is decided where it came in: what it is about was read from the log there, and its accounts are leased.
  const isOurs = (command: Command) => isReversal(command) || placement.owns(firstAccountOf(command))

  const forwardOne = (command: Command): Effect.Effect<Receipt, CommandError> =>
    Effect.flatMap(forward(firstAccountOf(command), [command]), ([outcome]) =>
      outcome === undefined ? Effect.die("a command has no outcome") : Effect.fromResult(outcome)
    )

  const dispatch = (command: Command): Effect.Effect<Receipt, CommandError> =>
    isReversal(command) ? dispatchReversal(command, "Host") : submit(command, "Host")

  const submit = (
    command: Command,
    sender: Sender,
    deadline?: number
  ): Effect.Effect<Receipt, CommandError> =>
    Effect.callback<Receipt, CommandError>((resume) => {
      if (isOurs(command)) executor.submit(command, resume, sender, deadline)
      else resume(forwardOne(command))
    })

  /** Its original is looked up first: in flight like what is decided, and within the deadline of the whole. */
  const dispatchReversal = (command: Reverse, sender: Sender): Effect.Effect<Receipt, CommandError> =>
    Effect.suspend(() => {
      const now = clock.elapsedUnsafe()
      const refusal = admission.check([], [], sender !== "Host", now)
      if (refusal !== undefined) return Effect.catch(refusal, (error) => refuseReversal(command, error))
      const resolved = Effect.timeoutOrElse(lookups.run(resolveReversal(store, command), lookupsFull), {
        duration: limits.commandDeadlineMs,
        orElse: whyLate.ofLog
      })
      return whileCounted(resolved).pipe(
        Effect.catch((error) => refuseReversal(command, error)),
        Effect.flatMap((found) => submit(found, sender, now + limits.commandDeadlineMs))
      )
    })

  const lookupsFull = Effect.suspend(() => admission.lookupsFull().exit)

  const whileCounted = <A, E>(lookup: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.acquireUseRelease(
      Effect.sync(() => inFlight.beginWait()),
      () => lookup,
      () => Effect.sync(() => inFlight.endWait())
    )

  const refuse = <E extends CommandError>(refusal: Exit.Exit<never, E>): Exit.Exit<never, E> => {
    inFlight.outcomes.note(refusal)
    return refusal
  }

  /** Where this node knows the reversal to be done, or has it under way, it is not told that nothing was done. */
  const refuseReversal = (
    { original, n = 1 }: Reverse,
    error: CommandError
  ): Exit.Exit<never, CommandError> => {
    const commandId = reversalIdOf(original, n)
    const isFalse = saysNothingWasDone(error) && deduplication.isKnown(commandId)
    return refuse(Exit.fail(isFalse ? new Indeterminate({ commandId }) : error))
  }

  const ownerOf = (command: Command): Owner =>
    isOurs(command) ? undefined : placement.groupOf(firstAccountOf(command))

  /** What is told of commands of a batch that are not sent any more: their outcomes, where this node knows those, or waits for them, for all at once. */
  const withhold = (commands: ReadonlyArray<Command>, batch: BatchUnderWay) =>
    Effect.suspend(() => {
      const outcomes = new Outcomes(commands.length, clock.elapsedUnsafe)
      for (const [nth, command] of commands.entries()) {
        const reply = outcomes.replyTo(nth)
        if (isReversal(command)) reply(refuseReversal(command, withheld.error))
        else if (!deduplication.isSettled(command)) reply(refuse(withheld.exit))
        else executor.submit(command, reply, "Host", batch.waitsUntilMs)
      }
      return Effect.flatMap(outcomes.all, outcomesOf)
    })

  /** Forwards commands of other nodes, several groups of accounts at once. Answers which of them each forwarding carries. */
  const forwardAll = Effect.fnUntraced(function* (
    commands: ReadonlyArray<Command>,
    owners: ReadonlyArray<Owner>,
    batch: BatchUnderWay
  ) {
    const groups = new Map<number, Array<number>>()
    for (const [index, group] of owners.entries()) {
      if (group === undefined) continue
      const others = groups.get(group)
      if (others === undefined) groups.set(group, [index])
      else others.push(index)
    }
    return yield* Effect.forEach(groups.values(), (indices) => {
      const sent = indices.map((index) => commands[index] as Command) // the indices are those of commands
      const [first] = sent as [Command] // a group has a command
      return Effect.map(Effect.forkChild(forward(firstAccountOf(first), sent, batch)), (fiber) => ({
        indices,
        fiber
      }))
    })
  })

  /**
   * The outcomes of a chunk, once all of them are known. Made once: of each generator function V8 keeps what describes its generators in the old
   * heap, and with that all that the function closes over until the next full collection.
   */
  const settled = Effect.fnUntraced(function* ({ submitted, sentAtMs }: Chunk, batch: BatchUnderWay) {
    const outcomes = yield* outcomesOf(yield* submitted.all)
    const isOver = batch.note(outcomes, sentAtMs, submitted.doneAtMs)
    return { outcomes, isOver, isInVain: isOver && isInVain(outcomes) }
  })

  const isLate = ({ sentAtMs }: Chunk): boolean =>
    clock.elapsedUnsafe() - sentAtMs >= limits.commandDeadlineMs

  /** Decides commands on this node, in order. */
  const decideHere = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>, batch: BatchUnderWay) {
    const outcomes: Array<Outcome> = []
    const chunks: Array<Chunk> = []
    const sender = { order: new KeptOrder() }
    let endsHere = false
    for (let start = 0; start < commands.length; start += chunkMax) {
      // However long a batch is, it alone does not fill the node: few chunks of it are in flight at once. None where one took all its time to
      // be submitted: what it waited for is known by then.
      const oldest = chunks.length === chunksMax || chunks.some(isLate) ? chunks.shift() : undefined
      if (oldest !== undefined) {
        const found = yield* settled(oldest, batch)
        append(outcomes, found.outcomes)
        // An account of another node may have been waited for, and all further ones of that node would be. A node alone goes on as long as it gets on.
        endsHere ||= placement.isAlone ? found.isInVain : found.isOver
      }
      if (endsHere) break
      const sentAtMs = clock.elapsedUnsafe()
      const submitted = yield* localNode.submitAll(commands.slice(start, start + chunkMax), sender)
      chunks.push({ submitted, sentAtMs })
    }
    for (const chunk of chunks) append(outcomes, (yield* settled(chunk, batch)).outcomes)
    const rest = commands.slice(outcomes.length)
    if (rest.length > 0) append(outcomes, yield* withhold(rest, batch))
    return outcomes
  })

  /** A reversal in a batch is looked up once everything before it is done: its original may be there. */
  const dispatchMany = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    const batch = beginBatch()
    if (!commands.some(isReversal)) return yield* dispatchPlain(commands, batch)
    const results: Array<Outcome> = []
    let start = 0
    for (const [index, command] of commands.entries()) {
      if (!isReversal(command)) continue
      if (index > start) append(results, yield* dispatchPlain(commands.slice(start, index), batch))
      start = index
      if (batch.isOver) break
      results.push(yield* reverseIn(batch, command))
      start = index + 1
    }
    const rest = commands.slice(start)
    if (rest.length > 0)
      append(results, yield* batch.isOver ? withhold(rest, batch) : dispatchPlain(rest, batch))
    return results
  })

  const reverseIn = (batch: BatchUnderWay, command: Reverse): Effect.Effect<Outcome> =>
    Effect.suspend(() => {
      const sentAtMs = clock.elapsedUnsafe()
      return Effect.map(Effect.result(dispatchReversal(command, { order: new KeptOrder() })), (outcome) => {
        batch.note([outcome], sentAtMs)
        return outcome
      })
    })

  /**
   * Commands of which no two share an account and have different owners, by the owners that their caller knows: where
   * shards move meanwhile, those of one owner still go one way, in order.
   */
  const dispatchWave = Effect.fnUntraced(function* (
    commands: ReadonlyArray<Command>,
    owners: ReadonlyArray<Owner>,
    batch: BatchUnderWay
  ) {
    const outcomes = new Array<Outcome>(commands.length)
    const forwarded = yield* forwardAll(commands, owners, batch)
    const ours = commands.flatMap((_, index) => (owners[index] === undefined ? [index] : []))
    const own = ours.map((index) => commands[index] as Command) // the indices are those of commands
    const decided = yield* decideHere(own, batch)
    for (const [nth, index] of ours.entries()) outcomes[index] = decided[nth] as Outcome // one a command
    for (const { indices, fiber } of forwarded) {
      const found = yield* Fiber.join(fiber)
      for (const [nth, index] of indices.entries()) outcomes[index] = found[nth] as Outcome // one a command
    }
    return outcomes
  })

  /** One wave after another, until one of them was given up; what is left is cut anew where shards left or came in between. */
  const dispatchPlain = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>, batch: BatchUnderWay) {
    if (placement.isAlone && !batch.isOver) return yield* decideHere(commands, batch)
    const outcomes = new Array<Outcome>(commands.length)
    let left: ReadonlyArray<Left> = commands.map((command, index) => ({
      command,
      index,
      owner: ownerOf(command)
    }))
    while (left.length > 0 && !batch.isOver) {
      const cut = left
      const waves = wavesOf(
        cut.map(({ command }) => command),
        (_, nth) => cut[nth]?.owner
      )
      const done = new Set<number>()
      for (const wave of waves) {
        const sent = wave.map((nth) => cut[nth] as Left) // the indices are those of the cut
        // By two ways, commands with an account in common could overtake each other.
        if (done.size > 0 && sent.some(({ command, owner }) => ownerOf(command) !== owner)) break
        if (batch.isOver) break
        const found = yield* dispatchWave(
          sent.map(({ command }) => command),
          sent.map(({ owner }) => owner),
          batch
        )
        for (const [nth, { index }] of sent.entries()) {
          outcomes[index] = found[nth] as Outcome // one a command
          done.add(index)
        }
      }
      left = cut.flatMap((one) => (done.has(one.index) ? [] : [{ ...one, owner: ownerOf(one.command) }]))
    }
    if (left.length === 0) return outcomes
    const rest = left.map(({ command }) => command)
    for (const [nth, outcome] of (yield* withhold(rest, batch)).entries())
      outcomes[(left[nth] as Left).index] = outcome // one a command
    return outcomes
  })

  const head = (account: AccountId): Effect.Effect<ToldHead, Unavailable> =>
    Effect.suspend(() =>
      placement.owns(account) ? localNode.headOf(account) : placement.head(account)
    ).pipe(
      Effect.retry({
        while: (error: NotMine | Unavailable) => error._tag === "NotMine",
        schedule: Schedule.spaced(cluster.retryMs)
      }),
      Effect.catchTag("NotMine", () => Effect.fail(moving(account))),
      Effect.timeoutOrElse({ duration: limits.queryDeadlineMs, orElse: () => Effect.fail(moving(account)) })
    )

  return CommandRouter.of({ dispatch, dispatchMany, head })
})

/** One by one: as arguments of one call, those of a long batch would not fit onto the stack. */
const append = (outcomes: Array<Outcome>, more: ReadonlyArray<Outcome>): void => {
  for (const outcome of more) outcomes.push(outcome)
}

/** What came of commands; ends with the first defect among them. */
const outcomesOf = (exits: ReadonlyArray<CommandExit>): Effect.Effect<ReadonlyArray<Outcome>> => {
  const outcomes: Array<Outcome> = []
  for (const exit of exits) {
    if (exit._tag === "Success") outcomes.push(Result.succeed(exit.value))
    else {
      const error = Exit.findError(exit)
      if (Result.isFailure(error)) return Effect.orDie(Effect.as(exit, outcomes))
      outcomes.push(Result.fail(error.success))
    }
  }
  return Effect.succeed(outcomes)
}
