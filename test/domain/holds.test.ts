/** Holds under random commands: what is held is the sum of what remains, and everything that was kept back is accounted for. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { isCovered, withoutExpired } from "../../src/domain/Account.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { Decided } from "../../src/domain/Decide.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { Rng } from "../support/Rng.ts"
import { type Books, command, given } from "./books.ts"

/** What became of the money that one hold was to keep back, by its events alone. */
interface Tally {
  total: bigint
  captured: bigint
  released: bigint
  expired: bigint
  expiresAt: number
  /** Its end, by an event. */
  isClosed: boolean
}

const newTally = (): Tally => ({
  total: 0n,
  captured: 0n,
  released: 0n,
  expired: 0n,
  expiresAt: Number.POSITIVE_INFINITY,
  isClosed: false
})
const restOf = ({ total, captured, released, expired }: Tally) => total - captured - released - expired

/** Follows holds beside the fold, in another way: nothing leaves it, and expiry is an entry of its own. */
class Tallies {
  /** By account and hold, the latest of that id. */
  readonly open = new Map<string, Tally>()
  readonly all: Array<Tally> = []

  expire(now: number): void {
    for (const tally of this.all) if (tally.expiresAt <= now && !tally.isClosed) this.close(tally, "expired")
  }

  private close(tally: Tally, how: "released" | "expired"): void {
    tally[how] += restOf(tally)
    tally.isClosed = true
  }

  note({ account, event }: Decided, now: number): void {
    if (!("hold" in event)) return
    const key = `${account} ${event.hold}`
    if (event._tag === "HoldPlaced") {
      const placed = {
        ...newTally(),
        total: event.amount,
        expiresAt: event.expiresAt ?? Number.POSITIVE_INFINITY
      }
      this.open.set(key, placed)
      this.all.push(placed)
      return
    }
    const tally = this.open.get(key)
    if (tally === undefined) return assert.fail(`${event._tag} of no hold`)
    assert.isFalse(tally.isClosed)
    assert.isBelow(now, tally.expiresAt, "nothing is recorded on a hold at or after its expiry")
    if (event._tag === "HoldCaptured") {
      const rest = restOf(tally)
      // What goes beyond the hold comes from what is available.
      if (event.amount > rest) tally.captured += rest
      else tally.captured += event.amount
      if (event.final === true) this.close(tally, "released")
    } else if (event._tag === "HoldReleased") tally.released += event.amount
    else if (event._tag === "HoldAdjusted") {
      tally.total = event.amount
      tally.expiresAt = event.expiresAt ?? tally.expiresAt
    }
    if (restOf(tally) === 0n) tally.isClosed = true
  }

  heldBy(account: AccountId): bigint {
    let held = 0n
    for (const [key, tally] of this.open) if (key.startsWith(`${account} `)) held += restOf(tally)
    return held
  }
}

/** One command on a few accounts and holds, so that they meet. */
const draw = (rng: Rng, nth: number): CommandInput => {
  const pick = (names: string) => names[rng.below(names.length)] ?? "a"
  const account = pick("abc")
  const amount = BigInt(1 + rng.below(30))
  const commandId = `c${nth}`
  const share = rng.chance(0.7) ? { amount } : {}
  const to = rng.chance(0.3) ? { to: rng.chance(0.5) ? pick("abc") : "external:visa" } : {}
  const aboutHold = { commandId, account, hold: `${account}${rng.below(6)}` }
  switch (rng.below(10)) {
    case 0:
      return { _tag: "Deposit", commandId, account, amount: amount * 3n }
    case 1:
      return { _tag: "Withdraw", commandId, account, amount }
    case 2:
      return { _tag: "Transfer", commandId, from: account, to: pick("abc"), amount }
    case 3:
    case 4:
    case 5: {
      const expiry = rng.chance(0.3) ? {} : { expiresIn: 1 + rng.below(20_000) }
      return { _tag: "PlaceHold", ...to, ...expiry, account, amount, commandId: `${account}${rng.below(6)}` }
    }
    case 6:
    case 7: {
      const excess = rng.chance(0.3) ? ({ excess: "fromAvailable" } as const) : {}
      return { _tag: "CaptureHold", ...aboutHold, ...share, ...to, ...excess, final: rng.chance(0.2) }
    }
    case 8:
      return { _tag: "AdjustHold", ...aboutHold, amount }
    default:
      return { _tag: "ReleaseHold", ...aboutHold, ...share }
  }
}

const opened = ["a", "b", "c"].flatMap(
  (account, nth): ReadonlyArray<CommandInput> => [
    { _tag: "OpenAccount", account, asset: "USD/2", owner: "Ada", overdraftLimit: BigInt(nth * 10) },
    { _tag: "Deposit", account, amount: 100n }
  ]
)

describe("holds, for every sequence of commands", () => {
  it("keep back the sum of what remains, and all that was placed is captured, released, expired or held", () => {
    const rng = new Rng(Number(process.env.CHRONICLE_TEST_SEED ?? 7))
    const seen: Record<string, number> = {}
    for (let run = 0; run < 150; run++) {
      const books = given(opened)
      const tallies = new Tallies()
      for (let nth = 0; nth < 60; nth++) {
        books.now += rng.below(2_000)
        tallies.expire(books.now)
        const decision = books.run(command(draw(rng, nth)))
        for (const decided of Result.isSuccess(decision) ? decision.success : []) {
          tallies.note(decided, books.now)
          seen[decided.event._tag] = (seen[decided.event._tag] ?? 0) + 1
        }
        if (Result.isFailure(decision)) seen[decision.failure._tag] = (seen[decision.failure._tag] ?? 0) + 1
        assertHeld(books, tallies)
      }
      for (const tally of tallies.all) {
        const { captured, released, expired, total } = tally
        if (expired > 0n) seen.expired = (seen.expired ?? 0) + 1
        assert.strictEqual(captured + released + expired + (tally.isClosed ? 0n : restOf(tally)), total)
      }
    }
    for (const tag of ["HoldPlaced", "HoldCaptured", "HoldAdjusted", "HoldReleased", "expired"])
      assert.isAbove(seen[tag] ?? 0, 50, tag)
    for (const tag of ["HoldNotFound", "CaptureExceedsHold", "InsufficientFunds", "HoldExpired"])
      assert.isAbove(seen[tag] ?? 0, 5, tag)
  })
})

/** What each account holds now is what the tallies say; it is covered, and money is neither made nor lost. */
const assertHeld = (books: Books, tallies: Tallies): void => {
  for (const [id, account] of books.accounts) {
    const state = withoutExpired(account, books.now)
    if (state._tag === "Absent") continue
    assert.strictEqual(state.held, tallies.heldBy(id as AccountId), `${id} at ${books.now}`) // a key of accounts
    assert.isTrue(isCovered(state))
  }
}

it("a thousand holds that expire in one millisecond leave the state at the next event", () => {
  const books = given([{ _tag: "OpenAccount", account: "a", asset: "USD/2", owner: "Ada" }])
  for (const input of [
    { _tag: "Deposit", account: "a", amount: 1_000n } as const,
    ...Array.from({ length: 1_000 }, (_, nth) => ({
      _tag: "PlaceHold" as const,
      commandId: `h${nth}`,
      account: "a",
      amount: 1n,
      expiresIn: 5
    }))
  ])
    Result.getOrThrow(books.run(command(input)))
  const held = books.accounts.get("a")
  assert.strictEqual(held?._tag === "Opened" && held.held, 1_000n)
  books.now += 5
  Result.getOrThrow(books.run(command({ _tag: "Withdraw", account: "a", amount: 1_000n })))
  const after = books.accounts.get("a")
  assert.deepInclude(after, { held: 0n, holds: [], balance: 0n })
})
