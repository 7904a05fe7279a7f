/** A receiver of webhooks that listens on loopback, and what it has received. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import { Effect, Layer } from "effect"
import { WebhookPolicy } from "../../src/infra/config/WebhookConfig.ts"

interface Received {
  readonly path: string
  readonly headers: IncomingMessage["headers"]
  readonly body: string
  /** What it answered. */
  readonly status: number
}

/** A receiver on a free port of loopback. */
export const listen = Effect.fnUntraced(function* (answer: (path: string, response: ServerResponse) => void) {
  const received: Array<Received> = []
  const server = yield* Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      const made = createServer((request, response) => {
        let body = ""
        request.on("data", (chunk) => (body += chunk))
        request.on("end", () => {
          const path = request.url ?? ""
          answer(path, response)
          received.push({ path, headers: request.headers, body, status: response.statusCode })
        })
      })
      made.listen(0, "127.0.0.1", () => resume(Effect.succeed(made)))
    }),
    (made) =>
      Effect.sync(() => {
        made.closeAllConnections()
        made.close()
      })
  )
  const address = server.address()
  if (address === null || typeof address === "string") return yield* Effect.die("the server has a port")
  return { received, port: address.port, url: `http://127.0.0.1:${address.port}` }
})

/** What a receiver on loopback needs of a node. */
export const loopbackAllowed = Layer.succeed(WebhookPolicy, { allowHttp: true, allowPrivate: true })
