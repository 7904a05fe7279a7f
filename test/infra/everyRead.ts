/** Asks the event store and its snapshots, over a log of some thousand rows, everything that is answered from an index. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { emptyHead } from "../../src/domain/Head.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { accountId, commandId, storedEvents } from "../support/storedEvents.ts"

const account = accountId("plan")
const taken = storedEvents("plan", 1, 2)

/** What `askEverything` looks for, among as much else as `rows` says: with few rows a scan of all would be the better plan. */
export const fillLog = Effect.fnUntraced(function* (rows: number) {
  const store = yield* EventStore
  const snapshots = yield* Snapshots
  yield* store.registerWriter({ writerId: "plan", node: "n", closedAt: 1 })
  yield* store.commit({ writerId: "plan", seq: 1, events: taken })
  yield* snapshots.save([emptyHead(account)])
  if (rows === 0) return
  // Before and after it in the order of ids.
  for (const [nth, rest] of ["a", "z"].entries()) {
    yield* store.commit({ writerId: "rest", seq: nth + 1, events: storedEvents(rest, 1, rows) })
    yield* snapshots.save(Array.from({ length: rows }, (_, one) => emptyHead(accountId(`${rest}-${one}`))))
  }
})

export const askEverything = Effect.gen(function* () {
  const store = yield* EventStore
  const snapshots = yield* Snapshots
  // Both are looked up: the first is found to have landed, the second not to have.
  assert.strictEqual((yield* store.commit({ writerId: "plan", seq: 1, events: taken }))._tag, "Committed")
  assert.strictEqual((yield* store.commit({ writerId: "plan-2", seq: 1, events: taken }))._tag, "Conflict")
  yield* store.readStream({ account, after: 0, limit: 5 })
  yield* store.readStreams([{ account, after: 0 }], 5)
  yield* store.readEvents([{ account, version: 1 }])
  yield* store.readHold({ account, hold: commandId("plan-1"), after: 0, upTo: 5 })
  yield* store.findCommands([commandId("plan-1")])
  yield* store.scan({ after: { account, version: 0 }, limit: 5 })
  yield* store.readTail({ writerId: "plan", after: 0, limit: 5 })
  yield* store.fenceWriter("plan-3")
  yield* snapshots.latest([account])
  yield* snapshots.before(account, { version: 5 })
  yield* snapshots.before(account, { recordedAt: 5 })
  yield* snapshots.list({ after: { account, version: 0 }, limit: 5 })
  yield* snapshots.drop([emptyHead(account)])
})
