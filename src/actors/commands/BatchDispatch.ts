/**
 * Dispatches the batches of this node's callers, in their order on every account. What this node decides goes in chunks, what others do in
 * messages; commands of several owners go in waves of which no two commands with different owners share an account. A reversal waits until
 * everything before it is done, for its original may be there.
 */
import { Effect, Exit, Fiber, Result } from "effect"
import { wavesOf } from "../../domain/BatchOrder.ts"
import { type Command, firstAccountOf } from "../../domain/Command.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { KeptOrder } from "../accounts/KeptOrder.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import type { CommandExit } from "../accounts/Lifecycle.ts"
import { Placement } from "../accounts/Placement.ts"
import { type BatchUnderWay, isInVain, type Outcome, withheld } from "./BatchUnderWay.ts"
import { CommandExecutor, host, type Sender } from "./CommandExecutor.ts"
import { Deduplication } from "./Deduplication.ts"
import { Forwarding, pick } from "./Forwarding.ts"
import { InFlightCommands } from "./InFlightCommands.ts"
import { LocalNode, Replies } from "./LocalNode.ts"
import { isReversal, type ReversalDispatch } from "./ReversalDispatch.ts"

/** Commands of one batch that are submitted, or sent, at once. */
const chunkMax = 1_000
/** Chunks of one `dispatchMany` that are in flight at once. */
const chunksMax = 2

/** The shard whose node decides a command; undefined where that is this node. */
type Owner = number | undefined

type Commands = ReadonlyArray<Command>

/** A caller of this node that gave it a batch. */
const newBatch = (): Sender => ({ order: new KeptOrder(), forwardedAfter: undefined })

/** Commands of a batch that were submitted here, at `sentAtMs`. */
interface Chunk {
  readonly submitted: Replies
  readonly sentAtMs: number
}

/** A command of a batch that is not sent yet. */
interface Left {
  readonly command: Command
  readonly index: number
  readonly owner: Owner
}

/** What is told of commands of a batch that are not sent any more: their outcomes, where this node knows those, or waits for them, for all at once. */
const makeWithhold = Effect.fnUntraced(function* (reversals: ReversalDispatch) {
  const executor = yield* CommandExecutor
  const clock = yield* LedgerClock
  const deduplication = yield* Deduplication
  const inFlight = yield* InFlightCommands.Service
  return (commands: Commands, batch: BatchUnderWay) =>
    Effect.suspend(() => {
      const replies = new Replies(commands.length, clock.elapsedUnsafe)
      for (const [nth, command] of commands.entries()) {
        const reply = replies.replyTo(nth)
        if (isReversal(command)) reply(reversals.refuse(command, withheld.error))
        else if (deduplication.isSettled(command)) executor.submit(command, reply, host, batch.waitsUntilMs)
        else {
          inFlight.outcomes.note(withheld.exit)
          reply(withheld.exit)
        }
      }
      return Effect.flatMap(replies.all, outcomesOf)
    })
})

type Withhold = Effect.Success<ReturnType<typeof makeWithhold>>

/** Decides commands on this node, in order. */
const makeDecideHere = Effect.fnUntraced(function* (withhold: Withhold) {
  const { commandDeadlineMs } = yield* LedgerConfig
  const clock = yield* LedgerClock
  const placement = yield* Placement
  const localNode = yield* LocalNode

  const isLate = ({ sentAtMs }: Chunk): boolean => clock.elapsedUnsafe() - sentAtMs >= commandDeadlineMs

  /**
   * Once all of them are known. Made once: of each generator function V8 keeps what describes its generators in the old
   * heap, and with that all that the function closes over until the next full collection.
   */
  const outcomesOfChunk = Effect.fnUntraced(function* ({ submitted, sentAtMs }: Chunk, batch: BatchUnderWay) {
    const outcomes = yield* outcomesOf(yield* submitted.all)
    const isOver = batch.note(outcomes, sentAtMs, submitted.doneAtMs)
    return { outcomes, isOver, isInVain: isOver && isInVain(outcomes) }
  })

  return Effect.fnUntraced(function* (commands: Commands, batch: BatchUnderWay) {
    const outcomes: Array<Outcome> = []
    const chunks: Array<Chunk> = []
    const sender = newBatch()
    let endsHere = false
    for (let start = 0; start < commands.length; start += chunkMax) {
      // However long a batch is, it alone does not fill the node: few chunks of it are in flight at once. None where one took all its time to
      // be submitted: what it waited for is known by then.
      const oldest = chunks.length === chunksMax || chunks.some(isLate) ? chunks.shift() : undefined
      if (oldest !== undefined) {
        const found = yield* outcomesOfChunk(oldest, batch)
        append(outcomes, found.outcomes)
        // An account of another node may have been waited for, and all further ones of that node would be. A node alone goes on as long as it gets on.
        endsHere ||= placement.isAlone ? found.isInVain : found.isOver
      }
      if (endsHere) break
      const sentAtMs = clock.elapsedUnsafe()
      const submitted = yield* localNode.submitAll(commands.slice(start, start + chunkMax), sender)
      chunks.push({ submitted, sentAtMs })
    }
    for (const chunk of chunks) append(outcomes, (yield* outcomesOfChunk(chunk, batch)).outcomes)
    const rest = commands.slice(outcomes.length)
    if (rest.length > 0) append(outcomes, yield* withhold(rest, batch))
    return outcomes
  })
})

type DecideHere = Effect.Success<ReturnType<typeof makeDecideHere>>

/**
 * Commands of which no two share an account and have different owners, by the owners that their caller knows: where
 * shards move meanwhile, those of one owner still go one way, in order.
 */
const makeDispatchWave = Effect.fnUntraced(function* (decideHere: DecideHere) {
  const { forward } = yield* Forwarding

  /** To several owners at once. Answers which of the commands each forwarding carries. */
  const forwardAll = (commands: Commands, parts: Iterable<ReadonlyArray<number>>, batch: BatchUnderWay) =>
    Effect.forEach(parts, (indices) => {
      const sent = pick(commands, indices)
      const [first] = sent as [Command] // a part has a command
      return Effect.map(Effect.forkChild(forward(firstAccountOf(first), sent, batch)), (fiber) => ({
        indices,
        fiber
      }))
    })

  return Effect.fnUntraced(function* (
    commands: Commands,
    owners: ReadonlyArray<Owner>,
    batch: BatchUnderWay
  ) {
    const outcomes = new Array<Outcome>(commands.length)
    const byOwner = Map.groupBy(owners.keys(), (index) => owners[index])
    const ours = byOwner.get(undefined) ?? []
    byOwner.delete(undefined)
    const forwarded = yield* forwardAll(commands, byOwner.values(), batch)
    put(outcomes, ours, yield* decideHere(pick(commands, ours), batch))
    for (const { indices, fiber } of forwarded) put(outcomes, indices, yield* Fiber.join(fiber))
    return outcomes
  })
})

/** One wave after another, until one of them was given up; what is left is cut anew where shards left or came in between. No reversals. */
const makeDispatchPlain = Effect.fnUntraced(function* (withhold: Withhold) {
  const placement = yield* Placement
  const decideHere = yield* makeDecideHere(withhold)
  const dispatchWave = yield* makeDispatchWave(decideHere)

  const ownerOf = (command: Command): Owner => {
    const first = firstAccountOf(command)
    return placement.owns(first) ? undefined : placement.shardOf(first)
  }

  return Effect.fnUntraced(function* (commands: Commands, batch: BatchUnderWay) {
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
        const indices = sent.map(({ index }) => index)
        put(outcomes, indices, found)
        for (const index of indices) done.add(index)
      }
      left = cut.flatMap((one) => (done.has(one.index) ? [] : [{ ...one, owner: ownerOf(one.command) }]))
    }
    if (left.length === 0) return outcomes
    const rest = left.map(({ command }) => command)
    const indices = left.map(({ index }) => index)
    put(outcomes, indices, yield* withhold(rest, batch))
    return outcomes
  })
})

export const makeBatchDispatch = Effect.fnUntraced(function* (reversals: ReversalDispatch) {
  const clock = yield* LedgerClock
  const { beginBatch } = yield* Forwarding
  const withhold = yield* makeWithhold(reversals)
  const dispatchPlain = yield* makeDispatchPlain(withhold)

  const reverseIn = Effect.fnUntraced(function* (
    batch: BatchUnderWay,
    command: Parameters<ReversalDispatch["dispatch"]>[0]
  ) {
    const sentAtMs = clock.elapsedUnsafe()
    const outcome = yield* Effect.result(reversals.dispatch(command, newBatch()))
    batch.note([outcome], sentAtMs)
    return outcome
  })

  return Effect.fnUntraced(function* (commands: Commands) {
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
})

/** One by one: as arguments of one call, those of a long batch would not fit onto the stack. */
const append = (outcomes: Array<Outcome>, more: ReadonlyArray<Outcome>): void => {
  for (const outcome of more) outcomes.push(outcome)
}

/** Outcomes, to where the commands stand that they are of. */
const put = (
  outcomes: Array<Outcome>,
  indices: ReadonlyArray<number>,
  found: ReadonlyArray<Outcome>
): void => {
  for (const [nth, index] of indices.entries()) outcomes[index] = found[nth] as Outcome // one a command
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
