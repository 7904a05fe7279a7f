/** `given(…).when(…)` of `chronicle-ledger/testing` says what the ledger does: each case is asked of both. */
import { assert, layer } from "@effect/vitest"
import { Effect, Result } from "effect"
import type { CommandInput } from "../src/domain/Command.ts"
import { amountOf, type Event } from "../src/domain/Event.ts"
import { Ledger } from "../src/Ledger.ts"
import { given } from "../src/testing.ts"
import { accountName, drawCommand, openAccount, type WorldCommand } from "./simulator/Commands.ts"
import { memoryLedger } from "./support/callers.ts"
import { Rng } from "./support/Rng.ts"

type Case = readonly [what: string, before: ReadonlyArray<CommandInput>, when: CommandInput, outcome: string]

const open = (account: string): CommandInput => ({
  _tag: "OpenAccount",
  account,
  asset: "USD/2",
  owner: "Ada"
})
const deposit = (amount: bigint, commandId = "in"): CommandInput => ({
  _tag: "Deposit",
  account: "a",
  amount,
  commandId
})
const pay: CommandInput = { _tag: "Transfer", from: "a", to: "b", amount: 30n, commandId: "pay" }
const hold = (commandId?: string): CommandInput => ({
  _tag: "PlaceHold",
  account: "a",
  amount: 10n,
  ...(commandId === undefined ? {} : { commandId })
})
const back = (further: object = {}): CommandInput => ({
  _tag: "Reverse",
  original: "pay",
  reason: "x",
  ...further
})
const capture: CommandInput = { _tag: "CaptureHold", account: "a", hold: "h" }
const release: CommandInput = { _tag: "ReleaseHold", account: "a", hold: "h" }
/** The longest metadata that there is, in characters that JSON writes as six. */
const metadata = Object.fromEntries(
  Array.from({ length: 16 }, (_, nth) => [`${nth}`.padEnd(64, "\u0001"), "\u0001".repeat(256)])
)
/** As many legs as there may be, which leave both accounts as they were. */
const journal = {
  _tag: "PostJournal" as const,
  legs: Array.from({ length: 100 }, (_, nth) => ({
    account: nth % 2 === 0 ? "a" : "b",
    side: nth % 4 === 0 || nth % 4 === 3 ? ("debit" as const) : ("credit" as const),
    amount: 1n
  })),
  metadata
}
/** A host without types may pass anything. */
const withoutId: CommandInput = { ...hold(), ...JSON.parse('{"commandId":null}') }
const funded = [open("a"), open("b"), deposit(100n)]
const paid = [...funded, pay]

const cases: ReadonlyArray<Case> = [
  ["a payment that is given back", paid, back(), "a +30, b -30"],
  ["a part of it", paid, back({ amount: 12n }), "a +12, b -12"],
  ["what is left of it", [...paid, back({ amount: 12n })], back({ n: 2 }), "a +18, b -18"],
  [
    "more than is left of it",
    [...paid, back({ amount: 12n })],
    back({ n: 2, amount: 19n }),
    "ReversalExceeds"
  ],
  ["a reversal again", [...paid, back()], back(), "a +30, b -30"],
  ["a reversal again, of another amount", [...paid, back()], back({ amount: 1n }), "CommandIdReused"],
  ["a second reversal without a first", paid, back({ n: 2 }), "InvalidCommand"],
  ["a reversal of what was never sent", funded, back(), "CommandNotFound"],
  ["a reversal of a hold", [...funded, hold("h")], back({ original: "h" }), "InvalidCommand"],
  ["a command again", funded, deposit(100n), "a +100"],
  ["a command's id with another body", funded, deposit(101n), "CommandIdReused"],
  ["a second hold without an id of its own", [...funded, hold()], hold(), "a 0"],
  ["a hold that was released", [...funded, hold("h"), release], capture, "HoldClosed released"],
  ["a hold that was captured", [...funded, hold("h"), capture], release, "HoldClosed captured"],
  [
    "a hold that was released, in a group",
    [...funded, hold("h"), release],
    { _tag: "Group", commands: [{ _tag: "ReleaseHold", account: "a", hold: "h" }] },
    "GroupRejected HoldClosed released"
  ],
  ["a hold that never was", funded, capture, "HoldNotFound"],
  ["an id that is none", funded, withoutId, "InvalidCommand"],
  [
    "a group that comes to more than one statement may carry",
    funded,
    { _tag: "Group", commands: [journal, journal, journal, journal, journal] },
    "InvalidCommand"
  ]
]

/** `GroupRejected HoldClosed released`: an error, with what it says of its cause. */
const told = (error: object): string =>
  [
    Reflect.get(error, "_tag"),
    ...("rejection" in error ? [told(error.rejection as object)] : []), // of `GroupRejected`
    ...("how" in error ? [error.how] : [])
  ].join(" ")

const signed = (units: bigint): string => (units > 0n ? `+${units}` : `${units}`)

layer(memoryLedger, { excludeTestServices: true })("a decision that is asked for without a ledger", (it) => {
  for (const [nth, [what, before, when, outcome]] of cases.entries()) {
    it.effect(`is the ledger's own: ${what}`, () =>
      Effect.gen(function* () {
        const books = given(...before)
        const answer = books.when(when)
        const byEvents = (events: ReadonlyArray<{ readonly account: string; readonly event: Event }>) =>
          events.map(({ account, event }) => `${account} ${signed(amountOf(event))}`).join(", ")
        assert.strictEqual("events" in answer ? byEvents(answer.events) : told(answer.rejection), outcome)

        // The same of a ledger, whose accounts and ids are of this case alone.
        const ledger = yield* Ledger
        const own = (command: CommandInput): CommandInput => renamed(command, `c${nth}-`)
        for (const command of before) yield* ledger.dispatch(own(command))
        const result = yield* Effect.result(ledger.dispatch(own(when)))
        if (Result.isFailure(result)) return assert.strictEqual(told(result.failure), outcome)
        const found = yield* ledger.find(result.success.commandId)
        const legs = found._tag === "Some" ? found.value.legs : assert.fail("no such command")
        assert.strictEqual(byEvents(legs).replaceAll(`c${nth}-`, ""), outcome)
      })
    )
  }

  it.effect("is the ledger's own in random sequences of every kind of command", () =>
    Effect.gen(function* () {
      const ledger = yield* Ledger
      const rng = new Rng(Number(process.env.CHRONICLE_TEST_SEED ?? 3))
      const seen = new Set<string>()
      for (let run = 0; run < 4; run++) {
        const accepted: Array<CommandInput> = []
        for (const command of drawn(rng, run % 2 === 0)) {
          const own = renamed<CommandInput>(command, `r${run}-`)
          const answer = given(...accepted).when(own)
          const result = yield* Effect.result(ledger.dispatch(own))
          if (Result.isFailure(result)) {
            seen.add(result.failure._tag)
            assert.deepStrictEqual(said(answer), said({ rejection: result.failure }))
            continue
          }
          const found = yield* ledger.find(result.success.commandId)
          const legs = found._tag === "Some" ? found.value.legs : assert.fail("no such command")
          const events = legs.map(({ account, event }) => ({ account, event }))
          assert.deepStrictEqual(
            "events" in answer ? answer.events.map(eventOf).map(said) : answer,
            said(events)
          )
          accepted.push(own)
        }
      }
      for (const tag of ["GroupRejected", "HoldClosed", "CommandNotFound"]) assert.include([...seen], tag)
    })
  )
})

const eventOf = ({ account, event }: { readonly account: string; readonly event: Event }) => ({
  account,
  event
})

/** Accounts that are opened, and what is asked of them, now and then a second time; holds do not expire, for `given` decides at one instant. */
function* drawn(rng: Rng, isAboutMoney: boolean): IterableIterator<WorldCommand> {
  const accounts = 5
  for (let nth = 0; nth < accounts; nth++)
    yield { ...openAccount(accountName(nth), 30n), commandId: `open-${nth}` }
  const inputs: Array<WorldCommand> = []
  for (let nth = 0; nth < 100; nth++) {
    const again = inputs[rng.below(10 * inputs.length)]
    const other =
      again?._tag === "Deposit" && rng.chance(0.5) ? { ...again, amount: again.amount + 1n } : again
    const input = other ?? drawCommand(rng, `c-${nth}`, { accounts, inputs, isAboutMoney })
    inputs.push(input)
    yield without(input, "expiresIn")
  }
}

/** Without a field, at whatever depth. */
const without = <A>(value: A, field: string): A => {
  if (Array.isArray(value)) return value.map((one) => without(one, field)) as A // as the line says
  if (typeof value !== "object" || value === null) return value
  const rest = Object.entries(value).filter(([name]) => name !== field)
  return Object.fromEntries(rest.map(([name, inner]) => [name, without(inner, field)])) as A // the same fields, but for that one
}

/** What an answer says, but for when a hold was closed. */
const said = (value: unknown): unknown => without(value, "at")

const names = new Set(["account", "from", "to", "commandId", "hold", "original", "shortfall"])

/** With a text before all ids, at whatever depth. */
const renamed = <A>(value: A, before: string): A => {
  if (Array.isArray(value)) return value.map((one) => renamed(one, before)) as A // as the line says
  if (typeof value !== "object" || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      names.has(name) && typeof inner === "string" && !inner.startsWith("external:")
        ? `${before}${inner}`
        : renamed(inner, before)
    ])
  ) as A // the same fields
}
