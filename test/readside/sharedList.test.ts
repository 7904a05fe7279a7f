/** The list of what was read for all that follow the log's end: whom a batch concerns, and what becomes of those that do not take it. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { SharedCommit } from "../../src/actors/subscriptions/SharedEvent.ts"
import { SharedList, type SharedSeat } from "../../src/actors/subscriptions/SharedList.ts"
import { Waiters } from "../../src/actors/subscriptions/WakeInTurns.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"

const noWriters = Effect.succeed({ rows: [], finishedTo: 0 })

/** The place of one that has read up to the next cut. */
const placeOf = (list: SharedList) => {
  const waiting = Effect.runFork(list.nextCut)
  Effect.runSync(list.takingCut(noWriters))
  const exit = waiting.pollUnsafe()
  return (exit?._tag === "Success" ? exit.value?.place : undefined) ?? assert.fail("no cut")
}

/** A list that a reader fills, with so much room, and followers that take their seats at its beginning. */
const openList = (eventsMax: number) => {
  const list = new SharedList(eventsMax)
  const writer = new EventWriter("w")
  let seq = 0
  list.begin("place 0")
  const seat = (prefix: string): SharedSeat => {
    return list.takeSeat(placeOf(list), prefix) ?? assert.fail("no seat")
  }
  /** One commit of a cut of its own, with an event of each account. */
  const publish = (...accounts: ReadonlyArray<string>): ReadonlyArray<SharedSeat> => {
    const events = accounts.flatMap((id) =>
      writer.decide(writer.log.some(({ accountId }) => accountId === id) ? deposit(id, 1n) : openAccount(id))
    )
    Effect.runSync(list.takingCut(noWriters))
    const [before, after] = [`place ${seq}`, `place ${++seq}`]
    return list.publish([new SharedCommit({ writerId: "w", seq, events }, before, after)], after)
  }
  return { list, seat, publish }
}

const versionsOf = (seat: SharedSeat): ReadonlyArray<string> =>
  seat.take(1_000).flatMap(({ events }) => events.map(({ row }) => `${row.accountId}@${row.version}`))

describe("the list of the log's end", () => {
  it("tells a batch to those that follow one of its accounts, and to no other", () => {
    const { list, seat, publish } = openList(1_000)
    const [all, some, none] = [seat(""), seat("a:"), seat("b:")]
    const one = list.takeSeatOf(AccountId.make("a:1"))
    assert.sameMembers([...publish("a:1", "a:2")], [all, some, one])
    assert.sameMembers([...publish("c:1")], [all])
    assert.deepEqual(versionsOf(all), ["a:1@1", "a:2@1", "c:1@1"])
    assert.deepEqual(versionsOf(some), ["a:1@1", "a:2@1"])
    assert.deepEqual(versionsOf(one), ["a:1@1"])
    assert.isFalse(none.hasSome)
    assert.deepEqual(versionsOf(all), [], "each event is taken once")
  })

  it("keeps a batch until each seat has taken it, and for one that was told of its place", () => {
    const { list, seat, publish } = openList(1_000)
    const [quick, slow] = [seat("a:"), seat("a:")]
    const [told, gone] = [placeOf(list), placeOf(list)]
    for (let nth = 0; nth < 3; nth++) {
      publish("a:1")
      versionsOf(quick)
    }
    assert.deepEqual(versionsOf(slow), ["a:1@1", "a:1@2", "a:1@3"])
    const late = list.takeSeat(told, "a:") ?? assert.fail("its place is gone")
    assert.deepEqual(versionsOf(late), ["a:1@1", "a:1@2", "a:1@3"])
    publish("a:1")
    for (const one of [quick, slow, late]) assert.deepEqual(versionsOf(one), ["a:1@4"])
    const probe = list.takeSeat(gone, "b:")
    assert.isDefined(probe, "kept, since another was told of it and has not come")
    publish("a:1")
    assert.isUndefined(list.takeSeat(gone, "b:"), "kept for none")
  })

  it("hands on what comes in the turn that tells of it, until it is taken no more or something is left", () => {
    const { list, seat, publish } = openList(1_000)
    const follower = seat("a:")
    const taken: Array<ReadonlyArray<string>> = []
    const handOn = (goesOn: boolean) =>
      Effect.runFork(
        follower.handOn(() => {
          taken.push(follower.take(1_000).flatMap(({ events }) => events.map(({ row }) => row.accountId)))
          return goesOn
        })
      )
    const tell = (...accounts: ReadonlyArray<string>) => {
      publish(...accounts)
      Effect.runSync(list.wakeAll)
    }
    const open = handOn(true)
    tell("a:1")
    tell("b:1")
    tell("a:2", "a:3")
    assert.deepEqual(taken.splice(0), [["a:1"], ["a:2", "a:3"]])
    assert.isUndefined(open.pollUnsafe())
    open.interruptUnsafe()

    const full = handOn(false)
    tell("a:4")
    assert.strictEqual(full.pollUnsafe()?._tag, "Success", "it takes no more")
    tell("a:5")
    assert.deepEqual(taken.splice(0), [["a:4"]])
    assert.strictEqual(handOn(true).pollUnsafe()?._tag, "Success", "something waits already")
    assert.deepEqual(versionsOf(follower), ["a:5@1"])

    const idle = Effect.runFork(follower.handOn(() => true))
    tell("a:6")
    assert.strictEqual(idle.pollUnsafe()?._tag, "Success", "something is left")
    assert.deepEqual(versionsOf(follower), ["a:6@1"])
  })

  it("hands nothing on to one that is lost or was interrupted, and wakes the others where one has a bug", () => {
    const { list, seat, publish } = openList(1_000)
    const [gone, faulty, sound] = [seat("a:"), seat("a:"), seat("a:")]
    const handOn = (to: SharedSeat, take: () => boolean) => Effect.runFork(to.handOn(take))
    handOn(gone, () => assert.fail("it was interrupted")).interruptUnsafe()
    const broken = handOn(faulty, () => {
      throw new Error("a bug")
    })
    let woken = 0
    const follower = handOn(sound, () => {
      woken += sound.take(1_000).length
      return true
    })
    publish("a:1")
    Effect.runSync(list.wakeAll)
    assert.strictEqual(broken.pollUnsafe()?._tag, "Failure")
    assert.strictEqual(woken, 1)
    assert.strictEqual(Effect.runFork(gone.changed).pollUnsafe()?._tag, "Success", "it is told as before")
    list.finish()
    Effect.runSync(list.wakeAll)
    assert.strictEqual(follower.pollUnsafe()?._tag, "Success", "it is to read by itself")
    assert.isDefined(sound.lostAt)
    assert.strictEqual(woken, 1)
  })

  it("keeps nothing for one that was told of a place and takes no seat", () => {
    const { list, seat, publish } = openList(1_000)
    const follower = seat("a:")
    const [gone, other] = [placeOf(list), placeOf(list)]
    list.letGo(gone)
    list.letGo(other)
    for (let nth = 0; nth < 2; nth++) {
      publish("a:1")
      versionsOf(follower)
    }
    publish("a:1")
    assert.isUndefined(list.takeSeat(gone, "a:"))
  })

  it.effect("tells a cut to many that wait for it in several turns, and to all of them", () =>
    Effect.gen(function* () {
      const { list } = openList(1_000)
      const waiting = yield* Effect.forEach(Array.from({ length: 120 }), () =>
        Effect.forkChild(list.nextCut, { startImmediately: true })
      )
      const toldUnsafe = () => waiting.filter((fiber) => fiber.pollUnsafe() !== undefined).length
      const taking = yield* Effect.forkChild(list.takingCut(noWriters), { startImmediately: true })
      assert.isAbove(toldUnsafe(), 0)
      assert.isAtMost(toldUnsafe(), aTurn, "the rest waits for a turn")
      yield* Fiber.join(taking)
      const found = yield* Effect.forEach(waiting, Fiber.join)
      assert.strictEqual(new Set(found).size, 1, "all have the same answer")
      assert.isTrue(found.every((one) => one?.place.cut === 1))
    })
  )

  const many = Array.from({ length: 120 })
  const startAll = (waits: ReadonlyArray<Effect.Effect<unknown>>) =>
    Effect.forEach(waits, (wait) => Effect.forkChild(wait, { startImmediately: true }))

  /** Wakes what is due; answers how many had been woken each time that others had a turn, and lets all of them end. */
  const wokenByTurn = (list: SharedList, waiting: ReadonlyArray<Fiber.Fiber<unknown>>) =>
    Effect.gen(function* () {
      const ended = () => waiting.filter((fiber) => fiber.pollUnsafe() !== undefined).length
      assert.strictEqual(ended(), 0, "nothing is woken but in turns")
      const waking = yield* Effect.forkChild(list.wakeAll)
      const seen: Array<number> = []
      while (waking.pollUnsafe() === undefined) {
        yield* Effect.yieldNow
        seen.push(ended())
      }
      yield* Effect.forEach(waiting, Fiber.join)
      return seen
    })

  const assertInTurns = (seen: ReadonlyArray<number>): void => {
    const steps = seen.map((count, turn) => count - (seen[turn - 1] ?? 0))
    assert.isAbove(steps.filter((step) => step > 0).length, 1)
    assert.isAtMost(Math.max(...steps), aTurn)
  }
  /** Of the 120. */
  const aTurn = 6

  it.effect("wakes many that wait for any change in several turns", () =>
    Effect.gen(function* () {
      const { list, seat, publish } = openList(1_000)
      const none = seat("none")
      const waiting = yield* startAll(many.map(() => list.changedAt(none)))
      publish("a")
      assertInTurns(yield* wokenByTurn(list, waiting))
    })
  )

  it.effect("wakes many that have something to take in several turns", () =>
    Effect.gen(function* () {
      const { list, seat, publish } = openList(1_000)
      const waiting = yield* startAll(many.map(() => seat("a").changed))
      publish("a")
      assertInTurns(yield* wokenByTurn(list, waiting))
    })
  )

  it.effect("hands on to many in several turns, to more at once where they are very many", () =>
    Effect.gen(function* () {
      for (const [count, atOnce, turns] of [
        [120, aTurn, 20],
        [1_000, 25, 40]
      ] as const) {
        const { list, seat, publish } = openList(10_000)
        let taken = 0
        for (let nth = 0; nth < count; nth++) {
          const own = seat("a")
          yield* Effect.forkChild(
            own.handOn(() => {
              taken += own.take(10).length
              return true
            }),
            { startImmediately: true }
          )
        }
        publish("a")
        const waking = yield* Effect.forkChild(list.wakeAll, { startImmediately: true })
        const seen = [taken]
        while (waking.pollUnsafe() === undefined) {
          yield* Effect.yieldNow
          seen.push(taken)
        }
        assert.strictEqual(taken, count)
        assert.isAtMost(Math.max(...seen.map((all, turn) => all - (seen[turn - 1] ?? 0))), atOnce)
        assert.isAtLeast(new Set(seen).size, turns)
      }
    })
  )

  it.effect("wakes all that wait in several turns where its reader ends", () =>
    Effect.gen(function* () {
      const { list, seat } = openList(1_000)
      const seats = many.map(() => seat("a"))
      for (const waits of [
        () => seats.map(({ changed }) => changed),
        () => many.map(() => list.changedAt(list.takeSeatOf(AccountId.make("a"))))
      ]) {
        const waiting = yield* startAll(waits())
        list.finish()
        assertInTurns(yield* wokenByTurn(list, waiting))
        list.begin("again")
      }
      const forCuts = yield* startAll(many.map(() => list.nextCut))
      list.finish()
      assertInTurns(yield* wokenByTurn(list, forCuts))
      assert.isTrue(seats.every(({ lostAt }) => lostAt !== undefined))
    })
  )

  it.effect("wakes the rest where its reader ends in the middle of it", () =>
    Effect.gen(function* () {
      const { list, seat, publish } = openList(1_000)
      const none = seat("none")
      const waiting = yield* startAll(many.map(() => list.changedAt(none)))
      publish("a")
      const waking = yield* Effect.forkChild(list.wakeAll, { startImmediately: true })
      yield* Fiber.interrupt(waking)
      assert.isTrue(waiting.some((fiber) => fiber.pollUnsafe() === undefined))
      list.finish()
      yield* list.wakeAll
      yield* Effect.forEach(waiting, Fiber.join)
    })
  )

  it.effect("keeps nothing of those that gave up waiting", () =>
    Effect.gen(function* () {
      const waiters = new Waiters<void>()
      for (let nth = 0; nth < 3; nth++) {
        const given = yield* startAll(many.map(() => waiters.nextUnless(() => false)))
        yield* Effect.forEach(given, Fiber.interrupt)
      }
      const stays = yield* startAll([waiters.nextUnless(() => false)])
      assert.deepEqual(
        waiters.take().map(({ count }) => count),
        [1]
      )
      yield* Effect.forEach(stays, Fiber.interrupt)
    })
  )

  it("keeps the place of a follower that nothing is for, however much passes it", () => {
    const { list, seat, publish } = openList(5)
    const quiet = seat("quiet:")
    for (let nth = 0; nth < 100; nth++) publish("busy")
    assert.isUndefined(quiet.lostAt)
    publish("quiet:1")
    assert.deepEqual(versionsOf(quiet), ["quiet:1@1"])
    assert.strictEqual(list.end.cursor, "place 101")
  })

  it("loses a follower that does not take what is for it, at the place before that", () => {
    const { seat, publish } = openList(5)
    const [slow, quick] = [seat("a"), seat("a")]
    publish("other")
    for (let nth = 0; nth < 10; nth++) {
      publish("a")
      versionsOf(quick)
    }
    assert.deepEqual(slow.lostAt, { cut: 4, cursor: "place 1" })
    assert.isFalse(slow.hasSome)
    assert.isUndefined(quick.lostAt)
    publish("a")
    assert.deepEqual(versionsOf(quick), ["a@11"])
  })

  it("keeps the less of large events, which count for several", () => {
    const { list, seat } = openList(10)
    const slow = seat("")
    const writer = new EventWriter("w")
    const publishLarge = (seq: number): void => {
      const [row = assert.fail("no event")] = writer.decide(seq === 1 ? openAccount("a") : deposit("a", 1n))
      const events = [{ ...row, context: "x".repeat(5_000) }]
      Effect.runSync(list.takingCut(noWriters))
      list.publish(
        [new SharedCommit({ writerId: "w", seq, events }, `place ${seq - 1}`, `place ${seq}`)],
        `place ${seq}`
      )
    }
    for (let seq = 1; seq <= 2; seq++) publishLarge(seq)
    assert.isUndefined(slow.lostAt)
    publishLarge(3)
    assert.deepEqual(slow.lostAt, { cut: 2, cursor: "place 0" })
  })

  it("brings a follower what was published between its cut and its seat", () => {
    const { list, publish } = openList(1_000)
    const place = placeOf(list)
    publish("a", "b")
    publish("b")
    const late = list.takeSeat(place, "a") ?? assert.fail("no seat")
    publish("a")
    assert.deepEqual(versionsOf(late), ["a@1", "a@2"])
  })

  it("makes one object of an event for all that follow it", () => {
    const { seat, publish } = openList(1_000)
    const seats = [seat(""), seat("a"), seat("a")]
    publish("a")
    const events = seats.map((one) =>
      one
        .take(10)
        .flatMap(({ events: found }) => found)[0]
        ?.committed(true)
    )
    assert.isDefined(events[0])
    assert.strictEqual(events[1], events[0])
    assert.strictEqual(events[2], events[0])
  })

  it("has no place for one that left, nor for any once its reader ended", () => {
    const { list, seat, publish } = openList(1_000)
    const [left, stays] = [seat("a"), seat("a")]
    left.leave()
    // A second time is nothing to those that came meanwhile.
    left.leave()
    assert.deepEqual(publish("a"), [stays])
    list.finish()
    assert.deepEqual(stays.lostAt, { cut: 3, cursor: "place 0" })
    stays.leave()
    list.begin("place 9")
    assert.deepEqual(publish("a"), [])
  })

  it("gives a follower no more at once than it asks for, about", () => {
    const { seat, publish } = openList(1_000)
    const one = seat("")
    for (let nth = 0; nth < 10; nth++) publish("a", "b")
    assert.strictEqual(one.take(5).flatMap(({ events }) => events).length, 6)
    assert.isTrue(one.hasSome)
    assert.strictEqual(one.take(100).flatMap(({ events }) => events).length, 14)
  })
})
