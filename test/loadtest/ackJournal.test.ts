/** The journal that carries acknowledgements from a node process to the judge, which must come to the verdict that the node would. */
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
/** Whether a command belongs to the second of two nodes: the first has the even numbers. */
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

/** The end of the node and the end of the judge. `travel` carries the records from one to the other. */
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

describe("the journal of acknowledgements", () => {
  const rows = [rowOf(1, 1), rowOf(2, 2), rowOf(200_001, 3), rowOf(4, 1, 2)]
  const numbers = [1, 2, 200_001, 4]
  const acknowledgeAll = ({ acknowledge }: ReturnType<typeof world>) => {
    for (const [index, row] of rows.entries()) acknowledge(row, numbers[index] ?? 0)
  }

  it("carries enough to find a whole log whole and a lost event lost", () => {
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

  it("leaves open only the commands whose answer a dead node did not report", () => {
    const { judge, acks, travel, acknowledge } = world()
    acknowledge(rowOf(1, 1), 1)
    acknowledge(rowOf(2, 2), 2)
    travel()
    acknowledge(rowOf(3, 3), 3)
    acks.lost(isSecond)
    assert.deepStrictEqual(verdict(judge, [rowOf(1, 1), rowOf(2, 2), rowOf(3, 3)]), [])
    assert.strictEqual(judge.orphanRows, 1)
  })

  it("finds a lost event of a dead node, and an unacknowledged one of a living node", () => {
    const dead = world()
    dead.acknowledge(rowOf(1, 1), 1)
    dead.travel()
    dead.acks.lost(isSecond)
    assert.deepStrictEqual(verdict(dead.judge, []), ["I6"])
    const living = world()
    living.acks.lost(isSecond)
    assert.deepStrictEqual(verdict(living.judge, [rowOf(2, 1)]), ["I4"])
  })

  it("carries that an outcome is unknown, and later that it is known", () => {
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

  it("ignores an unknown outcome that arrives after the receipt of the same command", () => {
    const { judge, acks, travel, acknowledge } = world()
    acknowledge(rowOf(1, 1), 1)
    travel()
    acks.take(Float64Array.of(1, -1, 0, 0, 0))
    assert.strictEqual(judge.openCount, 0)
    assert.deepStrictEqual(verdict(judge, [rowOf(1, 1)]), [])
  })

  it("lets the callers of one node expect to come after the callers of another (I7)", () => {
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
