/**
 * The storm of `storm.ts` in virtual time: three nodes in this process, over a store in memory and a network that both take as long as they
 * are told. What it prints is the same on a busy machine as on a quiet one, and shows what waiting for accounts and commits alone
 * allows; what the work itself costs is not in it. `node bench/cluster/stormInVirtualTime.ts [transfers] [commit ms] [message ms] [accounts]
 * [concurrency a node] [lanes]`; both times in halves of a millisecond.
 */
import { Console, Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import type { Placing } from "../../src/actors/accounts/Placement.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import {
  memoryStores,
  open,
  outcomeOf,
  quiet,
  startNode,
  tally,
  transfer
} from "../../test/support/ledgerWorld.ts"
import { Rng } from "../../test/support/Rng.ts"
import { SimulatedCluster } from "../../test/support/simulatedCluster.ts"
import { run } from "./Script.ts"

const [transfers = 3_000, commitMs = 3, messageMs = 0.5, accounts = 30, concurrency = 32, lanes = 2] =
  process.argv.slice(2).map(Number)
const nodeCount = 3
/** The clock counts whole milliseconds, so one of it stands for half of one. */
const tick = 0.5
const ticks = (ms: number): number => Math.round(ms / tick)
const counts = { commits: 0, rows: 0, leases: 0, forwards: 0 }
let now = 0

/** Each message takes its time, there and back. */
const slowly = (here: ReturnType<SimulatedCluster["placementOf"]>): Placing => {
  const late = Effect.sleep(ticks(messageMs))
  const there = <A, E>(answer: Effect.Effect<A, E>) =>
    Effect.andThen(
      late,
      Effect.flatMap(Effect.exit(answer), (exit) => Effect.andThen(late, exit))
    )
  return {
    ...here,
    dispatch: (id, commands, isAgain) => {
      counts.forwards++
      return there(here.dispatch(id, commands, isAgain))
    },
    requestLease: (id, lease) => {
      counts.leases++
      return there(here.requestLease(id, lease))
    },
    release: (id, lease, returned) => Effect.andThen(late, here.release(id, lease, returned) ?? Effect.void)
  }
}

const startNodes = Effect.gen(function* () {
  const inner = yield* EventStore
  const store: typeof inner = {
    ...inner,
    commit: (commit, mayCommit) => {
      counts.commits++
      counts.rows += commit.events.length
      return Effect.delay(
        Effect.suspend(() => inner.commit(commit, mayCommit)),
        ticks(commitMs)
      )
    }
  }
  const cluster = new SimulatedCluster(nodeCount, 9)
  const nodes = yield* Effect.forEach(
    Array.from({ length: nodeCount }, (_, nth) => nth),
    (nth) =>
      startNode(`node-${nth}`, { placement: slowly(cluster.placementOf(nth)), store, limits: { lanes } })
  )
  for (const [nth, node] of nodes.entries()) cluster.join(nth, node.dispatcher.localNode)
  return nodes
})

/** Lets time pass until it is done. */
const passing = Effect.fnUntraced(function* <A, E>(work: Effect.Effect<A, E>) {
  const fiber = yield* Effect.forkChild(work)
  for (; fiber.pollUnsafe() === undefined; now += tick) yield* TestClock.adjust(1)
  return yield* Fiber.join(fiber)
})

const storm = Effect.gen(function* () {
  const nodes = yield* startNodes
  const [first] = nodes
  if (first === undefined) return
  const openings = Array.from({ length: accounts }, (_, nth) => first.send(open(`r-${nth}`, 1_000_000n)))
  yield* passing(Effect.all(openings, { concurrency: "unbounded" }))
  Object.assign(counts, { commits: 0, rows: 0, leases: 0, forwards: 0 })
  now = 0
  let sent = 0
  const latencies: Array<number> = []
  const client = (node: (typeof nodes)[number], seed: number) =>
    Effect.gen(function* () {
      const rng = new Rng(seed)
      const answers: Array<string> = []
      while (sent < transfers) {
        const id = `t-${sent++}`
        const from = rng.below(accounts)
        const ring = Math.floor(from / 5) * 5
        const to = ring + ((from - ring + (rng.chance(0.5) ? 1 : 4)) % 5)
        const start = now
        const command = transfer(`r-${from}`, `r-${to}`, 1n, id)
        answers.push(outcomeOf(yield* Effect.result(node.send(command))))
        latencies.push(now - start)
      }
      return answers
    })
  const clients = nodes.flatMap((node, nth) =>
    Array.from({ length: concurrency }, (_, index) => client(node, nth * 1_000 + index + 1))
  )
  const answers = yield* passing(Effect.all(clients, { concurrency: "unbounded" }))
  latencies.sort((a, b) => a - b)
  const each = (count: number) => Math.round((1_000 * count) / transfers) / 1_000
  yield* Console.log(
    JSON.stringify({
      answers: tally(answers.flat()),
      acceptedPerSecond: Math.round((1_000 * transfers) / now),
      p50: latencies[latencies.length >> 1],
      p99: latencies[Math.floor(latencies.length * 0.99)],
      rowsABatch: Math.round((10 * counts.rows) / counts.commits) / 10,
      commitsEach: each(counts.commits),
      leasesEach: each(counts.leases),
      forwardsEach: each(counts.forwards)
    })
  )
})

run(storm.pipe(Effect.scoped, Effect.provide([memoryStores, quiet, TestClock.layer()])))
