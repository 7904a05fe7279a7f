/** Nodes of commands and nodes of the read side, as processes of their own: each does its part, for all of the cluster. */
import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Schema } from "effect"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { deposit, openAccount } from "../support/eventWriter.ts"
import { OwnBus } from "../support/ownServers.ts"
import { eventually } from "../support/readSides.ts"
import { startServing } from "../support/servingNode.ts"
import { eventually as until } from "../support/waiting.ts"

const Health = Schema.Struct({
  readSide: Schema.Struct({
    projections: Schema.Array(
      Schema.Struct({ partitions: Schema.Array(Schema.Struct({ isOwned: Schema.Boolean })) })
    ),
    duties: Schema.Array(Schema.Struct({ duty: Schema.String, isOwn: Schema.Boolean }))
  })
})

const get = (url: string, path: string) =>
  Effect.promise(() =>
    fetch(`${url}${path}`, { signal: AbortSignal.timeout(60_000) }).then((response) =>
      response.text().then((body) => ({ status: response.status, body }))
    )
  )

const startNode = Effect.fnUntraced(function* (name: string, role: string, isMember: boolean) {
  const { eventStoreUrl, readModelUrl, nats } = yield* OwnBus
  const env = {
    CHRONICLE_EVENT_STORE_URL: Redacted.value(eventStoreUrl),
    CHRONICLE_READ_MODEL_URL: Redacted.value(readModelUrl),
    CHRONICLE_NATS_URL: nats.url,
    CHRONICLE_CLUSTER_DUTY_REPORT_MS: "200",
    CHRONICLE_CLUSTER_LOCK_EXPIRATION_MS: "8000",
    CHRONICLE_CLUSTER_LOCK_REFRESH_MS: "2500",
    CHRONICLE_SWEEP_MS: "500",
    // A thread that waits for a core is not ended for that, only to begin its start anew.
    CHRONICLE_READ_SIDE_START_MS: "600000",
    CHRONICLE_READ_SIDE_HUNG_MS: "600000"
  }
  const { process, ledger, httpUrl } = yield* startServing(name, env, { role, isMember })
  const isReady = until(
    `${name} is ready`,
    Effect.map(get(httpUrl, "/ready"), ({ status }) => status === 200),
    200
  )
  const health = Effect.map(
    get(httpUrl, "/health"),
    ({ body }) => Schema.decodeUnknownSync(Schema.fromJsonString(Health))(body).readSide
  )
  return { process, httpUrl, ledger, isReady, health }
})

type Node = Effect.Success<ReturnType<typeof startNode>>

/** A node of commands and one of the read side. */
class Nodes extends Context.Service<Nodes, { readonly commands: Node; readonly readSide: Node }>()(
  "chronicle/test/NodesOfRoles"
) {
  static readonly layer = (isMember: boolean) =>
    Layer.effect(
      Nodes,
      Effect.gen(function* () {
        const { eventStoreUrl, readModelUrl } = yield* OwnBus
        yield* LedgerNode.migrate({ eventStoreUrl, readModelUrl })
        const nodes = yield* Effect.all(
          {
            commands: startNode("commands", "commands", isMember),
            readSide: startNode("reads", "read-side", isMember)
          },
          { concurrency: "unbounded" }
        )
        for (const account of ["ann", "bob"]) yield* nodes.commands.ledger.dispatch(openAccount(account))
        yield* Effect.all([nodes.commands.isReady, nodes.readSide.isReady])
        return nodes
      })
    ).pipe(Layer.provideMerge(Layer.fresh(OwnBus.layer)))
}

describe.each([false, true])("a node of commands and a node of the read side; members: %s", (isMember) => {
  layer(Nodes.layer(isMember), { timeout: "4 minutes", excludeTestServices: true })((it) => {
    it.effect("work together", () =>
      Effect.gen(function* () {
        const { commands, readSide } = yield* Nodes
        const first = yield* commands.ledger.dispatch(deposit("ann", 5n))
        // A token counts on either: here the projector wakes the query, there the query looks.
        for (const { ledger } of [readSide, commands]) {
          const { balance } = yield* ledger
            .balance("ann", { readToken: first.readToken })
            .pipe(Effect.retry({ while: ({ _tag }) => _tag === "NotYetVisible" }))
          assert.strictEqual(balance, 5n)
        }
        const refused = yield* Effect.flip(readSide.ledger.dispatch(deposit("ann", 1n, "refused")))
        assert.strictEqual(refused._tag, "Unavailable")
        assert.strictEqual((yield* get(readSide.httpUrl, "/ready/commands")).status, 503)

        // Said with the next sign of life of the thread, which readiness does not wait for.
        yield* eventually(
          Effect.map(readSide.health, (here) =>
            assert.isTrue(here.projections[0]?.partitions.every(({ isOwned }) => isOwned))
          )
        )
        assert.deepStrictEqual((yield* commands.health).projections, [])
        if (isMember) {
          yield* eventually(
            Effect.map(commands.health, ({ duties }) =>
              // It writes notices to the log, and so needs commands.
              assert.deepStrictEqual(
                duties.filter(({ isOwn }) => isOwn).map(({ duty }) => duty),
                ["expiry-notices"]
              )
            )
          )
        }
      })
    )

    it.effect(
      "take commands without any read side, and the next one has all that was committed meanwhile",
      () =>
        Effect.gen(function* () {
          const { commands, readSide } = yield* Nodes
          yield* readSide.process.signal("SIGKILL")
          yield* readSide.process.ended
          const meanwhile = yield* commands.ledger.dispatch(deposit("bob", 2n))
          const next = yield* startNode("reads-2", "read-side", isMember)
          yield* eventually(
            Effect.map(next.ledger.balance("bob", { readToken: meanwhile.readToken }), ({ balance }) =>
              assert.strictEqual(balance, 2n)
            )
          )
        }).pipe(Effect.scoped)
    )
  })
})
