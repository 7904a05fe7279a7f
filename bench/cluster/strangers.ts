/**
 * Strangers on the port of the nodes while these work: `node bench/cluster/strangers.ts [strangers] [seconds before and after]`.
 * Two nodes with one secret, each in a process, with transfers between them; strangers say noise, half a hello, a wrong
 * secret, a frame of a gigabyte or nothing, and nodes that hold the secret go on with nonsense. Tells the rate of transfers before,
 * meanwhile and after, the nodes' memory and sockets, and what was not closed in time. Ends with 1 if anything was harmed.
 */
import { performance } from "node:perf_hooks"
import { Effect, Fiber, Redacted } from "effect"
import { tally } from "../../test/support/ledgerWorld.ts"
import type { StormResult } from "../../test/support/memberMain.ts"
import { type Member, startMember } from "../../test/support/members.ts"
import { connect, connectAsNode, nonsense, strangers } from "../../test/support/strangers.ts"
import { run, startStores } from "./Script.ts"

const [count = 10_000, seconds = 10] = process.argv.slice(2).map(Number)
const secret = "a secret of the strangers' bench"
/** Connections at once: more than a node keeps in their handshakes. */
const atOnce = 600
/** The longest time that a silent connection has, and some more for a machine that has other things to do, in milliseconds. */
const closedWithinMs = 25_000
const accounts = 200

interface Stats {
  readonly rssBytes: number
  readonly sockets: number
}
const statsOf = (member: Member) => member.ask<Stats>({ _tag: "Stats" })

const storm = (member: Member, seed: number, lasting: number) =>
  member.ask<StormResult>({
    _tag: "Storm",
    storm: { prefix: "s", accounts, shape: "pairs", seconds: lasting, concurrency: 16, seed }
  })

const summary = ({ attempts, latenciesMs }: StormResult, lasting: number) => {
  const answers = tally(attempts.map(({ answer }) => (typeof answer === "string" ? answer : "Accepted")))
  const sorted = [...latenciesMs].sort((a, b) => a - b)
  return {
    answers,
    perSecond: Math.round((answers.Accepted ?? 0) / lasting),
    p99Ms: Math.round(sorted[Math.floor(sorted.length * 0.99)] ?? 0)
  }
}

const program = Effect.gen(function* () {
  const stack = yield* startStores()
  const urls = {
    eventStoreUrl: Redacted.value(stack.eventStoreUrl),
    locksUrl: Redacted.value(stack.readModelUrl)
  }
  const start = (name: string) => startMember({ ...urls, name, secret })
  const members = yield* Effect.all([start("node-0"), start("node-1")], { concurrency: 2 })
  const [first] = members
  yield* first.ask({
    _tag: "Send",
    commands: Array.from({ length: accounts }, (_, nth) => [
      { _tag: "OpenAccount", account: `s${nth}`, asset: "USD/2", owner: "Ada", commandId: `open-${nth}` },
      { _tag: "Deposit", account: `s${nth}`, amount: "100000000", commandId: `fund-${nth}` }
    ]).flat()
  })
  yield* storm(first, 1, 2)
  const before = summary(yield* storm(first, 2, seconds), seconds)
  const statsBefore = yield* Effect.forEach(members, statsOf)

  const kinds: ReadonlyArray<readonly [string, (port: number) => Effect.Effect<Buffer>]> = [
    ...strangers.map(
      ([what, chunks]) => [what, (port: number) => connect({ host: "127.0.0.1", port }, ...chunks)] as const
    ),
    ...nonsense.flatMap(([what, bytes]) =>
      ["commands", "cluster"].map(
        (use, purpose) =>
          [
            `${what}, with the secret, to ${use}`,
            (port: number) => connectAsNode({ host: "127.0.0.1", port }, secret, bytes, { purpose })
          ] as const
      )
    )
  ]
  const slowest: Record<string, number> = {}
  const notClosed: Record<string, number> = {}
  let isOver = false
  let most = 0
  const watching = yield* Effect.forkChild(
    Effect.gen(function* () {
      while (!isOver) {
        for (const { rssBytes } of yield* Effect.forEach(members, statsOf)) most = Math.max(most, rssBytes)
        yield* Effect.sleep(500)
      }
    })
  )
  const meanwhile: Array<StormResult> = []
  /** Of both nodes, after each tenth of the strangers. */
  const memory: Array<number> = []
  let gone = 0
  const storming = yield* Effect.forkChild(
    Effect.gen(function* () {
      for (let seed = 3; !isOver; seed++) meanwhile.push(yield* storm(first, seed, 2))
    })
  )
  const begun = performance.now()
  yield* Effect.forEach(
    Array.from({ length: count }, (_, nth) => nth),
    Effect.fnUntraced(function* (nth) {
      const kind = kinds[nth % kinds.length]
      const port = members[nth % members.length]?.port
      if (kind === undefined || port === undefined) return
      const [what, come] = kind
      const from = performance.now()
      const closed = yield* Effect.timeoutOption(come(port), closedWithinMs)
      const ms = Math.round(performance.now() - from)
      if (closed._tag === "None") notClosed[what] = (notClosed[what] ?? 0) + 1
      slowest[what] = Math.max(slowest[what] ?? 0, ms)
      if (++gone % Math.ceil(count / 10) !== 0) return
      const stats = yield* Effect.forEach(members, statsOf)
      memory.push(Math.round(stats.reduce((sum, { rssBytes }) => sum + rssBytes, 0) / 2 ** 20))
    }),
    { concurrency: atOnce, discard: true }
  )
  const lasted = (performance.now() - begun) / 1_000
  isOver = true
  yield* Fiber.joinAll([watching, storming])
  const after = summary(yield* storm(first, 1_000, seconds), seconds)
  const statsAfter = yield* Effect.forEach(members, statsOf)
  const during = {
    attempts: meanwhile.flatMap(({ attempts }) => attempts),
    refused: [],
    latenciesMs: meanwhile.flatMap(({ latenciesMs }) => latenciesMs)
  }
  const harmed = [
    ...Object.entries(notClosed).map(([what, times]) => `${times} that said ${what} were not closed in time`),
    ...statsAfter.flatMap(({ sockets }, nth) => {
      const earlier = statsBefore[nth]?.sockets ?? 0
      return sockets > earlier + 2
        ? [`${members[nth]?.name} has ${sockets} sockets, and had ${earlier} before`]
        : []
    })
  ]
  console.log(
    JSON.stringify(
      {
        strangers: count,
        seconds: Math.round(lasted),
        before,
        meanwhile: summary(during, lasted),
        after,
        mebibytes: {
          before: statsBefore.map(({ rssBytes }) => Math.round(rssBytes / 2 ** 20)),
          most: Math.round(most / 2 ** 20),
          ofBothMeanwhile: memory,
          after: statsAfter.map(({ rssBytes }) => Math.round(rssBytes / 2 ** 20))
        },
        slowestMs: slowest,
        harmed
      },
      undefined,
      1
    )
  )
  process.exitCode = harmed.length === 0 ? 0 : 1
})

run(program)
