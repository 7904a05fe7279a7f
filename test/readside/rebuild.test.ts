/** A rebuild beside the live projection: right at the end, wherever it is killed, and no query sees some of each. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Redacted } from "effect"
import { Completeness } from "../../src/actors/projections/Completeness.ts"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { rebuild } from "../../src/actors/projections/Rebuild.ts"
import { defaultReadSideLimits, ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { books } from "../../src/infra/readmodel/BooksProjection.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { BeingVerified, makeRebuildTables, RebuildRunning } from "../../src/infra/readmodel/RebuildTables.ts"
import { execute } from "../support/databases.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"
import { append, assertCaughtUp, eventually, play } from "../support/readSides.ts"
import { rebuildWorld, smallSteps, unreadableAt } from "../support/rebuilds.ts"
import { accountId } from "../support/storedEvents.ts"
import { tcpProxy } from "../support/tcpProxy.ts"

const ids = Array.from({ length: 30 }, (_, index) => `acc-${index}`)
const round = (number: number) =>
  ids.flatMap((id, index) => [
    deposit(id, BigInt(100 + number)),
    transfer(id, ids[(index + 1) % ids.length] ?? id, BigInt(1 + index))
  ])

/** Every index of the projection's tables, without its name, and what its table was told. */
const shapes = Effect.gen(function* () {
  const sql = yield* ReadModelSql
  return yield* sql.unsafe(
    `SELECT t.relname, regexp_replace(pg_get_indexdef(i.indexrelid), 'INDEX \\S+ ON', 'INDEX ON') AS index,
       pg_get_constraintdef(c.oid) AS constraint, array_to_string(t.reloptions, ', ') AS options
     FROM pg_class t JOIN pg_index i ON i.indrelid = t.oid
     LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.conrelid = t.oid
     WHERE t.relname LIKE 'books\\_v1\\_%' AND t.relname NOT LIKE 'books\\_v1\\_old%' ORDER BY 1, 2`
  ).values
})

/** Whether the tables that were exchanged are still there. */
const oldTables = Effect.flatMap(
  ReadModelSql,
  (sql) => sql.unsafe("SELECT to_regclass('books_v1_old_balances') AS old").values
)

const behindProxy = Effect.fnUntraced(function* (databaseUrl: string) {
  const url = new URL(databaseUrl)
  const proxy = yield* tcpProxy(url.hostname, Number(url.port))
  url.port = String(proxy.port)
  return { proxy, through: ReadModelSql.layer(Redacted.make(url.toString())) }
})

const filled = Effect.fnUntraced(function* (eventWriter: EventWriter, rounds: number) {
  yield* play(
    eventWriter,
    ids.map((id) => openAccount(id))
  )
  for (let number = 0; number < rounds; number++) yield* play(eventWriter, round(number))
  yield* eventually(assertCaughtUp(eventWriter.log))
})

describe("a rebuild", () => {
  it.live("takes the place of broken tables while commits are projected", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const eventWriter = new EventWriter("writer-1", Date.now())
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 5)
        // What the old tables say is off by 7 a row from here on, and the projector carries that on.
        yield* execute(
          world.databaseUrl,
          "UPDATE books_v1_balances SET balance = balance + 7",
          "UPDATE books_v1_statement_lines SET balance = balance + 7",
          // Tables that were exchanged: the projector reads the heads anew.
          "INSERT INTO projections (prefix, generation, swapped_at) VALUES ('books_v1', 1, now())"
        )
        const readModel = yield* ReadModel
        // Commits come with every step of the rebuild, fewer than a step reads: it must get to an end.
        const begun = yield* Queue.unbounded<number>()
        const writer = yield* Effect.forkChild(
          Queue.take(begun).pipe(
            Effect.flatMap((number) =>
              play(
                eventWriter,
                ids.slice(number % 3, (number % 3) + 10).map((id) => deposit(id, BigInt(number + 1)))
              )
            ),
            Effect.forever
          )
        )
        const seen: Array<bigint> = []
        let version = 0
        const reader = yield* Effect.forkChild(
          Effect.gen(function* () {
            for (;;) {
              const [usd] = yield* readModel.trialBalance
              seen.push(usd?.total ?? 0n)
              const frozen = yield* Effect.scoped(
                Effect.gen(function* () {
                  const tables = yield* readModel.frozen
                  const heads = yield* tables.balances({ after: { account: "", version: 0 }, limit: 100 })
                  const lines = yield* tables.lines({ after: { account: "", version: 0 }, limit: 10_000 })
                  return { heads, lines }
                })
              )
              for (const head of frozen.heads) {
                const last = frozen.lines.findLast((line) => line.account === head.account)
                assert.deepInclude(last, { version: head.version, balance: head.balance }, "one generation")
              }
              const now = (yield* readModel.versions([accountId("acc-3")])).get(accountId("acc-3")) ?? 0
              assert.isAtLeast(now, version, "no row goes back")
              version = now
            }
          })
        )
        yield* eventually(Effect.sync(() => assert.isAbove(seen.length, 0)))
        const steps: Array<string> = []
        const report = yield* rebuild(books, {
          onStep: ({ phase }) => {
            Queue.offerUnsafe(begun, steps.push(phase))
          }
        })
        yield* eventually(Effect.sync(() => assert.include(seen, 0n)))
        yield* Fiber.interrupt(writer)
        yield* eventually(assertCaughtUp(eventWriter.log))
        assert.isUndefined(reader.pollUnsafe(), "the reader found nothing wrong")
        yield* Fiber.interrupt(reader)
        assert.deepStrictEqual(
          [...new Set(seen)].toSorted((a, b) => Number(b - a)),
          [210n, 0n]
        )
        assert.isTrue(seen.indexOf(0n) > seen.lastIndexOf(210n), "once new, never old again")
        assert.isAbove(steps.filter((phase) => phase === "reading the log").length, 5)
        assert.isAtLeast(report.events, 5 * 60)
        assert.isFalse(report.resumed)
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live("that is killed at any of its steps ends right when it is started again", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const eventWriter = new EventWriter("writer-1", Date.now())
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 3)
        let resumed = 0
        for (const killedAt of [1, 2, 5, 9, 12, 13, 14, 15]) {
          yield* execute(world.databaseUrl, "UPDATE books_v1_balances SET balance = balance + 1")
          const reached = yield* Deferred.make<void>()
          let steps = 0
          const first = yield* Effect.forkChild(
            rebuild(books, {
              onStep: () => {
                if (++steps === killedAt) Deferred.doneUnsafe(reached, Effect.void)
              }
            })
          )
          yield* Effect.raceFirst(Deferred.await(reached), Fiber.await(first))
          yield* Fiber.interrupt(first)
          // Those come while no rebuild runs.
          yield* play(eventWriter, [deposit("acc-1", 1n), transfer("acc-29", "acc-0", 1n)])
          if ((yield* rebuild(books)).resumed) resumed++
          yield* eventually(assertCaughtUp(eventWriter.log))
        }
        assert.isAtLeast(resumed, 5)
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live("refuses to run twice at once", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      yield* Effect.gen(function* () {
        yield* filled(new EventWriter(), 1)
        const readModel = yield* ReadModel
        const begun = yield* Deferred.make<void>()
        const first = yield* Effect.scoped(
          Effect.gen(function* () {
            // Who reads the tables holds up their exchange, and with it the end of the first one.
            yield* readModel.frozen
            const running = yield* Effect.forkChild(
              rebuild(books, { onStep: () => Deferred.doneUnsafe(begun, Effect.void) })
            )
            yield* Deferred.await(begun)
            const refused = yield* Effect.flip(rebuild(books))
            assert.instanceOf(refused, RebuildRunning)
            assert.include(refused.message, "is being rebuilt by another process")
            return running
          })
        )
        yield* Fiber.join(first)
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live("refuses a batch that was folded on the old tables", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const eventWriter = new EventWriter()
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 1)
        const readModel = yield* ReadModel
        const id = accountId("acc-1")
        const { generation, heads } = yield* readModel.look([id])
        const head = heads.get(id)
        assert.isDefined(head)
        if (head === undefined) return
        yield* rebuild(books)
        const { version } = head.account
        const next = { ...head, account: { ...head.account, version: version + 1, balance: 1n } }
        const batch = { lines: [], transfers: [], contras: [], holds: [], checkpoints: [], generation }
        assert.isFalse(yield* readModel.apply({ ...batch, moves: [{ from: version, head: next }] }))
        yield* assertCaughtUp(eventWriter.log)
        const looked = yield* readModel.look([id])
        assert.strictEqual(looked.generation, generation + 1)
        assert.deepStrictEqual(looked.heads.get(id), head)
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live("keeps the indexes and settings of the tables", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const eventWriter = new EventWriter()
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 1)
        const before = yield* shapes
        assert.isAtLeast(before.length, 8)
        yield* rebuild(books)
        assert.deepStrictEqual(yield* shapes, before)
        yield* rebuild(books)
        assert.deepStrictEqual(yield* shapes, before)
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live("may look at whole tables for longer than a question may take", () =>
    Effect.gen(function* () {
      const { databaseUrl } = yield* rebuildWorld()
      yield* execute(databaseUrl, "CREATE TABLE books_v1_next_balances (LIKE books_v1_balances)")
      const small = { ...books, tables: [] }
      const isLocked = (table: string) =>
        Effect.flatMap(
          ReadModelSql,
          (sql) => sql`SELECT 1 FROM pg_locks
            WHERE granted AND mode = 'AccessExclusiveLock' AND relation = ${table}::regclass`
        ).pipe(Effect.map((rows) => assert.lengthOf(rows, 1)))
      /** As many rows would: both statements wait for a lock. */
      const slowly = <A, E, R>(table: string, look: Effect.Effect<A, E, R>) =>
        Effect.gen(function* () {
          const begun = yield* Effect.forkChild(
            execute(databaseUrl, "BEGIN", `LOCK TABLE ${table}`, "SELECT pg_sleep(2)", "COMMIT")
          )
          yield* eventually(isLocked(table))
          const answer = yield* look
          yield* Fiber.join(begun)
          return answer
        })
      yield* Effect.gen(function* () {
        const tables = yield* makeRebuildTables(small)
        assert.strictEqual(yield* slowly("books_v1_balances", tables.liveEvents), 0)
        for (const table of ["swept", "parked_accounts", "skipped"])
          yield* execute(databaseUrl, `CREATE TABLE books_v1_next_${table} (LIKE books_v1_${table})`)
        yield* slowly("books_v1_next_balances", tables.analyze)
      }).pipe(
        Effect.provide(ReadModelSql.layer(Redacted.make(databaseUrl))),
        Effect.provideService(ReadSideConfig, { ...defaultReadSideLimits, readModelStatementMs: 1_000 })
      )
    })
  )

  it.live("leaves the old tables as they are when the exchange fails", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const eventWriter = new EventWriter()
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 1)
        const tables = yield* makeRebuildTables(books)
        yield* tables.begin(new Map())
        const failed = yield* Effect.flip(tables.swap(Effect.fail("no" as const)))
        assert.strictEqual(failed, "no")
        yield* play(eventWriter, [deposit("acc-1", 1n)])
        yield* eventually(assertCaughtUp(eventWriter.log))
        assert.isDefined(yield* tables.progress, "it can be gone on with")
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live("needs two connections and no more", () =>
    Effect.gen(function* () {
      const readSide = { ...smallSteps.readSide, readModelConnections: 2, connectMs: 10_000 }
      const world = yield* rebuildWorld({
        ...smallSteps,
        readSide: { ...readSide, readModelStatementMs: 10_000 }
      })
      const eventWriter = new EventWriter()
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 1)
        yield* rebuild(books)
        yield* eventually(assertCaughtUp(eventWriter.log))
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live(
    "ends before its exchange while the read model is verified, makes nobody wait, and goes on when it is started again",
    () =>
      Effect.gen(function* () {
        const world = yield* rebuildWorld()
        const eventWriter = new EventWriter()
        yield* Effect.gen(function* () {
          yield* filled(eventWriter, 1)
          const readModel = yield* ReadModel
          yield* Effect.gen(function* () {
            const audited = yield* readModel.frozen
            // A further audit goes on beside it.
            yield* Effect.scoped(readModel.frozen)
            const error = yield* Effect.flip(rebuild(books))
            assert.instanceOf(error, BeingVerified)
            assert.include(error.message, "books_v1 is being verified")
            yield* play(eventWriter, round(1))
            yield* eventually(assertCaughtUp(eventWriter.log))
            assert.strictEqual((yield* audited.versions([accountId("acc-3")])).size, 1)
          }).pipe(Effect.scoped)
          assert.isTrue((yield* rebuild(books)).resumed)
          yield* eventually(assertCaughtUp(eventWriter.log))
        }).pipe(Effect.provide(world.process), Effect.scoped)
      })
  )

  it.live(
    "leaves out nothing that is recorded as it exchanges the tables, and nobody is told meanwhile that an account has that",
    () =>
      Effect.gen(function* () {
        const world = yield* rebuildWorld()
        const eventWriter = new EventWriter("writer-1", Date.now())
        const id = accountId("acc-7")
        yield* Effect.gen(function* () {
          yield* filled(eventWriter, 1)
          const [store, model] = [yield* EventStore, yield* ReadModel]
          const { completeToUnsafe } = yield* Completeness
          // No writer is left, so that all is complete up to now.
          yield* store.fenceWriter("writer-1")
          const late = eventWriter.fork("writer-2")
          const parkedAt = late.headOf(id).account.version + 1
          // Of which the live tables lack what comes, as far as a round of the reconciler goes, and the new ones do not.
          yield* model.park([{ account: id, version: parkedAt, reason: "a bug", since: 0 }])
          const { parkedUnsafe } = yield* ProjectionEngine
          yield* eventually(Effect.sync(() => assert.strictEqual(parkedUnsafe(), 1)))
          let lateAt = Number.POSITIVE_INFINITY
          let told = 0
          const reader = yield* Effect.forkChild(
            Effect.gen(function* () {
              for (;;) {
                // In this order, as the ledger asks.
                const reached = completeToUnsafe()
                const head = (yield* model.heads([id])).get(id)
                if (head === undefined || head.isParked) continue
                told++
                if (head.account.version < parkedAt)
                  assert.isBelow(reached, lateAt, "it lacks what was recorded last")
              }
            })
          )
          const record = Effect.gen(function* () {
            late.now = Date.now()
            lateAt = late.now
            yield* append(late.commit(deposit(id, 1n)))
            yield* store.fenceWriter("writer-2")
          }).pipe(Effect.provideService(EventStore, store))
          const steps: Array<string> = []
          yield* rebuild(books, {
            onStep: ({ phase }) => {
              // The tails were listed for the last time, and projectors wait for the exchange.
              const isLast = steps.push(phase) > 2 && steps.at(-3) === "exchanging the tables"
              if (isLast) Effect.runSync(record)
            }
          })
          assert.isBelow(lateAt, Number.POSITIVE_INFINITY)
          yield* eventually(assertCaughtUp([...eventWriter.log, ...late.log]))
          yield* eventually(Effect.sync(() => assert.isAtLeast(completeToUnsafe(), lateAt)))
          assert.isUndefined(reader.pollUnsafe(), "the reader found nothing wrong")
          assert.isAbove(told, 0)
          yield* Fiber.interrupt(reader)
        }).pipe(Effect.provide(world.process))
      })
  )

  it.live("is done where the answer to the COMMIT of its exchange was lost", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const eventWriter = new EventWriter()
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 1)
        const { proxy, through } = yield* behindProxy(world.databaseUrl)
        yield* execute(world.databaseUrl, "UPDATE books_v1_balances SET balance = balance + 7")
        proxy.loseAnswerBehind("DELETE FROM projection_rebuilds")
        yield* Effect.provide(rebuild(books), through)
        yield* eventually(assertCaughtUp(eventWriter.log))
        assert.deepStrictEqual(yield* oldTables, [[null]])
      }).pipe(Effect.provide(world.process), Effect.scoped)
    })
  )

  it.live("is done where the database is away for two seconds when the tables are to be exchanged", () =>
    Effect.gen(function* () {
      const world = yield* rebuildWorld()
      const eventWriter = new EventWriter()
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 1)
        const { proxy, through } = yield* behindProxy(world.databaseUrl)
        yield* execute(world.databaseUrl, "UPDATE books_v1_balances SET balance = balance + 7")
        const isAway = yield* Deferred.make<void>()
        const running = yield* Effect.forkChild(
          rebuild(books, {
            onStep: ({ phase }) => {
              if (phase !== "exchanging the tables") return
              proxy.cut()
              Deferred.doneUnsafe(isAway, Effect.void)
            }
          }).pipe(Effect.provide(through))
        )
        yield* Deferred.await(isAway)
        yield* Effect.sleep("2 seconds")
        proxy.forward()
        yield* Fiber.join(running)
        yield* eventually(assertCaughtUp(eventWriter.log))
        assert.deepStrictEqual(yield* oldTables, [[null]])
      }).pipe(Effect.provide(world.process), Effect.scoped)
    })
  )

  it.live(
    "leaves alone the tables of one that was begun since, where the answer to its COMMIT was lost",
    () =>
      Effect.gen(function* () {
        const world = yield* rebuildWorld()
        const eventWriter = new EventWriter("writer-1", Date.now())
        yield* Effect.gen(function* () {
          yield* filled(eventWriter, 1)
          const { proxy, through } = yield* behindProxy(world.databaseUrl)
          proxy.loseAnswerBehind("DELETE FROM projection_rebuilds")
          const reached = yield* Deferred.make<void>()
          const running = yield* Effect.forkChild(
            rebuild(books, {
              onStep: ({ phase }) => {
                if (phase === "exchanging the tables") Deferred.doneUnsafe(reached, Effect.void)
              }
            }).pipe(Effect.provide(through))
          )
          yield* Deferred.await(reached)
          const tables = yield* makeRebuildTables(books)
          yield* eventually(Effect.map(tables.progress, (left) => assert.isUndefined(left)))
          yield* tables.dropOld
          const [writer] = yield* (yield* EventStore).listWriters
          yield* tables.begin(new Map(writer === undefined ? [] : [[writer.writerId, writer.lastSeq]]))
          yield* Fiber.join(running)
          assert.isDefined(yield* tables.progress)
          yield* assertCaughtUp(eventWriter.log)
        }).pipe(Effect.provide(world.process), Effect.scoped)
      })
  )
})

describe("a rebuild over a log with events that cannot be read", () => {
  /** The version at which an account cannot be read. */
  const bad = new Map<string, number>()
  const badWorld = Effect.suspend(() => {
    bad.clear()
    return rebuildWorld(
      smallSteps,
      unreadableAt((account, version) => bad.get(account) === version)
    )
  })
  const parkedAt = Effect.map(
    Effect.flatMap(ReadModel, (model) => model.parked),
    (rows) => rows.map(({ account, version }): [string, number] => [account, version])
  )
  /** Accounts of four events each, which no bus brings, and of which the bad ones are parked by the sweep. */
  const addedBadly = Effect.fnUntraced(function* (
    eventWriter: EventWriter,
    standStill: ReadonlyArray<[account: string, version: number]>,
    good: ReadonlyArray<string> = []
  ) {
    for (const [account, version] of standStill) bad.set(account, version)
    const all = [...bad.keys(), ...good]
    yield* append(eventWriter.commit(...all.map((id) => openAccount(id))))
    for (const amount of [1n, 2n, 3n])
      yield* append(eventWriter.commit(...all.map((id) => deposit(id, amount))))
    yield* eventually(Effect.map(parkedAt, (found) => assert.deepStrictEqual(found, standStill)))
    yield* eventually(assertCaughtUp(readable(eventWriter)))
  })
  /** What the read model must have of it. */
  const readable = ({ log }: EventWriter) =>
    log.filter(({ accountId, version }) => version < (bad.get(accountId) ?? Number.POSITIVE_INFINITY))
  const endsBefore = Effect.fnUntraced(function* (place: string) {
    const error = yield* Effect.flip(rebuild(books))
    assert.include(error.message, `what stands ${place} cannot be read, and the live tables may have it`)
  })
  const goesOnOnceMended = Effect.fnUntraced(function* (eventWriter: EventWriter) {
    bad.clear()
    assert.isTrue((yield* rebuild(books)).resumed)
    yield* eventually(assertCaughtUp(eventWriter.log))
  })

  /** These accounts and no others; what can be read is right at once, and the rest once it can be. */
  const rebuildParks = Effect.fnUntraced(function* (
    eventWriter: EventWriter,
    standStill: ReadonlyArray<[string, number]>
  ) {
    const { parked } = yield* rebuild(books)
    assert.strictEqual(parked, standStill.length)
    assert.deepStrictEqual(yield* parkedAt, standStill)
    yield* eventually(assertCaughtUp(readable(eventWriter)))
    bad.clear()
    yield* (yield* ProjectionEngine).retryParked()
    yield* eventually(assertCaughtUp(eventWriter.log))
  })

  it.live("parks them where the live tables stand still for them, and has all others", () =>
    Effect.gen(function* () {
      const world = yield* badWorld
      const eventWriter = new EventWriter("writer-1", Date.now())
      const standStill: ReadonlyArray<[string, number]> = [
        ["acc-1-bad", 3],
        ["acc-2-bad", 2],
        ["acc-2-bad-too", 2],
        ["zzz-last", 4]
      ]
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 1)
        yield* addedBadly(eventWriter, standStill)
        yield* execute(world.databaseUrl, "UPDATE books_v1_balances SET balance = balance + 7")
        yield* rebuildParks(eventWriter, standStill)
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live("ends before its exchange where the live tables have them", () =>
    Effect.gen(function* () {
      const world = yield* badWorld
      const eventWriter = new EventWriter("writer-1", Date.now())
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 1)
        yield* play(eventWriter, [
          openAccount("acc-1-bad"),
          deposit("acc-1-bad", 1n),
          deposit("acc-1-bad", 2n)
        ])
        yield* eventually(assertCaughtUp(eventWriter.log))
        for (const version of [1, 3]) {
          bad.set("acc-1-bad", version)
          yield* endsBefore(
            version === 1 ? "behind version 4 of account acc-1" : "behind version 2 of account acc-1-bad"
          )
          assert.deepStrictEqual(yield* parkedAt, [])
        }
        yield* goesOnOnceMended(eventWriter)
      }).pipe(Effect.provide(world.process))
    })
  )

  it.live(
    "parks those of which the first event cannot be read, and has those between that the live tables lack",
    () =>
      Effect.gen(function* () {
        const world = yield* badWorld
        const eventWriter = new EventWriter("writer-1", Date.now())
        yield* Effect.gen(function* () {
          const standStill: ReadonlyArray<[string, number]> = [
            ["aaa-bad", 1],
            ["zz-0-bad", 3],
            ["zz-1-bad", 1],
            ["zz-1-bad-too", 1],
            ["zz-3-bad", 1]
          ]
          yield* filled(eventWriter, 1)
          yield* addedBadly(eventWriter, standStill, ["zz-2-good"])
          // The live tables lost two accounts.
          yield* execute(
            world.databaseUrl,
            "DELETE FROM books_v1_parked_accounts WHERE account = 'zz-1-bad'",
            "DELETE FROM books_v1_balances WHERE account = 'zz-2-good'"
          )
          yield* rebuildParks(eventWriter, standStill)
        }).pipe(Effect.provide(world.process))
      })
  )

  it.live("ends before its exchange where what could not be read can be, a moment later", () =>
    Effect.gen(function* () {
      const world = yield* badWorld
      const eventWriter = new EventWriter("writer-1", Date.now())
      yield* Effect.gen(function* () {
        yield* filled(eventWriter, 1)
        yield* addedBadly(eventWriter, [
          ["zz-1-bad", 3],
          ["zz-2-bad", 1]
        ])
        const store = yield* EventStore
        const readStream: typeof store.readStream = (from) => {
          bad.delete("zz-1-bad")
          return store.readStream(from)
        }
        yield* endsBefore("behind version 2 of account zz-1-bad").pipe(
          Effect.provideService(EventStore, { ...store, readStream })
        )
        yield* goesOnOnceMended(eventWriter)
      }).pipe(Effect.provide(world.process))
    })
  )
})
