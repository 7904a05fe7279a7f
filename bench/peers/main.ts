/** `npm run bench:peers`: measures every contender in turn on one PostgreSQL, and prints medians and ranges. */
import { randomBytes } from "node:crypto"
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, Effect, Layer, Logger, Option, Redacted } from "effect"
import { Command, Flag } from "effect/cli"
import pg from "pg"
import { tuneCollector } from "../../src/infra/telemetry/Collector.ts"
import { ownStack } from "../../src/loadtest/Services.ts"
import { type Contender, type Figure, type Kind, kinds, type Setting } from "./Contender.ts"
import { makeChronicle } from "./chronicle.ts"
import { makeEmmett } from "./emmett.ts"
import { makeNaive } from "./naive.ts"
import { hasPgbench, makePgbench } from "./Pgbench.ts"
import { makeRaw } from "./raw.ts"

/** Creates databases with random names on the server of `url`, and drops them with the scope. */
const databasesOf = (url: string, ending = "WITH (FORCE)"): Setting["database"] =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const name = `chronicle_bench_${randomBytes(6).toString("hex")}`
      await onServer(url, `CREATE DATABASE ${name}`)
      const own = new URL(url)
      own.pathname = `/${name}`
      return { name, url: own.toString() }
    }),
    ({ name }) => Effect.promise(() => onServer(url, `DROP DATABASE ${name} ${ending}`))
  ).pipe(Effect.map((database) => database.url))

const onServer = async (url: string, statement: string): Promise<void> => {
  const client = new pg.Client(url)
  await client.connect()
  await client.query(statement)
  await client.end()
}

const settingsThatCount = [
  "server_version",
  "fsync",
  "synchronous_commit",
  "full_page_writes",
  "shared_buffers"
]

const describeServer = (url: string) =>
  Effect.promise(async () => {
    const client = new pg.Client(url)
    await client.connect()
    const shown: Array<string> = []
    for (const name of settingsThatCount) {
      const { rows } = await client.query<Record<string, string>>(`SHOW ${name}`)
      shown.push(`${name} ${rows[0]?.[name]}`)
    }
    await client.end()
    return shown.join(", ")
  })

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}
const whole = (value: number): string => Math.round(value).toLocaleString("en-US")

const toRow = (name: string, kind: Kind, figures: ReadonlyArray<Figure>, base: number | undefined) => {
  const rates = figures.map((figure) => figure.perSecond)
  const middle = median(rates)
  const latency = (of: (figure: Figure) => number | undefined) => {
    const known = figures.flatMap((figure) => of(figure) ?? [])
    return known.length === 0 ? "" : median(known).toFixed(0)
  }
  return {
    kind,
    contender: name,
    "a second (median)": whole(middle),
    spread: `${whole(Math.min(...rates))}-${whole(Math.max(...rates))}`,
    "p99 ms": latency((figure) => figure.p99Ms),
    "max ms": latency((figure) => figure.maxMs),
    "times PL/pgSQL": base === undefined ? "" : (middle / base).toFixed(2)
  }
}

const peers = Command.make(
  "peers",
  {
    url: Flag.String("url").pipe(
      Flag.withDescription(
        "A PostgreSQL to measure on, as superuser; default: one of its own, started for it"
      ),
      Flag.optional
    ),
    cockroach: Flag.String("cockroach").pipe(
      Flag.withDescription(
        "A CockroachDB for the events: ours and the naive client in turn on it, nothing else"
      ),
      Flag.optional
    ),
    nats: Flag.String("nats").pipe(
      Flag.withDescription("With --url: a JetStream server, to measure with the read side on as well"),
      Flag.optional
    ),
    seconds: Flag.Int("seconds").pipe(Flag.withDescription("Of each measurement"), Flag.withDefault(4)),
    rounds: Flag.Int("rounds").pipe(Flag.withDescription("Turns of each contender"), Flag.withDefault(3)),
    accounts: Flag.Int("accounts").pipe(Flag.withDefault(10_000))
  },
  Effect.fnUntraced(function* ({ url, cockroach, nats, seconds, rounds, accounts }) {
    const stack = Option.isSome(url) ? undefined : yield* ownStack
    // The server of the read model is a PostgreSQL, also where a CockroachDB holds the events.
    const server = stack === undefined ? Option.getOrThrow(url) : Redacted.value(stack.readModelUrl)
    const natsUrl = stack?.natsUrl ?? Option.getOrUndefined(nats)
    yield* Console.error(`PostgreSQL: ${yield* describeServer(server)}`)
    const database = databasesOf(server)
    const log = Option.map(cockroach, (events) => databasesOf(events, "CASCADE"))
    const setting: Setting = { database, eventDatabase: Option.getOrElse(log, () => database), accounts }
    const ours = yield* makeChronicle(setting, undefined)
    const contenders: Array<Contender> = [ours]
    if (Option.isSome(log)) yield* Console.error("on CockroachDB: ours and the naive client")
    else if (yield* hasPgbench) contenders.push(...(yield* makePgbench(setting)))
    else yield* Console.error("pgbench is not on the PATH: the PL/pgSQL transfer is left out")
    const readSide =
      natsUrl === undefined || Option.isSome(log) ? [] : [yield* makeChronicle(setting, natsUrl)]
    contenders.push(...readSide)
    contenders.push(yield* makeNaive(setting))
    if (Option.isNone(log)) contenders.push(yield* makeRaw(setting), yield* makeEmmett(setting))

    const figures = new Map<string, Array<Figure>>()
    const figuresOf = (name: string, kind: Kind): Array<Figure> => {
      const key = `${name} ${kind}`
      const found = figures.get(key) ?? []
      figures.set(key, found)
      return found
    }
    for (let round = 1; round <= rounds; round++) {
      for (const kind of kinds) {
        for (const contender of contenders) {
          if (!contender.kinds.includes(kind)) continue
          const figure = yield* contender.run(kind, seconds)
          figuresOf(contender.name, kind).push(figure)
          yield* Console.error(
            `round ${round}, ${kind}: ${contender.name} ${whole(figure.perSecond)} a second`
          )
        }
      }
    }
    const rows = kinds.flatMap((kind) => {
      const rates = figuresOf("PL/pgSQL, pgbench", kind).map((figure) => figure.perSecond)
      const base = rates.length === 0 ? undefined : median(rates)
      return contenders
        .filter((contender) => contender.kinds.includes(kind))
        .map(({ name }) => toRow(name, kind, figuresOf(name, kind), base))
    })
    yield* Console.table(rows)
    for (const { name, note } of contenders) yield* Console.log(`${name}: ${note}.`)
    for (const { name, verify } of [ours, ...readSide]) {
      const faults = yield* verify
      yield* Console.log(`${name}: ${faults.length === 0 ? "every invariant holds" : faults.join("; ")}`)
      if (faults.length > 0) return yield* Effect.die(new Error("an invariant is broken"))
    }
  })
).pipe(Command.withDescription("Measure the ledger and its peers in turn on one PostgreSQL"))

tuneCollector()
NodeRuntime.runMain(
  Command.run(peers, { version: "1" }).pipe(
    Effect.scoped,
    Effect.provide(Layer.mergeAll(NodeServices.layer, Layer.succeed(Logger.LogToStderr, true)))
  )
)
