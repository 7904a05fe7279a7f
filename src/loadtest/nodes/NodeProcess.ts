/** The services of a run enter; a node of it, as a process that does what it is asked until the scope ends, leaves. */
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Data, Deferred, Effect, Exit, Option, Redacted } from "effect"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { variableOf } from "../../infra/config/Environment.ts"
import { LedgerConfig, type LedgerLimits } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { loopbackPort } from "../../infra/dev/LoopbackPort.ts"
import type { ServiceUrls } from "../Services.ts"
import type { Answer, FromNode, NodeWork, Request, ToNode } from "./Protocol.ts"

/** The sources run as they are; in the package they are compiled. */
const extension = import.meta.url.endsWith(".ts") ? "ts" : "js"
const main = fileURLToPath(new URL(`./nodeMain.${extension}`, import.meta.url))

/** How long a node may take to start, and to end when it is told to, in milliseconds. */
const startWithinMs = 60_000
const endWithinMs = 30_000

/** A node ended, or failed at what it was asked. */
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
  readonly tell: (message: ToNode) => void
  /** Tells it to end in order; none, or what was wrong with its end. Also the end it came to by itself. */
  readonly end: Effect.Effect<Option.Option<string>>
}

export interface NodeOptions {
  /** As the report names it. */
  readonly name: string
  readonly urls: ServiceUrls
  readonly work: NodeWork
  /** Everything it tells of itself, as it arrives. */
  readonly onMessage: (message: FromNode) => void
}

/** The limits in force here, as the variables a node reads them from. */
const limitVariables = Effect.gen(function* () {
  const groups: ReadonlyArray<readonly [limits: object, prefix?: string]> = [
    [yield* LedgerConfig],
    [yield* ReadSideConfig],
    [yield* ClusterConfig, "CHRONICLE_CLUSTER"]
  ]
  return Object.fromEntries(
    groups.flatMap(([limits, prefix]) =>
      // Object.entries forgets that the keys of the limits are their keys.
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

/** Answers when the node takes commands. */
export const startNodeProcess = Effect.fn("LoadTest.startNodeProcess")(function* (options: NodeOptions) {
  const { name, work } = options
  const port = yield* loopbackPort(name)
  const limits = yield* limitVariables
  const ready = yield* Deferred.make<void, NodeFailed>()
  const ended = yield* Deferred.make<string>()
  const asked = new Map<number, Deferred.Deferred<Answer, NodeFailed>>()
  const failure = (reason: string) => new NodeFailed({ node: name, reason })
  let ids = 0
  let isToEnd = false

  const receive = (message: FromNode): void => {
    options.onMessage(message)
    if (message._tag === "Ready") return void Deferred.doneUnsafe(ready, Exit.void)
    if (message._tag !== "Answered" && message._tag !== "Failed") return
    const question = asked.get(message.id)
    asked.delete(message.id)
    if (question === undefined) return
    Deferred.doneUnsafe(
      question,
      message._tag === "Answered" ? Exit.succeed(message.answer) : Exit.fail(failure(message.reason))
    )
  }
  const gone = (how: string): void => {
    Deferred.doneUnsafe(ended, Exit.succeed(how))
    Deferred.doneUnsafe(ready, Exit.fail(failure(`ended before it was ready (${how})`)))
    for (const question of asked.values()) Deferred.doneUnsafe(question, Exit.fail(failure(`ended (${how})`)))
    asked.clear()
  }
  const spawn = (): ChildProcess => {
    const child = fork(main, [JSON.stringify(work)], {
      env: environmentOf(options, limits, port),
      execArgv: [],
      serialization: "advanced",
      // The last line of our stdout is the JSON value, and Ctrl-C is for us: a node ends when we say so.
      stdio: ["ignore", 2, 2, "ipc"],
      detached: true
    })
    child.on("message", (message) => receive(message as FromNode)) // sent by nodeMain.ts
    child.once("exit", (code, signal) => gone(signal ?? `exit code ${code}`))
    child.once("error", (error) => gone(error.message))
    return child
  }
  const end = (child: ChildProcess) =>
    Effect.suspend(() => {
      const hasEnded = child.exitCode !== null || child.signalCode !== null
      if (!hasEnded) {
        isToEnd = true
        child.kill("SIGTERM")
      }
      return Deferred.await(ended).pipe(
        Effect.timeoutOption(endWithinMs),
        Effect.flatMap((how) => {
          if (Option.isSome(how)) {
            return Effect.succeed(
              isToEnd && how.value === "exit code 0" ? Option.none() : Option.some(`ended by ${how.value}`)
            )
          }
          child.kill("SIGKILL")
          return Effect.as(
            Deferred.await(ended),
            Option.some(`had not ended ${endWithinMs} ms after SIGTERM`)
          )
        })
      )
    })
  const child = yield* Effect.acquireRelease(Effect.sync(spawn), end)
  yield* Deferred.await(ready).pipe(
    Effect.timeoutOrElse({
      duration: startWithinMs,
      orElse: () => Effect.fail(failure(`was not ready within ${startWithinMs} ms`))
    })
  )
  const tell = (message: ToNode): void => {
    if (child.connected) child.send(message, () => {})
  }
  return {
    name,
    pid: child.pid ?? 0,
    tell,
    ask: (request, withinMs) =>
      Effect.suspend(() => {
        if (!child.connected) return Effect.fail(failure("has ended"))
        const id = ++ids
        const question = Deferred.makeUnsafe<Answer, NodeFailed>()
        asked.set(id, question)
        tell({ _tag: "Request", id, request })
        return Effect.timeoutOrElse(Deferred.await(question), {
          duration: withinMs,
          orElse: () => Effect.fail(failure(`did not finish within ${withinMs / 1_000} s`))
        })
      }),
    end: end(child)
  } satisfies NodeProcess
})
