/** What broken connections do to commits: every outcome is true, whatever is cut, silenced or delayed. */

import { PgClient } from "@effect/sql-pg"
import { assert, layer } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { CommitOutcome, EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { TestDatabase, testClient } from "../support/databases.ts"
import { sendBehind } from "../support/sendBehind.ts"
import { accountId, storedEvent, storedEvents } from "../support/storedEvents.ts"
import { tcpProxy } from "../support/tcpProxy.ts"
import { untilDefinite } from "../support/untilDefinite.ts"

/** A store of its own over a proxy before `url`, with short limits so that silence is noticed soon. */
const behindProxy = Effect.fnUntraced(function* (storeStatementMs: number, storeConnectMs = 10_000) {
  const url = new URL(yield* TestDatabase)
  const proxy = yield* tcpProxy(url.hostname, Number(url.port))
  url.port = String(proxy.port)
  // Fresh: the shared store is built from the same layer, and would be handed out again.
  const services = yield* Layer.build(Layer.fresh(storeAt(url.toString(), storeStatementMs, storeConnectMs)))
  return { proxy, store: yield* Effect.provide(EventStore, services) }
})

const storeAt = (url: string, storeStatementMs: number, storeConnectMs: number) =>
  EventStore.layer.pipe(
    Layer.provideMerge(EventStoreClient.layer(Redacted.make(url))),
    Layer.provide(
      Layer.succeed(LedgerConfig, { ...defaultLimits, lanes: 1, storeStatementMs, storeConnectMs })
    )
  )

/** Holds the row `(account, version)` uncommitted while the scope is open, as a slow other node would. */
export const holdKey = (account: string, version: number) =>
  Effect.gen(function* () {
    const url = yield* TestDatabase
    const held = yield* Deferred.make<void>()
    const release = yield* Deferred.make<void>()
    const { accountId: id, type, payload, commandId, hash } = storedEvent({ account, version })
    const holding = Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql`INSERT INTO events (account_id, version, type, schema_version, payload, command_id, ordinal,
            recorded_at, hash) VALUES (${id}, ${version}, ${type}, 1, ${payload}, ${commandId}, 0, now(), ${hash})`
          yield* Deferred.succeed(held, undefined)
          yield* Deferred.await(release)
          return yield* Effect.fail("roll back" as const)
        })
      )
    }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })), Effect.exit)
    const fiber = yield* Effect.forkScoped(holding)
    yield* Deferred.await(held)
    return { release: Effect.andThen(Deferred.succeed(release, undefined), Fiber.join(fiber)) }
  })

export const eventStoreFaults = (name: string, serverUrl: string) => {
  const shared = EventStore.layer.pipe(
    Layer.provide(testClient),
    Layer.provideMerge(TestDatabase.eventStore(serverUrl))
  )

  // Each has accounts and a proxy of its own, and waits for its limits most of the time.
  layer(shared, { excludeTestServices: true, timeout: "4 minutes", concurrent: true })(
    `a broken connection (${name})`,
    (it) => {
      const wholeStream = (account: string) =>
        Effect.flatMap(EventStore, (store) =>
          store.readStream({ account: accountId(account), after: 0, limit: 100 })
        )

      for (const fault of ["cutAnswers", "cutRequests"] as const) {
        it.effect(`gives Unknown under ${fault}, and sending again lands the commit exactly once`, () =>
          Effect.gen(function* () {
            const { proxy, store } = yield* behindProxy(700)
            const account = `${fault}-account`
            const first = { writerId: fault, seq: 1, events: storedEvents(account, 1, 1) }
            assert.deepStrictEqual(yield* untilDefinite(store.commit(first)), CommitOutcome.Committed())
            proxy[fault]()
            const second = { writerId: fault, seq: 2, events: storedEvents(account, 2, 3) }
            assert.strictEqual((yield* store.commit(second))._tag, "Unknown")
            // Whether it landed before the cut is seen from outside; the store must not claim to know.
            const isLanded = Effect.map(wholeStream(account), (rows) => rows.length === 3)
            if (fault === "cutAnswers") yield* Effect.repeat(isLanded, { until: (landed) => landed })
            else assert.isFalse(yield* isLanded)
            proxy.forward()
            assert.deepStrictEqual(yield* untilDefinite(store.commit(second)), CommitOutcome.Committed())
            assert.deepStrictEqual(yield* wholeStream(account), storedEvents(account, 1, 3))
          })
        )
      }

      it.effect("gives NotWritten when no connection can be had", () =>
        Effect.gen(function* () {
          const { proxy, store } = yield* behindProxy(700)
          proxy.cut()
          const commit = { writerId: "refused", seq: 1, events: storedEvents("refused", 1, 1) }
          assert.strictEqual((yield* store.commit(commit))._tag, "NotWritten")
          const error = yield* Effect.flip(store.relayCursors)
          assert.strictEqual(error._tag, "StoreUnavailable")
          assert.match(error.message, /^event store: cannot connect: /)
          proxy.forward()
          assert.deepStrictEqual(yield* untilDefinite(store.commit(commit)), CommitOutcome.Committed())
          assert.strictEqual((yield* Effect.retry(store.relayCursors, { times: 50 })).size, 0)
        })
      )

      it.effect("gives NotWritten when the server accepts connections but never answers", () =>
        Effect.gen(function* () {
          const { proxy, store } = yield* behindProxy(700, 700)
          proxy.silence()
          const commit = { writerId: "mute", seq: 1, events: storedEvents("mute", 1, 1) }
          assert.strictEqual((yield* store.commit(commit))._tag, "NotWritten")
          assert.strictEqual((yield* Effect.flip(store.listWriters))._tag, "StoreUnavailable")
        })
      )

      it.effect("gives Unknown when the server goes silent on an open connection", () =>
        Effect.gen(function* () {
          const { proxy, store } = yield* behindProxy(700)
          const commit = (seq: number) =>
            store.commit({ writerId: "silent", seq, events: storedEvents("silent", seq, seq) })
          assert.deepStrictEqual(yield* untilDefinite(commit(1)), CommitOutcome.Committed())
          proxy.silence()
          assert.strictEqual((yield* commit(2))._tag, "Unknown")
          proxy.forward()
          assert.deepStrictEqual(yield* untilDefinite(commit(2)), CommitOutcome.Committed())
          assert.deepStrictEqual(yield* wholeStream("silent"), storedEvents("silent", 1, 2))
        })
      )

      it.effect("gives Unknown when the statement timeout ends a wait for another node's row", () =>
        Effect.gen(function* () {
          const { store } = yield* behindProxy(700)
          // Over a connection that is open: one that cannot be had in time gives NotWritten.
          const first = { writerId: "held", seq: 1, events: storedEvents("holding", 1, 1) }
          assert.deepStrictEqual(yield* untilDefinite(store.commit(first)), CommitOutcome.Committed())
          const holder = yield* holdKey("held", 1)
          const commit = { writerId: "held", seq: 2, events: storedEvents("held", 1, 1) }
          assert.strictEqual((yield* store.commit(commit))._tag, "Unknown")
          yield* holder.release
          assert.deepStrictEqual(yield* untilDefinite(store.commit(commit)), CommitOutcome.Committed())
        })
      )

      /** A commit behind another on a store of its own: inserted, and waiting for the word. */
      const waiting = Effect.fnUntraced(function* (name: string) {
        const { proxy, store } = yield* behindProxy(3_000)
        const first = { writerId: name, seq: 1, events: storedEvents(name, 1, 1) }
        assert.deepStrictEqual(yield* untilDefinite(store.commit(first)), CommitOutcome.Committed())
        const commit = { writerId: name, seq: 2, events: storedEvents(name, 2, 3) }
        const { word, fiber } = yield* sendBehind(store, commit)
        return { proxy, store, commit, word, fiber }
      })

      for (const fault of ["cutAnswers", "cutRequests"] as const) {
        it.effect(`gives Unknown for a commit behind another when its COMMIT meets ${fault}`, () =>
          Effect.gen(function* () {
            const account = `behind-${fault}`
            const { proxy, store, commit, word, fiber } = yield* waiting(account)
            proxy[fault]()
            yield* Deferred.succeed(word, true)
            assert.strictEqual((yield* Fiber.join(fiber))._tag, "Unknown")
            proxy.forward()
            assert.deepStrictEqual(yield* untilDefinite(store.commit(commit)), CommitOutcome.Committed())
            assert.deepStrictEqual(yield* wholeStream(account), storedEvents(account, 1, 3))
          })
        )
      }

      for (const may of [true, false]) {
        it.effect(`writes nothing of a commit behind another whose connection is cut, then told ${may}`, () =>
          Effect.gen(function* () {
            const account = `behind-cut-${may}`
            const { proxy, store, commit, word, fiber } = yield* waiting(account)
            proxy.cut()
            yield* Effect.sleep(50)
            yield* Deferred.succeed(word, may)
            const outcome = yield* Fiber.join(fiber)
            assert.include(may ? ["NotWritten", "Unknown"] : ["NotWritten"], outcome._tag)
            assert.deepStrictEqual(yield* wholeStream(account), storedEvents(account, 1, 1))
            proxy.forward()
            assert.deepStrictEqual(yield* untilDefinite(store.commit(commit)), CommitOutcome.Committed())
            assert.deepStrictEqual(yield* wholeStream(account), storedEvents(account, 1, 3))
          })
        )

        // The server would end the session, but its answer does not arrive either.
        it.effect(`ends a commit behind another in a partition, told ${may}`, () =>
          Effect.gen(function* () {
            const account = `behind-partition-${may}`
            const { proxy, store, commit, word, fiber } = yield* waiting(account)
            proxy.hold()
            yield* Deferred.succeed(word, may)
            const outcome = yield* Effect.timeout(Fiber.join(fiber), 30_000)
            assert.include(may ? ["Unknown"] : ["NotWritten", "Unknown"], outcome._tag)
            proxy.forward()
            assert.deepStrictEqual(yield* untilDefinite(store.commit(commit)), CommitOutcome.Committed())
            assert.deepStrictEqual(yield* wholeStream(account), storedEvents(account, 1, 3))
          })
        )
      }

      it.effect("gives up a commit behind another when neither its predecessor nor the server answers", () =>
        Effect.gen(function* () {
          const { proxy, store } = yield* behindProxy(700)
          const commit = (seq: number) => ({
            writerId: "behind-start",
            seq,
            events: storedEvents("behind-start", seq, seq)
          })
          assert.deepStrictEqual(yield* untilDefinite(store.commit(commit(1))), CommitOutcome.Committed())
          const untold = store.commit(commit(2), Effect.never)
          assert.notStrictEqual((yield* Effect.timeout(untold, 30_000))._tag, "Committed")
          proxy.hold()
          const cutOff = store.commit(commit(2), Effect.succeed(true))
          assert.notStrictEqual((yield* Effect.timeout(cutOff, 30_000))._tag, "Committed")
          assert.deepStrictEqual(yield* wholeStream("behind-start"), storedEvents("behind-start", 1, 1))
          proxy.forward()
          assert.deepStrictEqual(yield* untilDefinite(store.commit(commit(2))), CommitOutcome.Committed())
        })
      )

      it.effect("frees the keys of a commit behind another when its node is frozen for too long", () =>
        Effect.gen(function* () {
          const { proxy, store, commit, word, fiber } = yield* waiting("behind-frozen")
          // Nothing of it arrives any more, not even that it gives up.
          proxy.hold()
          const heir = yield* EventStore
          const inherited = { writerId: "behind-heir", seq: 1, events: storedEvents("behind-frozen", 2, 2) }
          // Its statement may take longer than the frozen one's transaction may be idle.
          assert.deepStrictEqual(yield* untilDefinite(heir.commit(inherited)), CommitOutcome.Committed())
          yield* Deferred.succeed(word, true)
          assert.notStrictEqual((yield* Fiber.join(fiber))._tag, "Committed")
          proxy.forward()
          assert.strictEqual((yield* untilDefinite(store.commit(commit)))._tag, "Conflict")
          assert.deepStrictEqual(yield* wholeStream("behind-frozen"), storedEvents("behind-frozen", 1, 2))
        })
      )

      it.effect(
        "ends a failed transaction that was left open on a connection, and writes nothing there",
        () =>
          Effect.gen(function* () {
            const services = yield* Layer.build(Layer.fresh(storeAt(yield* TestDatabase, 3_000, 10_000)))
            const store = yield* Effect.provide(EventStore, services)
            const { commits } = yield* Effect.provide(EventStoreClient, services)
            yield* Effect.scoped(
              Effect.gen(function* () {
                const connection = yield* commits.reserve
                yield* connection.executeRaw("BEGIN", [])
                yield* Effect.flip(connection.executeRaw("SELECT 1 FROM nowhere", []))
              })
            )
            const commit = { writerId: "poisoned", seq: 1, events: storedEvents("poisoned", 1, 1) }
            assert.strictEqual((yield* store.commit(commit))._tag, "NotWritten")
            assert.deepStrictEqual(yield* wholeStream("poisoned"), [])
            assert.deepStrictEqual(yield* store.commit(commit), CommitOutcome.Committed())
            assert.deepStrictEqual(yield* wholeStream("poisoned"), commit.events)
          })
      )

      it.effect("lets an interruption wait for the answer, so that nothing lands afterwards", () =>
        Effect.gen(function* () {
          const store = yield* EventStore
          const holder = yield* holdKey("interrupted", 1)
          const fiber = yield* Effect.forkChild(
            store.commit({
              writerId: "interrupted",
              seq: 1,
              events: storedEvents("interrupted", 1, 1)
            }),
            { startImmediately: true }
          )
          const interrupting = yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
          assert.isUndefined(fiber.pollUnsafe())
          yield* holder.release
          yield* Fiber.join(interrupting)
          const exit = yield* Fiber.await(fiber)
          const rows = yield* wholeStream("interrupted")
          // The answer came after the key was free, so it was Committed, and the row is there already.
          assert.strictEqual(rows.length, 1)
          assert.isTrue(exit._tag === "Failure" || exit.value._tag === "Committed")
        })
      )

      it.effect(
        "never loses or repeats an acknowledged commit while connections are cut at random moments",
        () =>
          Effect.gen(function* () {
            const { proxy, store } = yield* behindProxy(700)
            const seen = { Unknown: 0, NotWritten: 0 }
            const sendUntilDefinite = (seq: number) =>
              store.commit({ writerId: "cut", seq, events: storedEvents("cut", seq, seq) }).pipe(
                Effect.tap((outcome) =>
                  Effect.sync(() => {
                    if (outcome._tag === "Unknown" || outcome._tag === "NotWritten") seen[outcome._tag] += 1
                  })
                ),
                Effect.repeat({
                  while: (outcome) => outcome._tag === "Unknown" || outcome._tag === "NotWritten"
                })
              )
            proxy.cutAtRandom()
            const outcomes = yield* Effect.forEach(
              Array.from({ length: 60 }, (_, index) => index + 1),
              sendUntilDefinite
            )
            assert.deepStrictEqual(
              outcomes,
              outcomes.map(() => CommitOutcome.Committed())
            )
            assert.deepStrictEqual(yield* wholeStream("cut"), storedEvents("cut", 1, 60))
            const tail = yield* (yield* EventStore).readTail({ writerId: "cut", after: 0, limit: 100 })
            assert.deepStrictEqual(
              tail.map((row) => row.seq),
              Array.from({ length: 60 }, (_, index) => index + 1)
            )
            assert.isAbove(seen.Unknown, 0)
            assert.isAbove(seen.NotWritten, 0)
          })
      )
    }
  )
}
