/** Read sides for tests: fresh databases, whole read sides over any stores, and what their tables must hold. */
import { assert } from "@effect/vitest"
import { type Cause, Context, Effect, Layer, Redacted, Result, Schedule } from "effect"
import { CommitFeed } from "../../src/actors/commit/CommitFeed.ts"
import * as ReadSide from "../../src/actors/projections/ReadSide.ts"
import type { ContraEntry, OpenedHead, StatementLine } from "../../src/domain/Books.ts"
import { post } from "../../src/domain/Books.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { emptyHead, type Head } from "../../src/domain/Head.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import type { Bus } from "../../src/infra/bus/Bus.ts"
import type { BusMessage } from "../../src/infra/bus/BusMessage.ts"
import { defaultLimits, LedgerConfig, type LedgerLimits } from "../../src/infra/config/LedgerConfig.ts"
import {
  defaultReadSideLimits,
  ReadSideConfig,
  type ReadSideLimits
} from "../../src/infra/config/ReadSideConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import type { Commit } from "../../src/infra/eventstore/EventStoreTypes.ts"
import { type ProjectedSignal, ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { Queries } from "../../src/infra/readmodel/Queries.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { freshAtSchema } from "./databases.ts"
import type { EventWriter } from "./eventWriter.ts"

/** The URL of a read-model database at the current schema. */
export const freshReadModel = freshAtSchema("read-model")

/** The read model of one process on a database, with the queries that wait for it. */
export const readModelOn = (url: string) =>
  Layer.fresh(
    ReadModel.layer.pipe(
      Layer.provide(ReadModelSql.layer(Redacted.make(url))),
      Layer.provideMerge(ProjectionWaiters.layer)
    )
  )

/** The same events in a message that the bus does not take for the same. */
export const underAnotherId = ({ partition, parts }: BusMessage): BusMessage => ({
  partition,
  parts: parts.map((one) => ({ ...one, part: one.part + 1_000 }))
})

export interface TestLimits {
  readonly ledger?: Partial<LedgerLimits>
  readonly readSide?: Partial<ReadSideLimits>
}

/** Impatient limits; the sweep is off unless it is asked for, so that it hides nothing. */
export const limitsOf = ({ ledger, readSide }: TestLimits) =>
  Layer.mergeAll(
    Layer.succeed(LedgerConfig, { ...defaultLimits, partitions: 4, sweepMs: 3_600_000, ...ledger }),
    Layer.succeed(ReadSideConfig, {
      ...defaultReadSideLimits,
      ackWaitMs: 500,
      backoffMaxMs: 200,
      relayCursorMs: 50,
      orphansMs: 3_600_000,
      lagBudgetMs: 1,
      sweepGraceMs: 0,
      lostAfterMs: 0,
      ...readSide
    })
  )

export const sweeping: TestLimits = { ledger: { sweepMs: 50 } }

/** The read side of one process: `services` are the log, the bus and the read model it works on. */
export const readSideOn = <R>(
  services: Layer.Layer<EventStore | Bus | ReadModel | ProjectionWaiters | ProjectedSignal, unknown, R>,
  limits: TestLimits = {}
) =>
  Layer.fresh(
    Queries.layer.pipe(
      Layer.provideMerge(ReadSide.layer),
      Layer.provideMerge(CommitFeed.layer),
      Layer.provideMerge(services),
      Layer.provide(limitsOf(limits))
    )
  )

/** One log for all processes of a test. */
export class SharedLog extends Context.Service<SharedLog, EventStore["Service"]>()(
  "chronicle/test/SharedLog"
) {
  static readonly layer = Layer.effect(SharedLog, EventStore).pipe(Layer.provide(EventStore.layerMemory))
}

/** Writes a commit to the log, its writer registered. */
export const append = Effect.fnUntraced(function* (commit: Commit) {
  const store = yield* EventStore
  if (commit.seq === 1) yield* store.registerWriter({ writerId: commit.writerId, node: "test", closedAt: 0 })
  assert.strictEqual((yield* store.commit(commit))._tag, "Committed")
})

/** As the commit pipeline does it. */
export const appendAndOffer = Effect.fnUntraced(function* (commit: Commit) {
  yield* append(commit)
  const feed = yield* CommitFeed
  feed.offerUnsafe(commit)
})

/** Polls until the assertions hold; what they say last before so long is over, 60 seconds by default, is the test's failure. */
export const eventually = <E, R>(assertions: Effect.Effect<void, E, R>, seconds = 150) =>
  Effect.suspend(() => {
    let last: Cause.Cause<E> | undefined
    return assertions.pipe(
      Effect.sandbox,
      Effect.tapError((cause) =>
        Effect.sync(() => {
          last = cause
        })
      ),
      Effect.retry(Schedule.spaced("20 millis")),
      Effect.timeoutOrElse({
        duration: seconds * 1_000,
        orElse: () =>
          last === undefined
            ? Effect.die(new Error(`the assertions took longer than ${seconds} s`))
            : Effect.failCause(last)
      }),
      Effect.orDie
    )
  })

/** What the read model must hold after a log: the fold of each account's whole stream. */
export const foldLog = (log: ReadonlyArray<StoredEvent>) => {
  const heads = new Map<AccountId, OpenedHead>()
  const lines: Array<StatementLine> = []
  const contras = new Map<string, bigint>()
  for (const row of log) {
    const before: Head = heads.get(row.accountId) ?? emptyHead(row.accountId)
    const { head, line, contras: entries } = Result.getOrThrow(post(before, row))
    heads.set(row.accountId, head)
    lines.push(line)
    for (const entry of entries) add(contras, entry)
  }
  return { heads, lines, contras }
}

const add = (contras: Map<string, bigint>, { contra, asset, amount }: ContraEntry): void => {
  contras.set(`${contra} ${asset}`, (contras.get(`${contra} ${asset}`) ?? 0n) + amount)
}

/** Every row equals the fold of these events, and nothing else is there. */
export const assertRows = Effect.fnUntraced(function* (log: ReadonlyArray<StoredEvent>) {
  const readModel = yield* ReadModel
  const expected = foldLog(log)
  const heads = yield* readModel.accounts({ after: "", limit: 10_000 })
  assert.deepStrictEqual(new Map(heads.map((head) => [head.account.id, head])), sortedById(expected.heads))
  for (const account of expected.heads.keys()) {
    assert.deepStrictEqual(
      (yield* readModel.statement({ account, limit: 100_000 }))?.lines,
      expected.lines.filter((line) => line.account === account)
    )
  }
  const contras = yield* readModel.contras
  assert.deepStrictEqual(
    new Map(contras.map(({ contra, asset, balance }) => [`${contra} ${asset}`, balance])),
    expected.contras
  )
})

/** I8, caught up: every row equals the fold of the whole log, and nothing else is there. */
export const assertCaughtUp = Effect.fnUntraced(function* (log: ReadonlyArray<StoredEvent>) {
  yield* assertRows(log)
  const readModel = yield* ReadModel
  for (const line of yield* readModel.trialBalance) assert.strictEqual(line.total, 0n)
})

/** The whole log, in order of account and version. */
export const wholeLog = Effect.gen(function* () {
  const store = yield* EventStore
  const log: Array<StoredEvent> = []
  for (let after = { account: "", version: 0 }; ; ) {
    const page = yield* store.scan({ after, limit: 5_000 })
    log.push(...page)
    const last = page.at(-1)
    if (last === undefined) return log as ReadonlyArray<StoredEvent>
    after = { account: last.accountId, version: last.version }
  }
})

/** Cheap to ask again and again: each account of the log is at its last version. */
export const assertVersions = Effect.fnUntraced(function* (log: ReadonlyArray<StoredEvent>) {
  const readModel = yield* ReadModel
  const last = new Map(log.map((row) => [row.accountId, row.version]))
  assert.deepStrictEqual(sortedById(yield* readModel.versions([...last.keys()])), sortedById(last))
})

const sortedById = <A>(rows: ReadonlyMap<AccountId, A>) =>
  new Map([...rows].toSorted(([a], [b]) => (a < b ? -1 : 1)))

/** I8 at any moment: every row equals the fold of a prefix of its account's stream. */
export const assertPrefixes = Effect.fnUntraced(function* (log: ReadonlyArray<StoredEvent>) {
  const readModel = yield* ReadModel
  for (const head of yield* readModel.accounts({ after: "", limit: 10_000 })) {
    const { id, version } = head.account
    const prefix = log.filter((row) => row.accountId === id && row.version <= version)
    assert.deepStrictEqual(head, foldLog(prefix).heads.get(id))
  }
})

/** Commits the writer's commands one after another, and offers each to the feed. */
export const play = Effect.fnUntraced(function* (
  eventWriter: EventWriter,
  ...steps: ReadonlyArray<ReadonlyArray<CommandInput>>
) {
  for (const step of steps) yield* appendAndOffer(eventWriter.commit(...step))
})
