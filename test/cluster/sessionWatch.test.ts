/**
 * Looks at the sessions of the members that hang, fail, or meet a bug of a driver: the next one is made all the same. And what a look
 * finds that is another session of this node.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { TestClock } from "effect/testing"
import { HeldLocks } from "../../src/infra/cluster/HeldLocks.ts"
import { LockCertainty } from "../../src/infra/cluster/LockCertainty.ts"
import { sessionName } from "../../src/infra/cluster/MemberSessions.ts"
import { watchSessions } from "../../src/infra/cluster/SessionWatch.ts"
import { ClusterConfig, defaultClusterLimits } from "../../src/infra/config/ClusterConfig.ts"
import { quiet } from "../support/ledgerWorld.ts"

const { leaseMs, lockExpirationMs, membershipPollMs } = defaultClusterLimits
const session = sessionName("127.0.0.1:1", "1")

it.effect.each([
  { what: "hangs", bad: Effect.never },
  { what: "fails", bad: Effect.fail("the connection is gone") },
  { what: "meets a defect", bad: Effect.die(new Error("of the driver")) }
])("a look at the sessions that $what is not the last one", ({ bad }) =>
  Effect.gen(function* () {
    let isBad = false
    let looks = 0
    const answer = Effect.suspend(() => {
      looks++
      return isBad ? bad : Effect.succeed([[session, 1, 0]])
    })
    // All of the client that a look uses.
    const sql = { unsafe: () => ({ values: answer }) } as never
    const certainty = yield* LockCertainty
    const held = new HeldLocks(certainty, { expirationMs: lockExpirationMs, unseenMs: leaseMs })
    held.acquired(["a"], certainty.now())
    yield* watchSessions(session, held).pipe(Effect.provideService(SqlClient.SqlClient, sql))
    yield* TestClock.adjust(2 * leaseMs)
    assert.isTrue(certainty.isCertain())
    isBad = true
    yield* TestClock.adjust(membershipPollMs + leaseMs)
    assert.isFalse(certainty.isCertain())
    isBad = false
    const before = looks
    yield* TestClock.adjust(lockExpirationMs / 2)
    assert.isAbove(looks, before)
    held.refreshed(["a"], new Set(["a"]), certainty.now())
    yield* TestClock.adjust(membershipPollMs)
    assert.isTrue(certainty.isCertain())
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Layer.mergeAll(LockCertainty.layer, Layer.succeed(ClusterConfig, defaultClusterLimits), quiet)
    )
  )
)

it.effect("a session with as many locks as the one whose place it took confirms none of those", () =>
  Effect.gen(function* () {
    let holder = "7 100.5"
    const answer = Effect.sync(() => [[session, 2, 0, holder]])
    const sql = { unsafe: () => ({ values: answer }) } as never
    const certainty = yield* LockCertainty
    const held = new HeldLocks(certainty, { expirationMs: lockExpirationMs, unseenMs: leaseMs })
    held.acquired(["a", "b"], certainty.now())
    yield* watchSessions(session, held).pipe(Effect.provideService(SqlClient.SqlClient, sql))
    yield* TestClock.adjust(2 * leaseMs)
    assert.isTrue(certainty.isCertain())
    // It was given two others, and the answer to that is still on its way; a former number alone would not tell it.
    holder = "7 200.25"
    yield* TestClock.adjust(membershipPollMs)
    assert.isFalse(certainty.isCertain())
    yield* TestClock.adjust(2 * leaseMs)
    assert.isFalse(certainty.isCertain(), "whatever is found of it, until all are confirmed")
    held.refreshed(["a", "b"], new Set(["a", "b"]), certainty.now())
    yield* TestClock.adjust(membershipPollMs)
    assert.isTrue(certainty.isCertain())
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Layer.mergeAll(LockCertainty.layer, Layer.succeed(ClusterConfig, defaultClusterLimits), quiet)
    )
  )
)
