/** The order that the commands of a batch keep, against a plain model of it: pure, no store, no clock. */
import { assert, describe, it } from "@effect/vitest"
import { KeptOrder, type Placed } from "../../src/actors/accounts/KeptOrder.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { Rng } from "../support/Rng.ts"

class Waiting implements Placed {
  readonly #place: number
  readonly accounts: ReadonlyArray<AccountId>
  readonly mayTouchAny: boolean
  isOpen = true
  #onDecided: Array<() => void> = []

  constructor(place: number, accounts: ReadonlyArray<AccountId>, mayTouchAny = false) {
    this.#place = place
    this.accounts = accounts
    this.mayTouchAny = mayTouchAny
  }

  get place(): number {
    return this.#place
  }

  readonly whenDecided = (resume: () => void): void => {
    if (!this.isOpen) return resume()
    this.#onDecided.push(resume)
  }

  decide(): void {
    this.isOpen = false
    for (const resume of this.#onDecided) resume()
    this.#onDecided = []
  }
}

const names = ["a", "b", "c", "d"] as const

const drawn = (rng: Rng, place: number): Waiting => {
  const accounts = [rng.pick(names), rng.pick(names)].map((name) => AccountId.make(name))
  return new Waiting(place, accounts, rng.chance(0.1))
}

const mayShare = (one: Placed, other: Placed): boolean =>
  one.mayTouchAny || other.mayTouchAny || one.accounts.some((id) => other.accounts.includes(id))

describe("the kept order", () => {
  it("has each command wait while one stands in line before it that may share an account with it", () => {
    let waits = 0
    let late = 0
    for (let seed = 1; seed <= 200; seed++) {
      const rng = new Rng(seed)
      const orders = [new KeptOrder(), new KeptOrder()] as const
      const [first, second] = orders
      const draw = (nth: number) => ({ command: drawn(rng, nth), order: rng.pick(orders) })
      const all = [draw(0), ...Array.from({ length: 39 }, (_, nth) => draw(nth + 1))] as const
      let inLine: ReadonlyArray<(typeof all)[number]> = []
      let isJoined = false
      for (let step = 0; step < 120; step++) {
        const one = rng.pick(all)
        if (inLine.includes(one) ? rng.chance(0.7) : rng.chance(0.3)) {
          if (inLine.includes(one)) {
            inLine = inLine.filter((other) => other !== one)
            one.command.decide()
          } else {
            one.command.isOpen = true
            late += inLine.some(({ command }) => command.place > one.command.place) ? 1 : 0
            inLine = [...inLine, one]
            one.order.add(one.command)
            one.order.add(one.command)
          }
        }
        if (!isJoined && rng.chance(0.01)) {
          isJoined = true
          first.join(second)
          second.join(first)
        }
        const asked = rng.pick(all)
        assert.strictEqual(asked.order.has(asked.command), inLine.includes(asked), `seed ${seed}`)
        const before = inLine.filter(
          ({ command, order }) =>
            (isJoined || order === asked.order) &&
            command.place < asked.command.place &&
            mayShare(command, asked.command)
        )
        const found = asked.order.before(asked.command)
        if (before.length === 0) assert.isUndefined(found, `seed ${seed}`)
        else {
          waits++
          assert.isTrue(
            before.some(({ command }) => command === found),
            `seed ${seed}`
          )
        }
      }
      for (const { command } of inLine) command.decide()
      for (const { command, order } of all) assert.isUndefined(order.before(command), `seed ${seed}`)
    }
    assert.isAbove(waits, 1_000)
    assert.isAbove(late, 100)
  })

  it("has none wait for one that is decided, though it has not left the line", () => {
    const order = new KeptOrder()
    const [first, second] = [1, 2].map((place) => new Waiting(place, [AccountId.make("a")]))
    if (first === undefined || second === undefined) return assert.fail()
    const found: Array<Placed | undefined> = []
    // Told before the order is, which it waited for first.
    first.whenDecided(() => found.push(order.before(second)))
    order.add(first)
    assert.strictEqual(order.before(second), first)
    first.decide()
    assert.deepEqual(found, [undefined])
  })

  it("puts thousands in order at once, in whatever order they come", () => {
    const order = new KeptOrder()
    const count = 2_000
    let looks = 0
    class Looked extends Waiting {
      override get place(): number {
        looks++
        return super.place
      }
    }
    const a = AccountId.make("a")
    const all = Array.from({ length: count }, (_, nth) => new Looked(nth + 1, [a]))
    // Each second one from the end.
    for (const one of all.filter((_, nth) => nth % 2 === 0).toReversed()) order.add(one)
    for (const one of all.filter((_, nth) => nth % 2 === 1)) order.add(one)
    for (const one of all) assert.isTrue(one === all[0] || order.before(one) === all[0])
    assert.isBelow(looks, 40 * count)
  })
})
