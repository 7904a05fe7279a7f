/** How many balances per second are answered by id, compared with the same SELECT of pgbench. */
import { Clock, Effect, FileSystem, Redacted } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { elapsedMsUnsafe } from "../../src/infra/config/Elapsed.ts"
import { ReadSideConfig } from "../../src/infra/config/ReadSideConfig.ts"
import { Queries } from "../../src/infra/readmodel/Queries.ts"
import { balanceColumns } from "../../src/infra/readmodel/ReadModelRows.ts"
import { ReadModelSql } from "../../src/infra/readmodel/ReadModelSql.ts"
import { accountId } from "../../test/support/storedEvents.ts"
import { say, target, whole } from "./Targets.ts"

const accounts = 10_000
const rounds = 5
const wantedRatio = 0.7
/** Clients that ask at once: as many as there are connections, and as many as a busy node has. */
const clientCounts = [8, 256]

const median = (values: ReadonlyArray<number>) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0

const idOf = (index: number) => `balance-${index}`

const fill = Effect.gen(function* () {
  const sql = yield* ReadModelSql
  yield* sql.unsafe(
    `INSERT INTO books_v1_balances SELECT '${idOf(0).slice(0, -1)}' || g, 5, 'open', 'USD/2', 'x', 0, g, '{}', now(), repeat('h', 64)
     FROM generate_series(0, ${accounts - 1}) AS g`
  )
  yield* sql.unsafe("VACUUM ANALYZE books_v1_balances")
})

/** The rate of pgbench through `clients` connections; undefined where pgbench is not installed. */
const makePgbench = Effect.fnUntraced(function* (url: Redacted.Redacted, clients: number, seconds: number) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const files = yield* FileSystem.FileSystem
  const directory = yield* files.makeTempDirectoryScoped({ prefix: "chronicle-readside-" })
  const script = `${directory}/balance.sql`
  yield* files.writeFileString(
    script,
    `\\set n random(0, ${accounts - 1})\nSELECT ${balanceColumns.list} FROM books_v1_balances WHERE account = '${idOf(0).slice(0, -1)}' || :n;\n`
  )
  const args = ["-n", "-M", "prepared", "-f", script, "-c", `${clients}`, "-j", "2", "-T", `${seconds}`]
  return spawner.string(ChildProcess.make("pgbench", [...args, Redacted.value(url)])).pipe(
    Effect.map((output) => Number(/tps = ([\d.]+)/.exec(output)?.[1])),
    Effect.orElseSucceed(() => undefined)
  )
})

/** A number of fibers, each of which asks for one balance after another. */
const ask = Effect.fnUntraced(function* (fibers: number, seconds: number) {
  const queries = yield* Queries
  const clock = yield* Clock.Clock
  const nowMs = () => elapsedMsUnsafe(clock)
  const start = nowMs()
  let answers = 0
  const balance = Effect.suspend(() => queries.balance(accountId(idOf((answers * 7_919) % accounts))))
  const client = Effect.whileLoop({
    while: () => nowMs() - start < seconds * 1_000,
    body: () => balance,
    step: () => {
      answers++
    }
  })
  yield* Effect.replicateEffect(client, fibers, { concurrency: "unbounded", discard: true })
  return (answers * 1_000) / (nowMs() - start)
})

export const measureBalances = Effect.fnUntraced(function* (url: Redacted.Redacted, seconds: number) {
  const { readModelConnections } = yield* ReadSideConfig
  yield* fill
  const pgbench = yield* makePgbench(url, readModelConnections, seconds)
  for (const fibers of clientCounts) yield* ask(fibers, 1)
  const ratios = new Map<number, Array<number>>(clientCounts.map((fibers) => [fibers, []]))
  for (let round = 0; round < rounds; round++) {
    // In turn, so that other work of the machine slows both alike.
    const theirs = yield* pgbench
    if (theirs === undefined) return [target("balance by id", "pgbench is not on the PATH", ">= 0.7", false)]
    for (const fibers of clientCounts) {
      const ours = yield* ask(fibers, seconds)
      ratios.get(fibers)?.push(ours / theirs)
      yield* say(`balances a second: pgbench ${whole(theirs)}, ${fibers} clients ${whole(ours)}`)
    }
  }
  return clientCounts.map((fibers) => {
    const ratio = median(ratios.get(fibers) ?? [])
    return target(
      `balance by id, ${fibers} clients over ${readModelConnections} connections, as a part of pgbench`,
      ratio.toFixed(2),
      `>= ${wantedRatio}`,
      ratio >= wantedRatio
    )
  })
}, Effect.scoped)
