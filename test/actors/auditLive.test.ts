/** Audits beside nodes that commit, start and end, and projectors that project: none may find a fault. */
import { assert, inject, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted } from "effect"
import { Audit } from "../../src/actors/audit/Audit.ts"
import { AuditConfig, type AuditLimits, defaultAuditLimits } from "../../src/actors/audit/AuditRun.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { ProjectedSignal, ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { freshEventStore } from "../support/databases.ts"
import {
  deposit,
  type LedgerNode,
  memoryStores,
  open,
  startNode,
  transfer,
  withdraw
} from "../support/ledgerWorld.ts"
import { Rng } from "../support/Rng.ts"
import { eventually, freshReadModel, readModelOn, readSideOn, sweeping } from "../support/readSides.ts"

/** Several slices and many pages, also while the log is small. */
const small: AuditLimits = {
  pageRows: 150,
  pageSnapshots: 20,
  sliceAccounts: 30,
  pageCommits: 90,
  lookUpKeys: 40,
  assets: 5,
  contras: 100
}
const audits = 20
const clients = 4

/** On a few hot accounts, and on new ones. */
const commandOf = (rng: Rng, client: number, turn: number): CommandInput => {
  const account = () => `a${rng.below(12)}`
  const amount = BigInt(1 + rng.below(50))
  switch (rng.below(8)) {
    case 0:
      return open(rng.below(6) === 0 ? `n${client}-${turn}` : account())
    case 1:
    case 2:
      return deposit(account(), amount * 10n)
    case 3:
      return withdraw(account(), amount)
    case 4:
      return {
        _tag: "PostJournal",
        commandId: `j${client}-${turn}`,
        legs: [
          { account: account(), side: "debit", amount: 2n },
          { account: account(), side: "credit", amount: 1n },
          { account: "a12", side: "credit", amount: 1n }
        ]
      }
    default:
      return transfer(account(), account(), amount)
  }
}

/** One client of one node. Runs until it is interrupted; counts the accepted commands. */
const client = (node: LedgerNode, name: number, seed: number, accepted: { count: number }) => {
  const rng = new Rng(seed)
  let turn = 0
  return Effect.suspend(() => node.send(commandOf(rng, name, ++turn))).pipe(
    Effect.tap(() => Effect.sync(() => accepted.count++)),
    Effect.ignore,
    Effect.andThen(Effect.sleep(3)), // bounds the growth of the log
    Effect.forever
  )
}

const auditsBeside = Effect.gen(function* () {
  const audit = yield* Audit
  const accepted = { count: 0 }
  const limits = { snapshotEvery: 5 }
  const addNode = Effect.fnUntraced(function* (name: string, seed: number) {
    const node = yield* startNode(name, { limits })
    const fibers = yield* Effect.forEach(Array.from({ length: clients }).keys(), (index) =>
      Effect.forkScoped(client(node, seed * clients + index, seed * clients + index, accepted))
    )
    return { stop: Effect.andThen(Fiber.interruptAll(fibers), node.stop) }
  })
  const first = yield* addNode("first", 1)
  let events = 0
  for (let round = 1; round <= audits; round++) {
    // From round 5 on two nodes write the same accounts, from round 12 on only the second.
    if (round === 5) yield* addNode("second", 2)
    if (round === 12) yield* first.stop
    const before = accepted.count
    yield* eventually(Effect.sync(() => assert.isAbove(accepted.count, before + 20)))
    const report = yield* audit
      .verify()
      .pipe(Effect.provideService(AuditConfig, round % 2 === 0 ? small : defaultAuditLimits))
    assert.deepStrictEqual(report.findings, [], `audit ${round}`)
    assert.isTrue(report.ok)
    assert.deepStrictEqual(report.parked, [])
    assert.isAbove(report.events, events)
    events = report.events
    if (round === audits) assert.isAbove(report.snapshots, 0)
  }
})

/** The stores of the test itself, for layers that would build their own. */
const given = Layer.mergeAll(
  Layer.effect(EventStore, EventStore),
  Layer.effect(ReadModel, ReadModel),
  Layer.effect(ProjectionWaiters, ProjectionWaiters),
  Layer.effect(ProjectedSignal, ProjectedSignal)
)
const readSide = readSideOn(Layer.provideMerge(Bus.layerMemory, given), sweeping)

const suite = <E>(
  name: string,
  stores: Layer.Layer<EventStore | Snapshots | ReadModel | ProjectionWaiters | ProjectedSignal, E>
) =>
  it.live(
    `twenty audits beside live nodes find nothing (${name})`,
    () =>
      // The nodes must end before their stores.
      Effect.scoped(auditsBeside).pipe(
        Effect.provide(Layer.mergeAll(Audit.layer, readSide)),
        Effect.provide(stores)
      ),
    420_000
  )

suite(
  "memory",
  Layer.provideMerge(Layer.mergeAll(memoryStores, ReadModel.layerMemory), ProjectionWaiters.layer)
)

suite(
  "PostgreSQL",
  Layer.unwrap(
    Effect.gen(function* () {
      const log = Redacted.make(yield* freshEventStore(inject("postgresUrl")))
      const books = yield* freshReadModel(inject("postgresUrl"))
      return Layer.mergeAll(
        Layer.mergeAll(EventStore.layer, Snapshots.layer).pipe(Layer.provide(EventStoreClient.layer(log))),
        readModelOn(books)
      )
    })
  )
)
