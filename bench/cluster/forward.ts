/**
 * The cost of forwarding: `node bench/cluster/forward.ts [seconds] [concurrency]`. Of two nodes, each in a process, the
 * first gets deposits, one a call, on accounts that the second owns, and then as many on its own accounts.
 */
import { Effect } from "effect"
import type { Member } from "../../test/support/members.ts"
import { eventually } from "../../test/support/waiting.ts"
import { run, startNodes } from "./Script.ts"

const [seconds = 5, concurrency = 256] = process.argv.slice(2).map(Number)

const program = Effect.gen(function* () {
  const { members } = yield* startNodes(2, false)
  const [first, second] = members
  if (first === undefined || second === undefined) return
  const accounts = Array.from({ length: 400 }, (_, index) => `f${index}`)
  const ownedBy = (member: Member) =>
    Effect.filter(accounts, (account) => member.ask<boolean>({ _tag: "Owns", account }))
  yield* eventually(
    "every account has an owner",
    30,
    Effect.map(
      Effect.forEach(members, ownedBy),
      (all) => all.flat().length === accounts.length && all.every((owned) => owned.length > 50)
    )
  )
  const commands = accounts.map((account) => ({
    _tag: "OpenAccount",
    account,
    asset: "USD/2",
    owner: "Ada",
    commandId: `open-${account}`
  }))
  yield* first.ask({ _tag: "Send", commands })
  const cpu = (member: Member) =>
    Effect.map(member.ask<{ readonly cpuMs: number }>({ _tag: "Stats" }), ({ cpuMs }) => cpuMs)
  const measure = Effect.fnUntraced(function* (way: string, owner: Member, forSeconds: number) {
    const [sender, taker] = [yield* cpu(first), yield* cpu(second)]
    const latencies = yield* first.ask<Array<number>>({
      _tag: "Deposits",
      deposits: { accounts: (yield* ownedBy(owner)).slice(0, 100), seconds: forSeconds, concurrency }
    })
    const count = latencies.length
    latencies.sort((a, b) => a - b)
    const perCommandUs = (ms: number) => Math.round((ms * 1_000) / count)
    return {
      way,
      concurrency,
      perSecond: Math.round(count / forSeconds),
      p50Ms: Math.round(latencies[count >> 1] ?? 0),
      p99Ms: Math.round(latencies[Math.floor(count * 0.99)] ?? 0),
      senderUs: perCommandUs((yield* cpu(first)) - sender),
      ownerUs: perCommandUs((yield* cpu(second)) - taker)
    }
  })
  yield* measure("warm", second, 2)
  yield* measure("warm", first, 1)
  console.log(JSON.stringify(yield* measure("forwarded", second, seconds)))
  console.log(JSON.stringify(yield* measure("its own", first, seconds)))
})

run(program)
