/** The commit queue against a plain model of it: pure, no store, no clock. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Exit } from "effect"
import type { AccountActor } from "../../src/actors/accounts/AccountActor.ts"
import type { CommitBatch } from "../../src/actors/accounts/Flight.ts"
import type { PendingCommand } from "../../src/actors/accounts/Lifecycle.ts"
import { Desk, type Input } from "../support/desk.ts"
import { Dice } from "../support/dice.ts"
import { deposit, transfer, withdraw } from "../support/ledgerWorld.ts"

/** Those queued whose accounts neither are in flight nor stand in an older ticket that has to wait. */
const mayFly = (open: ReadonlyArray<PendingCommand>): ReadonlyArray<PendingCommand> => {
  const blocked = new Set(
    open.flatMap(({ phase, participants: touched }) => (phase === "flying" ? touched : []))
  )
  return open.filter(({ phase, participants: touched }) => {
    if (phase !== "queued") return false
    const isFree = !touched.some((actor) => blocked.has(actor))
    if (!isFree) for (const actor of touched) blocked.add(actor)
    return isFree
  })
}

/** One that waits for no other: the lane of a follower does. */
const oneOf = (dice: Dice, flights: ReadonlyArray<CommitBatch>): CommitBatch | undefined => {
  const free = flights.filter(({ predecessor: leader }) => leader === undefined)
  return free[dice.roll(free.length)]
}

const phasesOf = (tickets: ReadonlyArray<PendingCommand>) => tickets.map(({ phase }) => phase)

/** What the lane of a follower was told, undefined before. */
const wordFor = (follower: CommitBatch | undefined): unknown =>
  follower === undefined ? undefined : follower.mayCommit.effect

/** Two rows are a quarter of it: so much a follower must carry. */
const eight = { rowsMax: 8, bytesMax: 1_000_000 }
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
      const flights: Array<CommitBatch> = []
      /** What is decided and not durable, in the order of decision; what is durable, in its own. */
      let open: Array<PendingCommand> = []
      const durable = new Map<string, Array<number>>()
      const disband = (flight: CommitBatch) => {
        const { successor: follower } = flight
        const size = desk.queue.size + (follower?.commands.length ?? 0)
        assert.strictEqual(desk.queue.disband(flight), follower !== undefined)
        assert.strictEqual(desk.queue.size, size)
        if (follower === undefined) return
        followers.disbanded++
        assert.deepStrictEqual(wordFor(follower), Exit.succeed(false))
        assert.deepStrictEqual(follower.commands, [])
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
            assert.isTrue(flight.commands.every((ticket) => ticket.phase === "flying"))
            if (flight.predecessor === undefined) break
            followers.taken++
            assert.deepStrictEqual(free, [], `seed ${seed}: something could have flown by itself`)
            assert.isTrue(flights.includes(flight.predecessor))
            assert.isUndefined(flight.predecessor.predecessor, `seed ${seed}: a follower of a follower`)
            assert.isFalse(flight.predecessor.isRetrying)
            assert.isFalse(Deferred.isDoneUnsafe(flight.mayCommit))
            const rows = flight.commands.reduce((sum, { pendingEvents: legs }) => sum + legs.length, 0)
            assert.isAbove(rows, 0, `seed ${seed}: nothing to send`)
            break
          }
          case 3: {
            const flight = oneOf(dice, flights)
            if (flight === undefined) break
            flights.splice(flights.indexOf(flight), 1)
            const { successor: follower } = flight
            for (const { pendingEvents: legs } of flight.commands) {
              for (const { row } of legs) {
                const versions = durable.get(row.accountId) ?? []
                durable.set(row.accountId, [...versions, row.version])
              }
            }
            const landed = new Set(flight.commands)
            open = open.filter((ticket) => !landed.has(ticket))
            desk.land(flight)
            if (follower === undefined) break
            followers.letGo++
            assert.deepStrictEqual(wordFor(follower), Exit.succeed(true))
            assert.isUndefined(follower.predecessor)
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
            if (flight?.commands.length === 0) flights.splice(flights.indexOf(flight), 1)
          }
        }
        const owner = new Map<AccountActor, CommitBatch>()
        for (const flight of flights) {
          for (const actor of flight.commands.flatMap((ticket) => ticket.participants)) {
            // In order of taking, so that the second of two is the follower of the first.
            const other = owner.get(actor) ?? flight
            assert.isTrue(
              other === flight || flight.predecessor === other,
              `seed ${seed}: one account in two flights`
            )
            owner.set(actor, flight)
          }
        }
        for (const actor of desk.actors.values()) {
          assert.strictEqual(actor.batch, owner.get(actor), `seed ${seed}`)
          const touching = open.flatMap((ticket) => ticket.participants.filter((one) => one === actor))
          assert.strictEqual(actor.uncommitted, touching.length, `seed ${seed}: uncommitted`)
          // The speculative state is the committed one and what is open, chained without a gap.
          const rows = open.flatMap(({ pendingEvents: legs }) => legs.filter((leg) => leg.actor === actor))
          let head = actor.committed
          for (const { before, after, row } of rows) {
            assert.strictEqual(before, head, `seed ${seed}`)
            assert.strictEqual(row.hash, after.hash)
            head = after
          }
          assert.strictEqual(actor.speculative, head, `seed ${seed}`)
        }
        assert.strictEqual(
          desk.queue.size + flights.reduce((sum, flight) => sum + flight.commands.length, 0),
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
    desk.push(deposit("a", 1n))
    const first = desk.queue.take(eight)
    desk.push(deposit("b", 1n))
    const second = desk.queue.take(eight)
    const behindFirst = [desk.push(transfer("a", "c", 1n)), desk.push(deposit("c", 1n))]
    const behindBoth = desk.push(transfer("a", "b", 1n))
    const behindIt = desk.push(deposit("c", 1n))
    const behindSecond = desk.push(deposit("b", 1n))
    // The account of a younger one is older here: nobody may overtake.
    const afterBoth = desk.push(deposit("a", 1n))
    const follower = desk.queue.take(eight)
    assert.deepStrictEqual(follower?.commands, [...behindFirst, behindIt])
    assert.strictEqual(follower?.predecessor, first)
    assert.deepStrictEqual(phasesOf([behindBoth, behindSecond, afterBoth]), ["queued", "queued", "queued"])
    desk.land(second)
    assert.isUndefined(desk.queue.take(eight))
    desk.land(first)
    assert.deepStrictEqual(wordFor(follower), Exit.succeed(true))
  })

  it("lets nothing follow a flight that is in trouble, and nothing that is too little", () => {
    const desk = new Desk(names)
    desk.push(deposit("a", 1n))
    const first = desk.queue.take(eight)
    desk.push(deposit("a", 1n))
    assert.isUndefined(desk.queue.take(eight))
    const [second, third] = [desk.push(deposit("a", 1n)), desk.push(deposit("a", 1n))]
    const follower = desk.queue.take(eight)
    assert.strictEqual(follower?.commands.length, 3)
    if (first === undefined) return assert.fail("nothing flew")
    assert.isTrue(desk.queue.disband(first))
    assert.deepStrictEqual(phasesOf([second, third]), ["queued", "queued"])
    assert.isUndefined(desk.queue.take(eight))
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
    assert.strictEqual(desk.queue.take({ rowsMax: 4, bytesMax: 1_000 })?.commands.length, 10)
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
      const expected = new Set<PendingCommand>()
      for (const [index, ticket] of tickets.entries()) {
        const depends = tickets
          .slice(0, index)
          .some(
            (other) =>
              expected.has(other) &&
              other.pendingEvents.some((leg) => ticket.participants.includes(leg.actor))
          )
        if (guilty.has(ticket) || depends) expected.add(ticket)
      }
      const firstLegs = new Map<AccountActor, unknown>()
      for (const ticket of tickets) {
        if (!expected.has(ticket)) continue
        for (const { actor, before } of ticket.pendingEvents) {
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
        assert.deepStrictEqual(
          [ticket.pendingEvents.length, ticket.participants.length, ticket.rejection],
          [0, 0, undefined]
        )
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
    assert.strictEqual(desk.queue.take({ rowsMax: 5, bytesMax: 1_000_000 })?.commands.length, 2)
    assert.strictEqual(desk.queue.take(wide), undefined)
    const other = new Desk(names)
    other.push(transfer("a", "b", 1n))
    other.push(transfer("c", "d", 1n))
    assert.strictEqual(other.queue.take({ rowsMax: 1, bytesMax: 1 })?.commands.length, 1)
    assert.strictEqual(other.queue.take({ rowsMax: 1, bytesMax: 1 })?.commands.length, 1)
    assert.strictEqual(other.queue.take(wide), undefined)
  })

  it("lets a command pass that has nothing to do with one that must wait, and none that has", () => {
    const desk = new Desk(names)
    desk.push(deposit("a", 1n))
    const first = desk.queue.take(wide)
    const waits = desk.push(transfer("a", "b", 1n))
    const behind = desk.push(deposit("b", 1n))
    const free = desk.push(deposit("c", 1n))
    assert.deepStrictEqual(desk.queue.take(wide)?.commands, [free])
    desk.land(first)
    assert.deepStrictEqual(desk.queue.take(wide)?.commands, [waits, behind])
  })

  it("makes a refused command wait for what it was decided on", () => {
    const desk = new Desk(names)
    const all = desk.push(withdraw("a", 100n))
    const first = desk.queue.take(wide)
    const refused = desk.push(withdraw("a", 1n))
    assert.strictEqual(refused.rejection?._tag, "InsufficientFunds")
    assert.strictEqual(desk.queue.take(wide), undefined)
    // Without the first withdrawal there is nothing to refuse.
    assert.deepStrictEqual(
      desk.queue.evict((ticket) => ticket === all, first),
      [all, refused]
    )
  })
})
