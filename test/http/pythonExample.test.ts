/** The examples in Python and with curl send a command again whose connection ended before its answer came, in whichever way it ended. */
import { execFile } from "node:child_process"
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"

const example = (name: string) => fileURLToPath(new URL(`../../examples/http/${name}`, import.meta.url))

/** What a ledger answers to the example, as far as it looks at that. */
const answerOf = (method: string, path: string, body: string): readonly [status: number, value: unknown] => {
  if (body.includes("999999"))
    return [422, { type: "https://chronicle.example/errors#InsufficientFunds", detail: "too much" }]
  if (method === "POST") return [201, { readToken: "py:ann@3" }]
  if (path.endsWith("/statement")) return [200, { rows: [] }]
  return [200, path.endsWith("/events") ? [] : { account: "py:ann", balance: "3750" }]
}

/** The ways in which the outcome is not told: a connection that ends before all of the answer came, a fault of the node, one of a proxy. */
const ends: ReadonlyArray<(response: ServerResponse) => void> = [
  (response) => response.socket?.end(),
  (response) => response.socket?.resetAndDestroy(),
  (response) => {
    response.writeHead(201, { "content-length": "100" })
    response.write('{"readToken":', () => response.socket?.end())
  },
  (response) => {
    const document = { type: "/docs#InternalError", detail: "the server failed; its log says why" }
    response.writeHead(500, { "content-type": "application/problem+json" }).end(JSON.stringify(document))
  },
  (response) => response.writeHead(502, { "content-type": "text/html" }).end("<h1>Bad Gateway</h1>")
]

/** Leaves the outcome of each command untold in two of these ways, each time in other ones, then answers it. */
const makeAnswer = (sent: Map<string, number>) => (request: IncomingMessage, response: ServerResponse) => {
  let body = ""
  request.setEncoding("utf8").on("data", (text: string) => {
    body += text
  })
  request.once("end", () => {
    const key = String(request.headers["idempotency-key"] ?? "")
    const times = (sent.get(key) ?? 0) + 1
    if (key !== "") sent.set(key, times)
    const end =
      key === "" || times > 2 ? undefined : ends[([...sent.keys()].indexOf(key) + times) % ends.length]
    if (end !== undefined) return end(response)
    const [status, value] = answerOf(request.method ?? "", request.url ?? "", body)
    const type = status < 400 ? "application/json" : "application/problem+json"
    response.writeHead(status, { "content-type": type }).end(JSON.stringify(value))
  })
}

/** What a program prints that is given the URL of such a ledger, and how often it sent each command. */
const run = Effect.fnUntraced(function* (program: string, name: string, path = process.env.PATH) {
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
    const env = { ...process.env, PATH: path }
    execFile(program, [example(name), `http://127.0.0.1:${port}`], { env }, (error, stdout, stderr) =>
      resume(error === null ? Effect.succeed(stdout) : Effect.die(new Error(stderr)))
    )
  })
  return { printed, sent: [...sent].map(([id, times]) => `${id} ${times}`) }
})

it.live("the example in Python sends a command again whose answer was lost", () =>
  Effect.gen(function* () {
    const { printed, sent } = yield* run("python3", "ledger.py")
    assert.match(printed, /^balance py:ann 3750\nrefused InsufficientFunds\nevents \[\]\n$/)
    assert.deepEqual(sent, [
      "py-open-ann 3",
      "py-open-ben 3",
      "py-deposit 3",
      "py-transfer 3",
      "py-too-much 3"
    ])
  }).pipe(Effect.scoped)
)

it.live(
  "the example with curl sends a command again whose answer was lost, and prints the last answer alone",
  () =>
    Effect.gen(function* () {
      // Its pauses are none.
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "chronicle-"))),
        (made) => Effect.sync(() => rmSync(made, { recursive: true }))
      )
      writeFileSync(join(folder, "sleep"), "#!/bin/sh\n")
      chmodSync(join(folder, "sleep"), 0o755)
      const { printed, sent } = yield* run("sh", "ledger.sh", `${folder}:${process.env.PATH}`)
      const receipt = '{"readToken":"py:ann@3"}\n'
      assert.strictEqual(printed, `${receipt.repeat(4)}{"account":"py:ann","balance":"3750"}\n`)
      assert.deepEqual(sent, ["curl-open-ann 3", "curl-open-ben 3", "curl-deposit 3", "curl-transfer 3"])
    }).pipe(Effect.scoped)
)
