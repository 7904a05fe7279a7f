/** Starts a node of a load test as a process of its own, and asks it to prepare, to load and to end. */
import { type ChildProcess, fork as forkProcess } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Data, Deferred, Effect, Exit, Option, Redacted } from "effect"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { LedgerConfig, type LedgerLimits } from "../../infra/config/LedgerConfig.ts"
import { variableOf } from "../../infra/config/Limits.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { loopbackPort } from "../../infra/dev/LoopbackPort.ts"
import type { ServiceUrls } from "../Services.ts"
import type { Answer, FromNode, NodeWork, Request, ToNode } from "./Protocol.ts"

/** In the sources the node is TypeScript, in the package JavaScript. */
const extension = import.meta.url.endsWith(".ts") ? "ts" : "js"
const main = fileURLToPath(new URL(`./nodeMain.${extension}`, import.meta.url))

/** How long a node may take to start, and to end after SIGTERM, in milliseconds. */
const startWithinMs = 60_000
const endWithinMs = 30_000

/** A node ended, or failed at a request. */
export class NodeFailed extends Data.TaggedError("NodeFailed")<{
  readonly node: string
  readonly reason: string
}> {
  override get message() {
    return `${this.node} ${this.reason}`
  }
}

export interface NodeProcess {
  readonly name: string
  readonly pid: number
  readonly ask: (request: Request, withinMs: number) => Effect.Effect<Answer, NodeFailed>
  readonly send: (message: ToNode) => void
  /** Sends SIGTERM and waits for the end. None if the node ended in order, else how it ended, also where it had died before. */
  readonly end: Effect.Effect<Option.Option<string>>
}

interface NodeOptions {
  /** The name in the report. */
  readonly name: string
  readonly urls: ServiceUrls
  readonly work: NodeWork
  /** Called with each message of the node. */
  readonly onMessage: (message: FromNode) => void
}

/** The limits of this process as environment variables, so that the node has the same ones. */
const limitVariables = Effect.gen(function* () {
  const groups: ReadonlyArray<readonly [limits: object, prefix?: string]> = [
    [yield* LedgerConfig],
    [yield* ReadSideConfig],
    [yield* ClusterConfig, "CHRONICLE_CLUSTER"]
  ]
  return Object.fromEntries(
    groups.flatMap(([limits, prefix]) =>
      // Object.entries types the keys of the limits as strings.
      Object.entries(limits).map(([limit, value]) => [
        variableOf(limit as keyof LedgerLimits, prefix),
        `${value}`
      ])
    )
  )
})

const environmentOf = (
  { urls, work }: NodeOptions,
  limits: Readonly<Record<string, string>>,
  port: number
): NodeJS.ProcessEnv => ({
  ...process.env,
  ...limits,
  CHRONICLE_EVENT_STORE_URL: Redacted.value(urls.eventStoreUrl),
  CHRONICLE_READ_MODEL_URL: Redacted.value(urls.readModelUrl),
  CHRONICLE_NATS_URL: urls.natsUrl,
  CHRONICLE_NODE_NAME: `${work.run}-${work.nth + 1}`,
  CHRONICLE_CLUSTER_HOST: "127.0.0.1",
  CHRONICLE_CLUSTER_LISTEN: "127.0.0.1",
  CHRONICLE_CLUSTER_PORT: `${port}`
})

/** The requests to one node that are not answered yet. */
class PendingRequests {
  readonly #node: string
  readonly #pending = new Map<number, Deferred.Deferred<Answer, NodeFailed>>()
  #ids = 0

  constructor(node: string) {
    this.#node = node
  }

  add(): { readonly id: number; readonly answer: Deferred.Deferred<Answer, NodeFailed> } {
    const id = ++this.#ids
    const answer = Deferred.makeUnsafe<Answer, NodeFailed>()
    this.#pending.set(id, answer)
    return { id, answer }
  }

  complete(id: number, result: Exit.Exit<Answer, NodeFailed>): void {
    const answer = this.#pending.get(id)
    this.#pending.delete(id)
    if (answer !== undefined) Deferred.doneUnsafe(answer, result)
  }

  failAll(reason: string): void {
    const exit = Exit.fail(new NodeFailed({ node: this.#node, reason }))
    for (const id of [...this.#pending.keys()]) this.complete(id, exit)
  }
}

const fork = (options: NodeOptions, limits: Readonly<Record<string, string>>, port: number): ChildProcess =>
  forkProcess(main, [JSON.stringify(options.work)], {
    env: environmentOf(options, limits, port),
    execArgv: [],
    serialization: "advanced",
    // The last line of our stdout is the JSON value, hence the node writes to our stderr. It is detached so that Ctrl-C
    // reaches this process alone, which then ends the node in order.
    stdio: ["ignore", 2, 2, "ipc"],
    detached: true
  })

/** See `NodeProcess.end`. `ended`: how the process ended, once it has. */
const end = (child: ChildProcess, ended: Deferred.Deferred<string>) => {
  let isTold = false
  return Effect.suspend(() => {
    if (child.exitCode === null && child.signalCode === null) {
      isTold = true
      child.kill("SIGTERM")
    }
    return Deferred.await(ended).pipe(
      Effect.map((how) =>
        isTold && how === "exit code 0" ? Option.none<string>() : Option.some(`ended by ${how}`)
      ),
      Effect.timeoutOrElse({
        duration: endWithinMs,
        orElse: () => {
          child.kill("SIGKILL")
          return Effect.as(
            Deferred.await(ended),
            Option.some(`had not ended ${endWithinMs} ms after SIGTERM`)
          )
        }
      })
    )
  })
}

/** Waits until the node takes commands. The node ends with the scope. */
export const startNodeProcess = Effect.fn("LoadTest.startNodeProcess")(function* (options: NodeOptions) {
  const { name } = options
  const port = yield* loopbackPort(name)
  const limits = yield* limitVariables
  const ready = yield* Deferred.make<void, NodeFailed>()
  const ended = yield* Deferred.make<string>()
  const requests = new PendingRequests(name)
  const failure = (reason: string) => new NodeFailed({ node: name, reason })

  const receive = (message: FromNode): void => {
    options.onMessage(message)
    if (message._tag === "Ready") Deferred.doneUnsafe(ready, Exit.void)
    else if (message._tag === "Answered") requests.complete(message.id, Exit.succeed(message.answer))
    else if (message._tag === "Failed") requests.complete(message.id, Exit.fail(failure(message.reason)))
  }
  const onEnd = (how: string): void => {
    Deferred.doneUnsafe(ended, Exit.succeed(how))
    Deferred.doneUnsafe(ready, Exit.fail(failure(`ended before it was ready (${how})`)))
    requests.failAll(`ended (${how})`)
  }
  const spawn = Effect.sync(() => {
    const child = fork(options, limits, port)
    child.on("message", (message) => receive(message as FromNode)) // sent by nodeMain.ts
    child.once("exit", (code, signal) => onEnd(signal ?? `exit code ${code}`))
    child.once("error", (error) => onEnd(error.message))
    return { child, end: end(child, ended) }
  })
  const node = yield* Effect.acquireRelease(spawn, ({ end }) => end)
  yield* Deferred.await(ready).pipe(
    Effect.timeoutOrElse({
      duration: startWithinMs,
      orElse: () => Effect.fail(failure(`was not ready within ${startWithinMs} ms`))
    })
  )
  const { child } = node
  const send = (message: ToNode): void => {
    if (child.connected) child.send(message, () => {})
  }
  return {
    name,
    pid: child.pid ?? 0,
    send,
    ask: (request, withinMs) =>
      Effect.suspend(() => {
        if (!child.connected) return Effect.fail(failure("has ended"))
        const { id, answer } = requests.add()
        send({ _tag: "Request", id, request })
        return Effect.timeoutOrElse(Deferred.await(answer), {
          duration: withinMs,
          orElse: () => Effect.fail(failure(`did not finish within ${withinMs / 1_000} s`))
        })
      }),
    end: node.end
  } satisfies NodeProcess
})
