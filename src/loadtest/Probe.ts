/** Measures a commit of one event in the event store, without the ledger: the least that any command could take. */
import { Clock, Effect, Random, Result, Schedule } from "effect"
import { afterOf, evolve } from "../domain/Account.ts"
import type { Command } from "../domain/Command.ts"
import { decide } from "../domain/Decide.ts"
import { hashCommand, link } from "../domain/HashChain.ts"
import { emptyHead, type Head } from "../domain/Head.ts"
import type { Instant } from "../domain/Ids.ts"
import { encodePayload, type StoredEvent, schemaVersionOf } from "../domain/StoredEvent.ts"
import { elapsedMsUnsafe } from "../infra/config/Elapsed.ts"
import { EventStore } from "../infra/eventstore/EventStore.ts"
import { type Latency, makeHistogram, recordMs, summarize } from "./Meter.ts"
import type { RunIds } from "./RunIds.ts"

const commitsMax = 300
const commitsMin = 100
/** The first commits warm up connection, plan and program, and are not counted. */
const warmUp = 50
const millisMax = 1_500
/** The number of an account that no scenario uses. */
const probeAccount = 4_000_000_000

/** The pause before a commit without an outcome is sent again, in milliseconds. */
const retryMs = 50

/**
 * A client of the store that commits deposits on an account of its own, one after another, as a lane of the ledger
 * would. They are real events, so that the audit after the load accepts them. `nth` tells the clients of a run apart.
 */
export const makeStoreClient = Effect.fnUntraced(function* (ids: RunIds, nth: number, commandNumber: number) {
  const store = yield* EventStore
  const clock = yield* Clock.Clock
  const id = ids.account(probeAccount + nth)
  const writerId = `${ids.run}-probe-${nth}.${yield* Random.nextIntBetween(0, 36 ** 6)}`
  let head = emptyHead(id)
  let seq = 0
  yield* store.registerWriter({ writerId, node: ids.run, closedAt: clock.currentTimeMillisUnsafe() - 1 })
  return {
    /** The answer is how many milliseconds it took until the event was durable, however often it was sent. */
    commit: Effect.gen(function* () {
      seq++
      const commandId = ids.command(commandNumber + seq)
      const command: Command =
        seq === 1
          ? { _tag: "OpenAccount", commandId, account: id, asset: ids.assetOf(0), owner: "load test" }
          : { _tag: "Deposit", commandId, account: id, amount: 1n }
      const step = next(head, command, Math.max(clock.currentTimeMillisUnsafe(), head.recordedAt))
      head = step.head
      const sentAtMs = elapsedMsUnsafe(clock)
      yield* store.commit({ writerId, seq, events: [step.row] }).pipe(
        Effect.flatMap((outcome) =>
          outcome._tag === "Conflict" || outcome._tag === "Fenced"
            ? Effect.die(new Error(`a commit of the probe ended as ${outcome._tag}`))
            : Effect.succeed(outcome._tag === "Committed")
        ),
        Effect.repeat({ schedule: Schedule.spaced(retryMs), until: (isCommitted) => isCommitted })
      )
      return elapsedMsUnsafe(clock) - sentAtMs
    }),
    /** Fences the writer, so that closed timestamps do not wait for it. */
    end: store.fenceWriter(writerId)
  }
})

/** Measures before the load, over the connections that the load will use. */
export const probeStore = Effect.fn("LoadTest.probe")(function* (ids: RunIds, commandNumber: number) {
  const clock = yield* Clock.Clock
  const client = yield* makeStoreClient(ids, 0, commandNumber)
  const histogram = makeHistogram()
  const startMs = elapsedMsUnsafe(clock)
  for (let count = 1; count <= commitsMax; count++) {
    const tookMs = yield* client.commit
    if (count > warmUp) recordMs(histogram, tookMs)
    if (count >= commitsMin && elapsedMsUnsafe(clock) - startMs > millisMax) break
  }
  yield* client.end
  return summarize(histogram) satisfies Latency
})

/** Decides the next command. It is never refused, because the account is unused and the deposits are small. */
const next = (head: Head, command: Command, recordedAt: Instant): { head: Head; row: StoredEvent } => {
  const [decided] = Result.getOrThrow(decide(command, () => head.account, recordedAt))
  if (decided === undefined) throw new Error("a command of the probe was decided without an event")
  const { event } = decided
  const account = evolve(head.account, event, recordedAt)
  const unlinked = {
    accountId: decided.account,
    version: account.version,
    type: event._tag,
    schemaVersion: schemaVersionOf(event._tag),
    payload: encodePayload(event, afterOf(account)).stored,
    commandId: command.commandId,
    ordinal: 0,
    commandHash: hashCommand(command),
    recordedAt,
    effectiveAt: null,
    context: null
  }
  const hash = link(head.hash, unlinked)
  return { head: { account, hash, recordedAt }, row: { ...unlinked, hash } }
}
