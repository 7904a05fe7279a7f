/** An event store enters; what one commit of one event takes there, without the ledger, leaves. */
import { Clock, Effect, Random, Result } from "effect"
import { evolve } from "../domain/Account.ts"
import type { Command } from "../domain/Command.ts"
import { decide } from "../domain/Decide.ts"
import { hashCommand, link } from "../domain/HashChain.ts"
import { emptyHead, type Head } from "../domain/Head.ts"
import type { Instant } from "../domain/Ids.ts"
import { encodePayload, type StoredEvent, schemaVersionOf } from "../domain/StoredEvent.ts"
import { EventStore } from "../infra/eventstore/EventStore.ts"
import { type Latency, makeHistogram, recordMs, summarize } from "./Meter.ts"
import type { RunIds } from "./RunIds.ts"

const commitsMax = 300
const commitsMin = 100
/** The first ones warm up connection, plan and program, and are not counted. */
const warmUp = 50
const millisMax = 1_500
/** An index that no scenario uses. */
const probeAccount = 4_000_000_000

/** How long to wait before the same commit is sent again that has no outcome yet, in milliseconds. */
const retryMs = 50

/**
 * A client of the store alone: commits deposits to an account of its own, one after another, the way a lane of the
 * ledger would: real events, so that they stand every audit. `nth` keeps two clients of one run apart.
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
    /** Answers the milliseconds until it was durable, however often it had to be sent. */
    commit: Effect.gen(function* () {
      seq++
      const commandId = ids.command(commandNumber + seq)
      const command: Command =
        seq === 1
          ? { _tag: "OpenAccount", commandId, account: id, asset: ids.assetOf(0), owner: "load test" }
          : { _tag: "Deposit", commandId, account: id, amount: 1n }
      const step = next(head, command, Math.max(clock.currentTimeMillisUnsafe(), head.recordedAt))
      head = step.head
      const commit = { writerId, seq, events: [step.row] }
      const sentAt = clock.monotonicTimeNanosUnsafe()
      for (;;) {
        const outcome = yield* store.commit(commit)
        if (outcome._tag === "Committed") return Number(clock.monotonicTimeNanosUnsafe() - sentAt) / 1e6
        if (outcome._tag === "Conflict" || outcome._tag === "Fenced") {
          return yield* Effect.die(new Error(`the probe met ${outcome._tag}`))
        }
        yield* Effect.sleep(retryMs)
      }
    }),
    /** Nobody need wait for its writer any more. */
    end: store.fenceWriter(writerId)
  }
})

/** Before the load, on the same connections. */
export const probeStore = Effect.fn("LoadTest.probe")(function* (ids: RunIds, commandNumber: number) {
  const clock = yield* Clock.Clock
  const client = yield* makeStoreClient(ids, 0, commandNumber)
  const histogram = makeHistogram()
  const start = clock.monotonicTimeNanosUnsafe()
  for (let count = 1; count <= commitsMax; count++) {
    const tookMs = yield* client.commit
    if (count > warmUp) recordMs(histogram, tookMs)
    if (count >= commitsMin && Number(clock.monotonicTimeNanosUnsafe() - start) / 1e6 > millisMax) break
  }
  yield* client.end
  return summarize(histogram) satisfies Latency
})

/** The probe's commands are never refused: an unused account, small deposits. */
const next = (head: Head, command: Command, recordedAt: Instant): { head: Head; row: StoredEvent } => {
  const [decided] = Result.getOrThrow(decide(command, () => head.account))
  if (decided === undefined) throw new Error("a command was decided to be nothing")
  const { event } = decided
  const account = evolve(head.account, event)
  const unlinked = {
    accountId: decided.account,
    version: account.version,
    type: event._tag,
    schemaVersion: schemaVersionOf(event._tag),
    payload: encodePayload(event),
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
