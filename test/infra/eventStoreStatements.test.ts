/** Every SQL statement of the event store with its parameters, beside a file under review: SQL never changes unseen. */
import type { PgClient, PgTypes } from "@effect/sql-pg"
import { describe, expect, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import type { SqlConnection, Statement } from "effect/sql"
import { SqlError, UniqueViolation } from "effect/sql/SqlError"
import { emptyHead } from "../../src/domain/Head.ts"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { accountId, commandId, storedEvent } from "../support/storedEvents.ts"

type Rows = ReadonlyArray<ReadonlyArray<unknown>>
/** What the database answers to a statement; an error where there is one. */
type Answer = (text: string) => Rows | SqlError

const duplicateKey = new SqlError({
  reason: new UniqueViolation({ cause: { severity: "ERROR", code: "23505" }, constraint: "events_pkey" })
})

/** A parameter with its type's number, `5n` for a bigint. */
const printParameter = (parameter: unknown): string => {
  if (parameter === null) return "null"
  const { oid, value } = parameter as PgTypes.Parameter // the store sends no other kind
  const text = JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? `${part}n` : part))
  return `${oid} ${text}`
}

/** Connections that answer from `answer` and write down what they are asked. */
const recording = (answer: Answer) => {
  const seen: Array<string> = []
  const run = (text: string, params: ReadonlyArray<unknown>): Effect.Effect<Rows, SqlError> =>
    Effect.suspend(() => {
      const statement = text.replaceAll(/\s+/g, " ").trim()
      seen.push([statement, ...params.map((one, at) => `  $${at + 1} ${printParameter(one)}`)].join("\n"))
      const answered = answer(statement)
      return answered instanceof SqlError ? Effect.fail(answered) : Effect.succeed(answered)
    })
  // Parts of the driver's interfaces: those that the store uses.
  const connection = {
    executeValues: run as SqlConnection.Connection["executeValues"],
    executeRaw: (text, params) => Effect.as(run(text, params), { command: text })
  } as SqlConnection.Connection
  const commits: Partial<PgClient.PgClient> = { reserve: Effect.succeed(connection) }
  const reads = {
    unsafe: (text: string, params: ReadonlyArray<unknown>) =>
      ({ values: run(text, params) }) as Statement.Statement<unknown>
  } as PgClient.PgClient
  const layer = Layer.fresh(Layer.merge(EventStore.layer, Snapshots.layer)).pipe(
    Layer.provide(Layer.succeed(EventStoreClient, { commits: commits as PgClient.PgClient, reads })),
    Layer.provide(Layer.succeed(LedgerConfig, defaultLimits))
  )
  return { seen, layer }
}

const at = 1_767_225_600_000
const sent = storedEvent({ account: "a", version: 1, command: "c-1", recordedAt: at, effectiveAt: at - 5 })
const received = storedEvent({
  account: "b",
  version: 7,
  command: "c-1",
  ordinal: 1,
  recordedAt: at,
  context: "{}"
})
const commit = { writerId: "n.1", seq: 3, events: [sent, received] }
const keys = '[["a",1,1],["b",7,7]]'

interface Case {
  readonly answer?: Answer
  readonly run: (services: {
    readonly store: EventStore["Service"]
    readonly snapshots: Snapshots["Service"]
  }) => Effect.Effect<unknown, unknown>
}

const has = (text: string, part: string) => text.includes(part)
const isInsert = (text: string) => has(text, "WITH flush")

const cases: { readonly [name: string]: Case } = {
  commit: { run: ({ store }) => store.commit(commit) },
  "commit behind another": { run: ({ store }) => store.commit(commit, Effect.succeed(true)) },
  "commit that its predecessor held back": {
    run: ({ store }) => store.commit(commit, Effect.succeed(false))
  },
  "commit that had landed": {
    answer: (text) =>
      isInsert(text)
        ? duplicateKey
        : has(text, "count(*)")
          ? [[2n]]
          : has(text, "WHERE writer_id = $1")
            ? [[2, keys]]
            : [],
    run: ({ store }) => store.commit(commit)
  },
  "commit in the way of others": {
    answer: (text) => (isInsert(text) ? duplicateKey : []),
    run: ({ store }) => store.commit(commit)
  },
  product: { answer: () => [["PostgreSQL 18.4"]], run: ({ store }) => store.product },
  readStream: {
    run: ({ store }) => store.readStream({ account: accountId("a"), after: 2, upTo: 9, limit: 5 })
  },
  "readStreams of two accounts": {
    run: ({ store }) =>
      store.readStreams(
        [
          { account: accountId("b"), after: 0 },
          { account: accountId("a"), after: 2 }
        ],
        50
      )
  },
  readEvents: {
    run: ({ store }) =>
      store.readEvents([
        { account: accountId("a"), version: 1 },
        { account: accountId("b"), version: 7 }
      ])
  },
  readHold: {
    run: ({ store }) =>
      store.readHold({ account: accountId("a"), hold: commandId("h-1"), after: 2, upTo: 1_002 })
  },
  findCommands: { run: ({ store }) => store.findCommands([commandId("c-1"), commandId("c-2")]) },
  scan: { run: ({ store }) => store.scan({ after: { account: "a", version: 3 }, limit: 10 }) },
  readTail: { run: ({ store }) => store.readTail({ writerId: "n.1", after: 2, limit: 10 }) },
  registerWriter: { run: ({ store }) => store.registerWriter({ writerId: "n.1", node: "n", closedAt: at }) },
  heartbeat: {
    answer: () => [[new Date(at)]],
    run: ({ store }) =>
      store.heartbeat([
        { writerId: "n.1", closedAt: at },
        { writerId: "n.2", closedAt: at - 1 }
      ])
  },
  listWriters: {
    answer: () => [
      ["n.1", "n", null, new Date(at), new Date(at), "n.1", 3n, 2, new Date(at)],
      ["n.2", "n", 4n, new Date(at), new Date(at), null, null, null, null]
    ],
    run: ({ store }) => store.listWriters
  },
  fenceWriter: {
    answer: (text) => (has(text, "ORDER BY seq DESC") ? [["n.1", 3n, 2, new Date(at)]] : [[4n]]),
    run: ({ store }) => store.fenceWriter("n.1")
  },
  relayCursors: { run: ({ store }) => store.relayCursors },
  moveRelayCursors: {
    run: ({ store }) =>
      store.moveRelayCursors(
        new Map([
          ["n.1", 3],
          ["n.2", 4]
        ])
      )
  },
  "snapshots.latest": { run: ({ snapshots }) => snapshots.latest([accountId("a"), accountId("b")]) },
  "snapshots.before a version": { run: ({ snapshots }) => snapshots.before(accountId("a"), { version: 9 }) },
  "snapshots.before an instant": {
    run: ({ snapshots }) => snapshots.before(accountId("a"), { recordedAt: at })
  },
  "snapshots.list": {
    run: ({ snapshots }) => snapshots.list({ after: { account: "a", version: 2 }, limit: 10 })
  },
  "snapshots.save": { run: ({ snapshots }) => snapshots.save([emptyHead(accountId("a"))]) }
}

describe("the event store's statements", () => {
  it.effect("are those of eventStoreStatements.sql", () =>
    Effect.gen(function* () {
      const sections: Array<string> = []
      for (const [name, { answer = () => [], run }] of Object.entries(cases)) {
        const { layer, seen } = recording(answer)
        yield* Effect.gen(function* () {
          yield* run({ store: yield* EventStore, snapshots: yield* Snapshots })
        }).pipe(Effect.provide(layer))
        sections.push(`-- ${name}\n${seen.join("\n")}`)
      }
      yield* Effect.promise(() =>
        expect(`${sections.join("\n\n")}\n`).toMatchFileSnapshot("./eventStoreStatements.sql")
      )
    })
  )
})
