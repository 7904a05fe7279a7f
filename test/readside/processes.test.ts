/** Real processes on the same rows at once, frozen and killed in the middle; and rebuilds that are killed: no row differs. */
import { randomBytes } from "node:crypto"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted } from "effect"
import { connect } from "nats"
import type { CommandInput } from "../../src/domain/Command.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { execute, freshEventStore } from "../support/databases.ts"
import { query } from "../support/devStacks.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"
import { startReadSide } from "../support/readSideProcesses.ts"
import {
  assertCaughtUp,
  assertVersions,
  eventually,
  freshReadModel,
  limitsOf,
  play,
  readModelOn,
  readSideOn,
  type TestLimits,
  wholeLog
} from "../support/readSides.ts"
import { openAll, startLoad } from "../support/steadyLoad.ts"

/** A process takes its time to begin on a machine that has other things to do. */
const startsWithin = 150

const freshStores = Effect.all({
  eventStoreUrl: freshEventStore(inject("postgresUrl")),
  readModelUrl: freshReadModel(inject("postgresUrl"))
})

describe("processes of the read side", () => {
  it.live(
    "that all own every partition write the same rows",
    () =>
      Effect.gen(function* () {
        const natsUrl = inject("natsUrl")
        const id = randomBytes(6).toString("hex")
        const bus = { stream: `TEST_${id}`, subject: `test.${id}` }
        const stores = yield* freshStores
        yield* Effect.addFinalizer(() =>
          Effect.promise(() =>
            connect({ servers: natsUrl }).then((nats) =>
              nats
                .jetstreamManager()
                .then((jsm) => jsm.streams.delete(bus.stream))
                .finally(() => nats.close())
            )
          ).pipe(Effect.exit)
        )
        const limits: TestLimits = {
          ledger: { sweepMs: 300 },
          readSide: { sweepGraceMs: 300, lostAfterMs: 600 }
        }
        const here = LedgerNode.over(
          "here",
          Layer.merge(
            Bus.layer({ url: natsUrl, ...bus }),
            LedgerNode.stores({
              eventStoreUrl: Redacted.make(stores.eventStoreUrl),
              readModelUrl: Redacted.make(stores.readModelUrl)
            })
          )
        ).pipe(Layer.provide(limitsOf(limits)))
        const follow = (own: string) =>
          startReadSide({ ...stores, ...bus, limits, natsUrl, own, what: "follow" })
        const [frozen, killed] = yield* Effect.all([follow("frozen"), follow("killed")], { concurrency: 2 })
        yield* Effect.gen(function* () {
          const ids = Array.from({ length: 16 }, (_, index) => `acc-${index}`)
          yield* openAll(ids, 1_000_000n)
          const load = yield* startLoad("three", ids)
          const handling = (process: typeof frozen) => {
            const enough = process.handled() + 100
            return eventually(
              Effect.sync(() => assert.isAtLeast(process.handled(), enough)),
              startsWithin
            )
          }
          const committed = (more: number) => {
            const enough = load.committedUnsafe() + more
            return eventually(Effect.sync(() => assert.isAtLeast(load.committedUnsafe(), enough)))
          }
          yield* handling(frozen)
          yield* handling(killed)
          yield* frozen.signal("SIGSTOP")
          yield* committed(100)
          yield* killed.signal("SIGKILL")
          yield* committed(100)
          // It goes on in the middle of whatever it was doing, and all that it holds is old by now.
          yield* frozen.signal("SIGCONT")
          yield* handling(frozen)
          yield* load.stop
          const log = yield* wholeLog
          yield* eventually(assertVersions(log))
          // Whatever the one that was frozen still has to say: it has met all there is.
          yield* eventually(Effect.sync(() => assert.isAtLeast(frozen.handled(), log.length)))
          yield* assertCaughtUp(log)
        }).pipe(Effect.provide(here))
      }),
    420_000
  )
})

describe("a rebuild in a process of its own", () => {
  it.live(
    "that is killed ends right when it is started again",
    () =>
      Effect.gen(function* () {
        const stores = yield* freshStores
        const limits: TestLimits = { ledger: { sweepMs: 100 }, readSide: { rebuildEventsMax: 100 } }
        const ids = Array.from({ length: 30 }, (_, index) => `acc-${index}`)
        const round = (number: number): ReadonlyArray<CommandInput> =>
          ids.flatMap((id, index) => [
            deposit(id, BigInt(100 + number)),
            transfer(id, ids[(index + 1) % ids.length] ?? id, BigInt(1 + index))
          ])
        /** No transfers: their two legs may be projected one after the other, and the sum tells of that alone. */
        const deposits = (amount: bigint) => ids.slice(0, 10).map((id) => deposit(id, amount))
        const live = readSideOn(
          Layer.mergeAll(
            EventStore.layer.pipe(Layer.provide(EventStoreClient.layer(Redacted.make(stores.eventStoreUrl)))),
            Bus.layerMemory,
            readModelOn(stores.readModelUrl)
          ),
          limits
        ).pipe(Layer.provideMerge(ReadModelSql.layer(Redacted.make(stores.readModelUrl))))
        yield* Effect.gen(function* () {
          const eventWriter = new EventWriter("writer-1", Date.now())
          yield* play(
            eventWriter,
            ids.map((id) => openAccount(id))
          )
          for (let number = 0; number < 12; number++) yield* play(eventWriter, round(number))
          yield* eventually(assertCaughtUp(eventWriter.log))
          // What the old tables say is off from here on, and the projector, which adds to it, carries that on.
          yield* execute(stores.readModelUrl, "UPDATE books_v1_contra SET balance = balance + 7")
          const readModel = yield* ReadModel
          const off = (yield* readModel.trialBalance)[0]?.total ?? 0n
          assert.notStrictEqual(off, 0n)
          const seen: Array<bigint> = []
          const reader = yield* Effect.forkChild(
            readModel.trialBalance.pipe(
              Effect.map(([usd]) => seen.push(usd?.total ?? 0n)),
              Effect.delay("2 millis"),
              Effect.forever
            )
          )
          const run = (holdAt?: number) =>
            startReadSide({ ...stores, limits, what: "rebuild", ...(holdAt === undefined ? {} : { holdAt }) })
          const killAt = (holdAt: number) =>
            Effect.gen(function* () {
              const process = yield* run(holdAt)
              yield* eventually(
                Effect.sync(() => assert.isTrue(process.last("held"), process.stderr())),
                startsWithin
              )
              assert.strictEqual(process.last("phase"), "reading the log")
              const events = Number(process.last("events"))
              yield* process.signal("SIGKILL")
              yield* process.ended
              // Commits come while no rebuild runs.
              yield* play(eventWriter, deposits(1n))
              return events
            }).pipe(Effect.scoped)
          const first = yield* killAt(3)
          const second = yield* killAt(3)
          assert.isAbove(first, 0)
          assert.isAbove(second, first, "it went on from where the first one was killed")
          assert.isBelow(second, eventWriter.log.length)

          // A reader that does not let go of the tables, and is no verify, holds it up in the middle of the exchange.
          yield* Effect.gen(function* () {
            const connection = yield* (yield* ReadModelSql).reserve
            const tell = (text: string) => connection.executeValuesUnprepared(text, [])
            yield* Effect.addFinalizer(() => Effect.ignore(tell("ROLLBACK")))
            yield* tell("BEGIN")
            yield* tell("LOCK TABLE books_v1_balances IN ACCESS SHARE MODE")
            const process = yield* run()
            const waiting = query(
              Redacted.make(stores.readModelUrl),
              "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            yield* eventually(
              Effect.map(waiting, (rows) => assert.isAbove(rows.length, 0, process.stderr())),
              startsWithin
            )
            yield* process.signal("SIGKILL")
            yield* process.ended
          }).pipe(Effect.scoped)
          assert.notInclude(seen, 0n, "nothing was exchanged yet")
          yield* play(eventWriter, deposits(2n))

          const last = yield* run()
          const { code } = yield* last.ended
          assert.strictEqual(code, 0, last.stderr())
          assert.deepInclude(last.last("report"), { resumed: true, parked: 0 })
          yield* eventually(Effect.sync(() => assert.include(seen, 0n)))
          yield* play(eventWriter, deposits(3n))
          yield* eventually(assertCaughtUp(eventWriter.log))
          assert.isUndefined(reader.pollUnsafe(), "the reader was always answered")
          yield* Fiber.interrupt(reader)
          assert.deepStrictEqual(new Set(seen), new Set([off, 0n]), "the old or the new, never a mix")
          assert.isAbove(seen.indexOf(0n), seen.lastIndexOf(off), "once new, never old again")
        }).pipe(Effect.provide(live))
      }),
    420_000
  )
})
