/**
 * What a crossing between two nodes costs: `node bench/cluster/forward.ts [seconds] [concurrency]`. Two nodes, each a process.
 * The first is given deposits, one a call, for accounts that the second owns, then as many for its own; then both are
 * given transfers between any two accounts, of which half are sent on and half take an account on lease. Processor
 * time is that of both nodes' processes, a command.
 */
import { Effect } from "effect"
import { tally } from "../../test/support/ledgerWorld.ts"
import type { StormResult } from "../../test/support/memberMain.ts"
import type { Member } from "../../test/support/members.ts"
import { eventually } from "../../test/support/waiting.ts"
import { run, startNodes } from "./Script.ts"

const [seconds = 5, concurrency = 256] = process.argv.slice(2).map(Number)

const cpuOf = (member: Member) =>
  Effect.map(member.ask<{ readonly cpuMs: number }>({ _tag: "Stats" }), ({ cpuMs }) => cpuMs)

const middle = (sorted: ReadonlyArray<number>, part: number) =>
  Math.round((sorted[Math.floor(sorted.length * part)] ?? 0) * 10) / 10

const program = Effect.gen(function* () {
  const { members } = yield* startNodes(2, false)
  const [first, second] = members
  if (first === undefined || second === undefined) return
  const accounts = Array.from({ length: 400 }, (_, index) => `f${index}`)
  const ownedBy = (member: Member) =>
    Effect.filter(accounts, (account) => member.ask<boolean>({ _tag: "Owns", account }))
  yield* eventually(
    "all is placed",
    Effect.map(
      Effect.forEach(members, ownedBy),
      (all) => all.flat().length === accounts.length && all.every((owned) => owned.length > 50)
    )
  )
  const commands = accounts.flatMap((account) => [
    { _tag: "OpenAccount", account, asset: "USD/2", owner: "Ada", commandId: `open-${account}` },
    { _tag: "Deposit", account, amount: "1000000", commandId: `fund-${account}` }
  ])
  yield* first.ask({ _tag: "Send", commands })

  /** Runs a load that returns the latency of each of its commands. */
  const measure = Effect.fnUntraced(function* (
    way: string,
    forSeconds: number,
    load: Effect.Effect<ReadonlyArray<number>>
  ) {
    const [sender, taker] = [yield* cpuOf(first), yield* cpuOf(second)]
    const latencies = (yield* load).toSorted((a, b) => a - b)
    const count = latencies.length
    const perCommandUs = (ms: number) => Math.round((ms * 1_000) / count)
    const [firstMs, secondMs] = [(yield* cpuOf(first)) - sender, (yield* cpuOf(second)) - taker]
    return {
      way,
      concurrency,
      perSecond: Math.round(count / forSeconds),
      p50Ms: middle(latencies, 0.5),
      p99Ms: middle(latencies, 0.99),
      firstUs: perCommandUs(firstMs),
      secondUs: perCommandUs(secondMs),
      bothUs: perCommandUs(firstMs + secondMs)
    }
  })
  const deposits = (owner: Member, forSeconds: number) =>
    Effect.flatMap(ownedBy(owner), (owned) =>
      first.ask<ReadonlyArray<number>>({
        _tag: "Deposits",
        deposits: { accounts: owned.slice(0, 100), seconds: forSeconds, concurrency }
      })
    )
  const transfers = (forSeconds: number, seed: number) =>
    Effect.map(
      Effect.forEach(
        members,
        (member, nth) =>
          member.ask<StormResult>({
            _tag: "Storm",
            storm: {
              prefix: "f",
              accounts: accounts.length,
              shape: "pairs",
              seconds: forSeconds,
              concurrency: concurrency / 2,
              seed: seed + nth
            }
          }),
        { concurrency: "unbounded" }
      ),
      (storms) => {
        const answers = storms.flatMap((storm) => storm.attempts).map(({ answer }) => answer)
        const odd = tally(answers.flatMap((answer) => (typeof answer === "string" ? [answer] : [])))
        if (Object.keys(odd).length > 0) console.error(odd)
        return storms.flatMap((storm) => storm.latenciesMs)
      }
    )

  yield* measure("warm", 2, deposits(second, 2))
  yield* measure("warm", 1, deposits(first, 1))
  console.log(JSON.stringify(yield* measure("sent on", seconds, deposits(second, seconds))))
  console.log(JSON.stringify(yield* measure("its own", seconds, deposits(first, seconds))))
  yield* measure("warm", 2, transfers(2, 10))
  console.log(JSON.stringify(yield* measure("transfers between any two", seconds, transfers(seconds, 20))))
})

run(program)
