/** The commit queue against a plain model of it, and one turn of actors: pure, no store, no clock. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Exit } from "effect"
import { AccountActor, takeTurn } from "../../src/actors/AccountActor.ts"
import { CommitQueue } from "../../src/actors/CommitQueue.ts"
import type { Flight } from "../../src/actors/Flight.ts"
import { Ticket } from "../../src/actors/Ticket.ts"
import { hashCommand } from "../../src/domain/HashChain.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { Dice } from "../support/dice.ts"
import { deposit, open, toCommand, transfer, withdraw } from "../support/ledgerWorld.ts"

type Input = Parameters<typeof toCommand>[0]

/** Actors of open accounts with 100 each, and tickets decided on them. */
class Desk {
  readonly actors = new Map<string, AccountActor>()
  readonly queue = new CommitQueue()
  now = 1_000

  constructor(accounts: ReadonlyArray<string>, balance = 100n) {
    for (const name of accounts) {
      const actor = new AccountActor(AccountId.make(name), 0)
      actor.phase = "ready"
      this.actors.set(name, actor)
      for (const input of [open(name), deposit(name, balance)]) this.settle(this.decide(input))
    }
  }

  actor(name: string): AccountActor {
    const actor = this.actors.get(name)
    if (actor === undefined) throw new Error(`no account ${name}`)
    return actor
  }

  decide(input: Input): Ticket {
    const command = toCommand(input)
    const ticket = new Ticket(command, hashCommand(command), 0)
    takeTurn(
      ticket,
      ticket.accounts.map((id) => this.actor(id)),
      this.now
    )
    return ticket
  }

  push(input: Input): Ticket {
    const ticket = this.decide(input)
    this.queue.push(ticket)
    return ticket
  }

  /** As the pipeline does with what is durable. */
  land(flight: Flight | undefined): void {
    if (flight === undefined) return
    this.queue.land(flight)
    this.settle(...flight.tickets)
  }

  settle(...tickets: ReadonlyArray<Ticket>): void {
    for (const ticket of tickets) {
      for (const { actor, after } of ticket.legs) actor.committed = after
      for (const actor of ticket.touched) actor.uncommitted--
      ticket.phase = "settled"
    }
  }
}

/** Those queued whose accounts neither are in flight nor stand in an older ticket that has to wait. */
const mayFly = (open: ReadonlyArray<Ticket>): ReadonlyArray<Ticket> => {
  const blocked = new Set(open.flatMap(({ phase, touched }) => (phase === "flying" ? touched : [])))
  return open.filter(({ phase, touched }) => {
    if (phase !== "queued") return false
    const isFree = !touched.some((actor) => blocked.has(actor))
    if (!isFree) for (const actor of touched) blocked.add(actor)
    return isFree
  })
}

/** One that waits for no other: the lane of a follower does. */
const oneOf = (dice: Dice, flights: ReadonlyArray<Flight>): Flight | undefined => {
  const free = flights.filter(({ leader }) => leader === undefined)
  return free[dice.roll(free.length)]
}

const phasesOf = (tickets: ReadonlyArray<Ticket>) => tickets.map(({ phase }) => phase)

/** What the lane of a follower was told, undefined before. */
const wordFor = (follower: Flight | undefined): unknown =>
  follower === undefined ? undefined : follower.mayCommit.effect

const wide = { rowsMax: 1_000, bytesMax: 1_000_000 }
const names = ["a", "b", "c", "d", "e"] as const

const randomInput = (dice: Dice): Input => {
  const [from, to] = [dice.pick(names), dice.pick(names)]
  const amount = BigInt(1 + dice.roll(150))
  const roll = dice.roll(4)
  return roll === 0 ? deposit(from, amount) : roll === 1 ? withdraw(from, amount) : transfer(from, to, amount)
}

describe("the commit queue", () => {
  it("keeps the order of every account whatever the lanes do, one account in one flight, or in one and the next", () => {
    const followers = { taken: 0, letGo: 0, disbanded: 0 }
    for (let seed = 1; seed <= 150; seed++) {
      const dice = new Dice(seed)
      const desk = new Desk(names)
      const flights: Array<Flight> = []
      /** What is decided and not durable, in the order of decision; what is durable, in its own. */
      let open: Array<Ticket> = []
      const durable = new Map<string, Array<number>>()
      const disband = (flight: Flight) => {
        const { follower } = flight
        const size = desk.queue.size + (follower?.tickets.length ?? 0)
        assert.strictEqual(desk.queue.disband(flight), follower !== undefined)
        assert.strictEqual(desk.queue.size, size)
        if (follower === undefined) return
        followers.disbanded++
        assert.deepStrictEqual(wordFor(follower), Exit.succeed(false))
        assert.deepStrictEqual(follower.tickets, [])
        flights.splice(flights.indexOf(follower), 1)
      }
      for (let step = 0; step < 150; step++) {
        switch (dice.roll(6)) {
          case 0:
          case 1:
            open.push(desk.push(randomInput(dice)))
            break
          case 2: {
            const limits = { rowsMax: 1 + dice.roll(6), bytesMax: 100 + dice.roll(3_000) }
            const free = mayFly(open)
            const flight = desk.queue.take(limits)
            if (flight === undefined) {
              assert.deepStrictEqual(mayFly(open), [], `seed ${seed}: something could have flown`)
              break
            }
            flights.push(flight)
            assert.isTrue(flight.tickets.every((ticket) => ticket.phase === "flying"))
            if (flight.leader === undefined) break
            followers.taken++
            assert.deepStrictEqual(free, [], `seed ${seed}: something could have flown by itself`)
            assert.isTrue(flights.includes(flight.leader))
            assert.isUndefined(flight.leader.leader, `seed ${seed}: a follower of a follower`)
            assert.isFalse(flight.leader.isTroubled)
            assert.isFalse(Deferred.isDoneUnsafe(flight.mayCommit))
            const rows = flight.tickets.reduce((sum, { legs }) => sum + legs.length, 0)
            assert.isAbove(rows, 0, `seed ${seed}: nothing to send`)
            break
          }
          case 3: {
            const flight = oneOf(dice, flights)
            if (flight === undefined) break
            flights.splice(flights.indexOf(flight), 1)
            const { follower } = flight
            for (const { legs } of flight.tickets) {
              for (const { row } of legs) {
                const versions = durable.get(row.accountId) ?? []
                durable.set(row.accountId, [...versions, row.version])
              }
            }
            const landed = new Set(flight.tickets)
            open = open.filter((ticket) => !landed.has(ticket))
            desk.land(flight)
            if (follower === undefined) break
            followers.letGo++
            assert.deepStrictEqual(wordFor(follower), Exit.succeed(true))
            assert.isUndefined(follower.leader)
            break
          }
          case 4: {
            const flight = oneOf(dice, flights)
            if (flight === undefined) break
            flights.splice(flights.indexOf(flight), 1)
            disband(flight)
            desk.queue.putBack(flight)
            break
          }
          default: {
            const flight = dice.chance(0.5) ? oneOf(dice, flights) : undefined
            if (flight !== undefined) disband(flight)
            const victim = open[dice.roll(open.length)]
            const evicted = new Set(desk.queue.evict((ticket) => ticket === victim, flight))
            open = open.filter((ticket) => !evicted.has(ticket))
            if (flight?.tickets.length === 0) flights.splice(flights.indexOf(flight), 1)
          }
        }
        const owner = new Map<AccountActor, Flight>()
        for (const flight of flights) {
          for (const actor of flight.tickets.flatMap((ticket) => ticket.touched)) {
            // In order of taking, so that the second of two is the follower of the first.
            const other = owner.get(actor) ?? flight
            assert.isTrue(
              other === flight || flight.leader === other,
              `seed ${seed}: one account in two flights`
            )
            owner.set(actor, flight)
          }
        }
        for (const actor of desk.actors.values()) {
          assert.strictEqual(actor.flight, owner.get(actor), `seed ${seed}`)
          const touching = open.flatMap((ticket) => ticket.touched.filter((one) => one === actor))
          assert.strictEqual(actor.uncommitted, touching.length, `seed ${seed}: uncommitted`)
          // The speculative state is the committed one and what is open, chained without a gap.
          const rows = open.flatMap(({ legs }) => legs.filter((leg) => leg.actor === actor))
          let head = actor.committed
          for (const { before, after, row } of rows) {
            assert.strictEqual(before, head, `seed ${seed}`)
            assert.strictEqual(row.hash, after.hash)
            head = after
          }
          assert.strictEqual(actor.speculative, head, `seed ${seed}`)
        }
        assert.strictEqual(
          desk.queue.size + flights.reduce((sum, flight) => sum + flight.tickets.length, 0),
          open.length
        )
      }
      for (const versions of durable.values()) {
        assert.deepStrictEqual(
          versions,
          versions.map((_, index) => index + 3),
          `seed ${seed}`
        )
      }
    }
    for (const count of Object.values(followers)) assert.isAbove(count, 50, JSON.stringify(followers))
  })

  it("takes what waits for one flight alone as its follower, and nothing that waits for another", () => {
    const desk = new Desk(names)
    const limits = { rowsMax: 8, bytesMax: 1_000_000 }
    desk.push(deposit("a", 1n))
    const first = desk.queue.take(limits)
    desk.push(deposit("b", 1n))
    const second = desk.queue.take(limits)
    const behindFirst = [desk.push(transfer("a", "c", 1n)), desk.push(deposit("c", 1n))]
    const behindBoth = desk.push(transfer("a", "b", 1n))
    const behindIt = desk.push(deposit("c", 1n))
    const behindSecond = desk.push(deposit("b", 1n))
    // The account of a younger one is older here: nobody may overtake.
    const afterBoth = desk.push(deposit("a", 1n))
    const follower = desk.queue.take(limits)
    assert.deepStrictEqual(follower?.tickets, [...behindFirst, behindIt])
    assert.strictEqual(follower?.leader, first)
    assert.deepStrictEqual(phasesOf([behindBoth, behindSecond, afterBoth]), ["queued", "queued", "queued"])
    desk.land(second)
    assert.isUndefined(desk.queue.take(limits))
    desk.land(first)
    assert.deepStrictEqual(wordFor(follower), Exit.succeed(true))
  })

  it("lets nothing follow a flight that is in trouble, and nothing that is too little", () => {
    const desk = new Desk(names)
    const limits = { rowsMax: 8, bytesMax: 1_000_000 }
    desk.push(deposit("a", 1n))
    const first = desk.queue.take(limits)
    desk.push(deposit("a", 1n))
    assert.isUndefined(desk.queue.take(limits))
    const [second, third] = [desk.push(deposit("a", 1n)), desk.push(deposit("a", 1n))]
    const follower = desk.queue.take(limits)
    assert.strictEqual(follower?.tickets.length, 3)
    if (first === undefined) return assert.fail("nothing flew")
    assert.isTrue(desk.queue.disband(first))
    assert.deepStrictEqual(phasesOf([second, third]), ["queued", "queued"])
    assert.isUndefined(desk.queue.take(limits))
    assert.isFalse(desk.queue.disband(first))
  })

  it("lets nothing follow that has no row to send, for it would be answered before what it was decided on", () => {
    const desk = new Desk(names)
    desk.push(withdraw("a", 100n))
    desk.queue.take(wide)
    for (let index = 0; index < 8; index++) desk.push(withdraw("a", 1n))
    desk.push(deposit("a", 1n))
    assert.isUndefined(desk.queue.take({ rowsMax: 8, bytesMax: 100 }))
    desk.push(deposit("a", 1n))
    assert.strictEqual(desk.queue.take({ rowsMax: 4, bytesMax: 1_000 })?.tickets.length, 10)
  })

  it("evicts the guilty and what depends on them, no more and no less than a brute-force model says", () => {
    let evictedMore = 0
    let kept = 0
    for (let seed = 1; seed <= 100; seed++) {
      const dice = new Dice(seed)
      const desk = new Desk(names)
      const tickets = Array.from({ length: 25 }, () => desk.push(randomInput(dice)))
      const flight = dice.chance(0.5) ? desk.queue.take({ rowsMax: 10, bytesMax: 1_000_000 }) : undefined
      const guilty = new Set(tickets.filter(() => dice.chance(0.1)))
      // Whoever was decided after a guilty or dependent one that wrote to an account it looked at.
      const expected = new Set<Ticket>()
      for (const [index, ticket] of tickets.entries()) {
        const depends = tickets
          .slice(0, index)
          .some(
            (other) => expected.has(other) && other.legs.some((leg) => ticket.touched.includes(leg.actor))
          )
        if (guilty.has(ticket) || depends) expected.add(ticket)
      }
      const firstLegs = new Map<AccountActor, unknown>()
      for (const ticket of tickets) {
        if (!expected.has(ticket)) continue
        for (const { actor, before } of ticket.legs) {
          if (!firstLegs.has(actor)) firstLegs.set(actor, before)
        }
      }
      const evicted = desk.queue.evict((ticket) => guilty.has(ticket), flight)
      assert.deepStrictEqual(
        evicted.map((ticket) => tickets.indexOf(ticket)),
        [...expected].map((ticket) => tickets.indexOf(ticket)),
        `seed ${seed}`
      )
      for (const [actor, before] of firstLegs) assert.strictEqual(actor.speculative, before, `seed ${seed}`)
      for (const ticket of evicted) {
        assert.strictEqual(ticket.phase, "waiting")
        assert.deepStrictEqual([ticket.legs.length, ticket.touched.length, ticket.refusal], [0, 0, undefined])
      }
      evictedMore += evicted.length - guilty.size
      kept += tickets.length - evicted.length
    }
    assert.isAbove(evictedMore, 100)
    assert.isAbove(kept, 100)
  })

  it("takes up to its limits, but one command at least, however large", () => {
    const desk = new Desk(names)
    for (let index = 0; index < 4; index++) desk.push(transfer("a", "b", 1n))
    assert.strictEqual(desk.queue.take({ rowsMax: 5, bytesMax: 1_000_000 })?.tickets.length, 2)
    assert.strictEqual(desk.queue.take(wide), undefined)
    const other = new Desk(names)
    other.push(transfer("a", "b", 1n))
    other.push(transfer("c", "d", 1n))
    assert.strictEqual(other.queue.take({ rowsMax: 1, bytesMax: 1 })?.tickets.length, 1)
    assert.strictEqual(other.queue.take({ rowsMax: 1, bytesMax: 1 })?.tickets.length, 1)
    assert.strictEqual(other.queue.take(wide), undefined)
  })

  it("lets a command pass that has nothing to do with one that must wait, and none that has", () => {
    const desk = new Desk(names)
    desk.push(deposit("a", 1n))
    const first = desk.queue.take(wide)
    const waits = desk.push(transfer("a", "b", 1n))
    const behind = desk.push(deposit("b", 1n))
    const free = desk.push(deposit("c", 1n))
    assert.deepStrictEqual(desk.queue.take(wide)?.tickets, [free])
    desk.land(first)
    assert.deepStrictEqual(desk.queue.take(wide)?.tickets, [waits, behind])
  })

  it("makes a refused command wait for what it was decided on", () => {
    const desk = new Desk(names)
    const all = desk.push(withdraw("a", 100n))
    const first = desk.queue.take(wide)
    const refused = desk.push(withdraw("a", 1n))
    assert.strictEqual(refused.refusal?._tag, "InsufficientFunds")
    assert.strictEqual(desk.queue.take(wide), undefined)
    // Without the first withdrawal there is nothing to refuse.
    assert.deepStrictEqual(
      desk.queue.evict((ticket) => ticket === all, first),
      [all, refused]
    )
  })
})

describe("a turn", () => {
  it("moves both sides of a transfer in one step, at one instant", () => {
    const desk = new Desk(names)
    desk.now = 2_000
    desk.settle(desk.decide(deposit("b", 1n)))
    desk.now = 1_500
    const { legs, recordedAt, touched } = desk.decide(transfer("a", "b", 30n))
    // Not before the last of any of its accounts, though the clock says so.
    assert.strictEqual(recordedAt, 2_000)
    assert.deepStrictEqual(
      legs.map(({ row }) => [
        row.accountId,
        row.version,
        row.ordinal,
        row.recordedAt,
        row.commandHash === null
      ]),
      [
        ["a", 3, 0, 2_000, false],
        ["b", 4, 1, 2_000, true]
      ]
    )
    const balances = ["a", "b"].map((name) => {
      const { account } = desk.actor(name).speculative
      return account._tag === "Opened" ? account.balance : undefined
    })
    assert.deepStrictEqual(balances, [70n, 131n])
    assert.deepStrictEqual(
      touched.map((actor) => actor.uncommitted),
      [1, 1]
    )
  })

  it("that is refused changes no state, and still counts on its actors until it is settled", () => {
    const desk = new Desk(names)
    const before = names.map((name) => desk.actor(name).speculative)
    const ticket = desk.decide(transfer("a", "b", 101n))
    assert.strictEqual(ticket.refusal?._tag, "InsufficientFunds")
    assert.deepStrictEqual(
      names.map((name) => desk.actor(name).speculative),
      before
    )
    assert.strictEqual(desk.actor("a").uncommitted, 1)
    assert.isFalse(desk.actor("a").isIdle)
    desk.settle(ticket)
    assert.isTrue(desk.actor("a").isIdle)
  })

  it("that throws leaves every actor as it was", () => {
    const desk = new Desk(names)
    const command = toCommand(transfer("a", "b", 1n))
    let legs = 0
    // Both legs read it; the second one's row is where it fails, when the first one's is made out already.
    const throwing = new Proxy(command, {
      get: (target, key) => {
        if (key === "effectiveAt" && ++legs === 2) throw new Error("a defect of the test")
        return Reflect.get(target, key)
      }
    })
    const ticket = new Ticket(throwing, hashCommand(command), 0)
    const actors = [desk.actor("a"), desk.actor("b")]
    const before = actors.map(({ speculative, committed, uncommitted }) => ({
      speculative,
      committed,
      uncommitted
    }))
    assert.throws(() => takeTurn(ticket, actors, 1_000), "a defect of the test")
    assert.deepStrictEqual(
      actors.map(({ speculative, committed, uncommitted }) => ({ speculative, committed, uncommitted })),
      before
    )
    assert.deepStrictEqual([ticket.phase, ticket.legs.length, ticket.touched.length], ["waiting", 0, 0])
  })

  it("without one of its accounts is a defect, not a decision", () => {
    const desk = new Desk(names)
    const command = toCommand(transfer("a", "b", 1n))
    const ticket = new Ticket(command, hashCommand(command), 0)
    assert.throws(() => takeTurn(ticket, [desk.actor("a")], 1_000), "without account b")
  })
})
