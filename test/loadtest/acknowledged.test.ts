/** The judge of the load test: it must find each kind of broken promise, and must not call a kept one broken. */
import { assert, describe, it } from "@effect/vitest"
import type { Command } from "../../src/domain/Command.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import { makeRunIds } from "../../src/loadtest/RunIds.ts"
import { storedEvent } from "../support/storedEvents.ts"

const ids = makeRunIds("run", false)

const deposit = (number: number, account = 1): Command => ({
  _tag: "Deposit",
  commandId: ids.command(number),
  account: ids.account(account),
  amount: 1n
})

const rowOf = (number: number, version: number, account = 1): StoredEvent =>
  storedEvent({ account: ids.account(account), version, command: ids.command(number) })

const receiptOf = (row: StoredEvent, replayed = false): Receipt => ({
  commandId: row.commandId,
  replayed,
  recordedAt: row.recordedAt,
  postings: [{ account: row.accountId, version: row.version, hash: row.hash }],
  readToken: `${row.accountId}@${row.version}`
})

/** Three deposits on account 1, sent one after another, each acknowledged. */
const threeDeposits = (comparesRepeats = false) => {
  const judge = new Acknowledged(ids, 10, comparesRepeats)
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

describe("a command that is sent again", () => {
  /** Command 1 takes effect at version 1, command 2 at version 2 and is answered first. */
  const overtaken = () => {
    const judge = new Acknowledged(ids, 10, true)
    const [first, second] = [deposit(1), deposit(2)]
    const rows = [rowOf(1, 1), rowOf(2, 2)] as const
    const sentFirst = judge.sent(first)
    judge.accepted(second, judge.sent(second), receiptOf(rows[1]))
    return { judge, first, sentFirst, rows }
  }

  it("may be answered from memory before its first sending is answered", () => {
    const { judge, first, sentFirst, rows } = overtaken()
    judge.accepted(first, judge.sent(first), receiptOf(rows[0], true))
    judge.accepted(first, sentFirst, receiptOf(rows[0]))
    assert.deepStrictEqual(verdict(judge, rows), [])
    assert.strictEqual(judge.versionAt(1), 2)
  })

  it("may be accepted before its first sending ends as Indeterminate", () => {
    const { judge, first, rows } = overtaken()
    judge.accepted(first, judge.sent(first), receiptOf(rows[0], true))
    judge.unknown(first)
    assert.strictEqual(judge.openCount, 0)
    assert.deepStrictEqual(verdict(judge, rows), [])
  })

  it("is missed in the log (I6) although one of its sendings ended as Indeterminate", () => {
    const { judge, first, rows } = overtaken()
    judge.accepted(first, judge.sent(first), receiptOf(rows[0], true))
    judge.unknown(first)
    assert.deepStrictEqual(verdict(judge, rows.slice(1)), ["I6"])
  })

  it("breaks I7 where it took effect before one that was acknowledged before its first sending", () => {
    const judge = new Acknowledged(ids, 10, true)
    const [early, late] = [deposit(1), deposit(2)]
    judge.accepted(early, judge.sent(early), receiptOf(rowOf(1, 2)))
    const sentLate = judge.sent(late)
    judge.accepted(late, judge.sent(late), receiptOf(rowOf(2, 1), true))
    judge.accepted(late, sentLate, receiptOf(rowOf(2, 1)))
    assert.deepStrictEqual(verdict(judge, [rowOf(2, 1), rowOf(1, 2)]), ["I7"])
    assert.include(judge.faults[0]?.reason ?? "", "though version 2 was acknowledged before")
  })

  it("breaks I4 where its answers differ, whichever comes first", () => {
    for (const [one, other] of [
      [rowOf(1, 1), rowOf(1, 3)],
      [rowOf(1, 3), rowOf(1, 1)]
    ] as const) {
      const { judge, first, sentFirst } = overtaken()
      judge.accepted(first, judge.sent(first), receiptOf(one, true))
      judge.accepted(first, sentFirst, receiptOf(other))
      assert.isFalse(judge.isKept("I4"))
      assert.include(judge.faults.at(-1)?.reason ?? "", "got two receipts")
    }
  })

  it("breaks I4 where its answers differ in a later posting alone", () => {
    const judge = new Acknowledged(ids, 10, true)
    const command: Command = {
      _tag: "Transfer",
      commandId: ids.command(1),
      from: ids.account(1),
      to: ids.account(2),
      amount: 1n
    }
    const receipt = receiptOf(rowOf(1, 1))
    const withSecond = (version: number) => ({
      ...receipt,
      postings: [...receipt.postings, ...receiptOf(rowOf(1, version, 2)).postings]
    })
    judge.accepted(command, judge.sent(command), withSecond(4))
    judge.accepted(command, judge.sent(command), withSecond(5))
    assert.isFalse(judge.isKept("I4"))
  })

  it("may get another body only after it was accepted, and must then be refused", () => {
    const { judge, first, rows } = overtaken()
    assert.isUndefined(judge.changed(first))
    judge.accepted(first, judge.sent(first), receiptOf(rows[0]))
    const changed = judge.changed(first) ?? assert.fail("an accepted command has an amount to change")
    assert.deepInclude(changed, { commandId: first.commandId, amount: 2n })
    // The outcome of the accepted command is known even if the answer to the changed one is lost.
    judge.unknown(changed)
    assert.strictEqual(judge.openCount, 0)
    assert.deepStrictEqual(verdict(judge, rows), [])
  })

  it("breaks I4 where it is accepted with two bodies", () => {
    const { judge, first, rows } = overtaken()
    judge.accepted(first, judge.sent(first), receiptOf(rows[0]))
    const changed = judge.changed(first) ?? assert.fail("an accepted command has an amount to change")
    judge.accepted(changed, judge.sent(changed), receiptOf(rowOf(1, 3)))
    assert.isFalse(judge.isKept("I4"))
  })
})

describe("receipts against the log", () => {
  it("finds no fault in a log that holds what was acknowledged, in whatever order it is read", () => {
    const { judge, rows } = threeDeposits()
    assert.deepStrictEqual(verdict(judge, rows.toReversed()), [])
  })

  it("finds an acknowledged event that the log lost (I6)", () => {
    const { judge, rows } = threeDeposits()
    assert.deepStrictEqual(verdict(judge, rows.slice(0, 2)), ["I6"])
    assert.include(judge.faults[0]?.reason ?? "", "3 events were acknowledged, but the log holds only 2")
  })

  it("finds an event that was acknowledged with another hash (I6)", () => {
    const { judge, rows } = threeDeposits()
    const changed = rows.map((row, index) => (index === 1 ? { ...row, hash: `${row.hash}x` } : row))
    assert.deepStrictEqual(verdict(judge, changed), ["I6"])
  })

  it("finds a receipt that tells other figures of the account than the log (I6)", () => {
    const figures = { balance: 12n, held: 2n, available: 10n }
    const after = `"after":{"balance":"12","held":"2","available":"10"}`
    const row = storedEvent({
      account: ids.account(1),
      version: 1,
      command: ids.command(1),
      payload: `{"amount":"1","contra":"external:bank",${after}}`
    })
    const broken = (told: Partial<typeof figures>) => {
      const judge = new Acknowledged(ids, 10, false)
      const command = deposit(1)
      const receipt = receiptOf(row)
      const postings = receipt.postings.map((posting) => ({ ...posting, ...told }))
      judge.accepted(command, judge.sent(command), { ...receipt, postings })
      return verdict(judge, [row])
    }
    assert.deepStrictEqual(broken(figures), [])
    for (const wrong of [{ balance: 13n }, { held: 0n }, { available: -10n }, { balance: 12n + 2n ** 64n }])
      assert.deepStrictEqual(broken({ ...figures, ...wrong }), ["I6"], Object.keys(wrong).join())
    assert.deepStrictEqual(broken({}), ["I6"], "none at all")
  })

  it("finds a repeat that is told other figures than the first (I4)", () => {
    const judge = new Acknowledged(ids, 10, true)
    const command = deposit(1)
    const receipt = receiptOf(rowOf(1, 1))
    for (const balance of [5n, 5n, 6n]) {
      const postings = receipt.postings.map((posting) => ({ ...posting, balance }))
      assert.isTrue(judge.isKept("I4"))
      judge.accepted(command, judge.sent(command), { ...receipt, postings })
    }
    assert.isFalse(judge.isKept("I4"))
  })

  it("finds an event that was not acknowledged (I4)", () => {
    const { judge, rows } = threeDeposits()
    assert.deepStrictEqual(verdict(judge, [...rows, rowOf(4, 4)]), ["I4"])
  })

  it("accepts an unknown outcome whether it is in the log or not, but not twice", () => {
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

  it("counts a replay that is the first answer, because nodes repeat what they forward", () => {
    const { judge, rows } = threeDeposits()
    const command = deposit(4)
    judge.accepted(command, judge.sent(command), receiptOf(rowOf(4, 4), true))
    assert.deepStrictEqual(verdict(judge, [...rows, rowOf(4, 4)]), [])
  })

  it("counts a command once that gets a receipt and its replay after an unknown outcome", () => {
    const { judge, rows } = threeDeposits(true)
    const command = deposit(4)
    const sent = judge.sent(command)
    judge.unknown(command)
    judge.accepted(command, sent, receiptOf(rowOf(4, 4), true))
    judge.accepted(command, sent, receiptOf(rowOf(4, 4), true))
    assert.strictEqual(judge.openCount, 0)
    assert.deepStrictEqual(verdict(judge, [...rows, rowOf(4, 4)]), [])
  })

  it("finds a command that took effect before one that was acknowledged before it was sent (I7)", () => {
    const judge = new Acknowledged(ids, 10, false)
    const [early, late] = [deposit(1), deposit(2)]
    const sentEarly = judge.sent(early)
    judge.accepted(early, sentEarly, receiptOf(rowOf(1, 2)))
    judge.accepted(late, judge.sent(late), receiptOf(rowOf(2, 1)))
    assert.deepStrictEqual(verdict(judge, [rowOf(2, 1), rowOf(1, 2)]), ["I7"])
  })

  it("accepts either order of commands that were under way at the same time", () => {
    const judge = new Acknowledged(ids, 10, false)
    const [one, other] = [deposit(1), deposit(2)]
    const [sentOne, sentOther] = [judge.sent(one), judge.sent(other)]
    judge.accepted(one, sentOne, receiptOf(rowOf(1, 2)))
    judge.accepted(other, sentOther, receiptOf(rowOf(2, 1)))
    assert.deepStrictEqual(verdict(judge, [rowOf(2, 1), rowOf(1, 2)]), [])
  })

  it("judges each leg by its account, whatever the order of the legs", () => {
    const judge = new Acknowledged(ids, 10, false)
    const other = deposit(1, 2)
    judge.accepted(other, judge.sent(other), receiptOf(rowOf(1, 5, 2)))
    const transfer: Command = {
      _tag: "Transfer",
      commandId: ids.command(2),
      from: ids.account(1),
      to: ids.account(2),
      amount: 1n
    }
    const legs = [rowOf(2, 6, 2), rowOf(2, 1, 1)]
    const postings = legs.flatMap((row) => receiptOf(row).postings)
    judge.accepted(transfer, judge.sent(transfer), { ...receiptOf(rowOf(2, 6, 2)), postings })
    assert.deepStrictEqual(verdict(judge, [rowOf(1, 5, 2), ...legs]), [])
  })
})
