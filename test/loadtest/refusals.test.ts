/** Which refusals a load expects: everything else counts as a broken promise. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { Command } from "../../src/domain/Command.ts"
import {
  AccountNotActive,
  AccountNotFound,
  type CommandError,
  CommandIdReused,
  InsufficientFunds
} from "../../src/domain/Errors.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import { type Load, runLoad } from "../../src/loadtest/Load.ts"
import { Meter } from "../../src/loadtest/Meter.ts"
import { loadOf, mayBeRefused } from "../../src/loadtest/Refusals.ts"
import { makeRunIds } from "../../src/loadtest/RunIds.ts"
import { measureSingleClient } from "../../src/loadtest/SingleClient.ts"

const ids = makeRunIds("run", false)
const settings = {
  scenario: "mixed-zipf",
  accounts: 10,
  pace: { _tag: "Closed", concurrency: 1 },
  seconds: 1,
  seed: 1,
  repeats: 0,
  intruder: 0,
  readSide: false,
  patienceSeconds: 1
} as const

const withdraw = (index: number, amount: bigint): Command => ({
  _tag: "Withdraw",
  commandId: ids.command(index),
  account: ids.account(index),
  amount
})
const account = ids.account(1)
const poor = new InsufficientFunds({
  account,
  asset: ids.assetOf(1),
  balance: 0n,
  overdraftLimit: 0n,
  amount: 1n
})
const unknown = new AccountNotFound({ account })
const frozen = new AccountNotActive({ account, status: "frozen" })
const reused = new CommandIdReused({ commandId: ids.command(1) })

/** A judge of a load with repeats, to whom one command was accepted, and that command with another body. */
const judged = () => {
  const acknowledged = new Acknowledged(ids, 10, true)
  const repeated = withdraw(1, 5n)
  const receipt = {
    commandId: repeated.commandId,
    replayed: false,
    recordedAt: 0,
    postings: [],
    readToken: ""
  }
  acknowledged.accepted(repeated, acknowledged.sent(repeated), receipt)
  return { acknowledged, repeated, changed: acknowledged.changed(repeated) ?? assert.fail("was accepted") }
}

it.each([
  ["a funded account for want of what it has", withdraw(1, 5n), poor, false],
  ["a funded account for want of more than it has", withdraw(1, 10n ** 17n), poor, true],
  ["an account without funds", withdraw(10, 5n), poor, true],
  ["a funded account as unknown", withdraw(1, 5n), unknown, false],
  ["an account of the load as unknown", withdraw(11, 5n), unknown, true],
  ["an account that no command froze", withdraw(1, 5n), frozen, false],
  ["an id that was not repeated", withdraw(1, 5n), reused, false]
] as ReadonlyArray<readonly [string, Command, CommandError, boolean]>)(
  "expects of a refusal of %s what is true",
  (_, command, error, isTrue) => {
    assert.strictEqual(mayBeRefused(command, error, loadOf(ids, settings, judged().acknowledged)), isTrue)
  }
)

it("expects that an id is refused with another body, and never as it was accepted", () => {
  const { acknowledged, repeated, changed } = judged()
  const load = loadOf(ids, { ...settings, repeats: 0.2 }, acknowledged)
  assert.isTrue(mayBeRefused(changed, reused, load))
  assert.isFalse(mayBeRefused(repeated, reused, load))
})

/** A load on a node that refuses everything for want of money. */
const onRefusingNode = (acknowledged: Acknowledged): Omit<Load, "pace" | "seconds" | "meter"> => ({
  driver: {
    dispatch: () => Effect.delay(Effect.fail(poor), 2_000),
    dispatchMany: () => Effect.die("not used"),
    stats: () => assert.fail("not used")
  },
  next: () => withdraw(1, 5n),
  acknowledged,
  isTrueRefusal: (command, error) => mayBeRefused(command, error, loadOf(ids, settings, acknowledged)),
  onAccepted: () => {}
})

const ways = [
  [
    "the load",
    (load: ReturnType<typeof onRefusingNode>): Effect.Effect<unknown> =>
      runLoad({ ...load, pace: { _tag: "Closed", concurrency: 1 }, seconds: 1, meter: new Meter() })
  ],
  [
    "the client that is measured alone before it",
    (load: ReturnType<typeof onRefusingNode>): Effect.Effect<unknown> => measureSingleClient(load)
  ]
] as const

it.effect.each(ways)("a refusal that was true of no state fails %s", ([, run]) =>
  Effect.gen(function* () {
    const acknowledged = new Acknowledged(ids, 10, false)
    const running = yield* Effect.forkChild(run(onRefusingNode(acknowledged)))
    yield* TestClock.adjust("3 seconds")
    yield* Fiber.join(running)
    assert.strictEqual(acknowledged.faultsTotal, 1)
    assert.match(acknowledged.faults[0]?.reason ?? "", /was refused, which was true of no state/)
  })
)
