/** Commands stream through a whole node while everything is taken from under its read side, in turn: no row differs. */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Schedule } from "effect"
import { connect, type JetStreamManager, type NatsConnection } from "nats"
import { Audit } from "../../src/actors/audit/Audit.ts"
import { ProjectionEngine } from "../../src/actors/projections/ProjectionEngine.ts"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { ReadSideHealth } from "../../src/actors/projections/ReadSideHealth.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { execute } from "../support/databases.ts"
import { deposit } from "../support/eventWriter.ts"
import { calls, FaultPoints } from "../support/faultPoints.ts"
import { OwnServers } from "../support/ownServers.ts"
import {
  assertCaughtUp,
  assertRows,
  assertVersions,
  eventually,
  limitsOf,
  wholeLog
} from "../support/readSides.ts"
import { insist, openAll, type SteadyLoad, startLoad } from "../support/steadyLoad.ts"
import { accountId } from "../support/storedEvents.ts"

const [stream, subject] = ["UNDER_LOAD", "under.load"]
const partitions = 4
const ids = Array.from({ length: 24 }, (_, index) => `acc-${index}`)
const poor = accountId("acc-7")

class Faults extends Context.Service<Faults, FaultPoints>()("chronicle/test/Faults") {
  static readonly layer = Layer.sync(Faults, () => new FaultPoints())
}

/** A node as it is served, on servers of its own; its projectors can be killed at each of their calls. */
const node = Layer.unwrap(
  Effect.gen(function* () {
    const [servers, faults] = [yield* OwnServers, yield* Faults]
    yield* LedgerNode.migrate(servers)
    const bus = Layer.effect(
      Bus,
      Effect.map(Bus, (real) => faults.bus(real))
    ).pipe(Layer.provide(Bus.layer({ url: servers.nats.url, stream, subject })))
    const readModel = Layer.effect(
      ReadModel,
      Effect.map(ReadModel, (real) => faults.readModel(real))
    )
    const stores = Layer.provideMerge(readModel, LedgerNode.stores(servers))
    return Audit.layer.pipe(Layer.provideMerge(LedgerNode.over("node", Layer.merge(bus, stores))))
  })
).pipe(
  Layer.provideMerge(Layer.mergeAll(OwnServers.layer, Faults.layer)),
  Layer.provide(
    limitsOf({
      ledger: { partitions, sweepMs: 300 },
      readSide: { ackWaitMs: 1_000, sweepGraceMs: 300, lostAfterMs: 600, orphansMs: 500 }
    })
  )
)

/** One look at the server, with a connection of its own. */
const administer = <A>(work: (jsm: JetStreamManager, nats: NatsConnection) => Promise<A>) =>
  Effect.flatMap(OwnServers, ({ nats }) =>
    Effect.acquireUseRelease(
      Effect.promise(() => connect({ servers: nats.url })),
      (connection) =>
        Effect.tryPromise(() => connection.jetstreamManager().then((jsm) => work(jsm, connection))),
      (connection) => Effect.promise(() => connection.close())
    )
  )

const allPartitions = Array.from({ length: partitions }, (_, partition) => partition)
const consumerOf = (partition: number) => `books_v1-${partition}`

/** What was lost by the deed before is made again once it is missed. */
const consumersAreThere = eventually(
  administer((jsm) =>
    Promise.all(allPartitions.map((partition) => jsm.consumers.info(stream, consumerOf(partition))))
  ).pipe(Effect.asVoid)
)

/** The node makes the stream again as soon as it misses it: until this is faster. Then messages of no node. */
const replaceStream = (partition: number, strangersOf: (lastSeq: number) => number) =>
  administer((jsm, nats) =>
    jsm.streams.info(stream).then(({ state }) =>
      jsm.streams
        .delete(stream)
        .then(() => jsm.streams.add({ name: stream, subjects: [`${subject}.*`], max_bytes: ownBytes }))
        .then(() => {
          const strangers = strangersOf(state.last_seq)
          for (let nth = 0; nth < strangers; nth++) nats.publish(`${subject}.${partition}`, "of no node")
          return nats.flush()
        })
        .then(() => state.last_seq)
    )
  ).pipe(Effect.retry({ schedule: Schedule.spaced("5 millis"), times: 1_000 }))

/** By it our stream is told from one that the node made. */
const ownBytes = 500_000_000

const streamNow = administer((jsm) => jsm.streams.info(stream))

/** So many more commands have their outcome, and were answered as such. */
const goOn = (load: SteadyLoad, more: number) => {
  const enough = load.committedUnsafe() + more
  return eventually(Effect.sync(() => assert.isAtLeast(load.committedUnsafe(), enough)))
}

/** The deed under load; then the read model equals the fold of the log, and everybody is well again. */
const underLoad = <E, R>(what: string, deed: Effect.Effect<unknown, E, R>) =>
  Effect.gen(function* () {
    yield* openAll(ids, 1_000_000n)
    yield* consumersAreThere
    const load = yield* startLoad(what, ids)
    yield* goOn(load, 50)
    yield* deed
    yield* goOn(load, 150)
    yield* eventually(
      Effect.sync(() => assert.isAbove(load.freshUnsafe(), 0, "some questions with a token were answered"))
    )
    yield* load.stop
    const log = yield* wholeLog
    yield* eventually(assertVersions(log))
    yield* assertCaughtUp(log)
    const health = yield* ReadSideHealth
    yield* eventually(Effect.map(health.report, ({ reasons }) => assert.deepStrictEqual(reasons, [])))
  })

const total = (key: "rewinds" | "faulty" | "restarts") =>
  Effect.map(ProjectionHealth, (health) =>
    health.partitionsUnsafe().reduce((sum, partition) => sum + partition[key], 0)
  )

layer(node, { excludeTestServices: true, timeout: "4 minutes" })("under load the read side", (it) => {
  it.effect("comes right when the NATS server is killed and comes back", () =>
    underLoad(
      "nats-killed",
      Effect.flatMap(OwnServers, ({ nats }) => Effect.andThen(nats.kill, nats.start))
    )
  )

  it.effect("comes right when the directory of the NATS server is deleted", () =>
    underLoad(
      "nats-deleted",
      Effect.flatMap(OwnServers, ({ nats }) => Effect.andThen(nats.deleteJetStream, nats.start))
    )
  )

  it.effect("comes right when the stream is purged", () =>
    underLoad(
      "purged",
      administer((jsm) => jsm.streams.purge(stream))
    )
  )

  it.effect("comes right when the stream is made anew with higher numbers", () =>
    Effect.gen(function* () {
      let before = 0
      // Of a partition that is not read: only the numbers of all others are moved by them.
      const replaced = replaceStream(partitions, (lastSeq) => {
        before = lastSeq
        return lastSeq + 20_000
      })
      yield* underLoad("higher", replaced)
      const { config, state } = yield* streamNow
      assert.strictEqual(config.max_bytes, ownBytes)
      assert.isAbove(state.last_seq, before + 20_000)
    })
  )

  it.effect("comes right when the stream is made anew with lower numbers and foreign messages", () =>
    Effect.gen(function* () {
      const [faulty, rewinds] = [yield* total("faulty"), yield* total("rewinds")]
      yield* underLoad(
        "lower",
        replaceStream(0, () => 100)
      )
      const { config, state } = yield* streamNow
      assert.strictEqual(config.max_bytes, ownBytes)
      assert.isBelow(state.last_seq, 20_000)
      yield* eventually(
        Effect.map(total("faulty"), (now) =>
          assert.isAtLeast(now - faulty, 100, "those of no node were met and passed over")
        )
      )
      assert.isAbove(yield* total("rewinds"), rewinds, "it was noticed")
    })
  )

  it.effect("comes right when a consumer is deleted", () =>
    underLoad(
      "consumer",
      administer((jsm) => jsm.consumers.delete(stream, consumerOf(1)))
    )
  )

  for (const how of ["in order", "killed"] as const) {
    it.effect(
      `comes right when PostgreSQL is ${how === "killed" ? "killed" : "stopped"} and started again`,
      () =>
        underLoad(
          how.replace(" ", "-"),
          Effect.flatMap(OwnServers, ({ restartPostgres }) => restartPostgres(how))
        )
    )
  }

  it.effect("comes right when every connection to PostgreSQL is cut repeatedly", () =>
    Effect.gen(function* () {
      const { readModelUrl } = yield* OwnServers
      const cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
      const cuts = Effect.repeat(execute(Redacted.value(readModelUrl), cut), { times: 4 })
      yield* underLoad("cut", cuts)
    })
  )

  it.effect("comes right when its projectors are killed at each of their calls", () =>
    Effect.gen(function* () {
      const faults = yield* Faults
      const restarts = yield* total("restarts")
      const deeds = calls.flatMap((call) =>
        // The log is the write side's too, whose deaths are another matter: `faultPoints.test.ts` has those two.
        call === "listWriters" || call === "readStreams"
          ? []
          : (["before", "after"] as const).map((when) => {
              const atOnce = call === "checkpoints" || call === "subscribe"
              return Effect.suspend(() => {
                const deaths = faults.deaths + (atOnce ? 2 : 1)
                // A life begins with those two calls, so one has to end first.
                if (atOnce) faults.armed.push({ call: "take", left: 1, when: "after" })
                faults.armed.push({ call, left: atOnce ? 1 : 3, when })
                return eventually(
                  Effect.sync(() => assert.isAtLeast(faults.deaths, deaths, `${call} ${when}`))
                )
              })
            })
      )
      yield* underLoad("fibers", Effect.all(deeds))
      assert.isAtLeast((yield* total("restarts")) - restarts, 8)
    })
  )

  it.effect("completes a parked account once its event can be projected", () =>
    Effect.gen(function* () {
      const { readModelUrl } = yield* OwnServers
      const [readModel, engine] = [yield* ReadModel, yield* ProjectionEngine]
      yield* openAll(ids, 1_000_000n)
      const load = yield* startLoad("poison", ids, { asks: false })
      const alter = (change: string) =>
        execute(Redacted.value(readModelUrl), `ALTER TABLE books_v1_statement_lines ${change}`)
      yield* alter("ADD CONSTRAINT healthy CHECK (description IS DISTINCT FROM 'poison') NOT VALID")
      yield* goOn(load, 20)
      yield* insist({ ...deposit(poor, 5n, "poison"), commandId: "poison" })
      yield* eventually(Effect.map(readModel.parked, (parked) => assert.lengthOf(parked, 1)))
      const [parked] = yield* readModel.parked
      assert.strictEqual(parked?.account, poor)
      yield* goOn(load, 150)
      yield* load.stop
      const log = yield* wholeLog
      const reached = log.filter((row) => row.accountId !== poor || row.version < (parked?.version ?? 0))
      assert.isAbove(log.length, reached.length + 1, "more came for it while it was parked")
      yield* eventually(assertVersions(reached))
      yield* assertRows(reached)
      assert.lengthOf(yield* engine.retryParked(), 1, "it is poison still")
      yield* assertRows(reached)
      yield* alter("DROP CONSTRAINT healthy")
      assert.deepStrictEqual(yield* engine.retryParked(), [])
      yield* assertCaughtUp(log)
    })
  )

  it.effect("passes an audit of all rows", () =>
    Effect.gen(function* () {
      const { verify } = yield* Audit
      const report = yield* verify()
      assert.deepStrictEqual(report.findings, [])
      assert.strictEqual(report.behind, 0)
    })
  )
})
