/** Outcomes kept outside of the heap: what is recalled is exactly what was kept, and what is gone is not recalled. */
import { assert, it } from "@effect/vitest"
import { ReceiptCache } from "../../src/actors/commands/ReceiptCache.ts"
import { accountsOf, type Command } from "../../src/domain/Command.ts"
import { hashCommand } from "../../src/domain/HashChain.ts"
import type { AccountId, CommandId } from "../../src/domain/Ids.ts"
import { type Posting, printToken, type Receipt } from "../../src/domain/Receipt.ts"

const account = (nth: number) => `a-${nth}` as AccountId
const id = (nth: number) => `c-${nth}` as CommandId

/** Of one leg, two, or four. */
const commandOf = (nth: number): Command => {
  const commandId = id(nth)
  switch (nth % 3) {
    case 0:
      return { _tag: "Deposit", commandId, account: account(nth), amount: 1n }
    case 1:
      return { _tag: "Transfer", commandId, from: account(nth), to: account(nth + 1), amount: 1n }
    default: {
      const legs = [0, 1, 2, 3].map((at) => {
        const side = at < 2 ? ("debit" as const) : ("credit" as const)
        return { account: account(nth + at), side, amount: 1n }
      })
      return { _tag: "PostJournal", commandId, legs }
    }
  }
}

const receiptOf = (nth: number): Receipt => {
  const postings = accountsOf(commandOf(nth)).map(
    (of, ordinal): Posting => ({
      account: of,
      version: 2 ** 40 + nth + ordinal,
      // A hash like any other, of its own for each posting.
      hash: hashCommand(commandOf(3 * (1_000 + 10 * nth + ordinal)))
    })
  )
  const recordedAt = 1_700_000_000_000 + nth
  return { commandId: id(nth), replayed: false, recordedAt, postings, readToken: printToken(postings) }
}

const recalled = (outcomes: ReceiptCache, nth: number): Receipt | undefined => {
  const hash = outcomes.hashOf(id(nth))
  if (hash === undefined) {
    assert.isUndefined(outcomes.receiptOf(commandOf(nth)))
    return undefined
  }
  assert.strictEqual(hash, hashCommand(commandOf(nth)))
  return outcomes.receiptOf(commandOf(nth))
}

it("answers the latest outcomes exactly, whatever number is kept, and never one of another command", () => {
  for (const max of [0, 1, 2, 3, 7, 10]) {
    const outcomes = new ReceiptCache(max)
    const half = Math.max(1, Math.floor(max / 2))
    for (let nth = 0; nth < 5 * half + 3; nth++) {
      outcomes.keep(hashCommand(commandOf(nth)), receiptOf(nth), accountsOf(commandOf(nth)))
      for (let before = 0; before <= nth; before++) {
        const receipt = recalled(outcomes, before)
        if (before > nth - half) assert.isDefined(receipt, `${before} after ${nth}, of ${max}`)
        if (before <= nth - 2 * half) assert.isUndefined(receipt, `${before} after ${nth}, of ${max}`)
        if (receipt !== undefined) assert.deepEqual(receipt, { ...receiptOf(before), replayed: true })
      }
    }
  }
})

it("keeps the fewer outcomes, the more postings they have", () => {
  const outcomes = new ReceiptCache(100)
  const postings = Array.from(
    { length: 100 },
    (): Posting => ({ account: account(1), version: 1, hash: "x" })
  )
  const keep = (nth: number, large: boolean) =>
    outcomes.keep(hashCommand(commandOf(0)), large ? { ...receiptOf(nth), postings } : receiptOf(nth), [])
  const kept = (count: number) =>
    Array.from({ length: count }, (_, nth) => nth).filter((nth) => outcomes.has(id(nth)))
  for (let nth = 0; nth < 40; nth++) keep(nth, true)
  assert.deepStrictEqual(kept(40), [36, 37, 38, 39])
  // A small one takes a place that is left, and a large one that does not fit begins a generation.
  keep(40, false)
  keep(41, true)
  assert.deepStrictEqual(kept(42), [38, 39, 40, 41])
  keep(42, true)
  assert.deepStrictEqual(kept(43), [40, 41, 42])
})

it("knows another command under a kept id by its hash", () => {
  const outcomes = new ReceiptCache(4)
  outcomes.keep(hashCommand(commandOf(1)), receiptOf(1), accountsOf(commandOf(1)))
  const other: Command = { _tag: "Deposit", commandId: id(1), account: account(9), amount: 5n }
  assert.notStrictEqual(outcomes.hashOf(id(1)), hashCommand(other))
})

it("keeps an id that comes twice with its latest outcome, and forgets it in its turn", () => {
  const outcomes = new ReceiptCache(4)
  for (const nth of [1, 1, 1, 1, 1])
    outcomes.keep(hashCommand(commandOf(nth)), receiptOf(nth), accountsOf(commandOf(nth)))
  assert.deepEqual(recalled(outcomes, 1), { ...receiptOf(1), replayed: true })
  for (const nth of [3, 4, 6, 7])
    outcomes.keep(hashCommand(commandOf(nth)), receiptOf(nth), accountsOf(commandOf(nth)))
  assert.isUndefined(recalled(outcomes, 1))
  assert.deepEqual(recalled(outcomes, 7), { ...receiptOf(7), replayed: true })
})

it("keeps what its slots cannot hold, such as a hash of another length", () => {
  const outcomes = new ReceiptCache(4)
  const { postings, ...rest } = receiptOf(1)
  const odd = { ...rest, postings: postings.map((posting) => ({ ...posting, hash: "short" })) }
  outcomes.keep(hashCommand(commandOf(1)), odd, accountsOf(commandOf(1)))
  assert.deepEqual(recalled(outcomes, 1), { ...odd, replayed: true })
})

it("answers a receipt that names fewer postings than the command has accounts as it was kept", () => {
  const outcomes = new ReceiptCache(2)
  for (const nth of [1, 4])
    outcomes.keep(hashCommand(commandOf(nth)), receiptOf(nth), accountsOf(commandOf(nth)))
  const { postings, ...rest } = receiptOf(7)
  const short = { ...rest, postings: postings.slice(0, 1), readToken: printToken(postings.slice(0, 1)) }
  outcomes.keep(hashCommand(commandOf(7)), short, accountsOf(commandOf(7)))
  assert.deepEqual(recalled(outcomes, 7), { ...short, replayed: true })
})

it("tells ids apart that end alike, and forgets each in its turn", () => {
  const ending = "-the-same-end-of-every-id"
  const idOf = (nth: number) => `${nth}${ending}` as CommandId
  const outcomes = new ReceiptCache(4)
  for (const nth of [1, 3, 4, 6]) {
    assert.isUndefined(outcomes.hashOf(idOf(nth)))
    const receipt = { ...receiptOf(nth), commandId: idOf(nth) }
    outcomes.keep(hashCommand(commandOf(nth)), receipt, accountsOf(commandOf(nth)))
  }
  for (const nth of [1, 3, 4, 6]) assert.strictEqual(outcomes.hashOf(idOf(nth)), hashCommand(commandOf(nth)))
  for (const nth of [7, 9])
    outcomes.keep(hashCommand(commandOf(nth)), receiptOf(nth), accountsOf(commandOf(nth)))
  for (const nth of [1, 3]) assert.isFalse(outcomes.has(idOf(nth)))
  for (const nth of [4, 6]) assert.strictEqual(outcomes.hashOf(idOf(nth)), hashCommand(commandOf(nth)))
})
