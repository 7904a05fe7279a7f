/**
 * A node of a chaos run: a process of `chronicle serve` that can be killed, frozen and started again. It reaches each
 * service, and is reached by the other nodes, through a proxy that can cut its connections.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { appendFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { Deferred, Effect, Redacted, type Scope } from "effect"
import type { NodeRole } from "../../../src/infra/config/NodeRole.ts"
import type { DevStackService } from "../../../src/infra/dev/DevStack.ts"
import { ownPort } from "../ports.ts"
import { type TcpProxy, tcpProxy } from "../tcpProxy.ts"
import { eventually } from "../waiting.ts"

const main = fileURLToPath(new URL("../../../src/cli/main.ts", import.meta.url))
/** What a node has counted is asked for right before it is killed, and would be missing; one that is frozen is not asked for long. */
const healthMs = 3_000
/** How long nodes may take to start: several at once on a machine with much to do. */
export const startSeconds = 300
const warningsMax = 20

export interface ServedNodeOptions {
  readonly name: string
  readonly role: NodeRole
  readonly stack: DevStackService
  /** Limits of the node as environment variables. */
  readonly limits: Readonly<Record<string, string>>
  /** The file of its log. */
  readonly logFile: string
}

/** The counters of one life of the process, as it reported them last. */
interface Counted {
  conflicts: number
  unknown: number
  repeats: number
  fenced: number
  committed: number
}

/** One life of the process. */
export interface Life extends Counted {
  /** Conflicts by its warnings of a split brain, summed up. */
  warned: number
  /** The signal that ended it; undefined while it runs. */
  end: "SIGKILL" | "SIGTERM" | undefined
}

/** What `/health` says of one thing that the read side does once in a cluster. */
export interface SingletonReport {
  readonly node?: string
  readonly isUnowned: boolean
}

export interface ServedNode {
  readonly name: string
  readonly role: NodeRole
  readonly rpcUrl: string
  /** Those to the databases: one where they are of one server. */
  readonly proxies: Readonly<Record<"postgres" | "nats" | "cluster", ReadonlyArray<TcpProxy>>>
  /** Starts the process, also after an end, and waits until it takes commands. */
  readonly start: Effect.Effect<void>
  readonly signal: (name: "SIGSTOP" | "SIGCONT") => Effect.Effect<void>
  /** Sends the signal and waits for the end of the process. */
  readonly end: (name: "SIGKILL" | "SIGTERM") => Effect.Effect<void>
  /** Reads the counters of the running process. If it does not answer, its last counters stay. */
  readonly count: Effect.Effect<void>
  /** What the node has heard of the singletons of the cluster; undefined without an answer in time. */
  readonly singletons: Effect.Effect<ReadonlyArray<SingletonReport> | undefined>
  readonly lives: ReadonlyArray<Life>
  /** Warnings of Node.js itself, such as `MaxListenersExceededWarning`. */
  readonly warnings: ReadonlyArray<string>
}

const through = (url: string, proxy: TcpProxy): string => {
  const changed = new URL(url)
  changed.port = String(proxy.port)
  return changed.toString()
}

const proxyTo = (url: string) => {
  const { hostname, port } = new URL(url)
  return tcpProxy(hostname, Number(port))
}

/** What `/health` answers, as src/http/Health.ts has it. */
interface Health {
  /** A node of the read side alone has no counters. */
  readonly write: Counted | { readonly trouble: string }
  readonly readSide: { readonly duties: ReadonlyArray<SingletonReport> }
}

/** Undefined without an answer in time. */
const askHealth = (port: number) =>
  Effect.tryPromise(async () => {
    const response = await fetch(`http://127.0.0.1:${port}/health`, { signal: AbortSignal.timeout(healthMs) })
    return (await response.json()) as Health
  }).pipe(Effect.orElseSucceed(() => undefined))

/** The node is not started yet, and is killed with the scope. */
export const makeServedNode = Effect.fnUntraced(function* ({
  name,
  role,
  stack,
  limits,
  logFile
}: ServedNodeOptions): Effect.fn.Return<ServedNode, never, Scope.Scope> {
  const rpcPort = yield* ownPort
  const httpPort = yield* ownPort
  const clusterPort = yield* ownPort
  const postgresUrl = Redacted.value(stack.readModelUrl)
  const eventsUrl = Redacted.value(stack.eventStoreUrl)
  const postgres = yield* proxyTo(postgresUrl)
  const events = new URL(eventsUrl).port === new URL(postgresUrl).port ? postgres : yield* proxyTo(eventsUrl)
  const nats = yield* proxyTo(stack.natsUrl)
  const cluster = yield* tcpProxy("127.0.0.1", clusterPort)
  const env = {
    ...process.env,
    ...limits,
    CHRONICLE_NODE_NAME: name,
    CHRONICLE_EVENT_STORE_URL: through(eventsUrl, events),
    CHRONICLE_READ_MODEL_URL: through(postgresUrl, postgres),
    CHRONICLE_NATS_URL: through(stack.natsUrl, nats),
    CHRONICLE_RPC_PORT: String(rpcPort),
    CHRONICLE_HTTP_PORT: String(httpPort),
    CHRONICLE_CLUSTER_PORT: String(cluster.port),
    CHRONICLE_CLUSTER_LISTEN_PORT: String(clusterPort)
  }
  const lives: Array<Life> = []
  const warnings: Array<string> = []
  let running: { readonly child: ChildProcess; readonly ended: Deferred.Deferred<void> } | undefined

  const listen = (child: ChildProcess, life: Life): void => {
    let rest = ""
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      appendFileSync(logFile, text)
      const lines = (rest + text).split("\n")
      rest = lines.pop() ?? ""
      for (const line of lines) {
        life.warned += Number(/split brain: .* (\d+) times; they/.exec(line)?.[1] ?? 0)
        if (/\(node:\d+\)/.test(line) && warnings.length < warningsMax) warnings.push(line)
      }
    })
  }

  const count = Effect.gen(function* () {
    const life = lives.at(-1)
    if (life === undefined || life.end !== undefined) return
    const health = yield* askHealth(httpPort)
    if (health === undefined || "trouble" in health.write) return
    const { conflicts, unknown, repeats, fenced, committed } = health.write
    Object.assign(life, { conflicts, unknown, repeats, fenced, committed })
  })

  const start = Effect.gen(function* () {
    const ended = yield* Deferred.make<void>()
    const life: Life = {
      conflicts: 0,
      unknown: 0,
      repeats: 0,
      fenced: 0,
      committed: 0,
      warned: 0,
      end: undefined
    }
    const child = spawn(process.execPath, ["--trace-warnings", main, "serve", "--role", role], {
      env,
      stdio: ["ignore", "ignore", "pipe"]
    })
    lives.push(life)
    listen(child, life)
    // "close" comes after the last line of stderr was read, "exit" may come before.
    child.once("close", () => {
      running = undefined
      Deferred.doneUnsafe(ended, Effect.void)
    })
    running = { child, ended }
    yield* eventually(
      `${name} takes commands (its log: ${logFile})`,
      Effect.map(askHealth(httpPort), (health) => health !== undefined),
      startSeconds
    ).pipe(
      Effect.raceFirst(
        Effect.andThen(Deferred.await(ended), Effect.die(new Error(`${name} did not start (${logFile})`)))
      )
    )
  })

  const end = (signal: "SIGKILL" | "SIGTERM") =>
    Effect.gen(function* () {
      const life = lives.at(-1)
      if (running === undefined || life === undefined) return
      const { child, ended } = running
      yield* count
      life.end = signal
      child.kill(signal)
      yield* Deferred.await(ended)
    })

  yield* Effect.addFinalizer(() => end("SIGKILL"))
  return {
    name,
    role,
    rpcUrl: `tcp://127.0.0.1:${rpcPort}`,
    proxies: { postgres: [...new Set([postgres, events])], nats: [nats], cluster: [cluster] },
    start,
    signal: (signal) => Effect.sync(() => void running?.child.kill(signal)),
    end,
    count,
    singletons: Effect.map(askHealth(httpPort), (health) => health?.readSide.duties),
    lives,
    warnings
  }
})
