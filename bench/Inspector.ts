/** Asks the main thread of a process that was started with `--inspect` for its memory, after a collection of all that it could free. */
import { Effect, Schema } from "effect"

const Targets = Schema.Array(Schema.Struct({ webSocketDebuggerUrl: Schema.String }))
const Memory = Schema.Struct({
  heapUsed: Schema.Number,
  external: Schema.Number,
  arrayBuffers: Schema.Number
})
const Evaluated = Schema.Struct({ result: Schema.Struct({ value: Schema.fromJsonString(Memory) }) })

const Answer = Schema.Struct({
  id: Schema.optionalKey(Schema.Number),
  result: Schema.optionalKey(Schema.Unknown)
})

/** `port`: of the inspector. */
export const openInspector = Effect.fnUntraced(function* (port: number) {
  const targets = yield* Effect.promise(async () =>
    (await fetch(`http://127.0.0.1:${port}/json/list`)).json()
  )
  const [target] = Schema.decodeUnknownSync(Targets)(targets)
  const socket = yield* Effect.acquireRelease(
    Effect.callback<WebSocket>((resume) => {
      const made = new WebSocket(target?.webSocketDebuggerUrl ?? "")
      made.addEventListener("open", () => resume(Effect.succeed(made)))
    }),
    (made) => Effect.sync(() => made.close())
  )
  let asked = 0
  const ask = (method: string, params: Readonly<Record<string, unknown>> = {}) =>
    Effect.callback<unknown>((resume) => {
      const id = ++asked
      const onMessage = ({ data }: MessageEvent): void => {
        const answer = Schema.decodeUnknownSync(Schema.fromJsonString(Answer))(data)
        if (answer.id !== id) return
        socket.removeEventListener("message", onMessage)
        resume(Effect.succeed(answer.result))
      }
      socket.addEventListener("message", onMessage)
      socket.send(JSON.stringify({ id, method, params }))
    })
  return {
    ask,
    memoryAfterCollection: Effect.gen(function* () {
      yield* ask("HeapProfiler.collectGarbage")
      const evaluated = yield* ask("Runtime.evaluate", {
        expression: "JSON.stringify(process.memoryUsage())",
        returnByValue: true
      })
      return Schema.decodeUnknownSync(Evaluated)(evaluated).result.value
    })
  }
})
