/** The contract of `Ledger`: what host code may expect of it in process and over every form of RPC alike. */

import { assert, type Vitest } from "@effect/vitest"
import { Effect, Option, Result, type Scope, Stream } from "effect"
import type { CommandInput } from "../../src/domain/Command.ts"
import { InvalidCommand } from "../../src/domain/Errors.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import type { Asset } from "../../src/domain/Money.ts"
import { printToken } from "../../src/domain/Receipt.ts"
import type { Ledger } from "../../src/Ledger.ts"
import { type QueryName, queryEntries, queryOf } from "../../src/QueryMethods.ts"
import { deposit, open, transfer } from "../support/ledgerWorld.ts"

type Service = Ledger["Service"]

type Called = Effect.Effect<unknown, unknown> | Stream.Stream<unknown, unknown>

/** The paths of the faults that a call is refused with; anything else than `InvalidCommand` is told instead. */
const faultPaths = (called: Called): Effect.Effect<ReadonlyArray<string>> =>
  Effect.match(Effect.isEffect(called) ? called : Stream.runHead(called), {
    onSuccess: () => ["accepted"],
    onFailure: (error) =>
      error instanceof InvalidCommand
        ? [...new Set(error.faults.map(({ path }) => path.join(".")))]
        : [`fails with ${String(error)}`]
  })

/** What no option of any query may be. */
const wrongValues: ReadonlyArray<unknown> = [null, true, new Date(0), {}, [], Number.NaN, Symbol("s"), 5n]
/** What is not even an object of options. */
const wrongOptions: ReadonlyArray<unknown> = [null, "text", 7, true, new Date(0), [], new Map(), () => {}]
const numericOptions = new Set([
  "limit",
  "from",
  "to",
  "version",
  "recordedAt",
  "effectiveAt",
  "knownAt",
  "expiringBefore"
])
/** Options that fit, where a query cannot do without. */
const rightOptions = (name: QueryName) => (name === "balanceAt" ? { version: 1 } : {})

/** Each wrong call of a query, with the path of its fault. */
const wrongCalls = (
  ledger: Service,
  name: QueryName,
  id: string
): ReadonlyArray<readonly [string, unknown, Called]> => {
  const { about, fields } = queryOf(name)
  const method = ledger[name]
  if (Effect.isEffect(method)) return []
  const call = method as (...args: ReadonlyArray<unknown>) => Called // the arguments are wrong on purpose
  const right = rightOptions(name)
  const withOptions = (options: unknown) => (about === "books" ? call(options) : call(id, options))
  const ids: ReadonlyArray<unknown> = [
    ...wrongValues,
    undefined,
    "",
    "not an id!",
    "x".repeat(about === "commandId" ? 129 : 65),
    7
  ]
  return [
    // Every account begins with the empty prefix.
    ...(about === "books"
      ? []
      : ids
          .filter((one) => about !== "prefix" || one !== "")
          .map((wrong) => [about as string, wrong, call(wrong, right)] as const)),
    ...wrongOptions.map((wrong) => ["options", wrong, withOptions(wrong)] as const),
    ["misspelt", { misspelt: 1 }, withOptions({ ...right, misspelt: 1 })],
    ...Object.keys(fields).flatMap((field) =>
      [
        ...wrongValues,
        ...(numericOptions.has(field) || (name === "history" && field === "after")
          ? ["5", 0.5, Number.POSITIVE_INFINITY]
          : [7])
      ].map((wrong) => [field, wrong, withOptions({ ...right, [field]: wrong })] as const)
    )
  ]
}

/** `reach` gives the ledger; each test has accounts of its own, so that all of them may share one. */
export const ledgerContract = <R>(
  it: Vitest.MethodsNonLive<R>,
  reach: Effect.Effect<Service, unknown, R | Scope.Scope>
): void => {
  let worlds = 0
  const scenario = (
    what: string,
    body: (ledger: Service, id: (name: string) => string) => Effect.Effect<void, unknown>
  ) =>
    it.effect(what, () =>
      Effect.scoped(
        Effect.flatMap(reach, (ledger) => {
          const prefix = `w${++worlds}:${what.length}:`
          return body(ledger, (one) => prefix + one)
        })
      )
    )

  scenario("a receipt has all postings, and its read token makes a query see the write", (ledger, id) =>
    Effect.gen(function* () {
      const [a, b] = [id("a"), id("b")]
      yield* ledger.dispatch(open(a))
      yield* ledger.dispatch(open(b))
      yield* ledger.dispatch(deposit(a, 12_345_678_901_234_567n))
      const receipt = yield* ledger.dispatch(transfer(a, b, 45_00n, id("t")))
      assert.strictEqual(receipt.commandId, id("t"))
      assert.isFalse(receipt.replayed)
      assert.deepEqual(
        receipt.postings.map(({ account, version }) => [account, version]),
        [
          [a, 3],
          [b, 2]
        ]
      )
      const view = yield* ledger.balance(b, { readToken: receipt.readToken })
      assert.strictEqual(view.balance, 45_00n)
      assert.strictEqual(view.hash, receipt.postings[1]?.hash)
      assert.strictEqual((yield* ledger.strongBalance(a)).balance, 12_345_678_901_230_067n)
      const found = yield* ledger.transfer(id("t"), { readToken: receipt.readToken })
      assert.strictEqual(Option.getOrThrow(found).amount, 45_00n)
      assert.isTrue(Option.isNone(yield* ledger.transfer(id("none"))))
    })
  )

  scenario(
    "an account is changed, frozen for a side and closed, and its history says by whom",
    (ledger, id) =>
      Effect.gen(function* () {
        const account = id("a")
        yield* ledger.dispatch(open(account))
        const context = { caller: "clerk", correlationId: "case-7" }
        yield* ledger.dispatch({
          _tag: "UpdateAccount",
          account,
          owner: "Bo",
          metadata: { tier: "gold" },
          overdraftLimit: 5_00n,
          description: "as asked",
          context
        })
        yield* ledger.dispatch({ _tag: "FreezeAccount", account, side: "credits", reason: "court order" })
        const receipt = yield* ledger.dispatch({ _tag: "Withdraw", account, amount: 5_00n })
        const view = yield* ledger.balance(account, { readToken: receipt.readToken })
        assert.deepInclude(view, { owner: "Bo", metadata: { tier: "gold" }, overdraftLimit: 5_00n })
        assert.deepInclude(view, { status: "frozen", frozen: "credits", balance: -5_00n, available: 0n })
        const lower = { _tag: "UpdateAccount", account, overdraftLimit: 4_99n } as const
        assert.deepInclude(yield* Effect.flip(ledger.dispatch(lower)), {
          _tag: "InsufficientFunds",
          overdraftLimit: 4_99n
        })
        assert.deepInclude(yield* Effect.flip(ledger.dispatch(deposit(account, 1n))), {
          _tag: "AccountNotActive",
          frozen: "credits"
        })
        yield* ledger.dispatch({ _tag: "UnfreezeAccount", account })
        yield* ledger.dispatch(deposit(account, 5_00n))
        yield* ledger.dispatch({ _tag: "FreezeAccount", account })
        yield* ledger.dispatch({ _tag: "CloseAccount", account })
        const [, updated, frozen] = yield* ledger.history(account)
        assert.deepInclude(updated?.event, { _tag: "AccountUpdated", owner: "Bo", description: "as asked" })
        assert.strictEqual(updated?.context?.correlationId, "case-7")
        assert.deepEqual(frozen?.event, { _tag: "AccountFrozen", side: "credits", reason: "court order" })
      })
  )

  scenario("a payment is split as it comes in, and an exchange held against its rate", (ledger, id) =>
    Effect.gen(function* () {
      const [shop, fees, euros] = [id("shop"), id("fees"), id("eur")]
      for (const account of [shop, fees]) yield* ledger.dispatch(open(account))
      yield* ledger.dispatch({ ...open(euros), asset: "EUR/2" } as CommandInput) // the spread loses which variant it is
      const split = yield* ledger.dispatch({
        _tag: "PostJournal",
        legs: [
          { account: "external:card", side: "debit", amount: 100_00n },
          { account: shop, side: "credit", amount: 97_00n },
          { account: fees, side: "credit", amount: 3_00n }
        ],
        metadata: { order: "4711" }
      })
      assert.lengthOf(split.postings, 2)
      const buy = (euroAmount: bigint) => ({
        _tag: "PostJournal" as const,
        commandId: id("fx"),
        legs: [
          { account: shop, side: "debit" as const, amount: 55_00n },
          { account: "external:desk", side: "credit" as const, amount: 55_00n, asset: "USD/2" },
          { account: "external:desk", side: "debit" as const, amount: euroAmount, asset: "EUR/2" },
          { account: euros, side: "credit" as const, amount: euroAmount }
        ],
        fx: [{ base: "USD/2", quote: "EUR/2", rate: "10/11", rounding: "half-even" as const }]
      })
      assert.deepInclude(yield* Effect.flip(ledger.dispatch(buy(50_01n))), {
        _tag: "RateMismatch",
        amount: 55_00n,
        expected: 50_00n,
        actual: 50_01n
      })
      const bought = yield* ledger.dispatch(buy(50_00n))
      assert.isTrue((yield* ledger.dispatch(buy(50_00n))).replayed)
      const { rows } = yield* ledger.statement(shop, { readToken: bought.readToken })
      assert.deepEqual(
        rows.map(({ amount, balance, counterparty }) => [amount, balance, counterparty]),
        [
          [0n, 0n, null],
          [97_00n, 97_00n, null],
          [-55_00n, 42_00n, null]
        ]
      )
      assert.deepEqual<unknown>(rows[1]?.contras, [
        { contra: "external:card", asset: "USD/2", amount: -100_00n }
      ])
      const [, posted] = yield* ledger.history(shop)
      assert.deepInclude(posted?.event, { _tag: "JournalPosted", metadata: { order: "4711" } })
    })
  )

  scenario("a command sent twice takes effect once, and its id is refused to another body", (ledger, id) =>
    Effect.gen(function* () {
      yield* ledger.dispatch(open(id("a")))
      const first = yield* ledger.dispatch(deposit(id("a"), 5n, id("d")))
      const again = yield* ledger.dispatch(deposit(id("a"), 5n, id("d")))
      assert.deepEqual(again, { ...first, replayed: true })
      const error = yield* Effect.flip(ledger.dispatch(deposit(id("a"), 6n, id("d"))))
      assert.deepInclude(error, { _tag: "CommandIdReused", commandId: id("d") })
    })
  )

  scenario(
    "a hold is captured, and what was paid from it is given back and found, in both directions",
    (ledger, id) =>
      Effect.gen(function* () {
        const [a, b] = [id("a"), id("b")]
        for (const account of [a, b]) yield* ledger.dispatch(open(account))
        yield* ledger.dispatch(deposit(a, 100n))
        const hold = {
          _tag: "PlaceHold",
          commandId: id("h"),
          account: a,
          amount: 60n,
          expiresIn: 3_600_000,
          to: b
        } as const
        const { postings } = yield* ledger.dispatch(hold)
        assert.deepInclude(postings[0], { balance: 100n, held: 60n, available: 40n })
        const view = yield* ledger.strongBalance(a)
        assert.deepInclude(view, { balance: 100n, held: 60n, available: 40n })
        assert.deepEqual(
          view.holds?.map(({ id, remaining, to }) => [id, remaining, to]),
          [[id("h"), 60n, b]] as never
        )
        const [listed, byExpiry] = [
          yield* ledger.holds(a, { readToken: printToken(postings) }),
          yield* ledger.holdsByExpiry({ prefix: a, limit: 1, readToken: printToken(postings) })
        ]
        assert.deepEqual(listed, {
          rows: [{ account: a, asset: "USD/2", ...view.holds?.[0] }] as never,
          next: undefined
        })
        assert.deepEqual(byExpiry, listed)
        const soon = { expiringBefore: Date.now() }
        assert.deepEqual((yield* ledger.holds(a, soon)).rows, [])
        assert.deepEqual((yield* ledger.holdsByExpiry({ ...soon, prefix: a })).rows, [])
        const capture = {
          _tag: "CaptureHold",
          commandId: id("c"),
          account: a,
          hold: id("h"),
          amount: 25n
        } as const
        yield* ledger.dispatch({ ...capture, final: true })
        const reversal = { _tag: "Reverse", original: id("c"), reason: "returned" } as const
        const receipt = yield* ledger.dispatch(reversal)
        assert.deepEqual(yield* ledger.dispatch(reversal), { ...receipt, replayed: true })
        const balance = yield* ledger.balance(a, { readToken: receipt.readToken })
        assert.deepInclude(balance, { balance: 100n, held: 0n, available: 100n, holds: [] })
        const found = Option.getOrThrow(yield* ledger.find(id("c")))
        assert.deepEqual(
          found.legs.map(({ account, event }) => [account, event._tag] as const),
          [
            [a, "HoldCaptured"],
            [b, "TransferReceived"]
          ] as never
        )
        assert.deepEqual(found.reversals, [receipt.commandId])
        const back = Option.getOrThrow(yield* ledger.find(receipt.commandId))
        assert.deepEqual(back.reverses, { original: id("c"), n: 1 } as never)
        assert.isTrue(Option.isNone(yield* ledger.find(id("none"))))
        // The id of no transfer, for it was not made in a group.
        assert.isTrue(Option.isNone(yield* ledger.find(`${id("c")}~0`)))
        const spent = yield* Effect.flip(ledger.dispatch({ ...capture, commandId: id("d") }))
        assert.deepInclude(spent, { _tag: "HoldClosed", how: "captured" })
        const inGroup = yield* Effect.flip(
          ledger.dispatchAll([
            { _tag: "Deposit", account: a, amount: 1n },
            { _tag: "ReleaseHold", account: a, hold: id("h") }
          ])
        )
        assert.deepInclude(inGroup, { _tag: "GroupRejected", index: 1, command: "ReleaseHold" })
        if (inGroup._tag !== "GroupRejected") return assert.fail(inGroup._tag)
        assert.deepInclude(inGroup.rejection, { _tag: "HoldClosed", how: "captured" })
      })
  )

  scenario("a payment that came in split, and a group, are given back, and the books balance", (ledger, id) =>
    Effect.gen(function* () {
      const [shop, fees] = [id("shop"), id("fees")]
      for (const account of [shop, fees]) yield* ledger.dispatch(open(account))
      const legs = [
        { account: "external:card", side: "debit", amount: 100n },
        { account: shop, side: "credit", amount: 97n },
        { account: fees, side: "credit", amount: 3n }
      ] as const
      yield* ledger.dispatch({ _tag: "PostJournal", commandId: id("split"), legs })
      const group = [
        { _tag: "Deposit", account: fees, amount: 10n, contra: "external:card" },
        { _tag: "Transfer", from: fees, to: shop, amount: 10n }
      ] as const
      yield* ledger.dispatchAll(group, { commandId: id("g") })
      const metadata = { ticket: "4711" }
      for (const original of [id("split"), id("g")])
        yield* ledger.dispatch({ _tag: "Reverse", original, reason: "returned", metadata })
      const found = Option.getOrThrow(yield* ledger.find(`~r1~${id("split")}`))
      assert.deepEqual(
        found.legs.map(({ event }) => "metadata" in event && event.metadata),
        [metadata, metadata]
      )
      for (const original of [`~r1~${id("split")}`, `${id("g")}~1`]) {
        const refused = yield* Effect.flip(ledger.dispatch({ _tag: "Reverse", original, reason: "again" }))
        assert.match(refused.message, /^original: .* a reversal or a part of a group, cannot be reversed$/)
      }
      for (const account of [shop, fees])
        assert.strictEqual((yield* ledger.strongBalance(account)).balance, 0n)
      const last = yield* ledger.dispatch(deposit(shop, 1n))
      yield* ledger.balance(shop, { readToken: last.readToken })
      for (const account of [shop, fees]) {
        const report = yield* ledger.verify({ account: AccountId.make(account) })
        assert.deepEqual([report.ok, report.findings], [true, []])
      }
    })
  )

  scenario("a command id is any text of its alphabet, up to 128 characters, at every method", (ledger, id) =>
    Effect.gen(function* () {
      const [a, b] = [id("a"), id("b")]
      yield* ledger.dispatch(open(a))
      yield* ledger.dispatch(open(b))
      yield* ledger.dispatch(deposit(a, 10n))
      const longest = `${id("pay")}/2026-11/1.5@shop.example=+`.padEnd(128, "/")
      const sent = yield* ledger.dispatch(transfer(a, b, 10n, longest))
      assert.strictEqual(sent.commandId, longest)
      assert.deepEqual(yield* ledger.dispatch(transfer(a, b, 10n, longest)), { ...sent, replayed: true })
      const back = yield* ledger.dispatch({ _tag: "Reverse", original: longest, reason: "returned" })
      assert.strictEqual(back.commandId, `~r1~${longest}`)
      const { readToken } = back
      assert.deepInclude(Option.getOrThrow(yield* ledger.transfer(longest, { readToken })), { amount: 10n })
      assert.deepEqual(Option.getOrThrow(yield* ledger.find(longest)).reversals, [back.commandId])
      const [last] = (yield* ledger.statement(a, { readToken })).rows.slice(-1)
      assert.strictEqual(last?.commandId, back.commandId)
      const tooLong = yield* Effect.flip(ledger.dispatch(deposit(a, 1n, `${longest}/`)))
      assert.strictEqual(tooLong._tag, "InvalidCommand")
    })
  )

  scenario("a command without an id gets one", (ledger, id) =>
    Effect.gen(function* () {
      const receipt = yield* ledger.dispatch(open(id("a")))
      assert.match(receipt.commandId, /^[0-9a-f-]{36}$/)
    })
  )

  scenario("each refusal has the same tag and fields", (ledger, id) =>
    Effect.gen(function* () {
      const [a, b] = [id("a"), id("b")]
      yield* ledger.dispatch(open(a))
      yield* ledger.dispatch({ ...open(b), asset: "JPY/0" } as CommandInput) // open() is an OpenAccount
      yield* ledger.dispatch(deposit(a, 10n))
      const cases: ReadonlyArray<readonly [CommandInput, object]> = [
        [open(a), { _tag: "AccountAlreadyExists", account: a }],
        [deposit(id("none"), 1n), { _tag: "AccountNotFound", account: id("none") }],
        [transfer(a, b, 1n), { _tag: "AssetMismatch", account: b, expected: "USD/2", actual: "JPY/0" }],
        [transfer(a, a, 1n), { _tag: "SameAccount", account: a }],
        [transfer(a, id("c"), 1n), { _tag: "AccountNotFound", account: id("c") }],
        [
          { _tag: "Withdraw", account: a, amount: 11n },
          { _tag: "InsufficientFunds", account: a, balance: 10n, amount: 11n, overdraftLimit: 0n }
        ],
        [
          { _tag: "Deposit", account: a, amount: 1n, expectedVersion: 7 },
          { _tag: "VersionConflict", account: a, expected: 7, actual: 2 }
        ]
      ]
      for (const [command, expected] of cases) {
        const error = yield* Effect.flip(ledger.dispatch(command))
        for (const [field, value] of Object.entries(expected))
          assert.deepEqual(Reflect.get(error, field), value, `${command._tag}: ${field} of ${error._tag}`)
        assert.isTrue(error instanceof Error)
      }
    })
  )

  scenario("a malformed command is refused with the path of each fault", (ledger, id) =>
    Effect.gen(function* () {
      const bad = { _tag: "Transfer", from: "not an id!", to: id("b"), amount: -1n, surplus: 1 }
      const error = yield* Effect.flip(ledger.dispatch(bad as CommandInput)) // the fault is what is tested
      if (error._tag !== "InvalidCommand") return assert.fail(error._tag)
      assert.sameMembers(
        error.faults.map(({ path }) => path.join(".")),
        ["from", "amount", "surplus"]
      )
      const legs = { _tag: "PostJournal", legs: [{ account: id("a"), side: "debit", amount: 0n }] }
      const inside = yield* Effect.flip(ledger.dispatch(legs as CommandInput)) // as above
      if (inside._tag !== "InvalidCommand") return assert.fail(inside._tag)
      assert.include(
        inside.faults.map(({ path }) => path.join(".")),
        "legs.0.amount"
      )
    })
  )

  scenario(
    "a group is done as a whole and once, or refused by one command and nothing is done",
    (ledger, id) =>
      Effect.gen(function* () {
        const [a, b] = [id("a"), id("b")]
        const usd = "USD/2"
        const commands = [
          { _tag: "OpenAccount", account: a, asset: usd, owner: "Ada" },
          { _tag: "OpenAccount", account: b, asset: usd, owner: "Bo" },
          { _tag: "Deposit", account: a, amount: 10_00n },
          { _tag: "Transfer", from: a, to: b, amount: 10_00n, effectiveAt: 1_700_000_000_000 },
          { _tag: "Transfer", from: b, to: a, amount: 4_00n }
        ] as const
        const tooMuch = { _tag: "Withdraw", account: b, amount: 6_01n } as const
        const refused = yield* Effect.flip(ledger.dispatchAll([...commands, tooMuch], { commandId: id("g") }))
        assert.deepInclude(refused, { _tag: "GroupRejected", index: 5, command: "Withdraw" })
        assert.strictEqual(refused._tag === "GroupRejected" && refused.rejection._tag, "InsufficientFunds")
        assert.strictEqual((yield* Effect.flip(ledger.strongBalance(a)))._tag, "AccountNotFound")

        const receipt = yield* ledger.dispatchAll(commands, { commandId: id("g") })
        assert.deepEqual(
          receipt.postings.map(({ account, version }) => [account, version]),
          [
            [a, 1],
            [b, 1],
            [a, 2],
            [a, 3],
            [b, 2],
            [b, 3],
            [a, 4]
          ]
        )
        assert.deepEqual(yield* ledger.dispatchAll(commands, { commandId: id("g") }), {
          ...receipt,
          replayed: true
        })
        const other = ledger.dispatchAll(commands.slice(0, 2), { commandId: id("g") })
        assert.strictEqual((yield* Effect.flip(other))._tag, "CommandIdReused")
        const view = yield* ledger.balance(b, { readToken: receipt.readToken })
        assert.deepInclude(view, { balance: 6_00n, version: 3 })
        assert.isTrue(Option.isNone(yield* ledger.transfer(id("g"))))
        // Its transfers have the ordinals of their first events behind the group's id.
        const second = Option.getOrThrow(yield* ledger.transfer(`${id("g")}~5`))
        assert.deepInclude(second, { id: `${id("g")}~5`, from: b, to: a, amount: 4_00n } as object)
        assert.isTrue(Option.isNone(yield* ledger.transfer(`${id("g")}~4`)))
        const found = Option.getOrThrow(yield* ledger.find(`${id("g")}~5`))
        assert.deepEqual(found, Option.getOrThrow(yield* ledger.find(id("g"))))
        assert.deepInclude(found, { commandId: id("g") } as object)
        assert.lengthOf(found.legs, 7)
        // Where a command of it counts at another instant, its legs say so.
        const dated = found.legs.map(({ effectiveAt }) => effectiveAt)
        const then = 1_700_000_000_000
        assert.deepEqual(dated, [undefined, undefined, undefined, then, then, undefined, undefined])
        assert.isTrue(Option.isNone(yield* ledger.find(`${id("g")}~4`)))
        const [, , sent] = yield* ledger.history(a)
        assert.strictEqual(sent?.commandId, id("g"))
        assert.strictEqual(sent?.effectiveAt, 1_700_000_000_000)
        const wrongs: ReadonlyArray<unknown> = [
          [],
          null,
          [{ _tag: "Deposit", account: a, amount: 1n, commandId: "own" }]
        ]
        for (const wrong of wrongs)
          assert.deepEqual(
            yield* Effect.flip(ledger.dispatchAll(wrong as typeof commands)).pipe(
              Effect.map((error) => error._tag)
            ),
            "InvalidCommand"
          )
        // Options of another kind would say nothing, and the group would be sent under another id.
        for (const options of [new Map([["commandId", id("g")]]), new Date(0), null])
          assert.deepInclude(yield* Effect.flip(ledger.dispatchAll(commands, options as object)), {
            _tag: "InvalidCommand"
          })
      })
  )

  scenario(
    "a sum by prefix has the same total while money moves inside it, and its number of accounts",
    (ledger, id) =>
      Effect.gen(function* () {
        const merchants = Array.from({ length: 12 }, (_, nth) => id(`merchant:${nth}`))
        const prefix = id("merchant:")
        for (const account of merchants) {
          yield* ledger.dispatch(open(account))
          yield* ledger.dispatch(deposit(account, 100_00n))
        }
        yield* ledger.dispatch(open(id("other")))
        yield* ledger.dispatch(deposit(id("other"), 7n))
        const early = { ...deposit(id("merchant:0"), 5_00n), effectiveAt: 1_700_000_000_000 }
        yield* ledger.dispatch(early)
        const first = yield* ledger.sum(prefix)
        const usd = { asset: "USD/2", balance: 1_205_00n, accounts: 12 }
        assert.deepEqual<unknown>(first.sums, [usd])
        const moves = Array.from({ length: 600 }, (_, nth) => ({
          ...transfer(merchants[nth % 12] ?? "", merchants[(nth * 7 + 1) % 12] ?? "", BigInt(1 + (nth % 9)))
        })).filter((one) => one._tag === "Transfer" && one.from !== one.to)
        const sums = yield* Effect.all(
          [ledger.dispatchMany(moves), ...Array.from({ length: 4 }, () => ledger.sum(prefix))] as const,
          { concurrency: "unbounded" }
        ).pipe(Effect.map(([, ...asked]) => asked))
        for (const sum of sums) assert.deepEqual<unknown>(sum.sums, [usd])

        const { knownAt } = first
        assert.deepEqual(yield* ledger.sum(prefix, { knownAt }), first)
        const at = 1_700_000_000_000
        assert.deepEqual<unknown>((yield* ledger.sum(prefix, { effectiveAt: at })).sums, [
          { ...usd, balance: 5_00n, accounts: 0 }
        ])
        assert.deepEqual<unknown>((yield* ledger.sum(id("none"), { asset: "EUR/2" as Asset })).sums, [
          { asset: "EUR/2", balance: 0n, accounts: 0 }
        ])
        const page = yield* ledger.accounts({ prefix, limit: 5 })
        const rest = yield* ledger.accounts({ prefix, cursor: page.next })
        assert.deepEqual(
          [...page.rows, ...rest.rows].map(({ account }) => `${account}`),
          merchants.toSorted()
        )
      })
  )

  scenario("a batch answers one result a command, in order, refusals among them", (ledger, id) =>
    Effect.gen(function* () {
      const results = yield* ledger.dispatchMany([
        open(id("a")),
        deposit(id("a"), 100n),
        { _tag: "Withdraw", account: id("a"), amount: 101n },
        deposit("not an id!", 1n),
        { _tag: "Withdraw", account: id("a"), amount: 100n }
      ])
      assert.deepEqual(
        results.map((one) => (Result.isSuccess(one) ? one.success.postings[0]?.version : one.failure._tag)),
        [1, 2, "InsufficientFunds", "InvalidCommand", 3]
      )
      assert.deepEqual(yield* ledger.dispatchMany([]), [])
    })
  )

  scenario("a batch of 2,500 keeps its order on every account", (ledger, id) =>
    Effect.gen(function* () {
      const commands: Array<CommandInput> = [open(id("a")), open(id("b"))]
      for (let n = 0; n < 2_498; n++) commands.push(deposit(id(n % 2 === 0 ? "a" : "b"), BigInt(n + 1)))
      const results = yield* ledger.dispatchMany(commands)
      const versions = new Map<string, number>()
      for (const one of results) {
        const [posting] = Result.getOrThrow(one).postings
        if (posting === undefined) return assert.fail("a receipt without a posting")
        assert.strictEqual(posting.version, (versions.get(posting.account) ?? 0) + 1)
        versions.set(posting.account, posting.version)
      }
      assert.deepEqual([...versions.values()], [1_250, 1_250])
    })
  )

  scenario("past balances, history and statement are answered, the latter two by pages", (ledger, id) =>
    Effect.gen(function* () {
      const a = id("a")
      yield* ledger.dispatch(open(a))
      for (let n = 1; n <= 5; n++) yield* ledger.dispatch(deposit(a, BigInt(n)))
      const { readToken } = yield* ledger.dispatch({ _tag: "Withdraw", account: a, amount: 3n })
      const fourth = yield* ledger.balanceAt(a, { version: 4 })
      assert.deepInclude(fourth, { balance: 6n })
      assert.notProperty(fourth, "knownAt", "no instant was asked for")
      // Both names of the instant ask the same, and the answer says what was asked.
      const instant = fourth.recordedAt
      const known = yield* ledger.balanceAt(a, { knownAt: instant })
      assert.strictEqual(known.knownAt, instant)
      assert.deepStrictEqual(yield* ledger.balanceAt(a, { recordedAt: instant }), known)
      assert.deepInclude(yield* ledger.trialBalanceAt({ knownAt: instant }), {
        knownAt: instant,
        recordedAt: instant
      })
      const entries = yield* ledger.history(a, { after: 2, limit: 3 })
      assert.deepEqual(
        entries.map(({ version, event }) => [version, event._tag]),
        [
          [3, "Deposited"],
          [4, "Deposited"],
          [5, "Deposited"]
        ]
      )
      const page = yield* ledger.statement(a, { readToken, limit: 4 })
      assert.deepEqual(
        page.rows.map(({ balance }) => balance),
        [0n, 1n, 3n, 6n]
      )
      assert.isDefined(page.next)
      const rest = yield* ledger.statement(a, { cursor: page.next })
      assert.deepEqual(
        rest.rows.map(({ balance, counterparty }) => [balance, counterparty]),
        [
          [10n, "external:bank"],
          [15n, "external:bank"],
          [12n, "external:bank"]
        ]
      )
      assert.isUndefined(rest.next)
    })
  )

  scenario("a node tells which nodes there are, and that no account is parked", (ledger) =>
    Effect.gen(function* () {
      const { shards, nodes, unowned } = yield* ledger.nodes
      assert.deepEqual([shards, unowned], [1, []])
      assert.deepEqual(
        nodes.map(({ isAsked, shards: owned }) => [isAsked, owned]),
        [[true, [1]]]
      )
      assert.deepEqual(yield* ledger.parked, [])
    })
  )

  scenario("a statement by effective time has the balances of that order", (ledger, id) =>
    Effect.gen(function* () {
      const a = id("a")
      const january = (day: number) => Date.UTC(2026, 0, day)
      yield* ledger.dispatch({ ...open(a), effectiveAt: january(1) })
      yield* ledger.dispatch({ ...deposit(a, 100n), effectiveAt: january(10) })
      yield* ledger.dispatch({ ...deposit(a, 1n), effectiveAt: january(2) })
      const { readToken } = yield* ledger.dispatch({
        _tag: "Withdraw",
        account: a,
        amount: 50n,
        effectiveAt: january(5)
      })
      const asked = { by: "effective", readToken, from: january(3), to: january(20) } as const
      const told = (page: Effect.Success<ReturnType<Service["statement"]>>) => ({
        balances: page.rows.map(({ amount, balance }) => [amount, balance]),
        between: [page.opening, page.closing],
        asset: page.asset
      })
      assert.deepEqual<object>(told(yield* ledger.statement(a, asked)), {
        balances: [
          [-50n, -49n],
          [100n, 51n]
        ],
        between: [1n, 51n],
        asset: "USD/2"
      })
      // `axis` is an older name of it.
      const deposits = yield* ledger.statement(a, { ...asked, axis: "effective", types: ["Deposited"] })
      assert.deepEqual(told(deposits).balances, [[100n, 51n]])
      const first = yield* ledger.statement(a, { ...asked, limit: 1, counterparty: "external:bank" })
      const { by: axis, ...others } = asked
      const second = yield* ledger.statement(a, { ...others, axis, cursor: first.next })
      assert.deepEqual(told(second), { balances: [[100n, 51n]], between: [1n, 51n], asset: first.asset })
      const recorded = yield* ledger.statement(a, { readToken })
      assert.deepEqual(told(recorded), {
        balances: [
          [0n, 0n],
          [100n, 100n],
          [1n, 101n],
          [-50n, 51n]
        ],
        between: [0n, 51n],
        asset: recorded.asset
      })
    })
  )

  scenario("accounts, contras, trial balances, events and statistics are answered", (ledger, id) =>
    Effect.gen(function* () {
      yield* ledger.dispatch({
        _tag: "OpenAccount",
        account: id("a"),
        asset: "USD/2",
        owner: "Ädä \u{1f600}",
        metadata: { branch: "7" }
      })
      const { readToken } = yield* ledger.dispatch(deposit(id("a"), 7n))
      const view = yield* ledger.balance(id("a"), { readToken })
      assert.deepInclude(view, { owner: "Ädä \u{1f600}", metadata: { branch: "7" }, available: 7n })
      assert.isNotEmpty((yield* ledger.accounts({ limit: 1 })).rows)
      const [contra] = yield* ledger.contraBalances
      assert.strictEqual(contra?.contra, "external:bank")
      for (const line of yield* ledger.trialBalance)
        assert.strictEqual(line.accounts + line.contras, line.total)
      for (const line of (yield* ledger.trialBalanceAt()).lines) assert.strictEqual(line.total, 0n)
      const events = yield* Stream.runCollect(Stream.take(ledger.subscribe({ accountPrefix: id("a") }), 2))
      assert.deepStrictEqual(
        events.map(({ version, event }) => [version, event?._tag]),
        [
          [1, "AccountOpened"],
          [2, "Deposited"]
        ]
      )
      assert.isAbove((yield* ledger.stats).committed, 0)
    })
  )

  scenario("faults of a query are typed", (ledger, id) =>
    Effect.gen(function* () {
      const tags = yield* Effect.forEach(
        [
          ledger.balance(id("none")),
          ledger.strongBalance("not an id!"),
          ledger.balanceAt(id("none"), { version: 0 }),
          ledger.history(id("none")),
          ledger.statement(id("none"), { limit: 0.5 }),
          ledger.transfer("not an id!"),
          ledger.accounts({ cursor: "not a cursor!" }),
          ledger.balance(id("none"), { readToken: "nonsense" })
        ],
        (question: Effect.Effect<unknown, { readonly _tag: string }>) =>
          Effect.map(Effect.flip(question), ({ _tag }) => _tag)
      )
      assert.deepEqual(tags, [
        "AccountNotFound",
        "InvalidCommand",
        "InvalidCommand",
        "AccountNotFound",
        "InvalidCommand",
        "InvalidCommand",
        "InvalidCommand",
        "InvalidCommand"
      ])
    })
  )

  scenario("every query refuses wrong arguments with the path of each fault", (ledger, id) =>
    Effect.gen(function* () {
      yield* ledger.dispatch(open(id("a")))
      for (const [name] of queryEntries) {
        for (const [path, wrong, called] of wrongCalls(ledger, name, id("a"))) {
          const text = typeof wrong === "object" ? JSON.stringify(wrong) : String(wrong)
          assert.deepEqual(yield* faultPaths(called), [path], `${name}: ${path} ${text}`)
        }
      }
    })
  )

  scenario("options that contradict each other are refused", (ledger, id) =>
    Effect.gen(function* () {
      const a = id("a")
      yield* ledger.dispatch(open(a))
      const balanceAt = ledger.balanceAt as (id: string, options?: unknown) => Called // both, or none, is no Past
      const wrong: ReadonlyArray<readonly [string, Called]> = [
        ["version", balanceAt(a, { version: 1, recordedAt: 1 })],
        ["version", balanceAt(a, { version: 1, knownAt: 1 })],
        ["knownAt", balanceAt(a, { knownAt: 1, recordedAt: 2 })],
        ["version", balanceAt(a, {})],
        ["version", balanceAt(a)],
        ["from", ledger.statement(a, { from: 2, to: 1 })],
        ["by", ledger.statement(a, { by: "recorded", axis: "effective" })]
      ]
      for (const [path, called] of wrong) assert.deepEqual(yield* faultPaths(called), [path])
    })
  )

  scenario("an option of another type is told its type", (ledger, id) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(ledger.history(id("a"), { limit: "5" as never })) // wrong on purpose
      assert.strictEqual(error.message, "limit: must be of type number")
      const axis = yield* Effect.flip(ledger.statement(id("a"), { axis: null as never })) // wrong on purpose
      assert.strictEqual(axis.message, 'axis: must be one of "recorded" | "effective"')
    })
  )

  scenario("a value that is no command is refused, alone and in a batch", (ledger, id) =>
    Effect.gen(function* () {
      const wrong: ReadonlyArray<unknown> = [
        null,
        undefined,
        "text",
        7,
        Number.NaN,
        true,
        new Date(0),
        [],
        {}
      ]
      for (const one of wrong) {
        const error = yield* Effect.flip(ledger.dispatch(one as CommandInput)) // wrong on purpose
        assert.strictEqual(error._tag, "InvalidCommand", String(one))
      }
      const fields: ReadonlyArray<readonly [string, unknown]> = [
        ["amount", "5"],
        ["amount", 5],
        ["amount", null],
        ["effectiveAt", new Date(0)],
        ["effectiveAt", Number.NaN],
        ["expectedVersion", "1"],
        ["commandId", 7],
        ["misspelt", 1]
      ]
      for (const [path, value] of fields) {
        const command = { ...deposit(id("a"), 1n), [path]: value } as CommandInput // wrong on purpose
        assert.deepEqual(yield* faultPaths(ledger.dispatch(command)), [path], `${path} ${String(value)}`)
      }
      const batch = [open(id("a")), ...wrong, deposit(id("a"), 1n)] as ReadonlyArray<CommandInput> // as above
      assert.deepEqual(
        (yield* ledger.dispatchMany(batch)).map((one) => (Result.isSuccess(one) ? "done" : one.failure._tag)),
        ["done", ...wrong.map(() => "InvalidCommand"), "done"]
      )
      for (const list of [null, undefined, "text", 7, {}, new Set([open(id("b"))])])
        assert.deepEqual(yield* faultPaths(ledger.dispatchMany(list as never)), ["commands"])
    })
  )
}
