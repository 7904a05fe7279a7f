/**
 * Opposite transfers in rings of five, or in pairs, over some nodes, each in a process: throughput, latency, invariants.
 * Run as `node bench/cluster/storm.ts [seconds] [nodes] [accounts] [concurrency a node] [rings|pairs] [chaos]`. With
 * `chaos` the first node alone gets commands, while the others are killed, frozen, ended and started again.
 */
import { Effect, Fiber, Layer } from "effect"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { type ToldBalance, untrueAnswers } from "../../test/support/answers.ts"
import { faultsOf, logOf } from "../../test/support/invariants.ts"
import { tally } from "../../test/support/ledgerWorld.ts"
import type { StormResult } from "../../test/support/memberMain.ts"
import { type Member, startMember } from "../../test/support/members.ts"
import { run, startNodes } from "./Script.ts"

const [seconds = 20, nodes = 3, accounts = 30, concurrency = 32] = process.argv.slice(2, 6).map(Number)
const shape = process.argv[6] === "pairs" ? "pairs" : "rings"

const isChaos = process.argv[7] === "chaos"

const percentile = (sorted: ReadonlyArray<number>, part: number) =>
  Math.round((sorted[Math.floor(sorted.length * part)] ?? 0) * 10) / 10

const program = Effect.gen(function* () {
  const { stack, urls, members } = yield* startNodes(nodes)
  const [first] = members
  if (first === undefined) return
  const others: Array<Member> = members.slice(1)
  const disruptions: Array<string> = []

  /** Disrupts each of the other nodes in turn, for long enough that its accounts are taken over, and that it returns. */
  const chaos = Effect.gen(function* () {
    for (let nth = 0; ; nth++) {
      const index = nth % others.length
      const victim = others[index]
      if (victim === undefined) return
      const signal = (["SIGKILL", "SIGSTOP", "SIGTERM"] as const)[nth % 3] ?? "SIGKILL"
      yield* Effect.sleep(4_000)
      yield* victim.signal(signal)
      disruptions.push(`${signal} ${victim.name}`)
      if (signal === "SIGSTOP") {
        yield* Effect.sleep(12_000)
        yield* victim.signal("SIGCONT")
      } else {
        yield* victim.ended
        others[index] = yield* startMember({ ...urls, name: victim.name })
      }
    }
  })
  const commands = Array.from({ length: accounts }, (_, index) => [
    { _tag: "OpenAccount", account: `s${index}`, asset: "USD/2", owner: "Ada", commandId: `open-${index}` },
    { _tag: "Deposit", account: `s${index}`, amount: "100000000", commandId: `fund-${index}` }
  ])
  console.error("funding")
  const funded = yield* first.ask<StormResult["attempts"]>({ _tag: "Send", commands: commands.flat() })
  console.error(tally(funded.map(({ answer }) => (typeof answer === "string" ? answer : "Accepted"))))
  const disrupting = yield* Effect.forkScoped(isChaos ? chaos : Effect.void)
  // Strong balances, asked of any node meanwhile.
  const balances: Array<ToldBalance> = []
  const asking = yield* Effect.gen(function* () {
    for (let nth = 0; ; nth++) {
      const account = `s${nth % accounts}`
      const member = isChaos ? first : (members[nth % members.length] ?? first)
      const start = Number(process.hrtime.bigint())
      const told = yield* member.ask<{ readonly version: number; readonly balance: string }>({
        _tag: "Head",
        account
      })
      const end = Number(process.hrtime.bigint())
      balances.push({ account, start, end, version: told.version, balance: BigInt(told.balance) })
      yield* Effect.sleep(10)
    }
  }).pipe(Effect.ignoreCause, Effect.forkScoped)
  const storms = yield* Effect.forEach(
    isChaos ? [first] : members,
    (member, seed) =>
      member.ask<StormResult>({
        _tag: "Storm",
        storm: { prefix: "s", accounts, shape, seconds, concurrency, seed }
      }),
    { concurrency: "unbounded" }
  )
  yield* Fiber.interruptAll([disrupting, asking])
  const attempts = storms.flatMap((storm) => storm.attempts)
  const answers = tally(attempts.map(({ answer }) => (typeof answer === "string" ? answer : "Accepted")))
  const latencies = storms.flatMap((storm) => storm.latenciesMs).sort((a, b) => a - b)
  const stats = yield* Effect.forEach(isChaos ? [first] : members, (member) => member.ask({ _tag: "Stats" }))
  const log = yield* Effect.flatMap(EventStore, logOf).pipe(
    Effect.provide(EventStore.layer.pipe(Layer.provide(EventStoreClient.layer(stack.eventStoreUrl))))
  )
  const sent = [...funded, ...attempts]
  const refusals = storms.flatMap(({ attempts: some, refused }) =>
    refused.flatMap((command) =>
      some
        .filter(({ commandId, answer }) => commandId === command.commandId && answer === "InsufficientFunds")
        .map(({ start, end }) => ({
          command: { _tag: "Transfer" as const, amount: 1n, ...command },
          start,
          end,
          tag: "InsufficientFunds"
        }))
    )
  )
  const faults = [...faultsOf(log, sent), ...untrueAnswers(log, sent, balances, refusals)]
  console.log(
    JSON.stringify(
      {
        shape,
        nodes,
        accounts,
        concurrency: concurrency * nodes,
        seconds,
        disruptions,
        answers,
        strongBalances: balances.length,
        acceptedPerSecond: Math.round((answers.Accepted ?? 0) / seconds),
        latencyMs: {
          p50: percentile(latencies, 0.5),
          p99: percentile(latencies, 0.99),
          p999: percentile(latencies, 0.999),
          max: Math.round(latencies.at(-1) ?? 0)
        },
        stats,
        faults: faults.slice(0, 10)
      },
      undefined,
      1
    )
  )
  process.exitCode = faults.length === 0 ? 0 : 1
})

run(program)
