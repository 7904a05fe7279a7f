/** The nodes of a cluster as processes, which can be asked, frozen and killed. */
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import { Deferred, Effect } from "effect"
import type { MemberOptions, Question } from "./memberMain.ts"
import { ownPort } from "./ports.ts"

const main = fileURLToPath(new URL("./memberMain.ts", import.meta.url))

export interface Member {
  readonly name: string
  readonly port: number
  readonly ask: <A>(question: Question) => Effect.Effect<A>
  readonly signal: (name: NodeJS.Signals) => Effect.Effect<void>
  /** Ends when the process has: with its exit code, null of one that a signal killed. */
  readonly ended: Effect.Effect<number | null>
}

interface Reply {
  readonly ready?: boolean
  readonly id?: number
  readonly value?: unknown
  readonly error?: string
}

/** Ready when it takes commands; killed with the scope. */
export const startMember = Effect.fnUntraced(function* (options: Omit<MemberOptions, "port">) {
  const port = yield* ownPort
  const ready = yield* Deferred.make<void>()
  const ended = yield* Deferred.make<number | null>()
  const asked = new Map<number, Deferred.Deferred<unknown>>()
  let ids = 0
  const child = yield* Effect.acquireRelease(
    Effect.sync((): ChildProcess => {
      const forked = fork(main, [JSON.stringify({ ...options, port })], {
        stdio: ["ignore", "inherit", "inherit", "ipc"],
        // Receipts have amounts, which JSON cannot carry.
        serialization: "advanced"
      })
      forked.on("message", (message) => {
        const reply = message as Reply // sent by memberMain.ts
        if (reply.ready === true) Deferred.doneUnsafe(ready, Effect.void)
        const question = asked.get(reply.id ?? -1)
        if (question === undefined) return
        asked.delete(reply.id ?? -1)
        Deferred.doneUnsafe(
          question,
          reply.error === undefined ? Effect.succeed(reply.value) : Effect.die(new Error(reply.error))
        )
      })
      forked.once("exit", (code) => {
        Deferred.doneUnsafe(ended, Effect.succeed(code))
        Deferred.doneUnsafe(ready, Effect.die(new Error(`${options.name} ended before it was ready`)))
        for (const question of asked.values()) {
          Deferred.doneUnsafe(question, Effect.die(new Error(`${options.name} ended`)))
        }
      })
      return forked
    }),
    (forked) =>
      Effect.suspend(() => {
        if (forked.exitCode === null && forked.signalCode === null) forked.kill("SIGKILL")
        return Deferred.await(ended)
      })
  )
  yield* Deferred.await(ready)
  return {
    name: options.name,
    port,
    ask: <A>(question: Question) =>
      Effect.suspend(() => {
        const id = ++ids
        const reply = Deferred.makeUnsafe<unknown>()
        asked.set(id, reply)
        child.send({ id, question })
        return Effect.map(Deferred.await(reply), (value) => value as A) // what memberMain.ts answers to the question
      }),
    signal: (name) => Effect.sync(() => void child.kill(name)),
    ended: Deferred.await(ended)
  } satisfies Member
})
