/** Three nodes as processes of their own: the read side is spread over them, each part has one owner, and it moves. */
import { assert, describe, layer } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, Schedule, Schema } from "effect"
import type { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { jsonOf, type Running, run } from "../support/chronicle.ts"
import { OwnBus } from "../support/ownServers.ts"
import { startServing } from "../support/servingNode.ts"
import { eventually } from "../support/waiting.ts"

const Health = Schema.Struct({
  readSide: Schema.Struct({
    ready: Schema.Boolean,
    reasons: Schema.Array(Schema.String),
    relay: Schema.Struct({ isOwned: Schema.Boolean }),
    projections: Schema.Array(
      Schema.Struct({
        name: Schema.String,
        sweep: Schema.Struct({ isOwned: Schema.Boolean }),
        partitions: Schema.Array(
          Schema.Struct({ partition: Schema.Int, isOwned: Schema.Boolean, repeats: Schema.Int })
        )
      })
    ),
    duties: Schema.Array(Schema.Struct({ duty: Schema.String, isOwn: Schema.Boolean }))
  })
})
type ReadSide = (typeof Health.Type)["readSide"]

interface Node {
  readonly name: string
  readonly process: Running
  readonly ledger: Ledger["Service"]
  /** Undefined while it does not answer. */
  readonly readSide: Effect.Effect<ReadSide | undefined>
}

/** A frozen node is missed by what it says long before it is missed by its locks, so that both can be seen. */
const limits = {
  CHRONICLE_CLUSTER_LOCK_EXPIRATION_MS: "8000",
  CHRONICLE_CLUSTER_PING_MS: "4000",
  CHRONICLE_CLUSTER_DUTY_REPORT_MS: "200",
  CHRONICLE_CLUSTER_DUTY_SILENT_MS: "1500",
  CHRONICLE_SWEEP_MS: "500",
  CHRONICLE_READY_LAG_MS_MAX: "60000"
}

class World extends Context.Service<
  World,
  {
    readonly env: Readonly<Record<string, string>>
    readonly nodes: ReadonlyArray<Node>
  }
>()("chronicle/test/ReadSideOfCluster") {
  static readonly layer = Layer.effect(
    World,
    Effect.gen(function* () {
      const { eventStoreUrl, readModelUrl, nats } = yield* OwnBus
      yield* LedgerNode.migrate({ eventStoreUrl, readModelUrl })
      const env = {
        ...limits,
        CHRONICLE_EVENT_STORE_URL: Redacted.value(eventStoreUrl),
        CHRONICLE_READ_MODEL_URL: Redacted.value(readModelUrl),
        CHRONICLE_NATS_URL: nats.url
      }
      const startNode = Effect.fnUntraced(function* (name: string) {
        const { process, ledger, httpUrl } = yield* startServing(name, env)
        const readSide = Effect.tryPromise(() =>
          fetch(`${httpUrl}/health`, { signal: AbortSignal.timeout(60_000) }).then((response) =>
            response.json()
          )
        ).pipe(
          Effect.map((body) => Schema.decodeUnknownSync(Health)(body).readSide),
          Effect.orElseSucceed(() => undefined)
        )
        return { name, process, ledger, readSide } satisfies Node
      })
      const nodes = yield* Effect.forEach(["node-0", "node-1", "node-2"], startNode, {
        concurrency: "unbounded"
      })
      return { env, nodes }
    })
  ).pipe(Layer.provide(OwnBus.layer))
}

const ownOf = (readSide: ReadSide): ReadonlyArray<string> =>
  readSide.duties.filter(({ isOwn }) => isOwn).map(({ duty }) => duty)

/** Each of these says the same of itself in both ways, all are ready, and each part has one owner. */
const spread = Effect.fnUntraced(function* (nodes: ReadonlyArray<Node>) {
  const told = yield* Effect.forEach(nodes, ({ readSide }) => readSide, { concurrency: "unbounded" })
  const all = told.flatMap((one) => (one === undefined ? [] : [one]))
  if (all.length < nodes.length || all.some(({ ready }) => !ready)) return undefined
  const owned = all.map(ownOf)
  const known = all[0]?.duties.map(({ duty }) => duty) ?? []
  const isSpread = known.every((duty) => owned.filter((own) => own.includes(duty)).length === 1)
  return isSpread ? { owned, known, all } : undefined
})

/** Who has what, as soon as each part has one owner. */
const untilSpread = (nodes: ReadonlyArray<Node>) =>
  spread(nodes).pipe(
    Effect.repeat({ schedule: Schedule.spaced(20), until: (found) => found !== undefined }),
    Effect.timeoutOrElse({
      duration: "150 seconds",
      orElse: () => Effect.die(new Error("waited in vain until each part of the read side has one owner"))
    }),
    Effect.map((found) => found ?? assert.fail("it was spread"))
  )

const accounts = Array.from({ length: 40 }, (_, index) => `r${index}`)

const patiently = { schedule: Schedule.spaced("100 millis"), times: 10 }

/** A deposit to each by one node, then its balance by every other with the token: in it, at the latest at the deadline. */
const writeAndRead = (id: string, expected: bigint, nodes: ReadonlyArray<Node>) =>
  Effect.forEach(
    accounts,
    (account, index) =>
      Effect.gen(function* () {
        const writer = nodes[index % nodes.length]
        if (writer === undefined) return assert.fail("there are nodes")
        const command = {
          _tag: "Deposit",
          account,
          amount: 1n,
          commandId: `${id}-${account}`
        } as const
        // While a node is being missed its accounts are moving: what is told then is to send the command again.
        const { readToken } = yield* writer.ledger.dispatch(command).pipe(Effect.retry(patiently))
        for (const { ledger } of nodes) {
          const balance = yield* ledger.balance(account, { readToken }).pipe(Effect.retry(patiently))
          assert.strictEqual(balance.balance, expected)
        }
      }),
    { concurrency: 8, discard: true }
  )

/** What `chronicle cluster --json` says that each node runs, in order of name. */
const toldOwners = (told: Effect.Success<ReturnType<typeof run>>, nodes: ReadonlyArray<Node>) => {
  if (told.code !== 0) return undefined
  const { duties } = jsonOf(told) as {
    readonly duties: ReadonlyArray<{ readonly duty: string; readonly node: string }> // as cli/cluster.ts prints
  }
  return nodes.map(({ name }) =>
    duties
      .filter((one) => one.node === name)
      .map(({ duty }) => duty)
      .toSorted()
  )
}

describe("the read side of three nodes", () => {
  layer(World.layer, { timeout: 240_000, excludeTestServices: true })(
    "over one PostgreSQL and one JetStream",
    (it) => {
      it.effect("is spread over them with one owner for each part", () =>
        Effect.gen(function* () {
          const { nodes, env } = yield* World
          // Which node has which is drawn by their addresses; the first of them has all until the others are there. What the
          // command line tells comes from a table that the owners renew: it is asked until nothing moved meanwhile.
          const found = yield* Effect.gen(function* () {
            const before = yield* untilSpread(nodes)
            const told = yield* run(["cluster", "--json"], { env })
            const after = yield* untilSpread(nodes)
            const sorted = (owned: ReadonlyArray<ReadonlyArray<string>>) => owned.map((own) => own.toSorted())
            const isCalm = JSON.stringify(sorted(before.owned)) === JSON.stringify(sorted(after.owned))
            const isShared = before.owned.filter((own) => own.length > 0).length > 1
            const isTold = JSON.stringify(toldOwners(told, nodes)) === JSON.stringify(sorted(before.owned))
            return isCalm && isShared && isTold ? after : undefined
          }).pipe(
            Effect.repeat({ schedule: Schedule.spaced(100), until: (one) => one !== undefined }),
            Effect.timeoutOrElse({
              duration: "150 seconds",
              orElse: () =>
                Effect.die(new Error("the command line never told the owners that the nodes told"))
            }),
            Effect.map((one) => one ?? assert.fail("it was told"))
          )
          assert.sameMembers(
            [...found.known],
            [
              ...Array.from({ length: 16 }, (_, partition) => `books_v1/${partition}`),
              "books_v1/sweep",
              "books_v1/sums",
              "orphans",
              "expiry-notices",
              "webhooks"
            ]
          )
          for (const [index, { projections, relay }] of found.all.entries()) {
            const own = new Set(found.owned[index])
            assert.strictEqual(relay.isOwned, own.has("orphans"))
            for (const { name, sweep, partitions } of projections) {
              assert.strictEqual(sweep.isOwned, own.has(`${name}/sweep`))
              for (const one of partitions)
                assert.strictEqual(one.isOwned, own.has(`${name}/${one.partition}`))
            }
          }
        })
      )

      it.effect("answers read tokens on every node", () =>
        Effect.gen(function* () {
          const { nodes } = yield* World
          const [first] = nodes
          if (first === undefined) return
          for (const account of accounts) {
            yield* first.ledger.dispatch({
              _tag: "OpenAccount",
              account,
              asset: "USD/2",
              owner: "Ada",
              commandId: `open-${account}`
            })
          }
          yield* writeAndRead("calm", 1n, nodes)
        })
      )

      it.effect(
        "is taken over by other nodes while an owner is frozen",
        () =>
          Effect.gen(function* () {
            const { nodes } = yield* World
            const found = yield* untilSpread(nodes)
            const frozen = nodes.find((_, index) => found.owned[index]?.includes("books_v1/sweep"))
            if (frozen === undefined) return assert.fail("a node reconciles")
            const others = nodes.filter((node) => node !== frozen)
            yield* frozen.process.signal("SIGSTOP")
            yield* eventually(
              "a node says that none reconciles",
              Effect.map(
                Effect.forEach(others, ({ readSide }) => readSide, { concurrency: "unbounded" }),
                (told) =>
                  told.some(
                    (one) =>
                      one?.ready === false &&
                      one.reasons.some((reason) => /no node has run books_v1\/sweep for \d+ ms/.test(reason))
                  )
              )
            )
            yield* untilSpread(others)
            yield* writeAndRead("frozen", 2n, others)
            yield* frozen.process.signal("SIGCONT")
            yield* untilSpread(nodes)
            yield* writeAndRead("awake", 3n, nodes)
          }),
        420_000
      )

      it.effect(
        "moves to the others when a node is killed or ends",
        () =>
          Effect.gen(function* () {
            const { nodes } = yield* World
            const [first, second, third] = nodes
            if (first === undefined || second === undefined || third === undefined) return
            yield* third.process.signal("SIGKILL")
            yield* third.process.ended
            yield* untilSpread([first, second])
            yield* writeAndRead("killed", 4n, [first, second])
            yield* second.process.signal("SIGTERM")
            const { code } = yield* second.process.ended.pipe(
              Effect.timeoutOrElse({
                duration: "150 seconds",
                orElse: () =>
                  Effect.die(new Error(`${second.name} does not end:\n${second.process.stderr()}`))
              })
            )
            assert.strictEqual(code, 0)
            yield* untilSpread([first])
            yield* writeAndRead("ended", 5n, [first])
            const { owned } = yield* untilSpread([first])
            assert.lengthOf(owned[0] ?? [], 21)
          }),
        420_000
      )
    }
  )
})
