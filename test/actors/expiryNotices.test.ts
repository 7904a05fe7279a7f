/** The notices of holds that have expired: each once, however many nodes write them, and none of a hold that ended otherwise. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Option, Result } from "effect"
import { Dispatcher } from "../../src/actors/commands/Dispatcher.ts"
import * as ExpiryNotices from "../../src/actors/notices/ExpiryNotices.ts"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { type CommandInput, fromHost, fromJson } from "../../src/domain/Command.ts"
import { decide } from "../../src/domain/Decide.ts"
import { AccountId, type CommandId, type Instant } from "../../src/domain/Ids.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel, RowsRefused } from "../../src/infra/readmodel/ReadModel.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { batchOf } from "../infra/readModelContract.ts"
import { quiet } from "../support/callers.ts"
import { settable } from "../support/settableClock.ts"
import { eventually } from "../support/waiting.ts"

const minuteMs = 60_000

/** A node with two of what a cluster has one of, as while a singleton changes hands. */
const twoWriters = Layer.fresh(ExpiryNotices.layer).pipe(
  Layer.provideMerge(LedgerNode.layerMemory),
  Layer.provide(Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, noticeMs: 10, noticesMax: 400 })),
  Layer.provideMerge(quiet)
)

/** A node whose read model refuses lines with the description "bad", and to forget a hold of account b. */
const nodeOfRefusals = LedgerNode.over(
  "refusing",
  Layer.mergeAll(
    Bus.layerMemory,
    EventStore.layerMemory,
    Snapshots.layerMemory,
    Layer.effect(
      ReadModel,
      Effect.map(ReadModel, (real) => ({
        ...real,
        apply: (batch: Parameters<typeof real.apply>[0]) =>
          batch.lines.some(({ description }) => description === "bad") ||
          batch.holds.some(({ account, row }) => account === "b" && row === undefined)
            ? Effect.fail(new RowsRefused({ reason: "not a text" }))
            : real.apply(batch)
      }))
    ).pipe(Layer.provide(ReadModel.layerMemory))
  ).pipe(Layer.provideMerge(ProjectionWaiters.layer))
).pipe(
  Layer.provide(Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, noticeMs: 10 })),
  Layer.provideMerge(quiet)
)

const a = AccountId.make("a")

/** A node whose rows of account a go back to its first three events just before the holds that expired are read. */
const nodeOfRereading = LedgerNode.over(
  "rereading",
  Layer.effect(
    ReadModel,
    Effect.gen(function* () {
      const real = yield* ReadModel
      const store = yield* EventStore
      const goBack = Effect.gen(function* () {
        const head = (yield* real.heads([a])).get(a)
        const first = (yield* store.readStream({ account: a, after: 0, limit: 10 })).slice(0, 3)
        if (head === undefined || head.account.version === 3) return
        const { version } = head.account
        yield* real.park([{ account: a, version: version + 1, reason: "it is read anew", since: 0 }])
        yield* real.reload({ account: a, version, hash: head.hash }, 0, batchOf(first))
      })
      return {
        ...real,
        expiringHolds: (query: Parameters<typeof real.expiringHolds>[0]) =>
          goBack.pipe(
            Effect.catchTags({ RowsRefused: Effect.die, ReloadUnsupported: Effect.die }),
            Effect.andThen(real.expiringHolds(query))
          )
      }
    })
  ).pipe(
    Layer.provide(ReadModel.layerMemory),
    Layer.provideMerge(
      Layer.mergeAll(Bus.layerMemory, EventStore.layerMemory, Snapshots.layerMemory).pipe(
        Layer.provideMerge(ProjectionWaiters.layer)
      )
    )
  )
).pipe(
  Layer.provide(Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, noticeMs: 10 })),
  Layer.provideMerge(quiet)
)

const place = (commandId: string, expiresAt: Instant, more: object = {}): CommandInput => ({
  _tag: "PlaceHold",
  account: "a",
  amount: 10n,
  commandId,
  expiresAt,
  ...more
})

/** A minute passes when the test says so: none waits for a hold to expire, nor does a busy machine place one too late. */
const overTime = <A, E, R>(test: (passMinute: () => void) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(Clock.Clock, (real) => {
    const { clock, pass } = settable(real)
    return Effect.provideService(
      test(() => pass(minuteMs)),
      Clock.Clock,
      clock
    )
  })

const world = Effect.gen(function* () {
  const ledger = yield* Ledger
  yield* ledger.dispatch({ _tag: "OpenAccount", account: "a", asset: "USD/2", owner: "Ann" })
  yield* ledger.dispatch({ _tag: "Deposit", account: "a", amount: 100_000n })
  const all = Effect.gen(function* () {
    const found: Array<Effect.Success<ReturnType<typeof ledger.history>>[number]> = []
    for (;;) {
      const page = yield* ledger.history("a", { after: found.length })
      found.push(...page)
      if (page.length === 0) return found
    }
  })
  const notices = Effect.map(all, (entries) => entries.filter(({ event }) => event._tag === "HoldExpired"))
  return { ledger, notices, now: yield* Clock.currentTimeMillis }
})

const isLeft = Effect.gen(function* () {
  const rows = yield* (yield* ReadModel).holdsByExpiry({
    after: { expiresAt: 0, account: "", hold: "" },
    before: yield* Clock.currentTimeMillis,
    limit: 1
  })
  return rows.length > 0
})

describe("the notice of an expired hold", () => {
  it.live("says what became free and when, under the hold's id, and of no hold that ended before", () =>
    overTime((passMinute) =>
      Effect.gen(function* () {
        const { ledger, notices, now } = yield* world
        const at = now + minuteMs
        for (const id of ["expires", "in part", "captured", "released", "extended"])
          yield* ledger.dispatch(place(id.replace(" ", "-"), at))
        yield* ledger.dispatch(place("stays", now + 3_600_000))
        const of = (hold: string) => ({ account: "a", hold }) as const
        yield* ledger.dispatch({ _tag: "CaptureHold", ...of("in-part"), amount: 4n })
        yield* ledger.dispatch({ _tag: "CaptureHold", ...of("captured") })
        yield* ledger.dispatch({ _tag: "ReleaseHold", ...of("released") })
        yield* ledger.dispatch({ _tag: "AdjustHold", ...of("extended"), expiresAt: now + 3_600_000 })
        passMinute()
        // Forgets the expired holds in the state of the account, before any notice is written.
        yield* ledger.dispatch({ _tag: "Deposit", account: "a", amount: 1n })
        yield* eventually(
          "both are told",
          Effect.map(Effect.orDie(notices), ({ length }) => length === 2)
        )
        yield* eventually(
          "no row is left of them",
          Effect.map(Effect.orDie(isLeft), (left) => !left)
        )
        assert.deepEqual(
          (yield* notices).map(({ commandId, event, context }) => ({ commandId, event, context })),
          [
            ["expires", 10n],
            ["in-part", 6n]
          ].map(([hold, amount]) => ({
            commandId: `~x~a~${hold}`,
            event: { _tag: "HoldExpired", hold, amount, expiredAt: at },
            context: { caller: "~ledger" }
          })) as never
        )
        const view = yield* ledger.strongBalance("a")
        assert.deepInclude(view, { held: 20n })
        const found = Option.getOrThrow(yield* ledger.find("~x~a~expires"))
        assert.deepEqual(
          found.legs.map(({ event }) => event._tag),
          ["HoldExpired"]
        )
        const { ok, findings } = yield* ledger.verify()
        assert.isTrue(ok, JSON.stringify(findings))
      }).pipe(Effect.provide(twoWriters))
    )
  )

  it.live("is not written of a hold whose capture was skipped, whatever became of its row", () =>
    overTime((passMinute) =>
      Effect.gen(function* () {
        const { ledger, now } = yield* world
        const engine = yield* ProjectionEngine
        const readModel = yield* ReadModel
        const at = now + minuteMs
        const ids = ["a", "b", "c"]
        for (const account of ids.slice(1)) {
          yield* ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ann" })
          yield* ledger.dispatch({ _tag: "Deposit", account, amount: 100n })
        }
        for (const account of ids) yield* ledger.dispatch(place(`h-${account}`, at, { account }))
        for (const account of ids.slice(0, 2))
          yield* ledger.dispatch({ _tag: "CaptureHold", account, hold: `h-${account}`, description: "bad" })
        yield* eventually(
          "both are parked",
          Effect.map(Effect.orDie(readModel.parked), ({ length }) => length === 2)
        )
        for (const { account, version } of yield* readModel.parked) yield* engine.skipParked(account, version)
        const rows = yield* readModel.holdsByExpiry({
          after: { expiresAt: 0, account: "", hold: "" },
          before: at + 1,
          limit: 10
        })
        assert.deepEqual(
          rows.flatMap(({ account, hold }) => (account === "c" ? [] : [String(hold)])),
          ["h-b"]
        )
        const noticeOf = (account: string) => ledger.find(`~x~${account}~h-${account}`)
        passMinute()
        yield* eventually("the other is told", Effect.map(Effect.orDie(noticeOf("c")), Option.isSome))
        for (const account of ["a", "b"]) assert.isTrue(Option.isNone(yield* noticeOf(account)))
      }).pipe(Effect.provide(nodeOfRefusals))
    )
  )

  it.live("is not written of a hold that was released, while the rows of its account are read anew", () =>
    overTime((passMinute) =>
      Effect.gen(function* () {
        const { ledger, now } = yield* world
        yield* ledger.dispatch({ _tag: "OpenAccount", account: "c", asset: "USD/2", owner: "Ann" })
        yield* ledger.dispatch({ _tag: "Deposit", account: "c", amount: 100n })
        const at = now + minuteMs
        yield* ledger.dispatch(place("h-a", at))
        yield* ledger.dispatch(place("h-c", at, { account: "c" }))
        const { readToken } = yield* ledger.dispatch({ _tag: "ReleaseHold", account: "a", hold: "h-a" })
        yield* ledger.balance("a", { readToken })
        passMinute()
        const noticeOf = (account: string) => ledger.find(`~x~${account}~h-${account}`)
        yield* eventually("the other is told", Effect.map(Effect.orDie(noticeOf("c")), Option.isSome))
        const readModel = yield* ReadModel
        assert.deepEqual(
          (yield* readModel.holds({ account: a, openAt: 0, limit: 10 })).map(({ hold }) => String(hold)),
          ["h-a"],
          "its row is there again"
        )
        assert.isTrue(Option.isNone(yield* noticeOf("a")))
      }).pipe(Effect.provide(nodeOfRereading))
    )
  )

  it.live(
    "is asked for once by a node whose clock is ahead of the owner's, and not before that has passed the expiry",
    () => {
      const sent = { notices: 0, refused: 0 }
      const watched = Layer.effect(
        Dispatcher,
        Effect.map(Dispatcher, (real) => ({
          ...real,
          dispatchMany: (commands: Parameters<typeof real.dispatchMany>[0]) =>
            Effect.tap(real.dispatchMany(commands), (results) =>
              Effect.sync(() => {
                sent.notices += results.length
                sent.refused += results.filter(Result.isFailure).length
              })
            )
        }))
      )
      const real = Clock.Clock.defaultValue()
      const ofClock = (offMs: number) => {
        const nowUnsafe = () => real.currentTimeMillisUnsafe() + offMs
        const clock: Clock.Clock = Object.assign(Object.create(real), {
          currentTimeMillisUnsafe: nowUnsafe,
          currentTimeMillis: Effect.sync(nowUnsafe)
        })
        return Layer.succeed(Clock.Clock, clock)
      }
      // Both are off by nearly as much as they may be, and the store answers each by its own clock.
      const ahead = Layer.fresh(ExpiryNotices.layer).pipe(Layer.provide([ofClock(400), watched]))
      const owner = LedgerNode.layerMemory.pipe(Layer.provide(ofClock(-400)))
      const limits = Layer.succeed(ReadSideConfig, { ...defaultReadSideLimits, noticeMs: 10 })
      return Effect.gen(function* () {
        const { ledger, notices, now } = yield* world
        const at = now + 1_500
        yield* ledger.dispatch(place("h", at))
        yield* eventually(
          "it is told",
          Effect.map(Effect.orDie(notices), ({ length }) => length > 0)
        )
        const [notice] = yield* notices
        assert.isAtLeast(notice?.recordedAt ?? 0, at)
        // Many rounds later.
        yield* Effect.sleep(300)
        assert.lengthOf(yield* notices, 1)
        assert.strictEqual(sent.refused, 0)
        assert.isAtMost(sent.notices, 20, "only until the read model has it")
      }).pipe(
        Effect.provide(
          Layer.provideMerge(ahead, owner).pipe(Layer.provide(limits), Layer.provideMerge(quiet))
        )
      )
    }
  )

  it.live("of a thousand that expire at once waits, in bounded batches, while the account goes on", () =>
    overTime((passMinute) =>
      Effect.gen(function* () {
        const { ledger, notices, now } = yield* world
        const deposits = Array.from(
          { length: 1_000 },
          () => ({ _tag: "Deposit", account: "a", amount: 1n }) as const
        )
        yield* ledger.dispatchMany(deposits)
        const at = now + minuteMs
        const holds = Array.from({ length: 1_000 }, (_, index) => place(`h-${index}`, at))
        for (const placed of yield* ledger.dispatchMany(holds)) assert.strictEqual(placed._tag, "Success")
        passMinute()
        const { postings } = yield* ledger.dispatch({ _tag: "Withdraw", account: "a", amount: 101_000n })
        assert.deepInclude(postings[0], { balance: 0n, held: 0n })
        const before = (yield* ledger.stats).batches
        yield* eventually(
          "all are told",
          Effect.map(Effect.orDie(notices), ({ length }) => length >= 1_000)
        )
        const told = (yield* notices).map(({ commandId }) => commandId)
        assert.strictEqual(new Set(told).size, 1_000)
        assert.lengthOf(told, 1_000)
        // Few batches: those of one look ride together.
        assert.isBelow((yield* ledger.stats).batches - before, 100)
        assert.isTrue((yield* ledger.verify()).ok)
      }).pipe(Effect.provide(twoWriters))
    )
  )
})

it("a notice that the state of the account contradicts is refused, and so is one of a caller", () => {
  const opened = {
    _tag: "Opened",
    id: "a" as AccountId,
    version: 3,
    status: "open",
    asset: "USD/2",
    owner: "Ann",
    overdraftLimit: 0n,
    balance: 50n,
    held: 10n,
    holds: [{ id: "h", amount: 10n, captured: 0n, remaining: 10n, captures: 0, expiresAt: 1_000 }],
    metadata: {}
  }
  const note = (more: object, at: Instant) =>
    decide(
      {
        _tag: "NoteExpiry",
        commandId: "~x~a~h" as CommandId,
        account: "a" as AccountId,
        hold: "h" as CommandId,
        amount: 10n,
        expiredAt: 1_000,
        ...more
      },
      () => opened as never, // a state of this test
      at
    )._tag
  assert.deepEqual(
    [note({}, 1_000), note({}, 999), note({ expiredAt: 999 }, 1_000), note({ amount: 9n }, 1_000)],
    ["Success", "Failure", "Failure", "Failure"]
  )
  const own = { _tag: "NoteExpiry", commandId: "c", account: "a", hold: "h", expiredAt: 1_000 }
  for (const asked of [fromHost({ ...own, amount: 10n }), fromJson({ ...own, amount: "10" })])
    assert.match(String(Result.getFailure(asked)), /_tag must be one of/)
})
