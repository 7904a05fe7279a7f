/** Faults that were, or might have been, in the program, each as a replacement of a piece of its text. */
import type { Theme } from "./Plan.ts"

/** A piece of text that stands in its file exactly once, and what is put there instead. */
export interface Replacement {
  readonly file: string
  readonly from: string
  readonly to: string
}

export interface Mutation extends Replacement {
  /** What is wrong in the mutant. */
  readonly name: string
  /** Other guards against the same fault, which are taken away with it. */
  readonly also?: ReadonlyArray<Replacement>
  /** Worlds in which it is looked for, where others would hardly show it. */
  readonly theme?: Theme
}

const accounts = "src/actors/accounts"
const commands = "src/actors/commands"
const commit = "src/actors/commit"

export const mutations: ReadonlyArray<Mutation> = [
  {
    name: "an instant is closed without a margin for the clocks of gateways",
    theme: "time",
    file: "src/actors/past/ClosedTimestamps.ts",
    from: "storeNow - limits.clockSkewMaxMs - 1",
    to: "storeNow - 1"
  },
  {
    name: "what a writer has queued does not keep its instants open",
    theme: "time",
    file: `${commit}/WriterRegistry.ts`,
    from: "Math.min(queue.openSince() ?? now, now) - 1",
    to: "now - 1"
  },
  {
    name: "a writer calls the instant closed at which it still writes",
    theme: "time",
    file: `${commit}/WriterRegistry.ts`,
    from: "Math.min(queue.openSince() ?? now, now) - 1",
    to: "Math.min(queue.openSince() ?? now, now)"
  },
  {
    name: "a writer that answers nothing is passed over instead of fenced",
    theme: "time",
    file: "src/actors/past/ClosedTimestamps.ts",
    from: "yield* store.fenceWriter(writer.writerId)",
    to: "continue"
  },
  {
    name: "what is recorded follows a clock that steps ahead",
    theme: "time",
    file: `${accounts}/LedgerClock.ts`,
    from: "return Math.min(instant, bound)",
    to: "return instant"
  },
  {
    name: "the clock may go back on a node",
    theme: "time",
    file: `${accounts}/LedgerClock.ts`,
    from: "const now = () => Math.max(floor, bounded(clock.currentTimeMillisUnsafe()))",
    to: "const now = () => bounded(clock.currentTimeMillisUnsafe())"
  },
  {
    name: "a node with a wrong clock goes on taking commands",
    theme: "time",
    file: `${commit}/WriterRegistry.ts`,
    from: "const isOff = skewMs > clockSkewMaxMs",
    to: "const isOff = false"
  },
  {
    name: "an event may be recorded before the one before it",
    theme: "ownership",
    file: `${accounts}/Lifecycle.ts`,
    from: "if (last > recordedAt) recordedAt = last",
    to: ""
  },
  {
    name: "a row of the head's version and another hash counts as a repeat",
    theme: "readSide",
    file: "src/actors/projections/Divergence.ts",
    from: "hashes.get(account) !== hash)",
    to: "!hashes.has(account))"
  },
  {
    name: "rows that are not in the log stay in the read model",
    theme: "readSide",
    file: "src/actors/projections/Divergence.ts",
    from: "const suspects = [...diverged, ...(yield* parkedOf(held))]",
    to: "const suspects = yield* parkedOf(held)"
  },
  {
    name: "a subscription reads beyond the cut that it took",
    file: "src/actors/subscriptions/MergedTails.ts",
    from: "if (row.seq > lastSeq) break",
    to: ""
  },
  {
    name: "a subscription merges tails without looking at versions",
    file: "src/actors/subscriptions/MergedTails.ts",
    from: "front !== undefined && order.isReady(front)",
    to: "front !== undefined"
  },
  {
    name: "the other side of a deposit is folded with the sign of the customer's",
    file: "src/domain/Books.ts",
    from: "amount: -amountOf(event)",
    to: "amount: amountOf(event)"
  },
  {
    name: "an unknown commit counts as done",
    file: `${commit}/CommitPipeline.ts`,
    from: "counts.unknown++",
    to: "return this.#complete(batch, commit)"
  },
  {
    name: "a batch that may have landed is taken apart and sent anew",
    file: `${commit}/CommitPipeline.ts`,
    from: "mayHaveLanded = true",
    to: "mayHaveLanded = false"
  },
  {
    name: "a lane uses a number twice",
    file: `${commit}/CommitPipeline.ts`,
    from: "lane.seq++",
    to: "lane.seq += commit.events.length > 1 ? 0 : 1"
  },
  {
    name: "a fenced writer's batch is sent by the next writer as it is",
    theme: "time",
    file: `${commit}/CommitPipeline.ts`,
    from: "// Only now: what other lanes took until here is not among what is decided again.\n    this.#epoch++\n    this.#decideAgain(batch)",
    to: "this.#queue.requeue(batch)"
  },
  {
    name: "accounts that another writer wrote to are not reloaded",
    file: `${commands}/CommandExecutor.ts`,
    from: "const reloaded = this.#reload(stale)\n    this.#decideAgain(commands)\n    throwFirst(reloaded)",
    to: "this.#decideAgain(commands)"
  },
  {
    name: "commands that were decided on what did not happen stay decided",
    file: `${commit}/CommitQueue.ts`,
    from: "const isTainted = isAllTainted || command.participants.some((actor) => tainted.has(actor))",
    to: "const isTainted = false"
  },
  {
    name: "two lanes write to one account at once",
    file: `${commit}/CommitQueue.ts`,
    from: "(other !== undefined && other !== batch && other !== predecessor)",
    to: "false"
  },
  {
    name: "a rejection is told without looking its id up once more",
    file: `${commands}/CommandExecutor.ts`,
    from: "command.recheck()\n      this.#deduplication.lookUp(command)",
    to: "this.#inFlight.complete(command, Exit.fail(rejection))"
  },
  {
    name: "an accepted id with another body is answered the first receipt, from memory",
    file: `${commands}/Deduplication.ts`,
    from: "kept === hashOf() ? recent.receiptOf(command) : undefined",
    to: "recent.receiptOf(command)"
  },
  {
    name: "an accepted id with another body is answered the first receipt, from the log",
    file: `${commands}/Deduplication.ts`,
    from: "const isSame = commandHash === command.commandHash",
    to: "const isSame = commandHash !== ''"
  },
  {
    name: "a command joins another one of its id that is under way",
    file: `${commands}/Deduplication.ts`,
    from: "if (same.commandHash === hashOf())",
    to: "if (same.commandHash !== '')"
  },
  {
    name: "a command without an answer from its owner is said to be undone",
    file: `${commands}/Forwarding.ts`,
    from: "unknown.has(index) ? lost(command) : moving(account)",
    to: "moving(account)"
  },
  {
    name: "a command that is being sent is said to be undone at its deadline",
    file: `${commands}/Deadlines.ts`,
    from: 'else if (command.phase === "committing") inFlight.expireWaiters(command, until)\n',
    to: ""
  },
  {
    name: "a strong balance is told ahead of the commit",
    file: `${commands}/LocalNode.ts`,
    from: "return resume(Exit.succeed(told(actor.committed)))",
    to: "return resume(Exit.succeed(told(actor.speculative)))"
  },
  {
    // Either guard is enough: what was asked while the account was here, and is told after it left, was true when it was asked.
    name: "a strong balance is told of an account that another node has",
    theme: "ownership",
    file: `${commands}/LocalNode.ts`,
    from: "() => placement.owns(account),\n      () => new NotMine()",
    to: "() => true,\n      () => new NotMine()",
    also: [
      {
        file: `${commands}/CommandRouter.ts`,
        from: "placement.owns(account) ? localNode.headOf(account) : placement.head(account)",
        to: "localNode.headOf(account)"
      }
    ]
  },
  {
    name: "the past of an instant misses what was recorded at it",
    theme: "time",
    file: "src/actors/past/TimeTravel.ts",
    from: "row.recordedAt > asOf.instant",
    to: "row.recordedAt >= asOf.instant"
  },
  {
    name: "the past is told before it is closed",
    theme: "time",
    file: "src/actors/past/TimeTravel.ts",
    from: 'if (asOf._tag === "RecordedAt") yield* closed.awaitClosed(asOf.instant)',
    to: ""
  },
  {
    name: "a dated trial balance does not wait for the read model",
    theme: "readSide",
    file: "src/actors/past/AwaitKnown.ts",
    from: "while ((yield* missingIn(readModel, rows)).length > 0) yield* Effect.sleep(tokenPollMs)",
    to: "yield* Effect.sleep(1)"
  },
  {
    name: "a query does not wait for its read token",
    theme: "readSide",
    file: "src/infra/readmodel/Queries.ts",
    from: "if (token === undefined) return []",
    to: "if (token !== '') return []"
  },
  {
    name: "the reconciler moves its cursor past commits that it did not load",
    theme: "readSide",
    file: "src/actors/projections/ReconcileTails.ts",
    from: "const missing = yield* missingIn(model, rows)",
    to: "const missing = (yield* missingIn(model, rows)).slice(0, 0)"
  },
  {
    name: "a withdrawal of all there is counts as not covered",
    file: "src/domain/Account.ts",
    from: "coverOf(account) >= amount",
    to: "coverOf(account) > amount"
  },
  {
    name: "a batch of the read model is written over another projector's",
    theme: "readSide",
    file: "src/infra/readmodel/ReadModelMemory.ts",
    from: "versionOf(tables, move.head.account.id) === move.from) &&",
    to: "move.from >= 0) &&"
  },
  {
    name: "a second commit under one command id is accepted by the store",
    file: "src/infra/eventstore/EventStoreMemory.ts",
    from: "event.ordinal === 0 && tables.commands.has(event.commandId)",
    to: "event.ordinal < 0 && tables.commands.has(event.commandId)"
  },
  {
    name: "a commit over existing versions is accepted by the store",
    file: "src/infra/eventstore/EventStoreMemory.ts",
    from: ".filter((event) => tables.at(event.accountId, event.version) !== undefined)",
    to: ".filter((event) => event.version < 0)"
  },
  {
    name: "an account that was parked for divergence is never released where the answer was lost",
    theme: "readSide",
    file: "src/actors/projections/Divergence.ts",
    from: "const suspects = [...diverged, ...(yield* parkedOf(held))]",
    to: "const suspects = diverged",
    also: [
      {
        file: "src/actors/projections/ReconcileTails.ts",
        from: "yield* engine.mendParked",
        to: "yield* Effect.void"
      }
    ]
  },
  {
    name: "a shard that was not left clean is loaded at once",
    theme: "ownership",
    file: `${commands}/LocalNode.ts`,
    from: "if (!isClean) registry.bar(",
    to: "if (isClean === undefined) registry.bar("
  },
  {
    name: "a bar is lifted before other writers are closed",
    theme: "ownership",
    file: `${commit}/OwnershipBarrier.ts`,
    from: "(isAbandoned(one) || (storeNow >= one.endsAt && closedUpTo >= one.endsAt))",
    to: "storeNow >= 0"
  },
  {
    name: "a reading that began before the account left counts after it came back",
    theme: "ownership",
    file: `${accounts}/AccountRegistry.ts`,
    from: "if (found !== undefined && isCurrent) deliver(actor, found)",
    to: "if (found !== undefined && (isCurrent || true)) deliver(actor, found)"
  },
  {
    name: "a node alone leaves the writers of its earlier life open",
    theme: "ownership",
    file: `${commit}/WriterRegistry.ts`,
    from: "(isAlone || one.node === node ||",
    to: "(!isAlone && one.node === node &&"
  },
  {
    name: "the writers of another process under the same name are taken for a node's own",
    theme: "ownership",
    file: `${commit}/WriterRegistry.ts`,
    from: "writerId.startsWith(life)",
    to: "writerId.startsWith(node)"
  },
  {
    name: "a strong balance does not wait for a commit that is on its way",
    file: `${accounts}/Lifecycle.ts`,
    from: "return this.isDecidable && this.#batch === undefined",
    to: "return this.isDecidable"
  },
  {
    name: "a snapshot is believed without its digest",
    theme: "everything",
    file: "src/infra/eventstore/SnapshotRows.ts",
    from: "if (isAltered(row)) {",
    to: 'if (row.digest === "") {'
  },
  {
    name: "a resumed subscription trusts what it has read ahead",
    theme: "time",
    file: "src/actors/subscriptions/MergedTails.ts",
    from: "if (front === undefined || order.isCertain(front)) return ready",
    to: "if (front === undefined || front !== undefined) return ready"
  },
  {
    name: "a balance is said to be complete without a margin for the clocks of gateways",
    theme: "readSide",
    file: "src/actors/projections/ReconcileTails.ts",
    from: "const unseenFrom = now - clockSkewMaxMs",
    to: "const unseenFrom = now"
  },
  {
    name: "what a balance lacks is taken to be as young as the last event of its commit",
    theme: "readSide",
    file: "src/actors/projections/ReconcileTails.ts",
    from: "completeTo = Math.min(completeTo, beyond.of(writer.writerId, done.reached))",
    to: "completeTo = Math.min(completeTo, writer.closedAt + 1, youngest + 1, lag.total().events > 0 ? now - lag.total().ms : now)"
  },
  {
    name: "a balance is said to be complete beyond a writer that is silent and not fenced",
    theme: "readSide",
    file: "src/actors/projections/ReconcileTails.ts",
    from: "if (!(writer.fenced && done.isComplete))",
    to: "if (!((writer.fenced || writer.heartbeatAt + 500 < Math.max(...writers.map((one) => one.heartbeatAt))) && done.isComplete))",
    also: [
      {
        file: "src/actors/projections/ReconcileTails.ts",
        from: "yield* store.fenceWriter(writerId)",
        to: "if (writerId === undefined) yield* Effect.void"
      }
    ]
  },
  {
    name: "a hold is captured at the very instant of its expiry",
    theme: "money",
    file: "src/domain/Holds.ts",
    from: "expiresAt !== undefined && expiresAt <= at",
    to: "expiresAt !== undefined && expiresAt < at"
  },
  {
    name: "a release frees twice what it says",
    theme: "money",
    file: "src/domain/Holds.ts",
    from: "return { ...hold, remaining: remaining - event.amount }",
    to: "return { ...hold, remaining: remaining - 2n * event.amount }"
  },
  {
    name: "a final capture keeps the rest back",
    theme: "money",
    file: "src/domain/Holds.ts",
    from: "const rest = isMore || event.final === true ? 0n",
    to: "const rest = isMore ? 0n"
  },
  {
    name: "an account that is opened adds nothing to the sums of declared prefixes",
    theme: "readSide",
    file: "src/actors/projections/ProjectionBatch.ts",
    from: "const opened = isOpening ? 1 : 0",
    to: "const opened = 0"
  },
  {
    name: "an account that is reloaded stays in the sums of declared prefixes",
    theme: "readSide",
    file: "src/infra/readmodel/ReadModelMemory.ts",
    from: "balance: -balance, accounts: -1 })",
    to: "balance: 0n, accounts: 0 })"
  },
  {
    name: "what a capture takes beyond its hold need not be covered",
    theme: "money",
    file: "src/domain/DecideHolds.ts",
    from: "return covers(payer, amount - remaining)",
    to: "return Result.void"
  },
  {
    name: "a reversal gives back what earlier ones gave back already",
    theme: "money",
    file: "src/domain/Reversal.ts",
    from: "sizeOf(net) - reversed",
    to: "sizeOf(net)"
  },
  {
    name: "a side that is frozen alone is not frozen",
    theme: "money",
    file: "src/domain/Account.ts",
    from: '(frozen === "both" || side === "both" || frozen === side)',
    to: '(frozen === "both" || side === "both")'
  },
  {
    name: "an overdraft limit may be set below what is drawn",
    theme: "money",
    file: "src/domain/Decide.ts",
    from: "overdraftLimit === undefined ? Result.void : coversWith(opened, overdraftLimit)",
    to: "Result.void"
  },
  {
    name: "an account with open holds is closed",
    theme: "money",
    file: "src/domain/Decide.ts",
    from: "if (holds.length > 0) return",
    to: "if (holds.length > 1_000) return"
  },
  {
    name: "an exchange is not held against its rate",
    theme: "money",
    file: "src/domain/Decide.ts",
    from: "for (const exchange of command.fx ?? []) yield* checkRate(exchange, command.fx ?? [], sums)",
    to: ""
  },
  {
    name: "a command of a group is decided on what was before the group",
    theme: "money",
    file: "src/domain/Decide.ts",
    from: "states.set(account, state)",
    to: ""
  },
  {
    name: "a leg on a contra account is counted on the wrong side",
    theme: "money",
    file: "src/domain/Books.ts",
    from: 'amount: side === "credit" ? amount : -amount',
    to: "amount: -amount"
  },
  {
    name: "a balance has holds that expired since its last event",
    theme: "money",
    file: "src/Ledger.ts",
    from: "Math.max(now, recordedAt)",
    to: "Math.min(now, recordedAt)"
  },
  {
    name: "holds that are open are told by the machine's clock",
    theme: "money",
    file: "src/LedgerNode.ts",
    from: "Layer.provide(answersByLedgerClock),",
    to: ""
  },
  {
    name: "a command is refused for another one of its id that is not accepted yet",
    file: `${commands}/Deduplication.ts`,
    from: "return Found.Contested({ pending: same })",
    to: "return Found.Remembered({ exit: reused(commandId) })"
  },
  {
    name: "a shard is always called clean when it is left",
    theme: "ownership",
    file: `${commands}/LocalNode.ts`,
    from: "Option.isSome(drained) && ![...shards].some(registry.isBarred)",
    to: "drained !== undefined"
  }
]

/** All that a mutation replaces. */
export const replacementsOf = (mutation: Mutation): ReadonlyArray<Replacement> => [
  mutation,
  ...(mutation.also ?? [])
]

/** The text with the fault in it; throws where the code is not as the mutation says, for then the list has to follow it. */
export const mutated = (text: string, { file, from, to }: Replacement): string => {
  if (text.split(from).length !== 2)
    throw new Error(`a mutation of ${file} does not find its text there exactly once: ${from}`)
  return text.replace(from, () => to)
}
