/** The checker of the invariants itself: it finds nothing in a good log, and each breach in a bad one. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { type Attempt, faultsOf, type Log, logOf } from "../support/invariants.ts"
import { deposit, fund, memoryStores, startNode, transfer, withdraw } from "../support/ledgerWorld.ts"

/** A log of three accounts with every kind of money event, and what the callers were told. */
const goodWorld = Effect.gen(function* () {
  const store = yield* EventStore
  const node = yield* startNode("good")
  yield* fund(node, ["a", "b", "c"], 100n)
  let now = 0
  const attempts: Array<Attempt> = []
  const commands = [
    deposit("a", 5n, "d"),
    withdraw("a", 5n, "w"),
    transfer("a", "b", 30n, "t"),
    {
      _tag: "PostJournal",
      commandId: "j",
      legs: [
        { account: "a", side: "debit", amount: 7n },
        { account: "b", side: "credit", amount: 3n },
        { account: "c", side: "credit", amount: 4n }
      ]
    }
  ] as const
  for (const command of commands) {
    const start = now++
    const answer = yield* node.send(command)
    attempts.push({ commandId: answer.commandId, start, end: now++, answer })
  }
  yield* node.stop
  return { log: yield* logOf(store), attempts }
}).pipe(Effect.scoped, Effect.provide(memoryStores))

type Change = (row: StoredEvent) => StoredEvent | undefined

/** The log with one account's rows changed; hashes are left as they were. */
const changed = (log: Log, account: string, change: Change): Log => ({
  ...log,
  streams: new Map(
    [...log.streams].map(([id, rows]) => [
      id,
      id === account ? rows.flatMap((row) => change(row) ?? []) : rows
    ])
  )
})

const replacing =
  (command: string, from: string, to: string): Change =>
  (row) =>
    row.commandId === command ? { ...row, payload: row.payload.replace(from, to) } : row

const without =
  (command: string): Change =>
  (row) =>
    row.commandId === command ? undefined : row

describe("the checker of invariants", () => {
  it.effect("finds nothing wrong with a good log and true answers", () =>
    Effect.gen(function* () {
      const { log, attempts } = yield* goodWorld
      assert.deepStrictEqual(faultsOf(log, attempts), [])
      assert.strictEqual([...log.streams.values()].flat().length, 13)
    })
  )

  const breaches: ReadonlyArray<readonly [string, (log: Log) => Log, RegExp]> = [
    ["a missing version", (log) => changed(log, "a", without("d")), /^I1: a has 4 where 3/],
    ["a changed amount", (log) => changed(log, "a", replacing("d", '"5"', '"6"')), /^I5: .*a@3/],
    ["an overdraft", (log) => changed(log, "a", replacing("w", '"5"', '"500"')), /^I3: a@4 leaves -395/],
    [
      "a leg that is lost",
      (log) => changed(log, "b", without("t")),
      /^I2: a@5 names b@3, which is no leg of t|^I2: t has 1 legs/
    ],
    [
      "legs of unequal amounts",
      (log) => changed(log, "b", replacing("t", '"30"', '"31"')),
      /^I2: t sums to 1/
    ],
    [
      "a journal out of balance",
      (log) => changed(log, "c", replacing("j", '"4"', '"5"')),
      /^I2: j sums to 1/
    ],
    [
      "a reference to a row that is none of its legs",
      (log) => changed(log, "b", replacing("t", ":5", ":4")),
      /^I2: b@3 names a@4/
    ],
    [
      "a command twice",
      (log) => changed(log, "b", (row) => (row.version === 2 ? { ...row, commandId: "d" as never } : row)),
      /^I4: command d .* 0,0/
    ],
    [
      "time that goes back",
      (log) => changed(log, "a", (row) => ({ ...row, recordedAt: 100 - row.version })),
      /^time: a@2/
    ],
    [
      "a writer's number that is missing",
      (log) => ({
        ...log,
        tails: new Map([...log.tails].map(([id, rows]) => [id, rows.length > 1 ? rows.slice(1) : rows]))
      }),
      /has 2 where 1 is due/
    ],
    [
      "a writer that goes on after its fence",
      (log) => ({
        ...log,
        tails: new Map(
          [...log.tails].map(([id, [row, ...rows]]) => [id, row ? [{ ...row, rows: 0 }, ...rows] : []])
        )
      }),
      /goes on after its fence/
    ]
  ]
  it.effect.each(breaches)("finds %s", ([, corrupt, expected]) =>
    Effect.gen(function* () {
      const { log } = yield* goodWorld
      const faults = faultsOf(corrupt(log))
      assert.isTrue(
        faults.some((fault) => expected.test(fault)),
        faults.join("\n")
      )
    })
  )

  const lies: ReadonlyArray<
    readonly [string, (attempts: ReadonlyArray<Attempt>) => ReadonlyArray<Attempt>, RegExp]
  > = [
    [
      "an acknowledged command that is not in the log",
      (attempts) =>
        attempts.map((one) => ({ ...one, commandId: one.commandId === "d" ? "none" : one.commandId })),
      /^I6: none/
    ],
    [
      "a receipt of another version",
      (attempts) =>
        attempts.map((one) =>
          typeof one.answer === "string"
            ? one
            : {
                ...one,
                answer: {
                  ...one.answer,
                  postings: one.answer.postings.map((leg) => ({ ...leg, version: 9 }))
                }
              }
        ),
      /^I4: the receipt of d/
    ],
    [
      "a command in the log that was refused",
      (attempts) => attempts.map((one) => ({ ...one, answer: "InsufficientFunds" })),
      /^I4: d is in the log, though/
    ],
    [
      "a command in the log that was unavailable, in spite of a repeat that says the same",
      (attempts) => attempts.flatMap((one) => [one, one]).map((one) => ({ ...one, answer: "Unavailable" })),
      /^I4: t is in the log, though/
    ],
    [
      "a command that was new twice",
      (attempts) => attempts.flatMap((one) => [one, one]),
      /accepted as new 2 times/
    ],
    [
      "an order that does not agree with real time",
      (attempts) =>
        attempts.map((one, index) => ({ ...one, start: -index * 10 + 100, end: -index * 10 + 105 })),
      /^I7: w was done before d was sent/
    ]
  ]
  it.effect.each(lies)("finds %s", ([, lie, expected]) =>
    Effect.gen(function* () {
      const { log, attempts } = yield* goodWorld
      const faults = faultsOf(log, lie(attempts))
      assert.isTrue(
        faults.some((fault) => expected.test(fault)),
        faults.join("\n")
      )
    })
  )

  it.effect("lets an indeterminate command be in the log or not", () =>
    Effect.gen(function* () {
      const { log, attempts } = yield* goodWorld
      const unsure = [...attempts, { ...attempts[0], commandId: "lost" }].map((one) => ({
        ...one,
        answer: "Indeterminate"
      }))
      assert.deepStrictEqual(faultsOf(log, unsure as ReadonlyArray<Attempt>), []) // attempts[0] exists
    })
  )
})
