/** One read side through everything that can be taken from under it, one after another; the log alone is kept. */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer } from "effect"
import { connect, type NatsConnection } from "nats"
import { ProjectionHealth } from "../../src/actors/readside/ProjectionHealth.ts"
import { ReadSideHealth } from "../../src/actors/readside/ReadSideHealth.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { Bus } from "../../src/infra/Bus.ts"
import { startNats } from "../../src/infra/dev/NatsServer.ts"
import { EventStore } from "../../src/infra/EventStore.ts"
import { Bookkeeper, deposit, openAccount, transfer } from "../support/bookkeeper.ts"
import { execute } from "../support/databases.ts"
import {
  assertCaughtUp,
  eventually,
  freshReadModel,
  play,
  readModelOn,
  readSideOn
} from "../support/readSides.ts"

const [stream, subject] = ["OUTAGES", "outages"]
const ids = Array.from({ length: 16 }, (_, index) => `acc-${index}`)
const round = (number: number): ReadonlyArray<CommandInput> =>
  ids.flatMap((id, index) => [
    deposit(id, BigInt(100 + number)),
    transfer(id, ids[(index + 1) % 16] ?? id, BigInt(1 + index))
  ])

/** One look at the server, with a connection of its own. */
const administer = <A>(url: string, work: (nats: NatsConnection) => Promise<A>) =>
  Effect.acquireUseRelease(
    Effect.promise(() => connect({ servers: url })),
    (nats) => Effect.promise(() => work(nats)),
    (nats) => Effect.promise(() => nats.close())
  )

const ownNats = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-outages-" })
  return yield* startNats({ directory, pidFile: `${directory}/nats.pid`, logFile: `${directory}/nats.log` })
})

describe("the read side", () => {
  it.live(
    "follows through a killed bus, its lost directory, purged and replaced streams, and a database that cuts all connections",
    () =>
      Effect.gen(function* () {
        const nats = yield* ownNats
        const databaseUrl = yield* freshReadModel(inject("postgresUrl"))
        const database = new URL(databaseUrl).pathname.slice(1)
        const process = readSideOn(
          Layer.mergeAll(
            EventStore.layerMemory,
            Bus.layer({ url: nats.url, stream, subject }),
            readModelOn(databaseUrl)
          ),
          { ledger: { sweepMs: 300 }, readSide: { sweepGraceMs: 200, lostAfterMs: 500, orphansMs: 200 } }
        )
        const deeds: ReadonlyArray<readonly [string, Effect.Effect<unknown, unknown>]> = [
          ["the server is killed and comes back", Effect.andThen(nats.kill, nats.start)],
          ["its directory is deleted", Effect.andThen(nats.deleteJetStream, nats.start)],
          [
            "the stream is purged",
            administer(nats.url, (one) => one.jetstreamManager().then((jsm) => jsm.streams.purge(stream)))
          ],
          [
            "the stream is made anew with other numbers",
            administer(nats.url, (one) =>
              one.jetstreamManager().then((jsm) =>
                jsm.streams
                  .delete(stream)
                  .then(() => jsm.streams.add({ name: stream, subjects: [`${subject}.*`] }))
                  .then(() =>
                    Promise.all(
                      Array.from({ length: 500 }, () => one.jetstream().publish(`${subject}.0`, "of nobody"))
                    )
                  )
              )
            )
          ],
          [
            "the consumers are deleted",
            administer(nats.url, (one) =>
              one
                .jetstreamManager()
                .then((jsm) =>
                  Promise.all(
                    [0, 1, 2, 3].map((partition) => jsm.consumers.delete(stream, `books_v1-${partition}`))
                  )
                )
            )
          ],
          [
            "every connection of the database is cut, again and again",
            Effect.repeat(
              execute(
                inject("postgresUrl"),
                `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${database}'`
              ),
              { times: 4 }
            )
          ]
        ]
        yield* Effect.gen(function* () {
          const bookkeeper = new Bookkeeper("writer-1", Date.now())
          yield* play(
            bookkeeper,
            ids.map((id) => openAccount(id)),
            round(0)
          )
          yield* eventually(assertCaughtUp(bookkeeper.log))
          const health = yield* ReadSideHealth
          for (const [index, [what, deed]] of deeds.entries()) {
            // What was lost by the deed before is made again once somebody misses it.
            yield* eventually(
              administer(nats.url, (one) =>
                one
                  .jetstreamManager()
                  .then((jsm) =>
                    Promise.all(
                      [0, 1, 2, 3].map((partition) => jsm.consumers.info(stream, `books_v1-${partition}`))
                    )
                  )
              ).pipe(Effect.asVoid)
            )
            const done = yield* Effect.forkChild(deed)
            for (let number = 0; number < 5; number++) yield* play(bookkeeper, round(index * 10 + number))
            yield* Fiber.join(done)
            yield* play(bookkeeper, round(index * 10 + 6))
            yield* eventually(assertCaughtUp(bookkeeper.log)).pipe(
              Effect.tapCause(() => Effect.logError(`after: ${what}`))
            )
            // And everything is well again: fibers, lag, the relay.
            yield* eventually(
              Effect.map(health.report, ({ reasons }) => assert.deepStrictEqual(reasons, [], what))
            )
          }
          const { partitionsUnsafe } = yield* ProjectionHealth
          assert.isAbove(
            partitionsUnsafe().reduce((sum, { faulty }) => sum + faulty, 0),
            0,
            "messages of nobody were met and passed over"
          )
        }).pipe(Effect.provide(process))
      }).pipe(Effect.provide(NodeServices.layer))
  )
})
