/** The holds of the read model are held against the log (I8), also after they have expired. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import type { HoldChange } from "../../src/domain/Books.ts"
import type { AccountId, CommandId } from "../../src/domain/Ids.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger } from "../support/callers.ts"

const account = "a" as AccountId
const placed = { _tag: "PlaceHold", account, amount: 10n, expiresIn: 3_600_000 } as const

const tamper = (...holds: ReadonlyArray<HoldChange>) =>
  Effect.flatMap(ReadModel, (books) =>
    books.apply({ moves: [], lines: [], transfers: [], contras: [], checkpoints: [], holds })
  )

const reasons = Effect.gen(function* () {
  const { findings, invariants } = yield* (yield* Ledger).verify()
  assert.strictEqual(invariants.I8, findings.length === 0)
  return findings.map(({ account: of, reason }) => `${of} ${reason}`)
})

it.live("the audit names a hold of the read model that differs, is missing, or is of none in the log", () =>
  Effect.gen(function* () {
    const ledger = yield* Ledger
    yield* ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ann" })
    yield* ledger.dispatch({ _tag: "Deposit", account, amount: 100n })
    for (const commandId of ["h-1", "h-2"]) yield* ledger.dispatch({ ...placed, commandId })
    const { readToken } = yield* ledger.dispatch({ _tag: "CaptureHold", account, hold: "h-1", amount: 4n })
    yield* ledger.balance(account, { readToken })
    assert.deepEqual(yield* reasons, [])

    const now = yield* Clock.currentTimeMillis
    const books = yield* ReadModel
    const [first, second] = yield* books.holds({ account, openAt: now, limit: 2 })
    if (first === undefined || second === undefined) return assert.fail("there are two holds")
    const change = (row: typeof first, to: Partial<typeof first> | undefined) => ({
      account,
      hold: row.hold,
      row: to && { ...row, ...to }
    })
    yield* tamper(change(first, { remaining: 5n }))
    assert.deepEqual(yield* reasons, ["a hold h-1: remaining is 5, the log says 6"])
    yield* tamper(change(first, {}), change(second, undefined))
    assert.deepEqual(yield* reasons, ["a hold h-2: its row is missing"])
    const stray = { ...second, hold: "h-0" as CommandId, account: "b" as AccountId }
    yield* tamper(change(second, {}), { account: stray.account, hold: stray.hold, row: stray })
    assert.deepEqual(yield* reasons, ["b hold h-0: the log has no such open hold"])
  }).pipe(Effect.provide(memoryLedger))
)
