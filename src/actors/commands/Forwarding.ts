/** Sends commands whose first account is another node's to that node, and follows the account while it moves. */
import { Context, Effect, Layer, Result, Semaphore } from "effect"
import { overtakenOf, type Standing } from "../../domain/BatchOrder.ts"
import type { Command } from "../../domain/Command.ts"
import { Indeterminate, Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { CountByNode } from "../accounts/CountByNode.ts"
import { LedgerClock } from "../accounts/LedgerClock.ts"
import { type Answer, Placement } from "../accounts/Placement.ts"
import { AdmissionControl, wholeNode } from "./AdmissionControl.ts"
import { BatchUnderWay, type Outcome, withheld } from "./BatchUnderWay.ts"
import { saysNothingWasDone } from "./InFlightCommands.ts"
import { LocalNode } from "./LocalNode.ts"
import { messageMax, messagesOf } from "./Messages.ts"

/** Messages of the full length that one batch may have away at once, over all owners, whatever its length. */
const messagesAway = 2

/** All other nodes together may have so many times the limit of one, so that one that stands still leaves room for the others. */
const nodesAway = 2

export class Forwarding extends Context.Service<
  Forwarding,
  {
    /**
     * Commands whose first accounts are all in the shard of `account`; an outcome for each, in their order. `batch` is that which they are
     * of; without it, one command.
     */
    readonly forward: (
      account: AccountId,
      commands: ReadonlyArray<Command>,
      batch?: BatchUnderWay
    ) => Effect.Effect<ReadonlyArray<Outcome>>
    /**
     * A batch that begins now. It has room for so much as one may have away at once: however long it is, and over however many owners, it
     * fills by itself neither this node nor, by their default limits, another.
     */
    readonly beginBatch: () => BatchUnderWay
    /** Commands of this node's callers that are at another node, or on their way. */
    readonly away: () => number
  }
>()("chronicle/actors/Forwarding") {
  static readonly layer = Layer.effect(
    Forwarding,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const localNode = yield* LocalNode
  const admission = yield* AdmissionControl
  const placement = yield* Placement
  const limits = yield* LedgerConfig
  const cluster = yield* ClusterConfig
  const clock = yield* LedgerClock
  // Not by what another node takes: one that stands still has its share at once, and the rest is refused at once.
  const roomMax = Math.min(messagesAway * messageMax, limits.inFlightMax)
  /** The commands of this node's callers that are at other nodes, by the node that they were sent to. */
  const away = new CountByNode()
  const nodeOf = (account: AccountId) => placement.nodeOf(placement.shardOf(account))

  /** Asks the owner of the shard once: this node, if the shard has come to it meanwhile. */
  const ask = (
    account: AccountId,
    commands: ReadonlyArray<Command>,
    patienceMs: number,
    isAgain: boolean
  ) => {
    const all = (answer: Answer) => Effect.succeed(commands.map(() => answer))
    const isOurs = placement.owns(account)
    const asked = isOurs
      ? localNode.dispatch(commands, isAgain)
      : placement.dispatch(account, commands, isAgain)
    const graceMs = patienceMs + cluster.answerGraceMs
    const answered = asked.pipe(
      Effect.catchTag("PeerBusy", () => all({ _tag: "Failed", error: admission.peerBusy().error })),
      Effect.catch((error) => all({ _tag: "Failed", error }))
    )
    // The placement waits no longer than this, without the two fibers of a timeout.
    if (!isOurs && graceMs >= cluster.askMs) return answered
    return Effect.timeoutOrElse(answered, { duration: graceMs, orElse: () => all({ _tag: "Unknown" }) })
  }

  /**
   * Asks until every command has an answer, or their deadline has come. An answer after one that did not come is true: what
   * an owner took before either stands in the log, where the next owner finds it, or can no longer get there. For the
   * next owner loads the account only when no writer of the former ones can write to it (OwnershipBarrier.ts), and a
   * node does not decide what others sent it once the account has left, nor where it came back since (CommandExecutor.ts). Of several
   * commands one that was refused may be accepted when it is asked for again: not behind one of them that has taken effect (LocalNode.ts).
   */
  const send = Effect.fnUntraced(function* (account: AccountId, commands: ReadonlyArray<Command>) {
    const outcomes = new Array<Outcome | undefined>(commands.length)
    const until = clock.elapsedUnsafe() + limits.commandDeadlineMs
    const unknown = new Set<number>()
    let open = commands.map((_, index) => index)
    for (;;) {
      const patience = until - clock.elapsedUnsafe()
      if (patience <= 0) break
      const answers = yield* ask(account, pick(commands, open), patience, unknown.size > 0)
      const again = open.filter((index, nth) => {
        const answer = answers[nth]
        if (answer === undefined || answer._tag === "Moved") return true
        if (answer._tag === "Unknown") {
          unknown.add(index)
          return true
        }
        if (answer._tag === "Failed" && unknown.has(index) && saysNothingWasDone(answer.error)) return true
        outcomes[index] = answer._tag === "Done" ? Result.succeed(answer.receipt) : Result.fail(answer.error)
        return false
      })
      if (again.length === 0) break
      // Sent again it would come after what stood behind it.
      const overtaken = overtakenOf(commands, (index) => standingOf(outcomes[index]))
      open = again.filter((index) => !overtaken.has(index))
      if (open.length === 0) break
      yield* Effect.sleep(cluster.retryMs)
    }
    // An error costs more to make than all else here, and hardly a command needs one.
    return commands.map(
      (command, index): Outcome =>
        outcomes[index] ?? Result.fail(unknown.has(index) ? lost(command) : moving(account))
    )
  })

  /** Whether there is room for so many more, at the node and in all. */
  const roomFor = (node: string | undefined, count: number): "room" | "nodeFull" | "full" => {
    if (away.of(node) + count > limits.inFlightMax) return "nodeFull"
    return away.all + count > nodesAway * limits.inFlightMax ? "full" : "room"
  }

  /** One message, where this node has room for its commands among those that are away. */
  const sendCounted = (account: AccountId, commands: ReadonlyArray<Command>) =>
    Effect.uninterruptibleMask((restore) => {
      // Of the node that had the account when it was sent: another one that has it by then does not stand still.
      const node = nodeOf(account)
      const room = roomFor(node, commands.length)
      if (room !== "room") {
        const { error } = room === "full" ? admission.overloaded(wholeNode) : admission.peerBusy()
        const refusal = Result.fail(error)
        return Effect.succeed(commands.map((): Outcome => refusal))
      }
      away.add(node, commands.length)
      return Effect.ensuring(
        restore(send(account, commands)),
        Effect.sync(() => away.add(node, -commands.length))
      )
    })

  const forward: Forwarding["Service"]["forward"] = Effect.fnUntraced(function* (account, commands, batch) {
    const outcomes: Array<Outcome> = []
    let isOver = false
    /** In its turn, in which others of the batch may have been given up. */
    const sendOf = (all: BatchUnderWay, some: ReadonlyArray<Command>) =>
      Effect.suspend(() => {
        // That which has the account as it is sent, as for the room: by the time of the answer it may have moved to one that is well.
        const node = nodeOf(account)
        isOver ||= all.isSilent(node)
        if (isOver) return Effect.succeed(some.map(() => withheld.outcome))
        const sentAtMs = clock.elapsedUnsafe()
        return Effect.map(sendCounted(account, some), (found) => {
          isOver = all.note(found, sentAtMs)
          if (isOver) all.noteSilent(node)
          return found
        })
      })
    // One message after another, for a later one must not overtake.
    for (const message of messagesOf(commands, Math.min(messageMax, roomMax, cluster.mailboxMax))) {
      const found = yield* batch === undefined
        ? sendCounted(account, message.commands)
        : batch.room.withPermits(Math.min(message.size, roomMax))(sendOf(batch, message.commands))
      for (const outcome of found) outcomes.push(outcome)
    }
    return outcomes
  })

  return Forwarding.of({
    forward,
    beginBatch: () =>
      new BatchUnderWay(Semaphore.makeUnsafe(roomMax), limits.commandDeadlineMs, clock.elapsedUnsafe),
    away: () => away.all
  })
})

/** What an outcome says of a command's place in its batch; one that was refused is not open to be decided elsewhere. */
const standingOf = (outcome: Outcome | undefined): Standing => {
  if (outcome === undefined) return "open"
  return Result.isFailure(outcome) && saysNothingWasDone(outcome.failure) ? "over" : "settled"
}

/** Those of the commands that have these indices, which grow. */
export const pick = (
  commands: ReadonlyArray<Command>,
  indices: ReadonlyArray<number>
): ReadonlyArray<Command> =>
  indices.length === commands.length ? commands : indices.map((index) => commands[index] as Command) // the indices are those of commands

/** The outcome of a command whose answer never came. */
const lost = ({ commandId }: Command): Indeterminate => new Indeterminate({ commandId })

export const moving = (account: AccountId): Unavailable =>
  new Unavailable({ what: `account ${account}`, reason: "it is moving to another node" })
