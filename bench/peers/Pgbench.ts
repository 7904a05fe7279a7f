/** A hand-written PL/pgSQL transfer under pgbench, one or fifty in a transaction, with the number of clients that is best for it. */
import { readFileSync } from "node:fs"
import { Effect, FileSystem } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import pg from "pg"
import { makeHistogram, recordMs, summarize } from "../../src/loadtest/Meter.ts"
import type { Contender, Figure, Kind, Setting } from "./Contender.ts"

const clientCounts = [8, 16, 32]
const scanSeconds = 2
const threads = 2
const batchSize = 50

/** Whether pgbench is on the PATH. */
export const hasPgbench = Effect.gen(function* () {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  return (yield* spawner.string(ChildProcess.make("pgbench", ["--version"]))) !== ""
}).pipe(Effect.orElseSucceed(() => false))

const scripts = (accounts: number, batch: number): Record<Kind, string> => {
  const key = "'' || :client_id || '-' || :random_seed || '-' || txid_current()"
  if (batch > 1) {
    const call = (hot: boolean) => `SELECT transfer_batch(${key}, ${batch}, ${accounts}, ${hot});\n`
    return { uniform: call(false), hot: call(true) }
  }
  const script = (from: string) =>
    `\\set f ${from}\n\\set t (:f + random(1, ${accounts - 1})) % ${accounts}\n` +
    `SELECT transfer(${key}, :f, :t, 1);\n`
  return { uniform: script(`random(0, ${accounts - 1})`), hot: script("0") }
}

/** Creates the schema, and accounts with more money than they can spend. */
const prepare = (database: string, accounts: number) =>
  Effect.promise(async () => {
    const client = new pg.Client(database)
    await client.connect()
    await client.query(readFileSync(new URL("./plpgsql.sql", import.meta.url), "utf8"))
    await client.query("INSERT INTO balances SELECT g, 1e15 FROM generate_series(0, $1::int8 - 1) AS g", [
      accounts
    ])
    await client.query("ANALYZE balances")
    await client.end()
  })

/** Two contenders that share a database. */
export const makePgbench = Effect.fnUntraced(function* (setting: Setting) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const files = yield* FileSystem.FileSystem
  const directory = yield* files.makeTempDirectoryScoped({ prefix: "chronicle-pgbench-" })
  const database = yield* setting.database
  yield* prepare(database, setting.accounts)
  let runs = 0

  const bench = Effect.fnUntraced(function* (
    script: string,
    clients: number,
    seconds: number,
    batch: number
  ) {
    const prefix = `${directory}/run-${runs++}`
    yield* files.writeFileString(`${prefix}.sql`, script)
    const output = yield* spawner.string(
      ChildProcess.make("pgbench", [
        ...["-n", "-M", "prepared", "-f", `${prefix}.sql`, "-c", `${clients}`, "-j", `${threads}`],
        ...["-T", `${seconds}`, "-l", `--log-prefix=${prefix}.log`, database]
      ])
    )
    const found = /tps = ([\d.]+)/.exec(output)
    if (found === null) return yield* Effect.die(new Error(`pgbench printed no rate: ${output}`))
    const histogram = makeHistogram()
    for (const name of yield* files.readDirectory(directory)) {
      if (!`${directory}/${name}`.startsWith(`${prefix}.log`)) continue
      // client, transaction, microseconds, …
      for (const line of (yield* files.readFileString(`${directory}/${name}`)).split("\n")) {
        const us = Number(line.split(" ")[2])
        if (us > 0) recordMs(histogram, us / 1_000)
      }
      yield* files.remove(`${directory}/${name}`)
    }
    const { p99, max } = summarize(histogram)
    return { perSecond: Number(found[1]) * batch, p99Ms: p99, maxMs: max } satisfies Figure
  }, Effect.orDie)

  const contender = (batch: number): Contender => {
    const script = scripts(setting.accounts, batch)
    const best = new Map<Kind, number>()
    const scan = Effect.fnUntraced(function* (kind: Kind) {
      let bestRate = 0
      for (const clients of clientCounts) {
        const { perSecond } = yield* bench(script[kind], clients, scanSeconds, batch)
        if (perSecond > bestRate) best.set(kind, clients)
        bestRate = Math.max(bestRate, perSecond)
      }
    })
    return {
      name: batch === 1 ? "PL/pgSQL, pgbench" : `PL/pgSQL, ${batch} a transaction`,
      note:
        batch === 1
          ? `the best of ${clientCounts.join(", ")} clients, found in a scan before; no read side, no chain`
          : `the same function, called ${batch} times in one transaction, drawing its own accounts; latency is the transaction's`,
      kinds: ["uniform", "hot"],
      run: (kind, seconds) =>
        Effect.gen(function* () {
          if (!best.has(kind)) yield* scan(kind)
          return yield* bench(script[kind], best.get(kind) ?? 16, seconds, batch)
        })
    }
  }
  return [contender(1), contender(batchSize)]
})
