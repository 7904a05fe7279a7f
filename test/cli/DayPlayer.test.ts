/** A day has one end state: whatever the concurrency, and however often its player is killed and started over. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Fiber, FileSystem, Path, Random, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Assertion } from "../../src/cli/DayCommand.ts"
import { DayLine } from "../../src/cli/DayFile.ts"
import {
  JournalMismatch,
  type PlayOptions,
  type PlayResult,
  PlayStopped,
  play
} from "../../src/cli/DayPlayer.ts"
import { openPlayJournal, type PlayJournal } from "../../src/cli/PlayJournal.ts"
import type { AskedCommand, CommandInput } from "../../src/domain/Command.ts"
import {
  AccountNotFound,
  Indeterminate,
  NotYetVisible,
  Overloaded,
  type QueryError,
  Unavailable
} from "../../src/domain/Errors.ts"
import type { CommandId } from "../../src/domain/Ids.ts"
import { commands as anyCommands } from "../domain/arbitraries.ts"
import { command } from "../domain/books.ts"
import { drawn } from "../support/drawn.ts"
import { type EndState, FakeDisk, FakeLedger, inOrder, Life } from "./fakes.ts"

const forgetful: PlayJournal = { refused: new Map(), record: () => Effect.void }

const toLines = (commands: ReadonlyArray<AskedCommand>) =>
  Stream.fromIterable(commands.map((command, index) => DayLine.Command({ line: index + 2, command })))

/** One life of a player: over the same ledger and disk as the lives before it. */
const live = (
  commands: ReadonlyArray<AskedCommand>,
  world: { readonly ledger: FakeLedger; readonly disk: FakeDisk },
  life: Life,
  options: Partial<PlayOptions> = {}
) =>
  Effect.gen(function* () {
    const journal = yield* openPlayJournal("day.journal")
    const dispatch = world.ledger.dispatch(life)
    return yield* play(toLines(commands), { dispatch, journal, concurrency: 8, ...options })
  }).pipe(Effect.scoped, Effect.provide(world.disk.layer(life)))

/** Kills a life at step `diesAt`, keeps `kept` unsynced bytes, and plays again undisturbed. */
const killedAt = Effect.fnUntraced(function* (
  commands: ReadonlyArray<AskedCommand>,
  diesAt: number,
  kept: number,
  options: Partial<PlayOptions> = {}
) {
  const world = { ledger: new FakeLedger(), disk: new FakeDisk() }
  const life = new Life(diesAt)
  const exit = yield* Effect.exit(live(commands, world, life, options))
  assert.strictEqual(Exit.isFailure(exit), life.dead, "a life ends early only by being killed")
  world.disk.crash(kept)
  const result = yield* live(commands, world, new Life(), options)
  return { state: world.ledger.endState, result, died: life.dead }
})

const open = (account: string): CommandInput => ({
  _tag: "OpenAccount",
  account,
  asset: "USD/2",
  owner: "Ada"
})
const move = (_tag: "Deposit" | "Withdraw", account: string, amount: bigint): CommandInput => ({
  _tag,
  account,
  amount
})
const transfer = (from: string, to: string, amount: bigint): CommandInput => ({
  _tag: "Transfer",
  from,
  to,
  amount
})

/** Refusals that a later state would accept, of each kind there is; ids that come again with either body. */
const trap: ReadonlyArray<AskedCommand> = [
  transfer("a", "b", 1n), // not opened yet
  open("a"),
  open("b"),
  open("c"),
  move("Deposit", "a", 5n),
  move("Withdraw", "a", 50n), // not covered yet
  transfer("a", "c", 40n), // nor this
  move("Deposit", "a", 100n),
  { _tag: "FreezeAccount", account: "b" } as const,
  transfer("a", "b", 10n), // frozen
  { ...move("Deposit", "c", 3n), commandId: "again" } as CommandInput,
  { ...move("Deposit", "c", 3n), commandId: "again" } as CommandInput, // replayed
  { ...move("Deposit", "c", 4n), commandId: "again" } as CommandInput, // reused
  { _tag: "UnfreezeAccount", account: "b" } as const,
  { ...transfer("b", "c", 7n), commandId: "late" } as CommandInput, // not covered yet
  move("Deposit", "b", 9n),
  { ...move("Withdraw", "b", 2n), commandId: "late" } as CommandInput, // the same id, accepted with another body
  { _tag: "CloseAccount", account: "c" } as const, // not empty yet
  transfer("c", "a", 3n),
  { _tag: "CloseAccount", account: "c" } as const,
  transfer("a", "c", 1n), // closed
  move("Withdraw", "a", 98n)
].map((input, index) => command({ commandId: `l${index}`, ...input }))

const stateOfTrap = inOrder(trap)
const differs = (state: EndState): boolean => {
  try {
    assert.deepEqual(state, stateOfTrap)
    return false
  } catch {
    return true
  }
}

describe("an undisturbed day", () => {
  it.effect("ends in the state of its lines in order, and counts each line", () =>
    Effect.gen(function* () {
      const world = { ledger: new FakeLedger(), disk: new FakeDisk() }
      const result = yield* live(trap, world, new Life())
      assert.deepEqual(world.ledger.endState, stateOfTrap)
      assert.deepInclude(result, {
        commands: 22,
        accepted: 13,
        replayed: 1,
        refused: {
          AccountNotFound: 1,
          InsufficientFunds: 3,
          AccountNotActive: 2,
          CommandIdReused: 1,
          InvalidCommand: 1
        }
      })
    }).pipe(Random.withSeed("undisturbed"))
  )

  it.effect("lists the first refused lines of the file with id, reason and message", () =>
    Effect.gen(function* () {
      const world = { ledger: new FakeLedger(), disk: new FakeDisk() }
      const { refusals, refusedCount } = yield* live(trap, world, new Life(), { listedMax: 3 })
      assert.strictEqual(refusedCount, 8)
      assert.deepEqual(
        refusals.map(({ line, id, reason }) => [line, id, reason]),
        [
          [2, "l0", "AccountNotFound"],
          [7, "l5", "InsufficientFunds"],
          [8, "l6", "InsufficientFunds"]
        ]
      )
      assert.strictEqual(refusals[0]?.message, "account a does not exist")
      const again = yield* live(trap, world, new Life(), { listedMax: 3 })
      assert.deepEqual(again.refusals, refusals, "the journal keeps them for a second play")
    }).pipe(Random.withSeed("listed"))
  )

  it.effect("sends no refused command again when it is played a second time", () =>
    Effect.gen(function* () {
      const world = { ledger: new FakeLedger(), disk: new FakeDisk() }
      const first = yield* live(trap, world, new Life())
      const sent: Array<string> = []
      const dispatch = world.ledger.dispatch(new Life())
      const second = yield* live(trap, world, new Life(), {
        dispatch: (command) => {
          sent.push(command.commandId)
          return dispatch(command)
        }
      })
      assert.deepEqual(world.ledger.endState, stateOfTrap)
      assert.deepInclude(second, { accepted: 0, replayed: 14, refused: first.refused })
      assert.strictEqual(sent.length, 14)
    }).pipe(Random.withSeed("twice"))
  )

  it.effect.prop(
    "ends the same at any concurrency",
    [anyCommands, Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 64 })), Schema.Int],
    ([drawn, concurrency, seed]) =>
      Effect.gen(function* () {
        const commands = withIds(drawn)
        const world = { ledger: new FakeLedger(), disk: new FakeDisk() }
        yield* live(commands, world, new Life(), { concurrency })
        assert.deepEqual(world.ledger.endState, inOrder(commands))
      }).pipe(Random.withSeed(seed)),
    drawn
  )

  it.effect("sends commands of one id one after another, also on different accounts", () =>
    Effect.gen(function* () {
      const ledger = new FakeLedger()
      const dispatch = ledger.dispatch(new Life())
      const fast = new Set<string>()
      const twice = [
        command({ commandId: "x", ...open("a") }),
        command({ commandId: "x", ...open("b") }),
        command({ commandId: "y", ...open("c") })
      ]
      const result = yield* play(toLines(twice), {
        journal: forgetful,
        dispatch: (command) =>
          // The first takes its time until all that do not wait for it are through.
          "account" in command && command.account === "a"
            ? Effect.andThen(
                Effect.repeat(Effect.yieldNow, { until: () => fast.has("c"), times: 1_000 }),
                Effect.andThen(Effect.replicateEffect(Effect.yieldNow, 50), dispatch(command))
              )
            : Effect.tap(dispatch(command), () =>
                Effect.sync(() => {
                  if ("account" in command) fast.add(command.account)
                })
              )
      })
      assert.deepInclude(result, { accepted: 2, refused: { CommandIdReused: 1 } })
      assert.deepEqual(ledger.endState, inOrder(twice))
    }).pipe(Random.withSeed("one id"))
  )

  it.effect("asks for each assertion after the lines before it and before those after it", () =>
    Effect.gen(function* () {
      const ledger = new FakeLedger()
      const asset = command({ ...open("a") }) as Extract<AskedCommand, { _tag: "OpenAccount" }> // as it is opened
      const a = asset.account
      const assertions = [
        { of: { account: a }, asset: asset.asset, expected: 5n },
        { of: { prefix: "" }, asset: asset.asset, expected: 7n },
        { of: { prefix: "b" }, asset: asset.asset, expected: 9n },
        { of: { account: a }, asset: asset.asset, expected: 4n }
      ]
      const said = [
        open("a"),
        open("b"),
        move("Deposit", "a", 5n),
        0,
        move("Deposit", "b", 2n),
        1,
        transfer("a", "b", 1n),
        2,
        3,
        move("Withdraw", "a", 4n),
        move("Withdraw", "b", 3n)
      ]
      const lines = said.map((one, index) =>
        typeof one === "number"
          ? { _tag: "Assertion" as const, line: index + 2, assertion: assertions[one] as Assertion } // one of them
          : DayLine.Command({ line: index + 2, command: command({ commandId: `c${index}`, ...one }) })
      )
      const skipped: DayLine = { _tag: "Skipped", line: 99 }
      const once = (life: Life) =>
        play(Stream.fromIterable([...lines, skipped]), {
          journal: forgetful,
          dispatch: ledger.dispatch(life),
          balanceOf: ({ of }, { version }) =>
            Effect.sync(() => {
              const balances = [...ledger.books.accounts.values()].flatMap((account) => {
                const prefix = "prefix" in of ? of.prefix : of.account
                return account._tag === "Opened" && account.id.startsWith(prefix) ? [account.balance] : []
              })
              if ("account" in of) assert.isDefined(version)
              return balances.reduce((sum, balance) => sum + balance, 0n)
            })
        })
      const result = yield* once(new Life())
      assert.deepInclude(result, { commands: 7, accepted: 7, skipped: 1, assertions: 4 })
      assert.deepEqual(result.failedAssertions, [
        { line: 9, message: "b* comes to 0.03 USD, not to 0.09 USD" }
      ])
      assert.strictEqual(result.failedAssertionCount, 1)
    }).pipe(Random.withSeed("assertions"))
  )

  it.effect(
    "asks for the sum of a prefix after what may touch any account, as of the lines before it alone",
    () =>
      Effect.gen(function* () {
        const ledger = new FakeLedger()
        const dispatch = ledger.dispatch(new Life())
        const [a, b] = ["a", "b"].map((id) => command({ ...open(id), commandId: `open-${id}` }))
        const usd = a !== undefined && "asset" in a ? a.asset : undefined
        if (a === undefined || b === undefined || usd === undefined) return assert.fail("they were made")
        const said = [
          a,
          b,
          command({ ...move("Deposit", "a", 5n), commandId: "in" }),
          command({ ...transfer("a", "b", 5n), commandId: "moved" }),
          command({ _tag: "Reverse", original: "moved", reason: "refund" }),
          { of: { prefix: "b" }, asset: usd, expected: 0n } satisfies Assertion,
          command({ ...move("Deposit", "a", 2n), commandId: "later" })
        ]
        const lines = said.map(
          (one, index): DayLine =>
            "of" in one
              ? { _tag: "Assertion", line: index + 2, assertion: one }
              : DayLine.Command({ line: index + 2, command: one })
        )
        const { failedAssertions, assertions } = yield* play(Stream.fromIterable(lines), {
          journal: forgetful,
          dispatch: (one) =>
            Effect.gen(function* () {
              // The reversal takes its time, and what is behind the assertion was recorded long after it when it was played first.
              if (one._tag === "Reverse")
                yield* Effect.replicateEffect(Effect.yieldNow, 50, { discard: true })
              const receipt = yield* dispatch(one)
              return { ...receipt, recordedAt: one.commandId === "later" ? 9 : 3 }
            }),
          balanceOf: (_, { recordedAt }) =>
            Effect.sync(() => {
              assert.strictEqual(recordedAt, 3)
              const found = [...ledger.books.accounts.values()].find(({ id }) => id === "b")
              return found?._tag === "Opened" ? found.balance : -1n
            })
        })
        assert.strictEqual(assertions, 1)
        assert.deepStrictEqual(failedAssertions, [])
      }).pipe(Random.withSeed("reversal"))
  )

  it.effect("waits for a read side that is behind, as long as for a command, before it judges", () =>
    Effect.gen(function* () {
      const usd = command({ ...open("a"), commandId: "of-usd" })
      if (!("asset" in usd)) return assert.fail("it opens an account")
      const assertion: Assertion = { of: { prefix: "a" }, asset: usd.asset, expected: 7n }
      const lines = [
        DayLine.Command({ line: 2, command: usd }),
        { _tag: "Assertion" as const, line: 3, assertion }
      ]
      const behind = new NotYetVisible({ wanted: "1@5", reached: "1@4" })
      const playOf = (balanceOf: NonNullable<PlayOptions["balanceOf"]>) =>
        play(Stream.fromIterable(lines), {
          journal: forgetful,
          dispatch: new FakeLedger().dispatch(new Life()),
          balanceOf,
          patienceMs: 5_000
        })
      /** Its end, while time goes by. */
      const inTime = <A, E, R>(self: Effect.Effect<A, E, R>) =>
        Effect.raceFirst(
          self,
          Effect.forever(Effect.andThen(Effect.yieldNow, TestClock.adjust("100 millis")))
        )
      let asked = 0
      const answered = (times: number, error: QueryError) => () =>
        Effect.suspend(() => {
          asked++
          return asked > times ? Effect.succeed(7n) : Effect.fail(error)
        })
      const held = yield* inTime(playOf(answered(6, behind)))
      assert.deepInclude(held, { assertions: 1, failedAssertionCount: 0 })
      assert.strictEqual(asked, 7)
      const never = yield* inTime(playOf(() => Effect.fail(behind)))
      assert.deepStrictEqual(never.failedAssertions, [
        { line: 3, message: `a* is to come to 0.07 USD: ${behind.message}` }
      ])
      // What no waiting changes is not asked again.
      asked = 0
      const missing = yield* inTime(playOf(answered(1, new AccountNotFound({ account: "a" }))))
      assert.strictEqual(missing.failedAssertionCount, 1)
      assert.strictEqual(asked, 1)
    }).pipe(Random.withSeed("patience"))
  )

  it.effect("runs commands of different accounts at the same time, within the limit", () =>
    Effect.gen(function* () {
      let underWay = 0
      let most = 0
      const ledger = new FakeLedger()
      const dispatch = ledger.dispatch(new Life())
      const many = Array.from({ length: 60 }, (_, index) =>
        command({ commandId: `o${index}`, ...open(`a${index}`) })
      )
      yield* play(toLines(many), {
        journal: forgetful,
        concurrency: 7,
        dispatch: (command) =>
          Effect.suspend(() => {
            most = Math.max(most, ++underWay)
            return Effect.ensuring(
              Effect.andThen(Effect.yieldNow, dispatch(command)),
              Effect.sync(() => underWay--)
            )
          })
      })
      assert.strictEqual(most, 7)
    }).pipe(Random.withSeed("width"))
  )
})

/** Two ids of each seven come again, with the same body or another one. */
const withIds = (commands: ReadonlyArray<AskedCommand>): ReadonlyArray<AskedCommand> =>
  commands.map((command, index) => ({
    ...command,
    // letters and digits, which the schema of ids accepts
    commandId: `i${index % 7 < 2 ? index % 14 : index + 100}` as CommandId
  }))

describe("a player that is killed", () => {
  it.effect(
    "ends like an undisturbed one, whatever step it is killed at and whatever unsynced bytes are lost",
    () =>
      Effect.gen(function* () {
        let deaths = 0
        for (let step = 1; ; step++) {
          let died = false
          for (const kept of [0, 1, 40, 1_000]) {
            const life = yield* killedAt(trap, step, kept)
            assert.deepEqual(life.state, stateOfTrap, `killed at step ${step}, ${kept} bytes kept`)
            died = life.died
            if (died) deaths++
          }
          if (!died) break
        }
        assert.isAbove(deaths, 200)
      }).pipe(Random.withSeed("every step"))
  )

  it.effect.prop(
    "ends like an undisturbed one after any number of kills, on any day",
    [
      anyCommands,
      Arbitrary.array(Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 90 }))), {
        maxLength: 6
      }),
      Schema.Int
    ],
    ([drawn, deaths, seed]) =>
      Effect.gen(function* () {
        const commands = withIds(drawn)
        const world = { ledger: new FakeLedger(), disk: new FakeDisk() }
        for (const diesAt of deaths) {
          yield* Effect.exit(live(commands, world, new Life(diesAt)))
          world.disk.crash(diesAt % 3 === 0 ? 0 : diesAt * 3)
        }
        yield* live(commands, world, new Life())
        assert.deepEqual(world.ledger.endState, inOrder(commands))
      }).pipe(Random.withSeed(seed)),
    { arbitrary: { ...drawn.arbitrary, runs: 200, size: 60 } }
  )

  it.effect("would end in another state without the journal", () =>
    Effect.gen(function* () {
      let different = 0
      for (let step = 1; step < 60; step++) {
        const { state } = yield* killedAt(trap, step, 0, { journal: forgetful })
        if (differs(state)) different++
      }
      assert.isAbove(different, 5)
    }).pipe(Random.withSeed("forgetful"))
  )

  it.effect(
    "would end in another state if commands did not wait for earlier refusals to be on the disk",
    () =>
      Effect.gen(function* () {
        let different = 0
        for (let step = 1; step < 80; step++) {
          const world = { ledger: new FakeLedger(), disk: new FakeDisk() }
          const life = new Life(step)
          yield* Effect.gen(function* () {
            const journal = yield* openPlayJournal("day.journal")
            const hasty = {
              ...journal,
              record: (refusal: Parameters<PlayJournal["record"]>[0]) =>
                Effect.asVoid(Effect.forkDetach(Effect.andThen(Effect.yieldNow, journal.record(refusal))))
            }
            yield* play(toLines(trap), { dispatch: world.ledger.dispatch(life), journal: hasty })
          }).pipe(Effect.scoped, Effect.provide(world.disk.layer(life)), Effect.exit)
          world.disk.crash(0)
          yield* live(trap, world, new Life())
          if (differs(world.ledger.endState)) different++
        }
        assert.isAbove(different, 0)
      }).pipe(Random.withSeed("hasty"))
  )
})

describe("the journal", () => {
  it.effect("of another file is refused at the first difference", () =>
    Effect.gen(function* () {
      const world = { ledger: new FakeLedger(), disk: new FakeDisk() }
      yield* live(trap, world, new Life())
      const edited = [command({ commandId: "new", ...open("z") }), ...trap]
      const error = yield* Effect.flip(live(edited, world, new Life()))
      assert.instanceOf(error, JournalMismatch)
    }).pipe(Random.withSeed("mismatch"))
  )

  it.effect("still fits when lines were added at the end", () =>
    Effect.gen(function* () {
      const world = { ledger: new FakeLedger(), disk: new FakeDisk() }
      yield* live(trap, world, new Life())
      const longer = [...trap, command({ commandId: "more", ...move("Deposit", "a", 1n) })]
      const result = yield* live(longer, world, new Life())
      assert.strictEqual(result.accepted, 1)
      assert.deepEqual(world.ledger.endState, inOrder(longer))
    }).pipe(Random.withSeed("longer"))
  )

  it.effect("records nothing after a failed write, and the play stops", () =>
    Effect.gen(function* () {
      const world = { ledger: new FakeLedger(), disk: new FakeDisk() }
      world.disk.fullAfter = 3
      const error = yield* Effect.flip(live(trap, world, new Life()))
      assert.strictEqual(error._tag, "PlatformError")
      world.disk.crash(0)
      world.disk.fullAfter = Number.POSITIVE_INFINITY
      yield* live(trap, world, new Life())
      assert.deepEqual(world.ledger.endState, stateOfTrap)
    }).pipe(Random.withSeed("full"))
  )

  it.effect("stays closed after a failed write, because the content of the file is unknown", () =>
    Effect.gen(function* () {
      const disk = new FakeDisk()
      yield* Effect.gen(function* () {
        const journal = yield* openPlayJournal("day.journal")
        disk.fullAfter = 1
        yield* Effect.flip(journal.record({ ordinal: 1, digest: "d", reason: "r" }))
        disk.fullAfter = Number.POSITIVE_INFINITY
        const error = yield* Effect.flip(journal.record({ ordinal: 2, digest: "d", reason: "r" }))
        assert.strictEqual(error._tag, "PlatformError")
      }).pipe(Effect.scoped, Effect.provide(disk.layer(new Life())))
    })
  )

  it.effect.each(["{", '{"ordinal":9,"dig', "\0\0\0\0\n", '{"ordinal":"9"}\n{"ordinal":2}\n'])(
    "on a real disk is cut where a crash tore it (%j), and goes on from there",
    (torn) =>
      Effect.gen(function* () {
        const files = yield* FileSystem.FileSystem
        const { join } = yield* Path.Path
        const path = join(yield* files.makeTempDirectoryScoped(), "day.journal")
        const record = (...ordinals: ReadonlyArray<number>) =>
          Effect.gen(function* () {
            const journal = yield* openPlayJournal(path)
            for (const ordinal of ordinals) yield* journal.record({ ordinal, digest: "d", reason: "r" })
            return [...journal.refused.keys()]
          }).pipe(Effect.scoped)
        assert.deepEqual(yield* record(1, 4), [])
        yield* files.writeFileString(path, torn, { flag: "a" })
        assert.deepEqual(yield* record(7), [1, 4])
        assert.deepEqual(yield* record(), [1, 4, 7])
      }).pipe(Effect.provide(NodeServices.layer))
  )

  it.effect("syncs once for refusals that come together", () =>
    Effect.gen(function* () {
      const disk = new FakeDisk()
      yield* Effect.gen(function* () {
        const journal = yield* openPlayJournal("day.journal")
        const before = disk.syncs
        yield* Effect.forEach(
          Array.from({ length: 500 }, (_, ordinal) => ({ ordinal, digest: "d", reason: "r" })),
          journal.record,
          { concurrency: "unbounded" }
        )
        assert.isBelow(disk.syncs - before, 5)
      }).pipe(Effect.scoped, Effect.provide(disk.layer(new Life())))
      disk.crash(0)
      const again = yield* Effect.scoped(openPlayJournal("day.journal")).pipe(
        Effect.provide(disk.layer(new Life()))
      )
      assert.strictEqual(again.refused.size, 500)
    })
  )
})

describe("a ledger that cannot take a command", () => {
  const errors = [
    new Overloaded({ what: "mailbox", retryAfterMs: 300 }),
    new Unavailable({ what: "event store", reason: "gone" }),
    new Indeterminate({ commandId: "l0" })
  ]

  it.effect("is sent the same id again until it accepts", () =>
    Effect.gen(function* () {
      const ledger = new FakeLedger()
      const dispatch = ledger.dispatch(new Life())
      const sent: Array<string> = []
      const fiber = yield* Effect.forkChild(
        play(toLines(trap), {
          journal: forgetful,
          dispatch: (command) =>
            Effect.suspend(() => {
              sent.push(command.commandId)
              const error = errors[sent.filter((id) => id === command.commandId).length - 1]
              if (error === undefined) return dispatch(command)
              // Of an indeterminate command the first sending did land.
              return error._tag === "Indeterminate"
                ? Effect.andThen(Effect.exit(dispatch(command)), Effect.fail(error))
                : Effect.fail(error)
            })
        })
      )
      const result: PlayResult = yield* Effect.raceFirst(
        Fiber.join(fiber),
        Effect.forever(Effect.andThen(Effect.yieldNow, TestClock.adjust("100 millis")))
      )
      assert.deepEqual(ledger.endState, stateOfTrap)
      // All but the second command "late" had landed before their outcome was learned.
      assert.deepInclude(result, { accepted: 1, replayed: 13 })
    }).pipe(Random.withSeed("transient"))
  )

  it.effect.each(errors)("stops the play at its deadline ($_tag), naming the line", (cause) =>
    Effect.gen(function* () {
      const fiber = yield* Effect.forkChild(
        Effect.flip(
          play(toLines(trap.slice(1, 3)), {
            journal: forgetful,
            patienceMs: 5_000,
            concurrency: 1,
            dispatch: () => Effect.fail(cause)
          })
        )
      )
      const error = yield* Effect.raceFirst(
        Fiber.join(fiber),
        Effect.forever(Effect.andThen(Effect.yieldNow, TestClock.adjust("100 millis")))
      )
      assert.instanceOf(error, PlayStopped)
      assert.deepInclude(error, { line: 2, cause })
    })
  )
})
