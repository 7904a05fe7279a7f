/** The contract of the snapshots, which they must keep in memory and on a database alike. */
import { assert, layer } from "@effect/vitest"
import { Effect, type Layer } from "effect"
import { AccountMetadata } from "../../src/domain/Command.ts"
import type { Head } from "../../src/domain/Head.ts"
import { Asset, amountMax, balanceMax } from "../../src/domain/Money.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { accountId } from "../support/storedEvents.ts"

const head = (account: string, version: number, recordedAt: number, balance = 0n): Head => ({
  account: {
    _tag: "Opened",
    id: accountId(account),
    version,
    status: "open",
    asset: Asset.make("USD/2"),
    owner: `O'Hara "the owner" 🦀`,
    overdraftLimit: amountMax,
    balance,
    held: 0n,
    holds: [],
    metadata: AccountMetadata.make({ note: "back\\slash" })
  },
  hash: `hash-${account}-${version}`,
  recordedAt
})

/** All tests share one store: each uses accounts that begin with a name of its own. */
export const snapshotsContract = <E>(name: string, snapshots: Layer.Layer<Snapshots, E>) => {
  layer(snapshots, { excludeTestServices: true, timeout: "4 minutes" })(`snapshots (${name})`, (it) => {
    it.effect("give back the latest of each account exactly, and leave out those without one", () =>
      Effect.gen(function* () {
        const store = yield* Snapshots
        const latest = Array.from({ length: 40 }, (_, index) =>
          head(`latest-${index}`, 1_000 + index, 2_000 + index, -balanceMax + BigInt(index))
        )
        const older = latest.map((one) => head(one.account.id, 500, 1_000))
        yield* store.save([...latest, ...older])
        const ids = [...latest.map((one) => one.account.id), accountId("latest-none")]
        const found = yield* store.latest(ids)
        const byId = new Map(found.map((one) => [one.account.id, one]))
        assert.strictEqual(found.length, latest.length)
        for (const one of latest) assert.deepStrictEqual(byId.get(one.account.id), one)
        assert.deepStrictEqual(yield* store.latest([]), [])
      })
    )

    it.effect("give the last one at or before a version, an instant, or both", () =>
      Effect.gen(function* () {
        const store = yield* Snapshots
        const id = accountId("before")
        // Versions 20 and 30 were recorded in the same millisecond.
        const [ten, twenty, thirty] = [
          head("before", 10, 100),
          head("before", 20, 200),
          head("before", 30, 200)
        ]
        yield* store.save([twenty, thirty, ten])
        assert.deepStrictEqual(yield* store.before(id, {}), thirty)
        assert.deepStrictEqual(yield* store.before(id, { version: 29 }), twenty)
        assert.deepStrictEqual(yield* store.before(id, { version: 20 }), twenty)
        assert.deepStrictEqual(yield* store.before(id, { version: 9 }), undefined)
        assert.deepStrictEqual(yield* store.before(id, { recordedAt: 199 }), ten)
        assert.deepStrictEqual(yield* store.before(id, { recordedAt: 200 }), thirty)
        assert.deepStrictEqual(yield* store.before(id, { recordedAt: 99 }), undefined)
        assert.deepStrictEqual(yield* store.before(id, { version: 25, recordedAt: 500 }), twenty)
        assert.deepStrictEqual(yield* store.before(id, { version: 25, recordedAt: 150 }), ten)
      })
    )

    it.effect("list all in order of account and version, from a key that need not exist", () =>
      Effect.gen(function* () {
        const store = yield* Snapshots
        const saved = [head("list:A", 10, 100), head("list:A", 20, 200), head("list:a", 5, 50)]
        yield* store.save(saved.toReversed())
        const list = saved.map((one) => ({
          account: one.account.id,
          version: one.account.version,
          head: one,
          isAltered: false
        }))
        const from = (account: string, version: number) =>
          store.list({ after: { account, version }, limit: 2 })
        assert.deepStrictEqual(yield* from("list:", 0), list.slice(0, 2))
        assert.deepStrictEqual((yield* from("list:A", 10)).slice(0, 2), list.slice(1))
        assert.deepStrictEqual((yield* from("list:A", 21)).slice(0, 1), list.slice(2))
      })
    )

    it.effect("may be saved twice at once, as by two questions about one past", () =>
      Effect.gen(function* () {
        const store = yield* Snapshots
        const [twice, other] = [head("twice", 10, 100), head("other", 10, 100)]
        yield* store.save([twice, other, twice])
        const found = yield* store.latest([twice.account.id, other.account.id])
        assert.deepStrictEqual(found.map((one) => one.account.id).toSorted(), [
          other.account.id,
          twice.account.id
        ])
      })
    )

    it.effect("replace one that differs under the same key", () =>
      Effect.gen(function* () {
        const store = yield* Snapshots
        const second = head("kept", 1, 100, 6n)
        yield* store.save([head("kept", 1, 100, 5n)])
        yield* store.save([second, head("kept-too", 1, 100)])
        yield* store.save([])
        assert.deepStrictEqual(yield* store.before(second.account.id, {}), second)
        assert.strictEqual((yield* store.latest([accountId("kept-too")])).length, 1)
      })
    )

    it.effect("delete what is dropped, and nothing else", () =>
      Effect.gen(function* () {
        const store = yield* Snapshots
        const [one, two, other] = [head("drop", 1, 100), head("drop", 2, 200), head("drop-not", 2, 200)]
        yield* store.save([one, two, other])
        yield* store.drop([])
        yield* store.drop([two])
        assert.deepStrictEqual(yield* store.latest([one.account.id]), [one])
        assert.deepStrictEqual(yield* store.latest([other.account.id]), [other])
      })
    )
  })
}
