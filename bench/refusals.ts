/**
 * Ten thousand requests that a node has to refuse, of every kind to every route, while an honest client transfers:
 * `node bench/refusals.ts [requests] [seconds before and after]`. Tells the client's rate and times before, meanwhile and after, and the
 * node's memory and sockets. Ends with 1 where an answer was not the documented one, a transfer failed, or a socket was left.
 */
import { readFileSync } from "node:fs"
import { Agent, request } from "node:http"
import { performance } from "node:perf_hooks"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Console, Effect, Fiber, Layer, References } from "effect"
import { hashToken } from "../src/access/Tokens.ts"
import { httpLimits } from "../src/http/server/HttpLimits.ts"
import { DevStack } from "../src/infra/dev/DevStack.ts"
import * as LedgerNode from "../src/LedgerNode.ts"
import { httpRefusals, tryRefusal } from "../test/support/httpRefusals.ts"
import { eventually } from "../test/support/waiting.ts"
import { account, accounts, startNode, transfer } from "./servedNode.ts"

const [count = 10_000, seconds = 10] = process.argv.slice(2).map(Number)
/** Connections of strangers at once. */
const atOnce = 600
/** Transfers of the honest client at once. */
const clients = 8

const token = (name: string, scopes: ReadonlyArray<string>, prefixes?: ReadonlyArray<string>) => ({
  name,
  sha256: hashToken(`secret-${name}`),
  scopes,
  ...(prefixes === undefined ? {} : { accounts: prefixes })
})
const tokens = [
  token("reader", ["read"]),
  token("sender", ["command"]),
  token("boss", ["admin"]),
  token("shop", ["read", "command", "admin"], ["shop:"]),
  token("honest", ["command"])
]

const agent = new Agent({ keepAlive: true, maxSockets: clients })

const post = (port: number, path: string, type: string, body: string) =>
  Effect.callback<{ readonly status: number; readonly text: string }>((resume) => {
    const headers = {
      authorization: "Bearer secret-honest",
      "content-type": type,
      "content-length": body.length
    }
    const sent = request({ host: "127.0.0.1", port, path, method: "POST", agent, headers }, (response) => {
      let text = ""
      response.setEncoding("utf8").on("data", (part: string) => {
        text += part
      })
      response.on("end", () => resume(Effect.succeed({ status: response.statusCode ?? 0, text })))
    })
    sent.on("error", (error) => resume(Effect.succeed({ status: 0, text: error.message })))
    sent.end(body)
  })

/** How the honest client fared. */
interface Fared {
  readonly times: Array<number>
  readonly failed: Map<string, number>
}

const honestly = (port: number, isOver: () => boolean) =>
  Effect.gen(function* () {
    const fared: Fared = { times: [], failed: new Map() }
    const loop = Effect.gen(function* () {
      while (!isOver()) {
        const command = transfer()
        const from = performance.now()
        const { status, text } = yield* post(
          port,
          "/v1/transfers",
          "application/json",
          JSON.stringify({ from: command.from, to: command.to, amount: String(command.amount) })
        )
        fared.times.push(performance.now() - from)
        if (status === 201) continue
        const what = `${status} ${text.slice(0, 80)}`
        fared.failed.set(what, (fared.failed.get(what) ?? 0) + 1)
      }
    })
    yield* Effect.all(
      Array.from({ length: clients }, () => loop),
      { concurrency: "unbounded" }
    )
    return fared
  })

const forSeconds = (port: number) => {
  const end = performance.now() + seconds * 1_000
  return honestly(port, () => performance.now() > end)
}

const summary = ({ failed, times }: Fared, lasted: number) => {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (part: number) => Number((sorted[Math.floor(sorted.length * part)] ?? 0).toFixed(1))
  return {
    perSecond: Math.round(times.length / lasted),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    maxMs: at(0.999_999),
    failed: Object.fromEntries(failed)
  }
}

/** As the kernel counts them: open connections at the node's HTTP port, and the resident memory of the process. */
const usageOf = (pid: number, port: number) => {
  const local = `:${port.toString(16).toUpperCase().padStart(4, "0")}`
  const established = "01"
  const isOpen = (line: string): boolean => {
    const [, address = "", , state] = line.trim().split(/\s+/)
    return address.endsWith(local) && state === established
  }
  const [, kibibytes = "0"] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? []
  return {
    sockets: readFileSync("/proc/net/tcp", "utf8").split("\n").filter(isOpen).length,
    mebibytes: Math.round(Number(kibibytes) / 1_024)
  }
}

const prepare = Effect.fnUntraced(function* (port: number) {
  yield* eventually(
    "the node takes commands",
    Effect.tryPromise(async () => (await fetch(`http://127.0.0.1:${port}/ready/commands`)).ok).pipe(
      Effect.orElseSucceed(() => false)
    ),
    180
  )
  const lines = Array.from({ length: accounts }, (_, n) => [
    { _tag: "OpenAccount", account: account(n), asset: "USD/2", owner: "bench" },
    { _tag: "Deposit", account: account(n), amount: "1000000000" }
  ]).flat()
  const body = lines.map((line) => JSON.stringify(line)).join("\n")
  const { text } = yield* post(port, "/v1/batch", "application/x-ndjson", body)
  if (text.split('"status":201').length - 1 !== lines.length) return yield* Effect.die(text.slice(0, 400))
})

const program = Effect.gen(function* () {
  const stack = yield* DevStack
  yield* LedgerNode.migrate(stack)
  for (const note of stack.notes) yield* Console.error(`  ${note}`)
  const { http, pid } = yield* startNode(stack, { CHRONICLE_RPC_TOKENS: JSON.stringify(tokens) })
  yield* prepare(http)
  yield* forSeconds(http) // warm
  const before = summary(yield* forSeconds(http), seconds)
  const usageBefore = usageOf(pid, http)

  const kinds = httpRefusals(httpLimits.defaults)
  const faults = new Map<string, number>()
  const tried = new Map<string, number>()
  const memory: Array<number> = []
  let isOver = false
  let done = 0
  const going = yield* Effect.forkChild(honestly(http, () => isOver))
  const begun = performance.now()
  yield* Effect.forEach(
    Array.from({ length: count }, (_, nth) => nth),
    Effect.fnUntraced(function* (nth) {
      const refusal = kinds[nth % kinds.length]
      if (refusal === undefined) return
      const fault = yield* tryRefusal(http, refusal)
      if (fault !== undefined) faults.set(fault, (faults.get(fault) ?? 0) + 1)
      tried.set(refusal.kind, (tried.get(refusal.kind) ?? 0) + 1)
      if (++done % Math.ceil(count / 10) === 0) memory.push(usageOf(pid, http).mebibytes)
    }),
    { concurrency: atOnce, discard: true }
  )
  const lasted = (performance.now() - begun) / 1_000
  isOver = true
  const meanwhile = summary(yield* Fiber.join(going), lasted)
  const after = summary(yield* forSeconds(http), seconds)
  const usageAfter = usageOf(pid, http)
  const harmed = [
    ...[...faults].map(([fault, times]) => `${times} times ${fault}`),
    ...[before, meanwhile, after].flatMap(({ failed }) =>
      Object.entries(failed).map(([what, times]) => `${times} transfers: ${what}`)
    ),
    ...(usageAfter.sockets > usageBefore.sockets + 2
      ? [`${usageAfter.sockets} sockets, and ${usageBefore.sockets} before`]
      : [])
  ]
  yield* Console.log(
    JSON.stringify(
      {
        refused: count,
        kinds: Object.fromEntries(tried),
        seconds: Math.round(lasted),
        honest: { before, meanwhile, after },
        usage: { before: usageBefore, mebibytesMeanwhile: memory, after: usageAfter },
        harmed
      },
      undefined,
      1
    )
  )
  process.exitCode = harmed.length === 0 ? 0 : 1
}).pipe(
  Effect.scoped,
  Effect.provide(DevStack.layer({ dataDir: ".chronicle/bench-refusals", fresh: true })),
  Effect.provide(Layer.mergeAll(NodeServices.layer, Layer.succeed(References.MinimumLogLevel, "Warn")))
)

NodeRuntime.runMain(program)
