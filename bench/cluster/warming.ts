/**
 * What a random transfer costs nodes that have just started, and how that falls as V8 compiles their code: `node
 * bench/cluster/warming.ts [nodes] [commands a node and slice] [slices] [accounts] [concurrency]`. A line a slice, all of the same nodes,
 * which are given transfers from accounts of their own. Slices have a number of commands and no length in time, so that on a busy machine
 * the nodes are as warm as on a quiet one. Nothing is audited.
 */
import { Console, Effect } from "effect"
import type { StormResult } from "../../test/support/memberMain.ts"
import type { Member } from "../../test/support/members.ts"
import { eventually } from "../../test/support/waiting.ts"
import { run, startNodes } from "./Script.ts"

const [nodes = 3, commands = 4_000, slices = 6, accounts = 2_000, concurrency = 512] = process.argv
  .slice(2)
  .map(Number)

/** Commands of one call that funds accounts. */
const fundedAtOnce = 200

interface Stats {
  readonly cpuMs: number
  readonly rows: number
  readonly batches: number
}

const program = Effect.gen(function* () {
  const { members } = yield* startNodes(nodes)
  const [first] = members
  if (first === undefined) return
  const ownsSome = (member: Member) =>
    Effect.map(
      member.ask<{ readonly owned: ReadonlyArray<number> }>({ _tag: "Nodes" }),
      ({ owned }) => owned.length > 0
    )
  yield* eventually(
    "each node owns shards",
    Effect.map(Effect.forEach(members, ownsSome), (all) => all.every((owns) => owns))
  )
  const opening = Array.from({ length: accounts }, (_, nth) => [
    { _tag: "OpenAccount", account: `w${nth}`, asset: "USD/2", owner: "Ada", commandId: `open-${nth}` },
    { _tag: "Deposit", account: `w${nth}`, amount: "100000000", commandId: `fund-${nth}` }
  ]).flat()
  for (let at = 0; at < opening.length; at += fundedAtOnce)
    yield* first.ask({ _tag: "Send", commands: opening.slice(at, at + fundedAtOnce) })

  const total = Effect.map(
    Effect.forEach(members, (member) => member.ask<Stats>({ _tag: "Stats" })),
    (all) => {
      const sum = (key: keyof Stats) => all.reduce((so, one) => so + one[key], 0)
      return { cpuMs: sum("cpuMs"), rows: sum("rows"), batches: sum("batches") }
    }
  )
  const clients = Math.max(1, Math.round(concurrency / nodes))
  for (let slice = 0; slice < slices; slice++) {
    const before = yield* total
    const storms = yield* Effect.forEach(
      members,
      (member, nth) =>
        member.ask<StormResult>({
          _tag: "Storm",
          storm: {
            prefix: "w",
            ids: `w${slice}`,
            accounts,
            shape: "pairs",
            seconds: 0,
            commandsEach: Math.round(commands / clients),
            ownedOnly: true,
            concurrency: clients,
            seed: slice * nodes + nth
          }
        }),
      { concurrency: "unbounded" }
    )
    const after = yield* total
    const attempts = storms.flatMap((storm) => storm.attempts)
    const accepted = attempts.filter(({ answer }) => typeof answer !== "string").length
    const rounded = (value: number) => Math.round(value * 10) / 10
    yield* Console.log(
      JSON.stringify({
        slice,
        accepted,
        others: attempts.length - accepted,
        cpuUs: rounded(((after.cpuMs - before.cpuMs) * 1_000) / accepted),
        rowsABatch: rounded((after.rows - before.rows) / (after.batches - before.batches))
      })
    )
  }
})

run(program)
