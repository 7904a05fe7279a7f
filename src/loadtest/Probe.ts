/** An event store enters; what one commit of one event takes there, without the ledger, leaves. */
import { Clock, Effect, Random, Result } from "effect"
import { evolve } from "../domain/Account.ts"
import type { Command } from "../domain/Command.ts"
import { decide } from "../domain/Decide.ts"
import { hashCommand, link } from "../domain/HashChain.ts"
import { emptyHead, type Head } from "../domain/Head.ts"
import type { Instant } from "../domain/Ids.ts"
import { encodePayload, type StoredEvent, schemaVersionOf } from "../domain/StoredEvent.ts"
import { EventStore } from "../infra/EventStore.ts"
import { type Latency, makeHistogram, recordMs, summarize } from "./Meter.ts"
import type { Names } from "./Names.ts"

const commitsMax = 300
const commitsMin = 100
/** The first ones warm up connection, plan and program, and are not counted. */
const warmUp = 50
const millisMax = 1_500
/** An index that no scenario uses. */
const probeAccount = 4_000_000_000

/**
 * Commits deposits to an account of its own, one after another, the way a lane of the ledger would: real events,
 * so that they stand every audit. Before the load, on the same connections.
 */
export const probeStore = Effect.fn("LoadTest.probe")(function* (names: Names, commandNumber: number) {
  const store = yield* EventStore
  const clock = yield* Clock.Clock
  const id = names.account(probeAccount)
  const writerId = `${names.run}-probe.${yield* Random.nextIntBetween(0, 36 ** 6)}`
  const histogram = makeHistogram()
  let head = emptyHead(id)
  yield* store.registerWriter({ writerId, node: names.run, closedAt: clock.currentTimeMillisUnsafe() - 1 })
  const start = clock.monotonicTimeNanosUnsafe()
  for (let seq = 1; seq <= commitsMax; seq++) {
    const commandId = names.command(commandNumber + seq)
    const command: Command =
      seq === 1
        ? { _tag: "OpenAccount", commandId, account: id, asset: names.assetOf(0), owner: "load test" }
        : { _tag: "Deposit", commandId, account: id, amount: 1n }
    const now = clock.currentTimeMillisUnsafe()
    const step = next(head, command, Math.max(now, head.recordedAt))
    head = step.head
    const sentAt = clock.monotonicTimeNanosUnsafe()
    const outcome = yield* store.commit({ writerId, seq, events: [step.row] })
    const answeredAt = clock.monotonicTimeNanosUnsafe()
    if (outcome._tag !== "Committed") return yield* Effect.die(new Error(`the probe met ${outcome._tag}`))
    if (seq > warmUp) recordMs(histogram, Number(answeredAt - sentAt) / 1e6)
    if (seq >= commitsMin && Number(answeredAt - start) / 1e6 > millisMax) break
  }
  yield* store.fenceWriter(writerId)
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
