/** Ten thousand transfers, each followed at once by a question with its token, over real stores: never stale. */
import { randomBytes } from "node:crypto"
import { assert, describe, inject, it } from "@effect/vitest"
import { Effect, Layer, Option, Redacted } from "effect"
import { connect } from "nats"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { defaultLimits, LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { freshEventStore } from "../support/databases.ts"
import { transfer } from "../support/eventWriter.ts"
import { freshReadModel } from "../support/readSides.ts"
import { openAll } from "../support/steadyLoad.ts"

const accounts = 100
const transfers = 10_000
const clients = 128

/** As it is served, but with deadlines that a busy machine does not reach. */
const node = Layer.unwrap(
  Effect.gen(function* () {
    const [eventStoreUrl, readModelUrl] = [
      yield* freshEventStore(inject("postgresUrl")),
      yield* freshReadModel(inject("postgresUrl"))
    ]
    const id = randomBytes(6).toString("hex")
    const bus = { url: inject("natsUrl"), stream: `TEST_${id}`, subject: `test.${id}` }
    yield* Effect.addFinalizer(() =>
      Effect.promise(() =>
        connect({ servers: bus.url }).then((nats) =>
          nats
            .jetstreamManager()
            .then((jsm) => jsm.streams.delete(bus.stream))
            .finally(() => nats.close())
        )
      ).pipe(Effect.exit)
    )
    const stores = LedgerNode.stores({
      eventStoreUrl: Redacted.make(eventStoreUrl),
      readModelUrl: Redacted.make(readModelUrl)
    })
    return LedgerNode.over("node", Layer.merge(Bus.layer(bus), stores)).pipe(
      Layer.provide(
        Layer.succeed(LedgerConfig, { ...defaultLimits, commandDeadlineMs: 60_000, queryDeadlineMs: 60_000 })
      )
    )
  })
)

describe("a question with a read token", () => {
  it.live(
    "sees its own write, ten thousand times under load",
    () =>
      Effect.gen(function* () {
        const ledger = yield* Ledger
        const ids = Array.from({ length: accounts }, (_, index) => `acc-${index}`)
        yield* openAll(ids, 1_000_000n)
        let [asked, stale] = [0, 0]
        const one = Effect.fnUntraced(function* (index: number) {
          const [from, to] = [ids[index % accounts] ?? "", ids[(index * 7 + 1) % accounts] ?? ""]
          const sent = yield* ledger.dispatch(transfer(from, to, 1n))
          const { readToken } = sent
          // The token holds both sides: each is asked for in turn.
          const { account, version } = sent.postings[index % 2] ?? sent.postings[0] ?? assert.fail()
          // As the answer would have been without it: the account itself may not be there yet.
          if (index % 20 < 2) {
            const plain = ledger.balance(account).pipe(
              Effect.map((view) => view.version),
              Effect.catchTag("AccountNotFound", () => Effect.succeed(0))
            )
            if ((yield* plain) < version) stale++
          }
          assert.isAtLeast((yield* ledger.balance(account, { readToken })).version, version)
          asked++
          if (index % 10 !== 0) return
          const { rows } = yield* ledger.statement(from, {
            readToken,
            cursor: String((sent.postings[0]?.version ?? 1) - 1)
          })
          assert.strictEqual(rows[0]?.commandId, sent.commandId)
          assert.isTrue(Option.isSome(yield* ledger.transfer(sent.commandId, { readToken })))
        })
        yield* Effect.forEach(
          Array.from({ length: transfers }, (_, index) => index),
          one,
          { concurrency: clients, discard: true }
        )
        assert.strictEqual(asked, transfers)
        // Without a token some are stale, on every machine after some more: it was needed.
        for (let index = transfers; stale === 0; index += 20) yield* one(index)
      }).pipe(Effect.provide(node)),
    // Some seconds where nothing else runs.
    420_000
  )
})
