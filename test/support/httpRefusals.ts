/**
 * Every way in which every route of the HTTP API refuses a request, as bytes for a socket, with the answer that is documented. It
 * exists for what is asked of all routes at once, a few times in a test and ten thousand times in a bench.
 */
import { connect } from "node:net"
import { Effect } from "effect"
import { scopeOf } from "../../src/http/api/LedgerHttpApi.ts"
import { isOfOneWebhook, type Route, requestOf, routes, takesBody } from "./httpRoutes.ts"

/** What may be held against the limits of the server that is tried. */
export interface RefusalLimits {
  readonly bodyBytesMax: number
  readonly batchBytesMax: number
  readonly headerBytesMax: number
}

export interface Refusal {
  readonly kind: string
  readonly route: string
  /** Sent at once. */
  readonly bytes: string
  /** Sent behind it for as long as the connection is open, a piece at a time; absent where there is nothing more. */
  readonly drip?: string
  /** The statuses that are documented for it. */
  readonly statuses: ReadonlyArray<number>
  /** What the answer has to contain: the type of the problem, where the answer is ours and not that of the parser of HTTP. */
  readonly includes: string
}

/** Tokens by the names of test/support/callers.ts: `reader`, `sender`, `boss`, and `shop` for accounts that begin with `shop:`. */
const bearer = (name: string) => `authorization: Bearer secret-${name}\r\n`

interface Sent {
  readonly head?: string
  readonly body?: string
  readonly path?: string
  readonly type?: string
  readonly length?: number
}

const messageOf = (route: Route, sent: Sent): string => {
  const { method, path, type, body } = requestOf(route)
  const text = sent.body ?? body ?? ""
  const length = sent.length ?? Buffer.byteLength(text)
  const ofBody = method === "GET" ? "" : `content-type: ${sent.type ?? type}\r\ncontent-length: ${length}\r\n`
  return `${method} ${sent.path ?? path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n${sent.head ?? ""}${ofBody}\r\n${text}`
}

const typeOf = (tag: string) => `/docs#${tag}"`
/** Queries by the id of a command, which tell no other caller that there is one. */
const concealed: ReadonlySet<string> = new Set(["transfer", "find"])

const outsideOf = (route: Route): Pick<Refusal, "statuses" | "includes"> => {
  // Each line of a batch is answered by itself, and a list is without what the caller may not see.
  if (route.identifier === "sendBatch") return { statuses: [200], includes: typeOf("Forbidden") }
  if (route.identifier === "listWebhooks") return { statuses: [200], includes: '{"rows":[]}' }
  const isConcealed = (route.method === "GET" && concealed.has(route.identifier)) || isOfOneWebhook(route)
  return isConcealed
    ? { statuses: [404], includes: typeOf("NotFound") }
    : { statuses: [403], includes: typeOf("Forbidden") }
}

const garbage = ["", "{", "null", "[]", '"x"', "1e999", '{"__proto__":{"_tag":"Deposit"}}', "\u0000", "{}x"]

const refusalsOfBody = (route: Route, limits: RefusalLimits): ReadonlyArray<Omit<Refusal, "route">> => {
  const isBatch = route.identifier === "sendBatch"
  const bytesMax = isBatch ? limits.batchBytesMax : limits.bodyBytesMax
  const head = bearer("boss")
  return [
    {
      // The head alone says so: the bytes are never sent.
      kind: "announces too large a body",
      bytes: messageOf(route, { head, body: "{", length: bytesMax + 1 }),
      statuses: [413],
      includes: typeOf("PayloadTooLarge")
    },
    {
      kind: "has a body of another type",
      bytes: messageOf(route, { head, type: "application/x-www-form-urlencoded" }),
      statuses: [415],
      includes: typeOf("UnsupportedMediaType")
    },
    ...garbage.map((body) => ({
      kind: "has garbage for a body",
      bytes: messageOf(route, { head, body }),
      // Each line of a batch is answered by itself; one without lines has done nothing.
      statuses: [isBatch ? 200 : 400],
      includes: isBatch ? (body === "" ? '{"done":0}' : typeOf("InvalidCommand")) : typeOf("InvalidCommand")
    })),
    {
      kind: "sends its body slowly",
      bytes: messageOf(route, { head, body: "{", length: 1_000 }),
      drip: " ",
      statuses: [400, 408],
      includes: ""
    }
  ]
}

const refusalsOf = (route: Route, limits: RefusalLimits): ReadonlyArray<Refusal> => {
  const wrongScope = scopeOf(route) === "command" ? "reader" : "sender"
  const { path } = requestOf(route)
  const kinds: ReadonlyArray<Omit<Refusal, "route">> = [
    ...[
      ["no token", ""],
      ["an unknown token", bearer("nobody")],
      ["a token of another kind", "authorization: Basic c2hvcDpzZWNyZXQ=\r\n"]
    ].map(([what, head = ""]) => ({
      kind: `has ${what}`,
      bytes: messageOf(route, { head }),
      statuses: [401],
      includes: typeOf("Unauthenticated")
    })),
    {
      kind: "has a token of another scope",
      bytes: messageOf(route, { head: bearer(wrongScope) }),
      statuses: [403],
      includes: typeOf("Forbidden")
    },
    {
      kind: "names what is outside of the token's prefixes",
      bytes: messageOf(route, { head: bearer("shop") }),
      ...outsideOf(route)
    },
    {
      kind: "names no host",
      bytes: messageOf(route, { head: bearer("boss") }).replace("host: 127.0.0.1\r\n", ""),
      statuses: [400],
      includes: typeOf("InvalidCommand")
    },
    {
      kind: "expects what no request gets",
      bytes: messageOf(route, { head: `${bearer("boss")}expect: 200-ok\r\n` }),
      statuses: [417],
      includes: typeOf("ExpectationFailed")
    },
    {
      kind: "has a parameter that there is not",
      bytes: messageOf(route, { head: bearer("boss"), path: `${path}?misspelt=1` }),
      statuses: [400],
      includes: typeOf("InvalidCommand")
    },
    {
      kind: "has too large a head",
      bytes: messageOf(route, { head: `x-large: ${"y".repeat(limits.headerBytesMax + 1)}\r\n` }),
      statuses: [431],
      includes: ""
    },
    {
      kind: "sends its head slowly",
      bytes: `${route.method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-slow: `,
      drip: "z",
      statuses: [408],
      includes: ""
    },
    {
      kind: "is no HTTP",
      bytes: `${route.method}\u0000 ${path}\r\n\r\n`,
      statuses: [400],
      includes: ""
    },
    ...(takesBody(route) ? refusalsOfBody(route, limits) : [])
  ]
  return kinds.map((kind) => ({ ...kind, route: route.identifier }))
}

/** Of all routes, one of each kind. */
export const httpRefusals = (limits: RefusalLimits): ReadonlyArray<Refusal> =>
  routes.flatMap((route) => refusalsOf(route, limits))

/** How often a slow one sends a piece, in milliseconds. */
const dripMs = 100

/** Sends it on a connection of its own; all that came back until that was closed. */
const answerOf = (port: number, { bytes, drip }: Refusal): Effect.Effect<string> =>
  Effect.callback<string>((resume) => {
    let received = ""
    let timer: NodeJS.Timeout | undefined
    const socket = connect({ host: "127.0.0.1", port }, () => {
      socket.write(bytes)
      if (drip !== undefined) timer = setInterval(() => socket.write(drip), dripMs)
    })
    socket.setEncoding("utf8").on("data", (text: string) => {
      received += text
    })
    socket.on("error", () => {})
    socket.on("close", () => {
      clearInterval(timer)
      resume(Effect.succeed(received))
    })
    return Effect.sync(() => {
      clearInterval(timer)
      socket.destroy()
    })
  })

/** Sends it, and says what is wrong with the answer; undefined where that is the documented one. */
export const tryRefusal = (port: number, refusal: Refusal): Effect.Effect<string | undefined> =>
  Effect.map(answerOf(port, refusal), (answer) => {
    const { includes, kind, route, statuses } = refusal
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0)
    if (statuses.includes(status) && answer.includes(includes)) return undefined
    return `${route} that ${kind}: ${statuses.join(" or ")} ${includes} wanted, and not ${JSON.stringify(answer.slice(0, 400))}`
  })
