/** What queries answer, how they page, and how they wait for a read token. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Result } from "effect"
import { TestClock } from "effect/testing"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { QueryError } from "../../src/domain/Errors.ts"
import { type AccountId, instantMax } from "../../src/domain/Ids.ts"
import { printToken } from "../../src/domain/Receipt.ts"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import {
  defaultReadSideLimits,
  ReadSideConfig,
  type ReadSideLimits
} from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { Queries } from "../../src/infra/readmodel/Queries.ts"
import { type LinesQuery, type ReadHead, ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit, EventWriter, openAccount, transfer, withdraw } from "../support/eventWriter.ts"
import { quiet } from "../support/ledgerWorld.ts"
import { accountId, commandId } from "../support/storedEvents.ts"
import { batchOf } from "./readModelContract.ts"

const services = (limits: Partial<ReadSideLimits> = {}, model = ReadModel.layerMemory) =>
  Layer.fresh(
    Layer.mergeAll(Queries.layer, ProjectionEngine.layer).pipe(
      Layer.provideMerge(Layer.mergeAll(model, EventStore.layerMemory)),
      Layer.provideMerge(ProjectionWaiters.layer),
      Layer.provide(Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, ...limits })),
      Layer.provide(Layer.succeed(LedgerConfig, { ...defaultLimits, queryDeadlineMs: 5_000 }))
    )
  )

/** Queries whose waiters the projector does not wake, as if it ran in another process. */
const queriesOfAnotherProcess = Layer.fresh(
  Layer.mergeAll(
    Queries.layer.pipe(Layer.provideMerge(ProjectionWaiters.layer)),
    ProjectionEngine.layer.pipe(Layer.provide(EventStore.layerMemory))
  ).pipe(Layer.provide(ReadModel.layerMemory.pipe(Layer.provide(Layer.fresh(ProjectionWaiters.layer)))))
)

const a = accountId("a")
const b = accountId("b")

/** A read model whose rows of accounts go back to their first version, at once or when their holds are asked for. */
const makeGoingBack = () => {
  let goesBack: "nothing" | "heads" | "holds" = "nothing"
  const goingBack = Layer.effect(
    ReadModel,
    Effect.map(ReadModel, (real) => {
      const first = new Map<AccountId, ReadHead>()
      return {
        ...real,
        apply: (batch: Parameters<typeof real.apply>[0]) => {
          for (const { head } of batch.moves)
            if (!first.has(head.account.id)) first.set(head.account.id, { ...head, isParked: true })
          return real.apply(batch)
        },
        heads: (accounts: ReadonlyArray<AccountId>) =>
          Effect.suspend(() => (goesBack === "heads" ? Effect.succeed(first) : real.heads(accounts))),
        holds: (asked: Parameters<typeof real.holds>[0]) =>
          Effect.tap(real.holds(asked), () =>
            Effect.sync(() => {
              if (goesBack === "holds") goesBack = "heads"
            })
          ),
        statement: (asked: LinesQuery) =>
          Effect.suspend(() => real.statement(goesBack === "heads" ? { ...asked, upTo: 1 } : asked))
      }
    })
  ).pipe(Layer.provide(ReadModel.layerMemory))
  const set = (next: typeof goesBack): void => {
    goesBack = next
  }
  return { goingBack, set }
}

const project = (writer: EventWriter, ...commands: ReadonlyArray<CommandInput>) =>
  Effect.flatMap(ProjectionEngine, ({ project }) => project(writer.commit(...commands).events, []))

const failureOf = (query: Effect.Effect<unknown, QueryError>) => Effect.flip(query)

describe("queries", () => {
  it.effect("answer the balance of an account", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const writer = new EventWriter()
      yield* project(writer, openAccount("a", 50n), deposit("a", 100n), withdraw("a", 130n))
      const { account, hash } = yield* queries.balance(a)
      assert.deepInclude(account, { balance: -30n, version: 3, status: "open", owner: "owner of a" })
      assert.strictEqual(hash, writer.headOf(a).hash)
      for (const query of [queries.balance(b), queries.statement(b)]) {
        const error = yield* failureOf(query)
        assert.deepInclude(error, { _tag: "AccountNotFound", account: "b" })
      }
    }).pipe(Effect.provide(services()))
  )

  it.effect(
    "with a read token wait again, and are of no earlier version, where the rows of the account have just gone back",
    () => {
      const { goingBack, set } = makeGoingBack()
      return Effect.gen(function* () {
        const queries = yield* Queries
        const writer = new EventWriter()
        yield* project(writer, openAccount("a"))
        yield* project(writer, deposit("a", 1n))
        const asked = { readToken: printToken([{ account: a, version: 2 }]) }
        assert.strictEqual((yield* queries.balance(a, asked)).account.version, 2)
        const page = yield* queries.statement(a, { axis: "effective", limit: 1 })
        const further = { axis: "effective", cursor: page.next, ...asked } as const
        assert.lengthOf((yield* queries.statement(a, further)).rows, 1)
        const questions: ReadonlyArray<Effect.Effect<unknown, QueryError>> = [
          queries.balance(a, asked),
          queries.statement(a, asked),
          queries.statement(a, further),
          queries.holds(a, asked)
        ]
        for (const question of questions) {
          set("heads")
          const answers = yield* Effect.forkChild(Effect.result(question))
          yield* TestClock.adjust("4 seconds")
          assert.isUndefined(answers.pollUnsafe())
          yield* TestClock.adjust("1 second")
          const answer = yield* Fiber.join(answers)
          assert.deepInclude(Result.isFailure(answer) ? answer.failure : answer, {
            _tag: "NotYetVisible",
            wanted: "a@2",
            reached: "a@1"
          })
          const later = yield* Effect.forkChild(question)
          yield* TestClock.adjust("1 second")
          set("nothing")
          yield* TestClock.adjust("1 second")
          yield* Fiber.join(later)
        }
        set("heads")
        assert.strictEqual((yield* queries.balance(a)).account.version, 1)
        // They go back while the holds are asked for.
        set("holds")
        const holds = yield* Effect.forkChild(Effect.flip(queries.holds(a, asked)))
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* Fiber.join(holds))._tag, "NotYetVisible")
      }).pipe(Effect.provide(services({}, goingBack)))
    }
  )

  it.effect("page through a statement without missing or repeating a line", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const writer = new EventWriter()
      yield* project(writer, openAccount("a"), ...Array.from({ length: 24 }, () => deposit("a", 2n)))
      const seen: Array<number> = []
      let cursor: string | undefined
      let pages = 0
      do {
        const page = yield* queries.statement(a, { limit: 10, cursor })
        seen.push(...page.rows.map((line) => line.version))
        cursor = page.next
        pages++
      } while (cursor !== undefined)
      assert.strictEqual(pages, 3)
      assert.deepStrictEqual(
        seen,
        Array.from({ length: 25 }, (_, index) => index + 1)
      )
      const [line] = (yield* queries.statement(a, { cursor: "24" })).rows
      assert.deepInclude(line, { version: 25, amount: 2n, balance: 48n, counterparty: "external:bank" })
    }).pipe(Effect.provide(services()))
  )

  it.effect("keep all pages of a statement by effective time to one version", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const eventWriter = new EventWriter()
      const start = eventWriter.now
      const dated = (amount: bigint, at: number) => ({ ...deposit("a", amount), effectiveAt: start + at })
      yield* project(eventWriter, openAccount("a"), dated(10n, 30), dated(5n, 20), dated(3n, 25))
      const asked = { axis: "effective", limit: 2 } as const
      const first = yield* queries.statement(a, asked)
      yield* project(eventWriter, dated(100n, 22), dated(200n, 28))
      const second = yield* queries.statement(a, { ...asked, cursor: first.next })
      assert.deepStrictEqual(
        [first, second].map(({ opening, rows, closing }) => [
          opening,
          ...rows.map((line) => line.balance),
          closing
        ]),
        [
          [0n, 0n, 5n, 18n],
          [0n, 8n, 18n, 18n]
        ]
      )
      assert.isUndefined(second.next)
      assert.strictEqual((yield* queries.statement(a, { axis: "effective" })).closing, 318n)
    }).pipe(Effect.provide(services()))
  )

  it.effect("answer an empty page where an account has no lines in the interval", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      yield* project(new EventWriter(), openAccount("a"))
      const page: object = yield* queries.statement(a, { from: 0, to: 1 })
      assert.deepStrictEqual(page, { rows: [], next: undefined, asset: "USD/2", opening: 0n, closing: 0n })
    }).pipe(Effect.provide(services()))
  )

  it.effect("have the last instant of all before a bound that lies behind it", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const writer = new EventWriter()
      const atLast = { effectiveAt: instantMax }
      const hold = {
        _tag: "PlaceHold",
        commandId: "h",
        account: "a",
        amount: 5n,
        expiresAt: instantMax
      } as const
      yield* project(writer, openAccount("a"), { ...deposit("a", 9n), ...atLast }, hold)
      for (const beyond of [instantMax + 1, Number.MAX_SAFE_INTEGER]) {
        const before = yield* queries.statement(a, { axis: "effective", to: beyond })
        assert.deepStrictEqual([before.rows.length, before.closing], [3, 9n])
        const behind = yield* queries.statement(a, { axis: "effective", from: beyond })
        assert.deepStrictEqual([behind.rows.length, behind.opening, behind.closing], [0, 9n, 9n])
        assert.lengthOf((yield* queries.holds(a, { expiringBefore: beyond })).rows, 1)
        assert.lengthOf((yield* queries.holdsByExpiry({ expiringBefore: beyond })).rows, 1)
      }
      assert.strictEqual((yield* queries.statement(a, { axis: "effective", to: instantMax })).closing, 0n)
      assert.lengthOf((yield* queries.holds(a, { expiringBefore: instantMax })).rows, 0)
    }).pipe(Effect.provide(services()))
  )

  it.effect("answer a transfer on both accounts and by its id", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      yield* project(
        new EventWriter(),
        openAccount("a"),
        openAccount("b"),
        deposit("a", 10n),
        { ...transfer("a", "b", 7n), commandId: "t-1" },
        transfer("b", "a", 2n)
      )
      const seenBy = (account: typeof a) =>
        Effect.map(queries.statement(account), ({ rows }) =>
          rows
            .filter(({ type }) => type.startsWith("Transfer"))
            .map((line) => [line.counterparty, line.amount])
        )
      assert.deepStrictEqual(yield* seenBy(a), [
        ["b", -7n],
        ["b", 2n]
      ])
      assert.deepStrictEqual(yield* seenBy(b), [
        ["a", 7n],
        ["a", -2n]
      ])
      const found = yield* queries.transfer(commandId("t-1"))
      assert.deepInclude(found, { from: a, fromVersion: 3, to: b, toVersion: 2, amount: 7n })
      assert.isUndefined(yield* queries.transfer(commandId("t-2")))
    }).pipe(Effect.provide(services()))
  )

  it.effect("list no more accounts a page than the limit in force", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      yield* project(new EventWriter(), ...["c", "a", "b"].map((id) => openAccount(id)))
      const first = yield* queries.accounts({ limit: 1_000_000 })
      assert.deepStrictEqual(
        first.rows.map((head) => String(head.account.id)),
        ["a", "b"]
      )
      const second = yield* queries.accounts({ cursor: first.next })
      assert.deepStrictEqual(
        second.rows.map((head) => String(head.account.id)),
        ["c"]
      )
      assert.isUndefined(second.next)
    }).pipe(Effect.provide(services({ pageMax: 2 })))
  )

  it.effect("answer a trial balance of zero", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      yield* project(new EventWriter(), openAccount("a"), deposit("a", 9n), withdraw("a", 4n))
      const trial: ReadonlyArray<object> = yield* queries.trialBalance
      assert.deepStrictEqual(trial, [{ asset: "USD/2", accounts: 5n, contras: -5n, total: 0n }])
      const contras: ReadonlyArray<object> = yield* queries.contraBalances
      assert.deepStrictEqual(contras, [{ contra: "external:bank", asset: "USD/2", balance: -5n }])
    }).pipe(Effect.provide(services()))
  )

  it.effect("name the option that is wrong", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      yield* project(new EventWriter(), openAccount("a"))
      for (const [path, query] of [
        ["cursor", queries.statement(a, { cursor: "-1" })],
        ["cursor", queries.statement(a, { cursor: "9".repeat(400) })],
        ["cursor", queries.statement(a, { cursor: "1.2.3" })],
        ["cursor", queries.statement(a, { cursor: "1", axis: "effective" })],
        ["cursor", queries.statement(a, { cursor: "1.2", axis: "effective" })],
        ["cursor", queries.statement(a, { cursor: `${"9".repeat(15)}.2.3`, axis: "effective" })],
        ["cursor", queries.accounts({ cursor: "no account!" })],
        ["limit", queries.statement(a, { limit: 0 })],
        ["limit", queries.accounts({ limit: 1.5 })],
        ["counterparty", queries.statement(a, { counterparty: "no account!" })],
        ["from", queries.statement(a, { from: Number.NaN })],
        ["to", queries.statement(a, { to: 1.5 })],
        ["from", queries.statement(a, { from: 2, to: 1 })],
        ["readToken", queries.balance(a, { readToken: "a" })],
        ["readToken", queries.balance(a, { readToken: "a@x" })],
        ["readToken", queries.statement(a, { readToken: "a@1,".repeat(5_000) })]
      ] as const) {
        const error = yield* failureOf(query)
        assert.strictEqual(error._tag, "InvalidCommand")
        assert.deepStrictEqual(error._tag === "InvalidCommand" && error.faults[0]?.path, [path])
      }
    }).pipe(Effect.provide(services()))
  )

  it.effect("name the store that is unavailable", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const error = yield* Effect.flip(queries.trialBalance)
      assert.deepInclude(error, { _tag: "Unavailable", what: "read model", reason: "away" })
    }).pipe(
      Effect.provide(
        Queries.layer.pipe(
          Layer.provide(
            Layer.effect(
              ReadModel,
              Effect.map(ReadModel, (real) => ({
                ...real,
                trialBalance: Effect.fail(new StoreUnavailable({ store: "read model", reason: "away" }))
              }))
            ).pipe(Layer.provide(ReadModel.layerMemory))
          ),
          Layer.provide(ProjectionWaiters.layer)
        )
      )
    )
  )
})

describe("a query with a read token", () => {
  it.effect("has its own time from when what projects for it has started", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const waiters = yield* ProjectionWaiters
      const writer = new EventWriter()
      yield* project(writer, openAccount("a"))
      const commit = writer.commit(deposit("a", 5n))
      waiters.setStartingUnsafe(true)
      const waiting = yield* Effect.forkChild(queries.balance(a, { readToken: "a@2" }))
      const late = yield* Effect.forkChild(Effect.flip(queries.balance(a, { readToken: "a@3" })))
      yield* TestClock.adjust("20 seconds")
      assert.isUndefined(waiting.pollUnsafe())
      waiters.setStartingUnsafe(false)
      yield* TestClock.adjust("4999 millis")
      const engine = yield* ProjectionEngine
      yield* engine.project(commit.events, [])
      assert.strictEqual((yield* Fiber.join(waiting)).account.balance, 5n)
      assert.isUndefined(late.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepInclude(yield* Fiber.join(late), { _tag: "NotYetVisible", reached: "a@2" })
    }).pipe(Effect.provide(services({ tokenPollMs: 3_600_000 })))
  )

  it.effect("waits for it also where it lists accounts or holds", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const writer = new EventWriter("writer-1", 0)
      const opened = writer.commit(openAccount("a"), deposit("a", 5n))
      const hold = { _tag: "PlaceHold", commandId: "h", account: "a", amount: 5n, expiresAt: 60_000 } as const
      const held = writer.commit(hold)
      const accounts = yield* Effect.forkChild(queries.accounts({ prefix: "a", readToken: "a@1" }))
      const holds = yield* Effect.forkChild(queries.holdsByExpiry({ prefix: "a", readToken: "a@3" }))
      yield* TestClock.adjust("1 millis")
      assert.isUndefined(accounts.pollUnsafe())
      const engine = yield* ProjectionEngine
      yield* engine.project(opened.events, [])
      assert.lengthOf((yield* Fiber.join(accounts)).rows, 1)
      yield* TestClock.adjust("1 millis")
      assert.isUndefined(holds.pollUnsafe())
      yield* engine.project(held.events, [])
      assert.lengthOf((yield* Fiber.join(holds)).rows, 1)
      assert.deepInclude(yield* Effect.flip(queries.accounts({ readToken: "a" })), { _tag: "InvalidCommand" })
    }).pipe(Effect.provide(services({ tokenPollMs: 3_600_000 })))
  )

  it.effect("is woken once every position of the token is projected", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const waiters = yield* ProjectionWaiters
      for (let partition = 0; partition < defaultLimits.partitions; partition++) {
        waiters.setProjectedHereUnsafe(partition, true)
      }
      const writer = new EventWriter()
      yield* project(writer, openAccount("a"), openAccount("b"))
      const commit = writer.commit(deposit("a", 5n), deposit("b", 5n))
      const waiting = yield* Effect.forkChild(queries.balance(a, { readToken: "a@2,b@2" }))
      yield* TestClock.adjust("50 millis")
      const engine = yield* ProjectionEngine
      yield* engine.project(commit.events.slice(0, 1), [])
      yield* TestClock.adjust("50 millis")
      assert.isUndefined(waiting.pollUnsafe())
      yield* engine.project(commit.events.slice(1), [])
      const { account } = yield* Fiber.join(waiting)
      assert.strictEqual(account.balance, 5n)
    }).pipe(Effect.provide(services({ tokenPollMs: 3_600_000 })))
  )

  it.effect("is taken from the receipt of a command on the most accounts, and bounded", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const accounts = Array.from({ length: 500 }, (_, nth) => accountId(`${nth}`.padStart(64, "a")))
      const writer = new EventWriter()
      for (const account of accounts) yield* project(writer, openAccount(account))
      const token = printToken(accounts.map((account) => ({ account, version: 1 })))
      assert.isAbove(token.length, 30_000)
      const [account = a] = accounts
      assert.strictEqual((yield* queries.balance(account, { readToken: token })).account.version, 1)
      const wrong = [
        [token.repeat(2), "has more than 50000 characters"],
        [Array.from({ length: 2_501 }, () => "a@1").join(","), "has more than 2500 positions"]
      ] as const
      for (const [readToken, message] of wrong)
        assert.deepInclude(yield* Effect.flip(queries.balance(account, { readToken })), {
          _tag: "InvalidCommand",
          faults: [{ path: ["readToken"], message }]
        })
    }).pipe(Effect.provide(services()))
  )

  it("names the last version of each account", () => {
    const [one, other] = [accountId("one"), accountId("other")]
    const at = (account: AccountId, ...versions: ReadonlyArray<number>) =>
      versions.map((version) => ({ account, version }))
    assert.strictEqual(printToken([]), "")
    assert.strictEqual(printToken(at(one, 7)), "one@7")
    assert.strictEqual(printToken([...at(one, 7), ...at(other, 2)]), "one@7,other@2")
    assert.strictEqual(printToken(at(one, 7, 8)), "one@8")
    assert.strictEqual(printToken([...at(one, 7), ...at(other, 2, 3), ...at(one, 8)]), "one@8,other@3")
  })

  it.effect("sees soon what another process has projected", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const waiters = yield* ProjectionWaiters
      const waiting = yield* Effect.forkChild(queries.balance(a, { readToken: "a@1" }))
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(waiters.positionsUnsafe(), [{ account: a, version: 1 }])
      yield* project(new EventWriter(), openAccount("a"))
      assert.deepStrictEqual(waiters.awaitedUnsafe("elsewhere"), [a], "this process was not told")
      yield* TestClock.adjust("8 millis")
      assert.strictEqual((yield* Fiber.join(waiting)).account.version, 1)
    }).pipe(Effect.provide(queriesOfAnotherProcess))
  )

  it.effect("fails at the deadline with the wanted and the reached position", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const waiters = yield* ProjectionWaiters
      yield* project(new EventWriter(), openAccount("a"))
      const waiting = yield* Effect.forkChild(Effect.result(queries.balance(a, { readToken: "a@3" })))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(waiting.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const outcome = yield* Fiber.join(waiting)
      assert.isTrue(Result.isFailure(outcome))
      if (Result.isFailure(outcome)) {
        assert.deepInclude(outcome.failure, { _tag: "NotYetVisible", wanted: "a@3", reached: "a@1" })
      }
      assert.deepStrictEqual(waiters.positionsUnsafe(), [])
    }).pipe(Effect.provide(services()))
  )

  it.effect("fails at once where too many queries are waiting", () =>
    Effect.gen(function* () {
      const queries = yield* Queries
      const first = yield* Effect.forkChild(queries.balance(a, { readToken: "a@1" }))
      yield* TestClock.adjust("1 millis")
      const error = yield* Effect.flip(queries.balance(b, { readToken: "b@1" }))
      assert.strictEqual(error._tag, "NotYetVisible")
      yield* Fiber.interrupt(first)
    }).pipe(Effect.provide(services({ tokenWaitersMax: 1 })))
  )

  it.effect.each(["a@1,a@2,a@3,a@4", "a@1,c@1,d@1,e@1"])(
    "leaves places to others, however many positions its token has: %s",
    (readToken) =>
      Effect.gen(function* () {
        const queries = yield* Queries
        const long = yield* Effect.forkChild(queries.balance(a, { readToken }))
        yield* TestClock.adjust("1 millis")
        const other = yield* Effect.forkChild(queries.balance(b, { readToken: "b@1" }))
        yield* TestClock.adjust("1 millis")
        const writer = new EventWriter()
        yield* project(writer, openAccount("b"))
        assert.strictEqual((yield* Fiber.join(other)).account.version, 1)
        // Each of its own is waited for in the end.
        yield* project(writer, openAccount("a"), deposit("a", 1n), deposit("a", 1n))
        yield* project(writer, openAccount("c"), openAccount("d"))
        yield* TestClock.adjust("1 millis")
        assert.isUndefined(long.pollUnsafe())
        yield* project(writer, deposit("a", 1n), openAccount("e"))
        assert.strictEqual((yield* Fiber.join(long)).account.version, 4)
      }).pipe(Effect.provide(services({ tokenWaitersMax: 4, tokenPollMs: 3_600_000 })))
  )

  it.effect("is woken behind looks that met a bug", () => {
    let isBroken = false
    const breaking = Layer.effect(
      ReadModel,
      Effect.map(ReadModel, (real) => ({
        ...real,
        versions: (accounts: Parameters<typeof real.versions>[0]) =>
          isBroken ? Effect.die(new Error("a bug")) : real.versions(accounts)
      }))
    ).pipe(Layer.provide(ReadModel.layerMemory))
    return Effect.gen(function* () {
      const queries = yield* Queries
      const readModel = yield* ReadModel
      const waiting = yield* Effect.forkChild(queries.balance(a, { readToken: "a@1" }))
      yield* TestClock.adjust("1 millis")
      isBroken = true
      yield* TestClock.adjust("1 seconds")
      isBroken = false
      const writer = new EventWriter()
      writer.commit(openAccount("a"))
      yield* readModel.apply(batchOf(writer.log))
      yield* TestClock.adjust("1 seconds")
      assert.isDefined(waiting.pollUnsafe())
      assert.strictEqual((yield* Fiber.join(waiting)).account.version, 1)
    }).pipe(
      Effect.provide(
        Queries.layer.pipe(
          Layer.provideMerge(breaking.pipe(Layer.provide(Layer.fresh(ProjectionWaiters.layer)))),
          Layer.provide(ProjectionWaiters.layer),
          Layer.provideMerge(quiet)
        )
      )
    )
  })

  it.effect("shares one statement a poll with thousands of others", () => {
    let looks = 0
    const counted = Layer.effect(
      ReadModel,
      Effect.map(ReadModel, (real) => ({
        ...real,
        versions: (accounts: Parameters<typeof real.versions>[0]) => {
          looks++
          return real.versions(accounts)
        }
      }))
    ).pipe(Layer.provide(ReadModel.layerMemory))
    return Effect.gen(function* () {
      const queries = yield* Queries
      yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 2_000 }, (_, index) => accountId(`a-${index}`)),
          (account) => Effect.exit(queries.balance(account, { readToken: `${account}@1` })),
          { concurrency: "unbounded" }
        )
      )
      yield* TestClock.adjust("1 millis")
      const atFirst = looks
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual(atFirst, 2_000)
      // After 8 ms, 16, 32 and 64 more, then every 100: as many for one who waits as for thousands.
      assert.isAtMost(looks - atFirst, 13)
    }).pipe(
      Effect.provide(Queries.layer.pipe(Layer.provide(counted), Layer.provide(ProjectionWaiters.layer)))
    )
  })
})
