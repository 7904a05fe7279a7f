/**
 * The zombie over real stores: two nodes that both hold the same accounts for their own, at the same moment. Whatever
 * both accept, one order results, every conflict is counted, and no caller is told what the log does not hold.
 */
import { assert, inject, it } from "@effect/vitest"
import { Effect, Layer, Redacted, Result } from "effect"
import type { AccountId } from "../../src/domain/Ids.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { freshEventStore } from "../support/databases.ts"
import { type Attempt, invariantsOf } from "../support/invariants.ts"
import {
  deposit,
  fund,
  type LedgerNode,
  outcomeOf,
  quiet,
  readStream,
  startNode,
  tally,
  toCommand,
  transfer,
  withdraw
} from "../support/ledgerWorld.ts"

const now = (): number => Number(process.hrtime.bigint())

/** Commands that both nodes are given at once, each at one of them; what each was answered, and when. */
const rush = (nodes: ReadonlyArray<LedgerNode>, commands: ReadonlyArray<ReturnType<typeof toCommand>>) =>
  Effect.forEach(
    commands,
    Effect.fnUntraced(function* (command, index) {
      const node = nodes[index % nodes.length]
      if (node === undefined) return yield* Effect.die(new Error("there is no node"))
      const start = now()
      const result = yield* Effect.result(node.dispatcher.dispatch(command))
      const answer = Result.isSuccess(result) ? result.success : result.failure._tag
      return { commandId: command.commandId, start, end: now(), answer, outcome: outcomeOf(result) }
    }),
    { concurrency: "unbounded" }
  )

const zombies = (engine: string, serverUrl: string) =>
  it.live(
    `two nodes that own the same accounts at the same moment make one order of what both accept (${engine})`,
    () =>
      Effect.gen(function* () {
        const url = Redacted.make(yield* freshEventStore(serverUrl))
        const stores = Layer.mergeAll(EventStore.layer, Snapshots.layer).pipe(
          Layer.provide(EventStoreClient.layer(url))
        )
        yield* Effect.gen(function* () {
          const store = yield* EventStore
          // Conflicts are what this is about: no command is to give up because of them.
          const options = {
            limits: { redecideMax: 1_000, commandDeadlineMs: 30_000, storeStatementMs: 20_000 }
          }
          const nodes = [yield* startNode("owner", options), yield* startNode("zombie", options)]
          const [owner, zombie] = nodes
          if (owner === undefined || zombie === undefined) return
          yield* fund(owner, ["a", "b"], 1_000n)
          yield* zombie.dispatcher.head("a" as AccountId) // both valid ids
          yield* zombie.dispatcher.head("b" as AccountId)
          const attempts: Array<Attempt> = []
          const counts: Array<string> = []
          const go = Effect.fnUntraced(function* (commands: ReadonlyArray<ReturnType<typeof toCommand>>) {
            const answered = yield* rush(nodes, commands)
            attempts.push(...answered)
            counts.push(...answered.map(({ outcome }) => outcome))
            return tally(answered.map(({ outcome }) => outcome))
          })
          // Both believe to have 1,000; the log has it once.
          const greedy = Array.from({ length: 20 }, (_, nth) =>
            toCommand(withdraw("a", 900n, `greedy-${nth}`))
          )
          assert.deepStrictEqual(yield* go(greedy), { Accepted: 1, InsufficientFunds: 19 })
          for (let round = 0; round < 5; round++) {
            yield* go(
              Array.from({ length: 40 }, (_, nth) => {
                const id = `r${round}-${nth}`
                const [from, to] = nth % 4 < 2 ? ["a", "b"] : ["b", "a"]
                return toCommand(nth % 5 === 0 ? deposit("a", 3n, id) : transfer(from, to, 7n, id))
              })
            )
          }
          const { Accepted = 0, InsufficientFunds = 0 } = tally(counts)
          assert.strictEqual(Accepted + InsufficientFunds, 220, "every command has a definite answer")
          const conflicts = nodes.map(({ dispatcher }) => dispatcher.stats().conflicts)
          assert.isAbove(conflicts[0] ?? 0, 0)
          assert.isAbove(conflicts[1] ?? 0, 0)
          assert.deepStrictEqual(yield* invariantsOf(store, attempts), [])
          const versions = (yield* readStream(store, "a")).map(({ version }) => version)
          assert.deepStrictEqual(
            versions,
            versions.map((_, index) => index + 1)
          )
        }).pipe(Effect.scoped, Effect.provide([stores, quiet]))
      }).pipe(Effect.scoped),
    420_000
  )

zombies("PostgreSQL", inject("postgresUrl"))

const cockroachUrl = process.env.CHRONICLE_TEST_COCKROACH_URL
if (cockroachUrl !== undefined) zombies("CockroachDB", cockroachUrl)
