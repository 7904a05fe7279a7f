/** Routes a command: it is decided on this node, or sent to the node that owns its first account. */
import { Context, Effect, Exit, Fiber, Layer, Result, Schedule } from "effect"
import { wavesOf } from "../../domain/BatchOrder.ts"
import { type Command, firstAccountOf } from "../../domain/Command.ts"
import type { CommandError, Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { KeptOrder } from "../accounts/KeptOrder.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import type { CommandExit } from "../accounts/Lifecycle.ts"
import { type NotMine, Placement, type ToldHead } from "../accounts/Placement.ts"
import { AdmissionControl } from "./AdmissionControl.ts"
import { CommandExecutor } from "./CommandExecutor.ts"
import { Forwarding, moving, type Outcome } from "./Forwarding.ts"
import { InFlightCommands, unavailable } from "./InFlightCommands.ts"
import { LocalNode } from "./LocalNode.ts"
import { Lookups } from "./Lookups.ts"
import { resolveReversal } from "./Originals.ts"

/** Commands of one batch that are submitted, or sent, at once. */
const chunkMax = 1_000
/** Chunks of one `dispatchMany` that are in flight at once. */
const chunksMax = 2

/** The group of accounts whose node decides a command; undefined where that is this node. */
type Owner = number | undefined

type Reverse = Extract<Command, { readonly _tag: "Reverse" }>

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
  const { forward, roomOfBatch } = yield* Forwarding
  const clock = yield* LedgerClock
  const admission = yield* AdmissionControl
  const inFlight = yield* InFlightCommands.Service
  const lookups = new Lookups({ atOnce: limits.lookupsAtOnce, waitingMax: limits.lookupsWaitingMax })
  // A reversal is decided where it came in: what it is about was read from the log there, and its accounts are leased.
  const isOurs = (command: Command) => command._tag === "Reverse" || placement.owns(firstAccountOf(command))

  const forwardOne = (command: Command): Effect.Effect<Receipt, CommandError> =>
    Effect.flatMap(forward(firstAccountOf(command), [command]), ([outcome]) =>
      outcome === undefined ? Effect.die("a command has no outcome") : Effect.fromResult(outcome)
    )

  const dispatch = (command: Command): Effect.Effect<Receipt, CommandError> =>
    command._tag === "Reverse" ? dispatchReversal(command) : submit(command)

  const submit = (command: Command, deadline?: number): Effect.Effect<Receipt, CommandError> =>
    Effect.callback<Receipt, CommandError>((resume) => {
      if (isOurs(command)) executor.submit(command, resume, "Host", deadline)
      else resume(forwardOne(command))
    })

  /** Its original is looked up first: in flight like what is decided, and within the deadline of the whole. */
  const dispatchReversal = (command: Reverse): Effect.Effect<Receipt, CommandError> =>
    Effect.suspend(() => {
      const now = clock.elapsedUnsafe()
      const refusal = admission.check([], [], false, now)
      if (refusal !== undefined) return refuse(refusal)
      const resolved = Effect.timeoutOrElse(lookups.run(resolveReversal(store, command), lookupsFull), {
        duration: limits.commandDeadlineMs,
        orElse: () => unavailable("event store", executor.trouble())
      })
      return Effect.flatMap(whileCounted(resolved), (found) => submit(found, now + limits.commandDeadlineMs))
    })

  const lookupsFull = Effect.suspend(() => {
    const { exit } = admission.lookupsFull()
    inFlight.outcomes.note(exit)
    return exit
  })

  const whileCounted = <A, E>(lookup: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.acquireUseRelease(
      Effect.sync(() => inFlight.beginLookup()),
      () => lookup,
      () => Effect.sync(() => inFlight.endLookup())
    )

  const refuse = (refusal: CommandExit): Effect.Effect<Receipt, CommandError> => {
    inFlight.outcomes.note(refusal)
    return refusal
  }

  const ownerOf = (command: Command): Owner =>
    isOurs(command) ? undefined : placement.groupOf(firstAccountOf(command))

  /** Forwards commands of other nodes, several groups of accounts at once. Answers which of them each forwarding carries. */
  const forwardAll = Effect.fnUntraced(function* (
    commands: ReadonlyArray<Command>,
    owners: ReadonlyArray<Owner>
  ) {
    const groups = new Map<number, Array<number>>()
    for (const [index, group] of owners.entries()) {
      if (group === undefined) continue
      const others = groups.get(group)
      if (others === undefined) groups.set(group, [index])
      else others.push(index)
    }
    const room = roomOfBatch()
    return yield* Effect.forEach(groups.values(), (indices) => {
      const sent = indices.map((index) => commands[index] as Command) // the indices are those of commands
      const [first] = sent as [Command] // a group has a command
      return Effect.map(Effect.forkChild(forward(firstAccountOf(first), sent, room)), (fiber) => ({
        indices,
        fiber
      }))
    })
  })

  /** Decides commands on this node, in order. */
  const decideHere = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    const outcomes: Array<Outcome> = []
    const chunks: Array<Effect.Effect<ReadonlyArray<CommandExit>>> = []
    const sender = { order: new KeptOrder() }
    for (let start = 0; start < commands.length; start += chunkMax) {
      // However long a batch is, it alone does not fill the node: few chunks of it are in flight at once.
      const landed = chunks.length === chunksMax ? chunks.shift() : undefined
      if (landed !== undefined) yield* addOutcomes(outcomes, yield* landed)
      chunks.push(yield* localNode.submitAll(commands.slice(start, start + chunkMax), sender))
    }
    for (const chunk of chunks) yield* addOutcomes(outcomes, yield* chunk)
    return outcomes
  })

  /** A reversal in a batch is looked up once everything before it is done: its original may be there. */
  const dispatchMany = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    const results: Array<Outcome> = []
    let start = 0
    for (const [index, command] of commands.entries()) {
      if (command._tag !== "Reverse") continue
      // One by one: as arguments of one call, those of a long batch would not fit onto the stack.
      if (index > start)
        for (const outcome of yield* dispatchPlain(commands.slice(start, index))) results.push(outcome)
      results.push(yield* Effect.result(dispatch(command)))
      start = index + 1
    }
    if (start === 0) return yield* dispatchPlain(commands)
    return start < commands.length ? [...results, ...(yield* dispatchPlain(commands.slice(start)))] : results
  })

  /**
   * Commands of which no two share an account and have different owners, by the owners that their caller knows: where
   * shards move meanwhile, those of one owner still go one way, in order.
   */
  const dispatchWave = Effect.fnUntraced(function* (
    commands: ReadonlyArray<Command>,
    owners: ReadonlyArray<Owner>
  ) {
    const outcomes = new Array<Outcome>(commands.length)
    const forwarded = yield* forwardAll(commands, owners)
    const ours = commands.flatMap((_, index) => (owners[index] === undefined ? [index] : []))
    const decided = yield* decideHere(ours.map((index) => commands[index] as Command)) // the indices are those of commands
    for (const [nth, index] of ours.entries()) outcomes[index] = decided[nth] as Outcome // one a command
    for (const { indices, fiber } of forwarded) {
      const found = yield* Fiber.join(fiber)
      for (const [nth, index] of indices.entries()) outcomes[index] = found[nth] as Outcome // one a command
    }
    return outcomes
  })

  /** One wave after another; what is left is cut anew where shards left or came in between. */
  const dispatchPlain = Effect.fnUntraced(function* (commands: ReadonlyArray<Command>) {
    if (placement.isAlone) return yield* decideHere(commands)
    const outcomes = new Array<Outcome>(commands.length)
    let left: ReadonlyArray<Left> = commands.map((command, index) => ({
      command,
      index,
      owner: ownerOf(command)
    }))
    while (left.length > 0) {
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
        const found = yield* dispatchWave(
          sent.map(({ command }) => command),
          sent.map(({ owner }) => owner)
        )
        for (const [nth, { index }] of sent.entries()) {
          outcomes[index] = found[nth] as Outcome // one a command
          done.add(index)
        }
      }
      left = cut.flatMap((one) => (done.has(one.index) ? [] : [{ ...one, owner: ownerOf(one.command) }]))
    }
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

/** Adds what came of commands to the outcomes; ends with the first defect among them. */
const addOutcomes = (outcomes: Array<Outcome>, exits: ReadonlyArray<CommandExit>): Effect.Effect<void> => {
  for (const exit of exits) {
    if (exit._tag === "Success") outcomes.push(Result.succeed(exit.value))
    else {
      const error = Exit.findError(exit)
      if (Result.isFailure(error)) return Effect.orDie(Effect.asVoid(exit))
      outcomes.push(Result.fail(error.success))
    }
  }
  return Effect.void
}
