/** A snapshot that does not agree with the log makes no account wrong or unavailable. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Random, References, Result } from "effect"
import { TestClock } from "effect/testing"
import { loadAccounts } from "../../src/actors/accounts/LoadAccounts.ts"
import { Audit } from "../../src/actors/audit/Audit.ts"
import { AuditConfig, defaultAuditLimits } from "../../src/actors/audit/AuditRun.ts"
import type { Head } from "../../src/domain/Head.ts"
import { EventStore, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { deposit as depositTo, EventWriter, openAccount } from "../support/eventWriter.ts"
import { deposit, memoryStores, open, quiet, startNode, withdraw } from "../support/ledgerWorld.ts"
import { accountId } from "../support/storedEvents.ts"

const a = accountId("a")
const snapshotEvery = 4

/** Draws that are all the same: 0 compares every snapshot with the fold, 63 of 64 none. */
const drawing = (draw: number) =>
  Effect.provideService(Random.Random, { nextIntUnsafe: () => draw, nextDoubleUnsafe: () => draw / 64 })

/** An account of ten events: balance 50 after the sixth, 30 after the last. */
const scene = Effect.gen(function* () {
  const node = yield* startNode("node", { limits: { snapshotEvery } })
  const snapshots = yield* Snapshots
  yield* node.send(open("a"))
  for (let count = 0; count < 5; count++) yield* node.send(deposit("a", 10n))
  const sixth = yield* node.travel.at(a, { _tag: "Version", version: 6 })
  for (let count = 0; count < 4; count++) yield* node.send(withdraw("a", 5n))
  const last = (yield* node.dispatcher.head(a)).head
  yield* node.stop
  const load = Effect.gen(function* () {
    const loaded = (yield* loadAccounts([a], snapshotEvery)).get(a)
    return loaded === undefined ? assert.fail("not loaded") : Result.getOrThrow(loaded.head)
  })
  return { snapshots, node, sixth: sixth.head, last, load }
})

const withBalance = (head: Head, balance: bigint): Head =>
  head.account._tag === "Opened"
    ? { ...head, account: { ...head.account, balance } }
    : assert.fail("not opened")
const withOwner = (head: Head, owner: string): Head =>
  head.account._tag === "Opened"
    ? { ...head, account: { ...head.account, owner } }
    : assert.fail("not opened")
const atVersion = (head: Head, version: number): Head => ({ ...head, account: { ...head.account, version } })

const cases: { readonly [what: string]: (heads: { readonly sixth: Head; readonly last: Head }) => Head } = {
  "another hash than the log's": ({ sixth }) => ({ ...sixth, hash: "another" }),
  "a version that the log does not have": ({ last }) => atVersion(last, 99),
  "too little money for the events after it": ({ sixth }) => withBalance(sixth, 3n),
  "another balance than the events after it bind": ({ sixth }) => withBalance(sixth, 5_000n),
  "a later instant than the events after it": ({ sixth }) => ({
    ...sixth,
    recordedAt: sixth.recordedAt + 3_600_000
  }),
  "an earlier instant than its own event": ({ sixth }) => ({ ...sixth, recordedAt: sixth.recordedAt - 1 })
}

describe("an account is folded anew from its first event, and the snapshot deleted, where that has", () => {
  for (const [what, wrongOf] of Object.entries(cases)) {
    it.effect(what, () =>
      Effect.gen(function* () {
        const { last, load, sixth, snapshots } = yield* scene
        const wrong = wrongOf({ sixth, last })
        yield* snapshots.save([wrong])
        assert.deepStrictEqual(yield* load, last)
        const left = yield* snapshots.list({ after: { account: "", version: 0 }, limit: 100 })
        assert.notInclude(
          left.map(({ version }) => version),
          wrong.account.version
        )
      }).pipe(drawing(63), Effect.provide([memoryStores, quiet]))
    )
  }
})

describe("a snapshot with another owner, which no later event contradicts", () => {
  it.effect("is found by the fold that is compared with it now and then", () =>
    Effect.gen(function* () {
      const { last, load, sixth, snapshots } = yield* scene
      const wrong = withOwner(sixth, "Eve")
      yield* snapshots.drop([atVersion(last, 8)])
      yield* snapshots.save([wrong])
      assert.notDeepEqual(yield* drawing(63)(load), last)
      assert.deepStrictEqual(yield* drawing(0)(load), last)
      assert.deepStrictEqual(yield* drawing(63)(load), last)
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("is left alone where it is right", () =>
    Effect.gen(function* () {
      const { last, load, sixth, snapshots } = yield* scene
      yield* snapshots.save([sixth])
      const before = yield* snapshots.list({ after: { account: "", version: 0 }, limit: 100 })
      assert.deepStrictEqual(yield* drawing(0)(load), last)
      assert.deepStrictEqual(
        yield* snapshots.list({ after: { account: "", version: 0 }, limit: 100 }),
        before
      )
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

describe("a question about the past", () => {
  it.effect("is answered from the log where a snapshot does not agree with it", () =>
    Effect.gen(function* () {
      const { sixth, snapshots } = yield* scene
      const store = yield* EventStore
      yield* snapshots.save([{ ...sixth, hash: "another" }])
      const node = yield* startNode("reader", { store, limits: { snapshotEvery } })
      const past = yield* node.travel.at(a, { _tag: "Version", version: 6 })
      assert.deepStrictEqual(past.head, sixth)
      yield* snapshots.save([withBalance(sixth, 3n)])
      assert.deepInclude((yield* node.travel.at(a, { _tag: "Version", version: 10 })).head.account, {
        balance: 30n
      })
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("is answered from the log where it ends at such a snapshot", () =>
    Effect.gen(function* () {
      const { sixth, snapshots } = yield* scene
      const store = yield* EventStore
      const node = yield* startNode("reader", { store, limits: { snapshotEvery } })
      for (const wrong of [withBalance(sixth, 3n), { ...sixth, recordedAt: sixth.recordedAt - 1 }]) {
        yield* snapshots.save([wrong])
        const ofVersion = yield* node.travel.at(a, { _tag: "Version", version: 6 })
        assert.deepStrictEqual(ofVersion.head, sixth)
      }
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

/** Snapshots of which those of one account cannot be read, as where a page of the disk is bad. */
const unreadable = (real: Snapshots["Service"], account: string): Snapshots["Service"] => ({
  ...real,
  latest: (accounts) => (accounts.some((id) => id === account) ? badPage : real.latest(accounts)),
  before: (id, bound) => (id === account ? badPage : real.before(id, bound))
})
const badPage = Effect.fail(
  new StoreUnavailable({ store: "event store", reason: "invalid page in block 7", state: "XX001" })
)

describe("an account whose snapshots cannot be read", () => {
  it.effect("is read from its first event, for commands and for questions about the past", () =>
    Effect.gen(function* () {
      const { last, sixth, snapshots } = yield* scene
      const store = yield* EventStore
      const node = yield* startNode("reader", {
        store,
        snapshots: unreadable(snapshots, "a"),
        limits: { snapshotEvery }
      })
      const commands = yield* Effect.forkChild(
        Effect.all([node.send(open("b")), node.send(deposit("a", 1n))], { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("1 second")
      const [, receipt] = yield* Fiber.join(commands)
      assert.strictEqual(receipt.postings[0]?.version, last.account.version + 1)
      assert.deepStrictEqual((yield* node.travel.at(a, { _tag: "Version", version: 6 })).head, sixth)
    }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("is told of once, until they can be read again", () =>
    Effect.gen(function* () {
      const { load, snapshots } = yield* scene
      let told = 0
      const counting = Logger.layer([
        Logger.make(({ message }) => {
          if (String(message).includes("cannot be read")) told++
        })
      ])
      const loadWithout = load.pipe(Effect.provideService(Snapshots, unreadable(snapshots, "a")))
      yield* Effect.gen(function* () {
        for (let nth = 0; nth < 3; nth++) yield* loadWithout
        assert.strictEqual(told, 1)
        yield* load
        yield* loadWithout
        assert.strictEqual(told, 2)
      }).pipe(Effect.provide(counting), Effect.provideService(References.MinimumLogLevel, "Error"))
    }).pipe(drawing(63), Effect.provide([memoryStores, quiet]))
  )

  it.effect.each([undefined, "57014", "55P03", "53300", "08006"])(
    "is not read so where the database has too much to do (%s)",
    (state) =>
      Effect.gen(function* () {
        const { snapshots } = yield* scene
        const busy = Effect.fail(new StoreUnavailable({ store: "event store", reason: "too busy", state }))
        const error = yield* loadAccounts([a], snapshotEvery).pipe(
          Effect.provideService(Snapshots, { ...snapshots, latest: () => busy, before: () => busy }),
          Effect.flip
        )
        assert.strictEqual(error.reason, "too busy")
      }).pipe(Effect.provide([memoryStores, quiet]))
  )

  it.effect("is not read so where the log is away as well", () =>
    Effect.gen(function* () {
      const { snapshots } = yield* scene
      const real = yield* EventStore
      let isAway = false
      let rows = 0
      const store: EventStore["Service"] = {
        ...real,
        readStream: (from) => (isAway ? badPage : real.readStream(from)),
        readStreams: (from, limit) =>
          Effect.map(real.readStreams(from, limit), (found) => {
            rows += found.length
            return found
          })
      }
      const load = loadAccounts([a], snapshotEvery).pipe(
        Effect.provideService(EventStore, store),
        Effect.provideService(Snapshots, unreadable(snapshots, "a"))
      )
      isAway = true
      yield* Effect.flip(load)
      assert.strictEqual(rows, 0)
    }).pipe(Effect.provide([memoryStores, quiet]))
  )
})

describe("an audit", () => {
  /** Of the accounts with snapshots, all have two, of their first and second event; `isBad` says which cannot be read. */
  const world = Effect.fnUntraced(function* (
    isBad: (account: string, version: number) => boolean,
    state: string,
    further: ReadonlyArray<string> = []
  ) {
    const writer = new EventWriter()
    const store = yield* EventStore
    yield* store.registerWriter({ writerId: writer.writerId, node: "test", closedAt: 0 })
    const real = yield* Snapshots
    const refused = Effect.fail(new StoreUnavailable({ store: "event store", reason: "refused", state }))
    for (const id of ["a", "b", "c", "d", "m", "n", "o", "z", ...further]) {
      const heads: Array<Head> = []
      for (const command of [openAccount(id), depositTo(id, 5n), depositTo(id, 1n)]) {
        yield* store.commit(writer.commit(command))
        heads.push(writer.headOf(accountId(id)))
      }
      if (["b", "m", "n", "z", ...further].includes(id)) yield* real.save(heads.slice(0, 2))
    }
    const unlessBad = <A>(heads: ReadonlyArray<Head>, found: A) =>
      heads.some(({ account }) => isBad(account.id, account.version)) ? refused : Effect.succeed(found)
    const snapshots: Snapshots["Service"] = {
      ...real,
      latest: (accounts) => Effect.flatMap(real.latest(accounts), (heads) => unlessBad(heads, heads)),
      list: (page) =>
        Effect.flatMap(real.list(page), (rows) =>
          unlessBad(
            rows.flatMap(({ head }) => head ?? []),
            rows
          )
        )
    }
    const audit = yield* Audit.pipe(
      Effect.provide(Audit.layer.pipe(Layer.provide(Layer.succeed(Snapshots, snapshots))), { local: true })
    )
    const found = (account?: string) =>
      audit.verify(account === undefined ? {} : { account: accountId(account) }).pipe(
        Effect.provideService(AuditConfig, { ...defaultAuditLimits, pageSnapshots: 3, pageRows: 4 }),
        Effect.map(({ findings, snapshots }) => ({
          snapshots,
          last: findings.at(-1)?.reason,
          named: findings.map((one) => [one.invariant, one.where, one.account, one.version])
        }))
      )
    return { found, real, writer }
  })
  const stores = Layer.mergeAll(
    memoryStores,
    ReadModel.layerMemory.pipe(Layer.provide(ProjectionWaiters.layer))
  )

  it.effect("names each account whose snapshots cannot be read, and checks all others", () =>
    Effect.gen(function* () {
      // The last one of m, the first one of n.
      const { found, real, writer } = yield* world(
        (account, version) => (account === "m" && version === 2) || (account === "n" && version === 1),
        "XX001"
      )
      const unreadable = (account: string) => ["I8", "snapshots", account, undefined]
      assert.deepInclude(yield* found(), {
        snapshots: 5,
        named: [unreadable("m"), unreadable("n")]
      })
      yield* real.save([withBalance(atVersion(writer.headOf(accountId("z")), 2), 7n)])
      assert.deepStrictEqual((yield* found()).named.slice(2), [["I8", "snapshots", "z", 2]])
      assert.deepInclude(yield* found("b"), { snapshots: 2, named: [] })
      assert.deepStrictEqual((yield* found("n")).named, [unreadable("n")])
    }).pipe(Effect.provide([stores, quiet]))
  )

  it.effect("names the first of many such accounts, and says that none behind them was checked", () =>
    Effect.gen(function* () {
      const ids = Array.from({ length: 23 }, (_, nth) => `m-${nth + 10}`)
      const { found } = yield* world((account) => account.startsWith("m-"), "XX001", ids)
      const { last, named, snapshots } = yield* found()
      assert.strictEqual(snapshots, 4, "those of b and m")
      assert.match(last ?? "", /^one behind m-28@\d+ cannot be read, and none from there on was checked$/)
      assert.deepStrictEqual(
        named.map(([, , account]) => account),
        [...ids.slice(0, 19), undefined]
      )
    }).pipe(Effect.provide([stores, quiet]))
  )

  it.effect.each(["53300", "42501"])(
    "ends without a report where the database has too much to do, or the role may not read them (%s)",
    (state) =>
      Effect.gen(function* () {
        const { found } = yield* world((account) => account === "m", state)
        assert.strictEqual((yield* Effect.flip(found())).reason, "refused")
      }).pipe(Effect.provide([stores, quiet]))
  )
})
