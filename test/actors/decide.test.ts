/** The decision of a command on its actors: what it changes, and what it leaves as it was. No store, no clock. */
import { assert, describe, it } from "@effect/vitest"
import { hashCommand } from "../../src/domain/HashChain.ts"
import { CommandFixture, decideOn, pendingOf } from "../support/CommandFixture.ts"
import { deposit, toCommand, transfer } from "../support/ledgerWorld.ts"

const names = ["a", "b", "c", "d", "e"] as const

describe("a decision", () => {
  it("moves both sides of a transfer in one step, at one instant", () => {
    const fixture = new CommandFixture(names)
    fixture.now = 2_000
    fixture.settle(deposit("b", 1n))
    fixture.now = 1_500
    const { pendingEvents, recordedAt, participants } = fixture.decide(transfer("a", "b", 30n))
    // Not before the last of any of its accounts, though the clock says so.
    assert.strictEqual(recordedAt, 2_000)
    assert.deepStrictEqual(
      pendingEvents.map(({ row }) => [
        row.accountId,
        row.version,
        row.ordinal,
        row.recordedAt,
        row.commandHash === null
      ]),
      [
        ["a", 3, 0, 2_000, false],
        ["b", 4, 1, 2_000, true]
      ]
    )
    const balances = ["a", "b"].map((name) => {
      const { account } = fixture.actor(name).speculative
      return account._tag === "Opened" ? account.balance : undefined
    })
    assert.deepStrictEqual(balances, [70n, 131n])
    assert.deepStrictEqual(
      participants.map((actor) => actor.uncommitted),
      [1, 1]
    )
  })

  it("that rejects changes no head, and counts on its actors until it is committed", () => {
    const fixture = new CommandFixture(names)
    const before = names.map((name) => fixture.actor(name).speculative)
    const pending = fixture.push(transfer("a", "b", 101n))
    assert.strictEqual(pending.rejection?._tag, "InsufficientFunds")
    assert.deepStrictEqual(
      names.map((name) => fixture.actor(name).speculative),
      before
    )
    assert.strictEqual(fixture.actor("a").uncommitted, 1)
    assert.isFalse(fixture.actor("a").isIdle)
    fixture.commit(fixture.queue.take({ rowsMax: 10, bytesMax: 1_000 }))
    assert.isTrue(fixture.actor("a").isIdle)
  })

  it("that throws leaves every actor as it was", () => {
    const fixture = new CommandFixture(names)
    const command = toCommand(transfer("a", "b", 1n))
    let events = 0
    // Both events read it; it fails at the second one, when the first one's row is made out already.
    const throwing = new Proxy(command, {
      get: (target, key) => {
        if (key === "effectiveAt" && ++events === 2) throw new Error("a defect of the test")
        return Reflect.get(target, key)
      }
    })
    const pending = pendingOf(throwing, hashCommand(command))
    const actors = [fixture.actor("a"), fixture.actor("b")]
    const before = actors.map(({ speculative, committed, uncommitted }) => ({
      speculative,
      committed,
      uncommitted
    }))
    assert.throws(() => decideOn(pending, actors, 1_000), "a defect of the test")
    assert.deepStrictEqual(
      actors.map(({ speculative, committed, uncommitted }) => ({ speculative, committed, uncommitted })),
      before
    )
    assert.deepStrictEqual(
      [pending.phase, pending.pendingEvents.length, pending.participants.length],
      ["loading", 0, 0]
    )
  })

  it("without one of its accounts is a defect", () => {
    const fixture = new CommandFixture(names)
    const command = toCommand(transfer("a", "b", 1n))
    const pending = pendingOf(command)
    assert.throws(() => decideOn(pending, [fixture.actor("a")], 1_000), "without account b")
  })
})
