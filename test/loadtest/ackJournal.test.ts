/** What callers on one process were told travels to a judge on another, which must come to the same verdict. */
import { assert, describe, it } from "@effect/vitest"
import type { Command } from "../../src/domain/Command.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import { AckJournal, ReceivedAcks } from "../../src/loadtest/nodes/AckJournal.ts"
import { makeRunIds } from "../../src/loadtest/RunIds.ts"
import { storedEvent } from "../support/storedEvents.ts"

const ids = makeRunIds("run", false)
const accounts = 10
/** Commands of two nodes: even numbers are of the first, odd ones of the second. */
const isSecond = (command: number) => command % 2 === 1

const deposit = (number: number, account = 1): Command => ({
  _tag: "Deposit",
  commandId: ids.command(number),
  account: ids.account(account),
  amount: 1n
})

const rowOf = (number: number, version: number, account = 1): StoredEvent =>
  storedEvent({ account: ids.account(account), version, command: ids.command(number) })

const receiptOf = (row: StoredEvent): Receipt => ({
  commandId: row.commandId,
  replayed: false,
  recordedAt: row.recordedAt,
  postings: [{ account: row.accountId, version: row.version, hash: row.hash }],
  readToken: `${row.accountId}@${row.version}`
})

/** A node's end and the judge's, with the way between them. */
const world = () => {
  const journal = new AckJournal(ids)
  const node = new Acknowledged(ids, accounts, false, journal)
  const judge = new Acknowledged(ids, accounts, false)
  const acks = new ReceivedAcks(ids, judge)
  return {
    node,
    judge,
    acks,
    acknowledge: (row: StoredEvent, number: number) => {
      const command = deposit(number, ids.indexOf(row.accountId))
      node.accepted(command, node.sent(command), receiptOf(row))
    },
    travel: () => {
      const records = journal.take()
      if (records !== undefined) acks.take(records)
    }
  }
}

const verdict = (judge: Acknowledged, rows: ReadonlyArray<StoredEvent>) => {
  for (const row of rows) judge.logged(row)
  judge.conclude()
  return (["I4", "I6", "I7"] as const).filter((invariant) => !judge.isKept(invariant))
}

describe("the journal of what was acknowledged", () => {
  const rows = [rowOf(1, 1), rowOf(2, 2), rowOf(200_001, 3), rowOf(4, 1, 2)]
  const numbers = [1, 2, 200_001, 4]
  const acknowledgeAll = ({ acknowledge }: ReturnType<typeof world>) => {
    for (const [index, row] of rows.entries()) acknowledge(row, numbers[index] ?? 0)
  }

  it("brings all that was acks, so that a whole log is found whole and a lost event is missed", () => {
    const whole = world()
    acknowledgeAll(whole)
    whole.travel()
    assert.deepStrictEqual(verdict(whole.judge, rows), [])
    assert.strictEqual(whole.judge.versionAt(1), 3)
    const lossy = world()
    acknowledgeAll(lossy)
    lossy.travel()
    assert.deepStrictEqual(verdict(lossy.judge, rows.slice(1)), ["I6"])
  })

  it("leaves open what a dead node did not tell, and that alone", () => {
    const { judge, acks, travel, acknowledge } = world()
    acknowledge(rowOf(1, 1), 1)
    acknowledge(rowOf(2, 2), 2)
    travel()
    acknowledge(rowOf(3, 3), 3)
    acks.lost(isSecond)
    assert.deepStrictEqual(verdict(judge, [rowOf(1, 1), rowOf(2, 2), rowOf(3, 3)]), [])
    assert.strictEqual(judge.orphanRows, 1)
  })

  it("misses an event that a dead node told of, and one of a living node that nobody told of", () => {
    const dead = world()
    dead.acknowledge(rowOf(1, 1), 1)
    dead.travel()
    dead.acks.lost(isSecond)
    assert.deepStrictEqual(verdict(dead.judge, []), ["I6"])
    const living = world()
    living.acks.lost(isSecond)
    assert.deepStrictEqual(verdict(living.judge, [rowOf(2, 1)]), ["I4"])
  })

  it("brings that an answer is unknown, until it is known", () => {
    const { node, judge, travel, acknowledge } = world()
    node.unknown(deposit(1))
    node.unknown(deposit(2))
    travel()
    assert.strictEqual(judge.openCount, 2)
    acknowledge(rowOf(1, 1), 1)
    travel()
    assert.strictEqual(judge.openCount, 1)
    assert.deepStrictEqual(verdict(judge, [rowOf(1, 1)]), [])
  })

  it("takes no command for open that was accepted before the word of its unknown answer arrives", () => {
    const { judge, acks, travel, acknowledge } = world()
    acknowledge(rowOf(1, 1), 1)
    travel()
    acks.take(Float64Array.of(1, -1, 0, 0, 0))
    assert.strictEqual(judge.openCount, 0)
    assert.deepStrictEqual(verdict(judge, [rowOf(1, 1)]), [])
  })

  it("lets the callers of one node expect to come after those of another (I7)", () => {
    const [first, second] = [world(), world()]
    first.acknowledge(rowOf(2, 5), 2)
    first.travel()
    const known = first.acks.takeVersions() ?? new Float64Array()
    assert.deepStrictEqual([...known], [1, 5])
    assert.isUndefined(first.acks.takeVersions())
    second.node.learn(known[0] ?? 0, known[1] ?? 0)
    second.acknowledge(rowOf(3, 4), 3)
    assert.isFalse(second.node.isKept("I7"))
    assert.match(second.node.faults[0]?.reason ?? "", /though version 5 was acknowledged before/)
  })
})
