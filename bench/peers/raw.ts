/** The raw limit as a contender: the INSERT of the ledger, over the same driver, with commits that were prepared beforehand. */
import { randomBytes } from "node:crypto"
import { Clock, Context, Effect, Layer, Redacted } from "effect"
import { AccountId, CommandId } from "../../src/domain/Ids.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { type Commit, EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import * as Migrations from "../../src/infra/postgres/Migrations.ts"
import type { Contender, Setting } from "./Contender.ts"

/** Rows prepared for each second of a run, more than any measured database has accepted. */
const rowsPerSecond = 100_000

export const makeRaw = Effect.fnUntraced(function* ({ database, accounts }: Setting) {
  const url = Redacted.make(yield* database)
  yield* Effect.orDie(Migrations.migrate("event-store", url))
  const services = yield* Effect.orDie(
    Layer.build(EventStore.layer.pipe(Layer.provide(EventStoreClient.layer(url))))
  )
  const store = Context.get(services, EventStore)
  const { lanes, batchRowsMax } = yield* LedgerConfig
  const clock = yield* Clock.Clock
  const versions = new Map<number, number>()
  let runs = 0

  const row = (account: number, commandId: CommandId, ordinal: number): StoredEvent => {
    const version = (versions.get(account) ?? 0) + 1
    versions.set(account, version)
    return {
      accountId: AccountId.make(`raw-${account}`),
      version,
      type: ordinal === 0 ? "TransferSent" : "TransferReceived",
      schemaVersion: 1,
      payload: `{"amount":"125","to":"raw-${account}","toVersion":${version}}`,
      commandId,
      ordinal,
      commandHash: ordinal === 0 ? randomBytes(32).toString("base64url") : null,
      recordedAt: clock.currentTimeMillisUnsafe(),
      effectiveAt: null,
      context: null,
      hash: randomBytes(32).toString("base64url")
    }
  }

  /** Lanes have disjoint accounts, as in the ledger. */
  const prepare = (run: number, lane: number, seconds: number): ReadonlyArray<Commit> => {
    const writerId = `raw.${run}.${lane}`
    const own = Math.floor(accounts / lanes)
    const draw = () => lane + lanes * Math.floor(Math.random() * own)
    const count = Math.ceil((rowsPerSecond * seconds) / lanes / batchRowsMax)
    return Array.from({ length: count }, (_, index) => {
      const events: Array<StoredEvent> = []
      for (let leg = 0; leg < batchRowsMax / 2; leg++) {
        const commandId = CommandId.make(`r${run}-${lane}-${index}-${leg}`)
        events.push(row(draw(), commandId, 0), row(draw(), commandId, 1))
      }
      return { writerId, seq: index + 1, events }
    })
  }

  const run = Effect.fnUntraced(function* (seconds: number) {
    const number = runs++
    const tails = Array.from({ length: lanes }, (_, lane) => prepare(number, lane, seconds))
    const start = clock.monotonicTimeNanosUnsafe()
    const elapsed = () => Number(clock.monotonicTimeNanosUnsafe() - start) / 1e9
    let rows = 0
    yield* Effect.forEach(
      tails,
      (commits) =>
        Effect.gen(function* () {
          for (const commit of commits) {
            if (elapsed() >= seconds) return
            const outcome = yield* store.commit(commit)
            if (outcome._tag !== "Committed")
              return yield* Effect.die(new Error(`a prepared commit ended as ${outcome._tag}`))
            rows += commit.events.length
          }
        }),
      { concurrency: "unbounded", discard: true }
    )
    // A transfer is two rows.
    return { perSecond: rows / 2 / elapsed(), p99Ms: undefined, maxMs: undefined }
  })
  return {
    name: "raw limit",
    note: `prepared rows, two a transfer, ${batchRowsMax} an INSERT, ${lanes} connections; nothing is decided, hashed or answered`,
    kinds: ["uniform"],
    run: (_, seconds) => run(seconds)
  } satisfies Contender
})
