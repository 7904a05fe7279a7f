/**
 * How long an account is without service when its node ends: `node bench/cluster/gap.ts SIGTERM|SIGKILL|SIGSTOP [node]`.
 * Of three nodes, each in a process, one (0, 1 or 2) gets the signal, and another one deposits, one after another.
 */
import { Effect } from "effect"
import type { Attempt } from "../../test/support/invariants.ts"
import { eventually } from "../../test/support/waiting.ts"
import { run, startNodes } from "./Script.ts"

const signal = process.argv[2] === "SIGKILL" || process.argv[2] === "SIGSTOP" ? process.argv[2] : "SIGTERM"
const victimIndex = Number(process.argv[3] ?? 2)
/** How many deposits must succeed before the measurement ends. */
const servedAfter = 100

const program = Effect.gen(function* () {
  const { members } = yield* startNodes(3)
  const victim = members[victimIndex]
  const by = members[(victimIndex + 1) % 3]
  if (victim === undefined || by === undefined) return
  const accounts = Array.from({ length: 60 }, (_, index) => `g${index}`)
  const ownedBy = (member: typeof victim) =>
    Effect.filter(accounts, (account) => member.ask<boolean>({ _tag: "Owns", account }))
  yield* eventually(
    "every account has an owner",
    30,
    Effect.map(
      Effect.forEach(members, ownedBy),
      (all) => all.flat().length === accounts.length && all.every((owned) => owned.length > 10)
    )
  )
  const [account] = yield* ownedBy(victim)
  if (account === undefined) return yield* Effect.die("the victim owns no account")
  const send = (command: Readonly<Record<string, unknown>>) =>
    Effect.map(
      by.ask<ReadonlyArray<Attempt>>({ _tag: "Send", commands: [{ ...command, account }] }),
      ([attempt]) => attempt !== undefined && typeof attempt.answer !== "string"
    )
  yield* send({ _tag: "OpenAccount", asset: "USD/2", owner: "Ada", commandId: "open" })
  yield* victim.signal(signal)
  let last = Date.now()
  let longest = 0
  for (let nth = 0; nth < servedAfter || longest < 50; ) {
    if (!(yield* send({ _tag: "Deposit", amount: "1", commandId: `d-${nth}` }))) continue
    nth++
    longest = Math.max(longest, Date.now() - last)
    last = Date.now()
  }
  console.log(JSON.stringify({ signal, victim: victim.name, longestMs: longest }))
})

run(program)
