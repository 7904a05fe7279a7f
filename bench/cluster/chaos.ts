/**
 * Chaos over nodes under load: `npm run bench:chaos -- --seconds 120 --seed 1 [--nodes 3] [--customers 24]`
 * `[--roles commands,commands,read-side,read-side] [--kinds kill,zombie] [--lock-seconds 8] [--logs DIR]`. Each node is a process of `chronicle serve`
 * over one stack, with CockroachDB where there is a `cockroach` on the PATH. The event store stands still, too: once for 5 to 10
 * seconds at the begin, then for up to 10. Prints each outage, a table, and one line of JSON; ends with 1 if an invariant is broken.
 */
import { mkdirSync } from "node:fs"
import { parseArgs } from "node:util"
import { Effect, FileSystem } from "effect"
import type { NodeRole } from "../../src/infra/config/NodeRole.ts"
import { startDevStack } from "../../src/infra/dev/DevStack.ts"
import { runChaos } from "../../test/support/chaos/chaos.ts"
import { disruptionsOf, kinds, type Outage } from "../../test/support/chaos/disruptions.ts"
import { tally } from "../../test/support/ledgerWorld.ts"
import { run } from "./Script.ts"

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "120" },
    seed: { type: "string", default: "1" },
    nodes: { type: "string", default: "3" },
    roles: { type: "string" },
    customers: { type: "string", default: "24" },
    kinds: { type: "string", default: kinds.join() },
    // Where other programs leave the nodes little of the machine, locks that live longer keep them from losing their shards for that.
    "lock-seconds": { type: "string" },
    logs: { type: "string" }
  }
})

const nameOf = ({ kind, sockets, still }: Outage) => {
  const which = still ?? sockets
  return which === undefined ? kind : `${kind} (${which})`
}
const detailOf = ({ stoodMs, meanwhile }: Outage) =>
  stoodMs === undefined ? "" : `, ${stoodMs} ms, ${meanwhile}`

const lockMs = Number(values["lock-seconds"]) * 1_000
const lockLimits =
  values["lock-seconds"] === undefined
    ? {}
    : {
        lockExpirationMs: lockMs,
        lockRefreshMs: Math.floor(lockMs / 3.2),
        memberSilentMs: Math.floor(lockMs / 2)
      }

const isRole = (text: string): text is NodeRole =>
  text === "all" || text === "commands" || text === "read-side"
/** Of the nodes, as told, or all for each of so many. */
const roles = values.roles?.split(",") ?? new Array<string>(Number(values.nodes)).fill("all")
if (!roles.every(isRole)) throw new Error(`a role is all, commands or read-side, not one of ${roles}`)

/** The longest and the median outage of each kind of disruption. */
const tableOf = (outages: ReadonlyArray<Outage>) => {
  const names = [...new Set(outages.map(nameOf))].sort()
  return names.map((name) => {
    const some = outages.filter((outage) => nameOf(outage) === name)
    // A node of the read side owns no account.
    const gaps = some.flatMap(({ accounts, gapMs }) => (accounts > 0 ? [gapMs] : [])).sort((a, b) => a - b)
    return {
      disruption: name,
      times: some.length,
      medianMs: gaps[Math.floor(gaps.length / 2)] ?? 0,
      worstMs: gaps.at(-1) ?? 0,
      elsewhereMs: Math.max(0, ...some.map(({ elsewhereMs }) => elsewhereMs)),
      readMs: Math.max(0, ...some.map(({ readMs }) => readMs))
    }
  })
}

const program = Effect.gen(function* () {
  const fs = yield* FileSystem.FileSystem
  const dataDir = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-chaos-" })
  yield* fs.chmod(dataDir, 0o711)
  const logDir = values.logs ?? dataDir
  mkdirSync(logDir, { recursive: true })
  const stack = yield* startDevStack({ dataDir: `${dataDir}/stack` })
  const seed = Number(values.seed)
  const { outages, seconds, attempts, verdict } = yield* runChaos(stack, {
    seed,
    roles,
    seconds: Number(values.seconds),
    accounts: 300,
    customers: Number(values.customers),
    thinkMs: 40,
    watched: 18,
    watchMs: 100,
    cluster: lockLimits,
    disruptions: disruptionsOf(kinds.filter((kind) => values.kinds.split(",").includes(kind))),
    logDir,
    onOutage: (outage) =>
      console.error(
        `${nameOf(outage)}${detailOf(outage)}, ${outage.node}: ${outage.gapMs} ms without service (other accounts ${outage.elsewhereMs} ms, balances with a read token ${outage.readMs} ms)`
      )
  })
  const answers = tally(attempts.map(({ answer }) => (typeof answer === "string" ? answer : "Accepted")))
  const table = tableOf(outages)
  console.error("milliseconds without service for an account of the node, by disruption")
  for (const { disruption, times, medianMs, worstMs, elsewhereMs, readMs } of table)
    console.error(
      `${disruption.padEnd(24)} ${String(times).padStart(3)} times   median ${String(medianMs).padStart(6)}   ` +
        `worst ${String(worstMs).padStart(6)}   accounts of other nodes ${String(elsewhereMs).padStart(6)}   balance with a read token ${String(readMs).padStart(6)}`
    )
  for (const fault of verdict.faults) console.error(fault)
  const ok = verdict.faults.length === 0 && Object.values(verdict.invariants).every((holds) => holds)
  console.log(
    JSON.stringify({
      seed,
      roles,
      seconds: Math.round(seconds),
      answers,
      ...verdict,
      standstills: outages.flatMap(({ still, stoodMs, meanwhile }) =>
        still === undefined ? [] : [{ still, stoodMs, meanwhile }]
      ),
      withoutService: table,
      ok
    })
  )
  process.exitCode = ok ? 0 : 1
})

run(program)
