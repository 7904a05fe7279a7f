/** The example in Python sends a command again whose connection ended before its answer came, in whichever way it ended. */
import { execFile } from "node:child_process"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { fileURLToPath } from "node:url"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"

const program = fileURLToPath(new URL("../../examples/http/ledger.py", import.meta.url))

/** What a ledger answers to the example, as far as it looks at that. */
const answerOf = (method: string, path: string, body: string): readonly [status: number, value: unknown] => {
  if (body.includes("999999"))
    return [422, { type: "https://chronicle.example/errors#InsufficientFunds", detail: "too much" }]
  if (method === "POST") return [201, { readToken: "py:ann@3" }]
  if (path.endsWith("/statement")) return [200, { rows: [] }]
  return [200, path.endsWith("/events") ? [] : { account: "py:ann", balance: "3750" }]
}

/** The ways in which a connection ends before all of the answer came. */
const ends: ReadonlyArray<(response: ServerResponse) => void> = [
  (response) => response.socket?.end(),
  (response) => response.socket?.resetAndDestroy(),
  (response) => {
    response.writeHead(201, { "content-length": "100" })
    response.write('{"readToken":', () => response.socket?.end())
  }
]

/** Ends the connection of each command once in each of these ways, then answers it. */
const makeAnswer = (sent: Map<string, number>) => (request: IncomingMessage, response: ServerResponse) => {
  let body = ""
  request.setEncoding("utf8").on("data", (text: string) => {
    body += text
  })
  request.once("end", () => {
    const key = String(request.headers["idempotency-key"] ?? "")
    const times = sent.get(key) ?? 0
    const end = key === "" ? undefined : ends[times]
    if (key !== "") sent.set(key, times + 1)
    if (end !== undefined) return end(response)
    const [status, value] = answerOf(request.method ?? "", request.url ?? "", body)
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value))
  })
}

it.live("the example in Python sends a command again whose answer was lost", () =>
  Effect.gen(function* () {
    const sent = new Map<string, number>()
    const server = yield* Effect.acquireRelease(
      Effect.callback<ReturnType<typeof createServer>>((resume) => {
        const listening = createServer(makeAnswer(sent)).listen(0, "127.0.0.1", () =>
          resume(Effect.succeed(listening))
        )
      }),
      (listening) => Effect.sync(() => void listening.close())
    )
    const address = server.address()
    const port = typeof address === "object" ? address?.port : undefined
    const printed = yield* Effect.callback<string>((resume) => {
      execFile("python3", [program, `http://127.0.0.1:${port}`], (error, stdout, stderr) =>
        resume(error === null ? Effect.succeed(stdout) : Effect.die(new Error(stderr)))
      )
    })
    assert.match(printed, /^balance py:ann 3750\nrefused InsufficientFunds\nevents \[\]\n$/)
    assert.deepEqual(
      [...sent].map(([id, times]) => `${id} ${times}`),
      ["py-open-ann 4", "py-open-ben 4", "py-deposit 4", "py-transfer 4", "py-too-much 4"]
    )
  }).pipe(Effect.scoped)
)
