/** Two nodes that serve, as processes over servers of their own, and their doors: RPC, HTTP, and batches of either. */
import { Context, Effect, Layer, Redacted, Result, Schedule } from "effect"
import { fromJson } from "../../src/domain/Command.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { shardOf, wholeIdSegments } from "../../src/domain/Shard.ts"
import type { Ledger } from "../../src/Ledger.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { freshDatabase } from "./databases.ts"
import { type Asked, toJson } from "./moneyCases.ts"
import { OwnServers } from "./ownServers.ts"
import { clientOf, startServing } from "./servingNode.ts"

export interface Door {
  readonly name: string
  /** The answers as JSON, in order: each a receipt, or the refusal with its tag. Commands have ids. */
  readonly send: (commands: ReadonlyArray<Asked>) => Effect.Effect<ReadonlyArray<object>>
}

export class MoneyWorld extends Context.Service<
  MoneyWorld,
  {
    /** Of both nodes in turn: each command by itself. */
    readonly doors: ReadonlyArray<Door>
    /** All commands as one batch. */
    readonly batches: ReadonlyArray<Door>
    readonly ledgers: readonly [Ledger["Service"], Ledger["Service"]]
    /** An account of this name that the first node owns (1), or the second (2). */
    readonly accountOf: (name: string, node: number) => string
    readonly killSecond: Effect.Effect<void>
    /** The variables that lead a command to the services. */
    readonly env: Readonly<Record<string, string>>
    /** Of both nodes, for the command line. */
    readonly rpcUrls: ReadonlyArray<string>
  }
>()("chronicle/test/MoneyWorld") {
  static readonly layerOf = (sumPrefixes: string) =>
    Layer.effect(MoneyWorld, make(sumPrefixes)).pipe(Layer.provide(OwnServers.layer))
}

const byRpc = (name: string, ledger: Ledger["Service"]): Door => ({
  name,
  send: (commands) =>
    Effect.gen(function* () {
      const read = commands.map((command) => fromJson(command))
      const good = read.flatMap((one) => (Result.isSuccess(one) ? [one.success] : []))
      const [only, ...others] = good
      const results =
        only !== undefined && others.length === 0
          ? [yield* Effect.result(ledger.dispatch(only))]
          : yield* ledger.dispatchMany(good)
      let next = 0
      return read.map((one) => {
        if (Result.isFailure(one)) return toJson(one.failure)
        const result = results[next++]
        if (result === undefined) throw new Error("a command has no answer")
        return toJson(Result.isSuccess(result) ? result.success : result.failure)
      })
    }).pipe(Effect.orDie)
})

/** What an answer over HTTP says, with the tag of a problem as an error has it. */
const taggedBy = (body: { readonly type?: string }): object =>
  body.type === undefined ? body : { ...body, _tag: body.type.replace(/^.*#/, "") }

/** A reversal has no id of the client's. */
const withoutId = ({ commandId, ...command }: Asked): Asked =>
  command._tag === "Reverse" ? command : { ...command, commandId }

const post = (url: string, type: string, body: string) =>
  Effect.promise(() =>
    fetch(url, { method: "POST", headers: { "content-type": type }, body }).then((response) =>
      response.text()
    )
  )

const byHttp = (name: string, url: string): Door => {
  const sendOne = (command: Asked) =>
    Effect.map(post(`${url}/v1/commands`, "application/json", JSON.stringify(withoutId(command))), (text) =>
      taggedBy(JSON.parse(text))
    )
  return { name, send: (commands) => Effect.forEach(commands, sendOne) }
}

const byLines = (name: string, url: string): Door => ({
  name,
  send: (commands) =>
    Effect.map(
      post(
        `${url}/v1/batch`,
        "application/x-ndjson",
        commands.map((command) => JSON.stringify(withoutId(command))).join("\n")
      ),
      (text) => {
        const lines = text.trimEnd().split("\n").slice(0, -1) // the last one says how many there are
        return lines.map((line) => {
          const { receipt, problem } = JSON.parse(line) as { receipt?: object; problem?: { type: string } } // one of both
          return receipt ?? taggedBy(problem ?? {})
        })
      }
    )
})

const make = Effect.fnUntraced(function* (sumPrefixes: string) {
  const { nats, readModelUrl, ...own } = yield* OwnServers
  const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL
  const eventStoreUrl =
    cockroachUrl === undefined ? own.eventStoreUrl : Redacted.make(yield* freshDatabase(cockroachUrl))
  yield* LedgerNode.migrate({ eventStoreUrl, readModelUrl })
  const env = {
    CHRONICLE_EVENT_STORE_URL: Redacted.value(eventStoreUrl),
    CHRONICLE_READ_MODEL_URL: Redacted.value(readModelUrl),
    CHRONICLE_NATS_URL: nats.url,
    CHRONICLE_SUM_PREFIXES: sumPrefixes,
    // Each answer is to be one: on a machine with much to do it may take longer than callers mostly wait.
    CHRONICLE_COMMAND_DEADLINE_MS: "120000"
  }
  const [first, second] = yield* Effect.all([startServing("node-1", env), startServing("node-2", env)], {
    concurrency: 2
  })
  const { nodes, shards } = yield* first.ledger.nodes.pipe(
    Effect.repeat({
      schedule: Schedule.spaced(50),
      until: ({ nodes, unowned }) =>
        unowned.length === 0 && nodes.length === 2 && nodes.every((node) => node.shards.length > 0)
    })
  )
  const rule = { shards, affinitySegments: wholeIdSegments }
  return MoneyWorld.of({
    doors: [first, second].flatMap(({ name, ledger, httpUrl }) => [
      byRpc(`RPC of ${name}`, ledger),
      byHttp(`HTTP of ${name}`, httpUrl)
    ]),
    batches: [
      byRpc("RPC of the owners", yield* clientOf(first.rpcUrl, second.rpcUrl)),
      byLines("NDJSON of node-1", first.httpUrl),
      byRpc("RPC of node-2", second.ledger)
    ],
    ledgers: [first.ledger, second.ledger],
    accountOf: (name, nth) => {
      const owned = nodes.find(({ node }) => node === `node-${nth}`)?.shards ?? []
      for (let tries = 0; ; tries++) {
        const id = AccountId.make(`${name}-${tries}`)
        if (owned.includes(shardOf(id, rule))) return id
      }
    },
    killSecond: Effect.andThen(second.process.signal("SIGKILL"), second.process.ended),
    env,
    rpcUrls: [first.rpcUrl, second.rpcUrl]
  })
})
