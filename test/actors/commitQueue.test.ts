/** The commit queue against a plain model of it: pure, no store, no clock. */
import { assert, describe, it } from "@effect/vitest"
import { Exit } from "effect"
import type { AccountActor, CommitBatch, PendingCommand } from "../../src/actors/accounts/Lifecycle.ts"
import { CommandFixture, type Input } from "../support/CommandFixture.ts"
import { deposit, transfer, withdraw } from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"

/** Those queued whose accounts are neither in a batch nor of an older command that has to wait. */
const takeable = (open: ReadonlyArray<PendingCommand>): ReadonlyArray<PendingCommand> => {
  const blocked = new Set(
    open.flatMap(({ phase, participants }) => (phase === "committing" ? participants : []))
  )
  return open.filter(({ phase, participants }) => {
    if (phase !== "queued") return false
    const isFree = !participants.some((actor) => blocked.has(actor))
    if (!isFree) for (const actor of participants) blocked.add(actor)
    return isFree
  })
}

/** A batch that is not chained: the lane of a chained one waits. */
const oneOf = (rng: Rng, batches: ReadonlyArray<CommitBatch>): CommitBatch | undefined => {
  const free = batches.filter(({ predecessor }) => predecessor === undefined)
  return free[rng.below(free.length)]
}

const phasesOf = (commands: ReadonlyArray<PendingCommand>) => commands.map(({ phase }) => phase)

/** The verdict that the lane of a chained batch was given; undefined before. */
const verdictOf = (batch: CommitBatch | undefined): unknown => batch?.verdict?.effect

/** Two rows are a quarter of it: so much a chained batch must carry. */
const eight = { rowsMax: 8, bytesMax: 1_000_000 }
const wide = { rowsMax: 1_000, bytesMax: 1_000_000 }
const names = ["a", "b", "c", "d", "e"] as const

const randomInput = (rng: Rng): Input => {
  const [from, to] = [rng.pick(names), rng.pick(names)]
  const amount = BigInt(1 + rng.below(150))
  const roll = rng.below(4)
  return roll === 0 ? deposit(from, amount) : roll === 1 ? withdraw(from, amount) : transfer(from, to, amount)
}

describe("the commit queue", () => {
  it("has the accounts of a durable batch free, also where one of its commands met a bug", () => {
    const fixture = new CommandFixture(["a", "b"])
    const [first] = [fixture.push(deposit("a", 1n)), fixture.push(deposit("b", 1n))]
    const batch = fixture.queue.take(wide)
    first.commit = () => {
      throw new Error("a bug")
    }
    assert.throws(() => fixture.commit(batch), "a bug")
    const next = fixture.push(deposit("b", 1n))
    assert.deepStrictEqual(fixture.queue.take(wide)?.commands, [next])
  })

  it("keeps the order of every account and has each in one batch, or in two chained ones", () => {
    const chained = { taken: 0, committed: 0, detached: 0 }
    for (let seed = 1; seed <= 150; seed++) {
      const rng = new Rng(seed)
      const fixture = new CommandFixture(names)
      const batches: Array<CommitBatch> = []
      /** What is decided and not durable, in the order of decision; what is durable, in its own. */
      let open: Array<PendingCommand> = []
      const durable = new Map<string, Array<number>>()
      const detach = (batch: CommitBatch) => {
        const { successor } = batch
        const size = fixture.queue.size + (successor?.commands.length ?? 0)
        assert.strictEqual(fixture.queue.detachSuccessor(batch), successor !== undefined)
        assert.strictEqual(fixture.queue.size, size)
        if (successor === undefined) return
        chained.detached++
        assert.deepStrictEqual(verdictOf(successor), Exit.succeed(false))
        assert.deepStrictEqual(successor.commands, [])
        batches.splice(batches.indexOf(successor), 1)
      }
      for (let step = 0; step < 150; step++) {
        switch (rng.below(6)) {
          case 0:
          case 1:
            open.push(fixture.push(randomInput(rng)))
            break
          case 2: {
            const limits = { rowsMax: 1 + rng.below(6), bytesMax: 100 + rng.below(3_000) }
            const free = takeable(open)
            const batch = fixture.queue.take(limits)
            if (batch === undefined) {
              assert.deepStrictEqual(takeable(open), [], `seed ${seed}: something could have been taken`)
              break
            }
            batches.push(batch)
            assert.isTrue(batch.commands.every((command) => command.phase === "committing"))
            if (batch.predecessor === undefined) break
            chained.taken++
            assert.deepStrictEqual(free, [], `seed ${seed}: something could have been taken by itself`)
            assert.isTrue(batches.includes(batch.predecessor))
            assert.isUndefined(batch.predecessor.predecessor, `seed ${seed}: a chain of three`)
            assert.isFalse(batch.predecessor.isRetrying)
            assert.isUndefined(verdictOf(batch))
            const rows = batch.commands.reduce((sum, { pendingEvents }) => sum + pendingEvents.length, 0)
            assert.isAbove(rows, 0, `seed ${seed}: nothing to send`)
            break
          }
          case 3: {
            const batch = oneOf(rng, batches)
            if (batch === undefined) break
            batches.splice(batches.indexOf(batch), 1)
            const { successor } = batch
            for (const { pendingEvents } of batch.commands) {
              for (const { row } of pendingEvents) {
                const versions = durable.get(row.accountId) ?? []
                durable.set(row.accountId, [...versions, row.version])
              }
            }
            const landed = new Set(batch.commands)
            open = open.filter((command) => !landed.has(command))
            fixture.commit(batch)
            if (successor === undefined) break
            chained.committed++
            assert.deepStrictEqual(verdictOf(successor), Exit.succeed(true))
            assert.isUndefined(successor.predecessor)
            break
          }
          case 4: {
            const batch = oneOf(rng, batches)
            if (batch === undefined) break
            batches.splice(batches.indexOf(batch), 1)
            detach(batch)
            fixture.queue.requeue(batch)
            break
          }
          default: {
            const batch = rng.chance(0.5) ? oneOf(rng, batches) : undefined
            if (batch !== undefined) detach(batch)
            const victim = open[rng.below(open.length)]
            const evicted = new Set(fixture.queue.evict((command) => command === victim, batch))
            open = open.filter((command) => !evicted.has(command))
            if (batch?.commands.length === 0) batches.splice(batches.indexOf(batch), 1)
          }
        }
        const owner = new Map<AccountActor, CommitBatch>()
        for (const batch of batches) {
          for (const actor of batch.commands.flatMap((command) => command.participants)) {
            // In order of taking, so that the second of two is the successor of the first.
            const other = owner.get(actor) ?? batch
            assert.isTrue(
              other === batch || batch.predecessor === other,
              `seed ${seed}: one account in two batches that are not chained`
            )
            owner.set(actor, batch)
          }
        }
        for (const actor of fixture.actors.values()) {
          assert.strictEqual(actor.batch, owner.get(actor), `seed ${seed}`)
          const touching = open.flatMap((command) => command.participants.filter((one) => one === actor))
          assert.strictEqual(actor.uncommitted, touching.length, `seed ${seed}: uncommitted`)
          // The speculative state is the committed one and what is open, chained without a gap.
          const rows = open.flatMap(({ pendingEvents }) => pendingEvents.filter((one) => one.actor === actor))
          let head = actor.committed
          for (const { before, after, row } of rows) {
            assert.strictEqual(before, head, `seed ${seed}`)
            assert.strictEqual(row.hash, after.hash)
            head = after
          }
          assert.strictEqual(actor.speculative, head, `seed ${seed}`)
        }
        assert.strictEqual(
          fixture.queue.size + batches.reduce((sum, batch) => sum + batch.commands.length, 0),
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
    for (const count of Object.values(chained)) assert.isAbove(count, 50, JSON.stringify(chained))
  })

  it("chains what waits for one batch alone, and nothing that waits for another", () => {
    const fixture = new CommandFixture(names)
    fixture.push(deposit("a", 1n))
    const first = fixture.queue.take(eight)
    fixture.push(deposit("b", 1n))
    const second = fixture.queue.take(eight)
    const behindFirst = [fixture.push(transfer("a", "c", 1n)), fixture.push(deposit("c", 1n))]
    const behindBoth = fixture.push(transfer("a", "b", 1n))
    const behindIt = fixture.push(deposit("c", 1n))
    const behindSecond = fixture.push(deposit("b", 1n))
    // Its account is also of an older command that waits: it must not overtake it.
    const afterBoth = fixture.push(deposit("a", 1n))
    const successor = fixture.queue.take(eight)
    assert.deepStrictEqual(successor?.commands, [...behindFirst, behindIt])
    assert.strictEqual(successor?.predecessor, first)
    assert.deepStrictEqual(phasesOf([behindBoth, behindSecond, afterBoth]), ["queued", "queued", "queued"])
    fixture.commit(second)
    assert.isUndefined(fixture.queue.take(eight))
    fixture.commit(first)
    assert.deepStrictEqual(verdictOf(successor), Exit.succeed(true))
  })

  it("chains nothing behind a batch that retries, and nothing that has too few rows", () => {
    const fixture = new CommandFixture(names)
    fixture.push(deposit("a", 1n))
    const first = fixture.queue.take(eight)
    fixture.push(deposit("a", 1n))
    assert.isUndefined(fixture.queue.take(eight))
    const [second, third] = [fixture.push(deposit("a", 1n)), fixture.push(deposit("a", 1n))]
    const successor = fixture.queue.take(eight)
    assert.strictEqual(successor?.commands.length, 3)
    if (first === undefined) return assert.fail("nothing was taken")
    assert.isTrue(fixture.queue.detachSuccessor(first))
    assert.deepStrictEqual(phasesOf([second, third]), ["queued", "queued"])
    assert.isUndefined(fixture.queue.take(eight))
    assert.isFalse(fixture.queue.detachSuccessor(first))
  })

  it("does not chain a batch that has only rejections: they would be answered before the events they depend on", () => {
    const fixture = new CommandFixture(names)
    fixture.push(withdraw("a", 100n))
    fixture.queue.take(wide)
    for (let index = 0; index < 8; index++) fixture.push(withdraw("a", 1n))
    fixture.push(deposit("a", 1n))
    assert.isUndefined(fixture.queue.take({ rowsMax: 8, bytesMax: 100 }))
    fixture.push(deposit("a", 1n))
    assert.strictEqual(fixture.queue.take({ rowsMax: 4, bytesMax: 1_000 })?.commands.length, 10)
  })

  it("evicts the guilty and exactly what depends on them, as a brute-force model says", () => {
    let evictedMore = 0
    let kept = 0
    for (let seed = 1; seed <= 100; seed++) {
      const rng = new Rng(seed)
      const fixture = new CommandFixture(names)
      const commands = Array.from({ length: 25 }, () => fixture.push(randomInput(rng)))
      const batch = rng.chance(0.5) ? fixture.queue.take({ rowsMax: 10, bytesMax: 1_000_000 }) : undefined
      const guilty = new Set(commands.filter(() => rng.chance(0.1)))
      const over = new Set([...guilty].filter(() => rng.chance(0.5)))
      // Each that was decided after a guilty or dependent one which wrote to an account of it, or may when it is decided again.
      const expected = new Set<PendingCommand>()
      for (const [index, command] of commands.entries()) {
        const depends = commands
          .slice(0, index)
          .some(
            (other) =>
              expected.has(other) &&
              command.participants.some((actor) =>
                over.has(other)
                  ? other.pendingEvents.some((event) => event.actor === actor)
                  : other.participants.includes(actor)
              )
          )
        if (guilty.has(command) || depends) expected.add(command)
      }
      const firstHeads = new Map<AccountActor, unknown>()
      for (const command of commands) {
        if (!expected.has(command)) continue
        for (const { actor, before } of command.pendingEvents) {
          if (!firstHeads.has(actor)) firstHeads.set(actor, before)
        }
      }
      const evicted = fixture.queue.evict(
        (command) => guilty.has(command),
        batch,
        (command) => over.has(command)
      )
      assert.deepStrictEqual(
        evicted.map((command) => commands.indexOf(command)),
        [...expected].map((command) => commands.indexOf(command)),
        `seed ${seed}`
      )
      for (const [actor, before] of firstHeads) assert.strictEqual(actor.speculative, before, `seed ${seed}`)
      for (const command of evicted) {
        assert.strictEqual(command.phase, "loading")
        assert.deepStrictEqual(
          [command.pendingEvents.length, command.participants.length, command.rejection],
          [0, 0, undefined]
        )
      }
      evictedMore += evicted.length - guilty.size
      kept += commands.length - evicted.length
    }
    assert.isAbove(evictedMore, 100)
    assert.isAbove(kept, 100)
  })

  it("takes up to its limits, but at least one command", () => {
    const fixture = new CommandFixture(names)
    for (let index = 0; index < 4; index++) fixture.push(transfer("a", "b", 1n))
    assert.strictEqual(fixture.queue.take({ rowsMax: 5, bytesMax: 1_000_000 })?.commands.length, 2)
    assert.strictEqual(fixture.queue.take(wide), undefined)
    const other = new CommandFixture(names)
    other.push(transfer("a", "b", 1n))
    other.push(transfer("c", "d", 1n))
    assert.strictEqual(other.queue.take({ rowsMax: 1, bytesMax: 1 })?.commands.length, 1)
    assert.strictEqual(other.queue.take({ rowsMax: 1, bytesMax: 1 })?.commands.length, 1)
    assert.strictEqual(other.queue.take(wide), undefined)
  })

  it("lets only those commands overtake a waiting one that share no account with it", () => {
    const fixture = new CommandFixture(names)
    fixture.push(deposit("a", 1n))
    const first = fixture.queue.take(wide)
    const waits = fixture.push(transfer("a", "b", 1n))
    const behind = fixture.push(deposit("b", 1n))
    const free = fixture.push(deposit("c", 1n))
    assert.deepStrictEqual(fixture.queue.take(wide)?.commands, [free])
    fixture.commit(first)
    assert.deepStrictEqual(fixture.queue.take(wide)?.commands, [waits, behind])
  })

  it("evicts what stands behind a rejected one that is decided again, and nothing behind one that is over", () => {
    const scene = () => {
      const fixture = new CommandFixture(names)
      const all = fixture.push(withdraw("a", 100n))
      const rejected = fixture.push(transfer("a", "b", 40n))
      const behind = fixture.push(withdraw("b", 130n))
      const other = fixture.push(withdraw("c", 1n))
      assert.isDefined(rejected.rejection)
      assert.isDefined(behind.rejection)
      return { fixture, all, rejected, behind, other }
    }
    const again = scene()
    assert.deepStrictEqual(
      again.fixture.queue.evict((command) => command === again.all),
      [again.all, again.rejected, again.behind]
    )
    const over = scene()
    const isOver = (command: PendingCommand) => command === over.rejected
    assert.deepStrictEqual(over.fixture.queue.evict(isOver, undefined, isOver), [over.rejected])
  })

  it("evicts all behind a capture whose hold was not found, which may pay any account when it is decided again", () => {
    const fixture = new CommandFixture(names)
    const all = fixture.push(withdraw("a", 100n))
    const placed = fixture.push({ _tag: "PlaceHold", commandId: "h", account: "a", amount: 40n, to: "b" })
    const capture = fixture.push({ _tag: "CaptureHold", account: "a", hold: "h" })
    const behind = fixture.push(withdraw("b", 130n))
    assert.strictEqual(capture.rejection?._tag, "HoldNotFound")
    const isOver = (command: PendingCommand) => command === all
    assert.deepStrictEqual(fixture.queue.evict(isOver, undefined, isOver), [all, placed, capture, behind])
  })

  it("keeps a rejected command waiting for what it was decided on", () => {
    const fixture = new CommandFixture(names)
    const all = fixture.push(withdraw("a", 100n))
    const first = fixture.queue.take(wide)
    const rejected = fixture.push(withdraw("a", 1n))
    assert.strictEqual(rejected.rejection?._tag, "InsufficientFunds")
    assert.strictEqual(fixture.queue.take(wide), undefined)
    // Without the first withdrawal there is nothing to reject.
    assert.deepStrictEqual(
      fixture.queue.evict((command) => command === all, first),
      [all, rejected]
    )
  })
})
