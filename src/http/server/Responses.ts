/** Answers as HTTP responses: problem documents with the headers that belong to them, and JSON. */
import { HttpServerResponse } from "effect/http"
import { commandPath, type RequestError, toProblem } from "../api/Problems.ts"

/** What a caller is told to wait where the error itself names no time, in seconds. */
const retryAfterSeconds = 1

const headersOf = (error: RequestError): Readonly<Record<string, string>> => {
  switch (error._tag) {
    case "Overloaded":
      return { "retry-after": String(Math.max(1, Math.ceil(error.retryAfterMs / 1_000))) }
    case "Unavailable":
    case "NotYetVisible":
      return { "retry-after": String(retryAfterSeconds) }
    case "Unauthenticated":
      return { "www-authenticate": "Bearer" }
    case "Indeterminate":
      return { link: `<${commandPath(error.commandId)}>; rel="status"` }
    case "MethodNotAllowed":
      return { allow: error.allowed.join(", ") }
    default:
      return {}
  }
}

/** What no answer of ours needs of a browser. Routes with pages say what theirs need. */
export const securityHeaders: Readonly<Record<string, string>> = {
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff"
}

const noStore = { "cache-control": "no-store" }

export const problemResponse = (error: RequestError): HttpServerResponse.HttpServerResponse => {
  const { status, document } = toProblem(error)
  return HttpServerResponse.text(JSON.stringify(document), {
    status,
    contentType: "application/problem+json",
    headers: { ...noStore, ...headersOf(error) }
  })
}

/** `body` is encoded already. */
export const jsonResponse = (
  body: unknown,
  status = 200,
  headers: Readonly<Record<string, string>> = {}
): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(JSON.stringify(body), {
    status,
    contentType: "application/json",
    headers: { ...noStore, ...headers }
  })
