/** One turn of actors: what a decision changes, and what it leaves. Pure, no store, no clock. */
import { assert, describe, it } from "@effect/vitest"
import { decideOn } from "../../src/actors/accounts/AccountActor.ts"
import { PendingCommand } from "../../src/actors/accounts/Lifecycle.ts"
import { hashCommand } from "../../src/domain/HashChain.ts"
import { Desk } from "../support/desk.ts"
import { deposit, toCommand, transfer } from "../support/ledgerWorld.ts"

const names = ["a", "b", "c", "d", "e"] as const

describe("a turn", () => {
  it("moves both sides of a transfer in one step, at one instant", () => {
    const desk = new Desk(names)
    desk.now = 2_000
    desk.settle(desk.decide(deposit("b", 1n)))
    desk.now = 1_500
    const { pendingEvents: legs, recordedAt, participants: touched } = desk.decide(transfer("a", "b", 30n))
    // Not before the last of any of its accounts, though the clock says so.
    assert.strictEqual(recordedAt, 2_000)
    assert.deepStrictEqual(
      legs.map(({ row }) => [
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
      const { account } = desk.actor(name).speculative
      return account._tag === "Opened" ? account.balance : undefined
    })
    assert.deepStrictEqual(balances, [70n, 131n])
    assert.deepStrictEqual(
      touched.map((actor) => actor.uncommitted),
      [1, 1]
    )
  })

  it("that is refused changes no state, and still counts on its actors until it is settled", () => {
    const desk = new Desk(names)
    const before = names.map((name) => desk.actor(name).speculative)
    const ticket = desk.decide(transfer("a", "b", 101n))
    assert.strictEqual(ticket.rejection?._tag, "InsufficientFunds")
    assert.deepStrictEqual(
      names.map((name) => desk.actor(name).speculative),
      before
    )
    assert.strictEqual(desk.actor("a").uncommitted, 1)
    assert.isFalse(desk.actor("a").isIdle)
    desk.settle(ticket)
    assert.isTrue(desk.actor("a").isIdle)
  })

  it("that throws leaves every actor as it was", () => {
    const desk = new Desk(names)
    const command = toCommand(transfer("a", "b", 1n))
    let legs = 0
    // Both legs read it; the second one's row is where it fails, when the first one's is made out already.
    const throwing = new Proxy(command, {
      get: (target, key) => {
        if (key === "effectiveAt" && ++legs === 2) throw new Error("a defect of the test")
        return Reflect.get(target, key)
      }
    })
    const ticket = new PendingCommand(throwing, hashCommand(command), 0)
    const actors = [desk.actor("a"), desk.actor("b")]
    const before = actors.map(({ speculative, committed, uncommitted }) => ({
      speculative,
      committed,
      uncommitted
    }))
    assert.throws(() => decideOn(ticket, actors, 1_000), "a defect of the test")
    assert.deepStrictEqual(
      actors.map(({ speculative, committed, uncommitted }) => ({ speculative, committed, uncommitted })),
      before
    )
    assert.deepStrictEqual(
      [ticket.phase, ticket.pendingEvents.length, ticket.participants.length],
      ["waiting", 0, 0]
    )
  })

  it("without one of its accounts is a defect, not a decision", () => {
    const desk = new Desk(names)
    const command = toCommand(transfer("a", "b", 1n))
    const ticket = new PendingCommand(command, hashCommand(command), 0)
    assert.throws(() => decideOn(ticket, [desk.actor("a")], 1_000), "without account b")
  })
})
