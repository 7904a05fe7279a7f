/**
 * How long a single transfer takes on an idle cluster: `node bench/cluster/latency.ts [transfers]`. Two nodes, each a process;
 * one transfer after another, in turn between two accounts of the first node and between one of each, given to the owner
 * of the first account. Prints a line of JSON: the medians in milliseconds, and their ratio.
 */
import { Effect } from "effect"
import type { Attempt } from "../../test/support/invariants.ts"
import type { Member } from "../../test/support/members.ts"
import { eventually } from "../../test/support/waiting.ts"
import { run, startNodes } from "./Script.ts"

const count = Number(process.argv[2] ?? 1_000)
const warmUp = 200

const median = (values: ReadonlyArray<number>) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

const program = Effect.gen(function* () {
  const { members } = yield* startNodes(2)
  const [first, second] = members
  if (first === undefined || second === undefined) return
  const accounts = Array.from({ length: 40 }, (_, index) => `l${index}`)
  const ownedBy = (member: Member) =>
    Effect.filter(accounts, (account) => member.ask<boolean>({ _tag: "Owns", account }))
  yield* eventually(
    "all is placed",
    Effect.map(
      Effect.forEach(members, ownedBy),
      (all) => all.flat().length === accounts.length && all.every((owned) => owned.length > 10)
    )
  )
  const send = (commands: ReadonlyArray<Readonly<Record<string, unknown>>>) =>
    first.ask<ReadonlyArray<Attempt>>({ _tag: "Send", commands })
  yield* send(
    accounts.flatMap((account) => [
      { _tag: "OpenAccount", account, asset: "USD/2", owner: "Ada", commandId: `open-${account}` },
      { _tag: "Deposit", account, amount: "1000000", commandId: `fund-${account}` }
    ])
  )
  const [here, there] = [yield* ownedBy(first), yield* ownedBy(second)]
  const ms = { local: [] as number[], overTwoNodes: [] as number[] }
  for (let nth = 0; nth < warmUp + count; nth++) {
    for (const [way, others] of [
      ["local", here.slice(10)],
      ["overTwoNodes", there]
    ] as const) {
      const [from, to] = [here[nth % 10], others[nth % others.length]]
      const [attempt] = yield* send([{ _tag: "Transfer", from, to, amount: "1", commandId: `${way}-${nth}` }])
      if (attempt === undefined || typeof attempt.answer === "string")
        return yield* Effect.die(new Error(`a transfer was refused: ${JSON.stringify(attempt?.answer)}`))
      if (nth >= warmUp) ms[way].push((attempt.end - attempt.start) / 1e6)
    }
  }
  const [localMs, crossMs] = [median(ms.local), median(ms.overTwoNodes)]
  console.log(JSON.stringify({ transfers: count, localMs, crossMs, ratio: crossMs / localMs }))
})

run(program)
