/** Receipts and rows that do not fit each other: the load test's own judge must say so, or its verdict is worth nothing. */
import { assert, describe, it } from "@effect/vitest"
import type { Command } from "../../src/domain/Command.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import { makeNames } from "../../src/loadtest/Names.ts"
import { storedEvent } from "../support/storedEvents.ts"

const names = makeNames("run", false)

const deposit = (number: number, account = 1): Command => ({
  _tag: "Deposit",
  commandId: names.command(number),
  account: names.account(account),
  amount: 1n
})

const rowOf = (number: number, version: number, account = 1): StoredEvent =>
  storedEvent({ account: names.account(account), version, command: names.command(number) })

const receiptOf = (row: StoredEvent, replayed = false): Receipt => ({
  commandId: row.commandId,
  replayed,
  recordedAt: row.recordedAt,
  postings: [{ account: row.accountId, version: row.version, hash: row.hash }],
  readToken: `${row.accountId}@${row.version}`
})

/** Three deposits on account 1, sent one after another, each acknowledged. */
const threeDeposits = (comparesRepeats = false) => {
  const judge = new Acknowledged(names, 10, comparesRepeats)
  const rows = [1, 2, 3].map((number) => rowOf(number, number))
  for (const [index, row] of rows.entries()) {
    const command = deposit(index + 1)
    judge.accepted(command, judge.sent(command), receiptOf(row))
  }
  return { judge, rows }
}

const verdict = (judge: Acknowledged, rows: ReadonlyArray<StoredEvent>) => {
  for (const row of rows) judge.logged(row)
  judge.conclude()
  return (["I4", "I6", "I7"] as const).filter((invariant) => !judge.isKept(invariant))
}

describe("receipts against the log", () => {
  it("keeps its peace when the log holds what was acknowledged, in whatever order it is read", () => {
    const { judge, rows } = threeDeposits()
    assert.deepStrictEqual(verdict(judge, rows.toReversed()), [])
  })

  it("finds an acknowledged event that the log lost (I6)", () => {
    const { judge, rows } = threeDeposits()
    assert.deepStrictEqual(verdict(judge, rows.slice(0, 2)), ["I6"])
    assert.include(judge.faults[0]?.reason ?? "", "3 events were acknowledged, the log holds 2")
  })

  it("finds an event that was acknowledged with another hash (I6)", () => {
    const { judge, rows } = threeDeposits()
    const changed = rows.map((row, index) => (index === 1 ? { ...row, hash: `${row.hash}x` } : row))
    assert.deepStrictEqual(verdict(judge, changed), ["I6"])
  })

  it("finds an event nobody was told of: a refused command, or a repeat that landed twice (I4)", () => {
    const { judge, rows } = threeDeposits()
    assert.deepStrictEqual(verdict(judge, [...rows, rowOf(4, 4)]), ["I4"])
  })

  it("takes a command without a definite answer both ways, but not twice", () => {
    const landed = threeDeposits()
    landed.judge.unknown(deposit(4))
    assert.deepStrictEqual(verdict(landed.judge, [...landed.rows, rowOf(4, 4)]), [])
    const lost = threeDeposits()
    lost.judge.unknown(deposit(4))
    assert.deepStrictEqual(verdict(lost.judge, lost.rows), [])
    const twice = threeDeposits()
    twice.judge.unknown(deposit(4))
    assert.deepStrictEqual(verdict(twice.judge, [...twice.rows, rowOf(4, 4), rowOf(4, 5)]), ["I4"])
  })

  it("counts a replay where it is the first answer, for a node sends again what it sent on", () => {
    const { judge, rows } = threeDeposits()
    const command = deposit(4)
    judge.accepted(command, judge.sent(command), receiptOf(rowOf(4, 4), true))
    assert.deepStrictEqual(verdict(judge, [...rows, rowOf(4, 4)]), [])
  })

  it("counts a replay where it is the first definite answer, and only there", () => {
    const { judge, rows } = threeDeposits(true)
    const command = deposit(4)
    const sent = judge.sent(command)
    judge.unknown(command)
    judge.accepted(command, sent, receiptOf(rowOf(4, 4), true))
    judge.accepted(command, sent, receiptOf(rowOf(4, 4), true))
    assert.strictEqual(judge.openCount, 0)
    assert.deepStrictEqual(verdict(judge, [...rows, rowOf(4, 4)]), [])
  })

  it("finds a command that took effect before one acknowledged before it was sent (I7)", () => {
    const judge = new Acknowledged(names, 10, false)
    const [early, late] = [deposit(1), deposit(2)]
    const sentEarly = judge.sent(early)
    judge.accepted(early, sentEarly, receiptOf(rowOf(1, 2)))
    judge.accepted(late, judge.sent(late), receiptOf(rowOf(2, 1)))
    assert.deepStrictEqual(verdict(judge, [rowOf(2, 1), rowOf(1, 2)]), ["I7"])
  })

  it("lets commands that were under way at the same time take either order", () => {
    const judge = new Acknowledged(names, 10, false)
    const [one, other] = [deposit(1), deposit(2)]
    const [sentOne, sentOther] = [judge.sent(one), judge.sent(other)]
    judge.accepted(one, sentOne, receiptOf(rowOf(1, 2)))
    judge.accepted(other, sentOther, receiptOf(rowOf(2, 1)))
    assert.deepStrictEqual(verdict(judge, [rowOf(2, 1), rowOf(1, 2)]), [])
  })

  it("finds a repeat that was answered another outcome (I4)", () => {
    const judge = new Acknowledged(names, 10, true)
    const command = deposit(1)
    judge.accepted(command, judge.sent(command), receiptOf(rowOf(1, 1)))
    judge.accepted(command, judge.sent(command), receiptOf(rowOf(1, 2), true))
    assert.isFalse(judge.isKept("I4"))
  })
})
