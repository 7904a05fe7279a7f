/**
 * Reads what a parser made of a peer's bytes as a message of the RPC protocol. It exists because effect's server takes the fields of a
 * message for what they should be, and a peer may send any.
 */
import type { RpcMessage } from "effect/rpc"

/** The head of a call, and its payload, which is not decoded yet. */
export interface Call {
  readonly id: string | number
  readonly tag: string
  readonly payload: unknown
  readonly authorization: string | undefined
  readonly span: { readonly traceId: string; readonly spanId: string; readonly sampled: boolean } | undefined
}

export type Message =
  | { readonly _tag: "Call"; readonly call: Call }
  | {
      readonly _tag: "Other"
      readonly message: Exclude<RpcMessage.FromClientEncoded, { readonly _tag: "Request" }>
    }

/** Most characters of an id, a tag or a header's name. */
const textMax = 256
const headersMax = 64

const has = (value: object, key: string): unknown => Object.getOwnPropertyDescriptor(value, key)?.value

const isId = (id: unknown): id is string | number =>
  (typeof id === "string" && id.length <= textMax) || (typeof id === "number" && Number.isSafeInteger(id))

const isShort = (text: unknown): text is string => typeof text === "string" && text.length <= textMax

/** Undefined where the value is no message of this protocol; the connection is then of no more use. */
export const readMessage = (value: unknown): Message | undefined => {
  if (typeof value !== "object" || value === null) return undefined
  const tag = has(value, "_tag")
  switch (tag) {
    case "Request": {
      const call = readCall(value)
      return call && { _tag: "Call", call }
    }
    case "Ack":
    case "Interrupt": {
      const requestId = has(value, "requestId")
      return isId(requestId) ? { _tag: "Other", message: { _tag: tag, requestId } } : undefined
    }
    case "Ping":
    case "Eof":
      return { _tag: "Other", message: { _tag: tag } }
    default:
      return undefined
  }
}

const readCall = (value: object): Call | undefined => {
  const id = has(value, "id")
  const tag = has(value, "tag")
  const headers = has(value, "headers") ?? []
  // A call without an answer could not be bounded: nothing would say that it has ended.
  const isAnswered = has(value, "isNotification") !== true && has(value, "discard") !== true
  if (!isId(id) || !isShort(tag) || !isAnswered || !Array.isArray(headers) || headers.length > headersMax)
    return undefined
  let authorization: string | undefined
  for (const header of headers) {
    if (!Array.isArray(header) || header.length !== 2 || !isShort(header[0]) || typeof header[1] !== "string")
      return undefined
    if (header[0].toLowerCase() === "authorization") authorization = header[1]
  }
  return { id, tag, payload: has(value, "payload"), authorization, span: readSpan(value) }
}

const readSpan = (value: object): Call["span"] => {
  const traceId = has(value, "traceId")
  const spanId = has(value, "spanId")
  return isShort(traceId) && isShort(spanId)
    ? { traceId, spanId, sampled: has(value, "sampled") === true }
    : undefined
}
