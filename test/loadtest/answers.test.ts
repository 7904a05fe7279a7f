/** The judge of strong balances and refusals: it finds what was true of no state, and nothing else. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { type Refusal, type ToldBalance, untrueAnswers } from "../support/answers.ts"
import { type Attempt, logOf } from "../support/invariants.ts"
import { deposit, memoryStores, open, quiet, startNode, withdraw } from "../support/ledgerWorld.ts"

/** An account with versions 1 (opened), 2 (100) and 3 (40), each acknowledged a hundred after it was sent: 0, 1000, 2000. */
const history = Effect.gen(function* () {
  const node = yield* startNode("judged")
  const attempts: Array<Attempt> = []
  for (const command of [open("a"), deposit("a", 100n, "in"), withdraw("a", 60n, "out")]) {
    const receipt = yield* node.send(command)
    const start = attempts.length * 1_000
    attempts.push({ commandId: receipt.commandId, start, end: start + 100, answer: receipt })
  }
  return { log: yield* logOf(yield* EventStore), attempts }
})

const balance = (start: number, end: number, version: number, amount: bigint): ToldBalance => ({
  account: "a",
  start,
  end,
  version,
  balance: amount
})

const refused = (start: number, end: number, tag: string, amount = 50n): Refusal => ({
  command: withdraw("a", amount, "refused"),
  start,
  end,
  tag
})

const cases: ReadonlyArray<readonly [what: string, answer: ToldBalance | Refusal, isTrue: boolean]> = [
  ["a balance of the last version", balance(1_200, 1_300, 2, 100n), true],
  ["a balance of a version that was on its way", balance(900, 1_050, 2, 100n), true],
  ["a balance from before a version that was on its way", balance(1_050, 1_060, 1, 0n), true],
  ["a balance from before an acknowledged version", balance(1_200, 1_300, 1, 0n), false],
  ["a balance of a version that was sent later", balance(1_200, 1_300, 3, 40n), false],
  ["a balance that the version does not have", balance(1_200, 1_300, 2, 99n), false],
  ["a refusal for want of funds that were not there", refused(2_200, 2_300, "InsufficientFunds"), true],
  ["a refusal for want of funds that were about to go", refused(2_010, 2_050, "InsufficientFunds"), true],
  ["a refusal for want of funds that were there", refused(1_200, 1_300, "InsufficientFunds"), false],
  ["a refusal of an account that was not open", refused(-20, -10, "AccountNotFound"), true],
  ["a refusal of an account that was open", refused(1_200, 1_300, "AccountNotFound"), false]
]

it.effect.each(cases)("%s", ([, answer, isTrue]) =>
  Effect.gen(function* () {
    const { log, attempts } = yield* history
    const faults =
      "tag" in answer
        ? untrueAnswers(log, attempts, [], [answer])
        : untrueAnswers(log, attempts, [answer], [])
    assert.lengthOf(faults, isTrue ? 0 : 1)
  }).pipe(Effect.provide([memoryStores, quiet]))
)
