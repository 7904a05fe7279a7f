/** Reads the body of a request: bounded in bytes, of the media type that the route takes, and well-formed UTF-8. */
import { isUtf8 } from "node:buffer"
import { ByteSize, Effect, Stream } from "effect"
import { HttpIncomingMessage, type HttpServerError, type HttpServerRequest } from "effect/http"
import { InvalidCommand, type Overloaded } from "../../domain/Errors.ts"
import { PayloadTooLarge, UnsupportedMediaType } from "../api/Problems.ts"
import type { BodyRoom } from "./HttpConnections.ts"

/** A body that announces no more bytes takes room for them at once: it comes in one piece mostly. */
const atOnceMax = 65_536

const isTooLarge = ({ reason }: HttpServerError.HttpServerError): boolean =>
  reason._tag === "RequestParseError" && reason.reason === "BodyTooLarge"

const readWhole = (request: HttpServerRequest.HttpServerRequest, bytesMax: number) =>
  request.arrayBuffer.pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(bytesMax)),
    Effect.map((bytes) => Buffer.from(bytes))
  )

/**
 * The bytes of a long body, whose room doubles as they come: one that announces many and sends few has little, and its pieces, which may be
 * of a byte each, are not kept.
 */
const gather = Effect.fnUntraced(function* (
  { resize }: BodyRoom,
  request: HttpServerRequest.HttpServerRequest,
  bytesMax: number
) {
  let body = Buffer.alloc(0)
  let length = 0
  yield* Stream.runForEach(request.stream, (piece): Effect.Effect<void, PayloadTooLarge | Overloaded> => {
    const needed = length + piece.length
    if (needed > bytesMax) return Effect.fail(new PayloadTooLarge({ bytesMax }))
    const add = Effect.sync(() => {
      body.set(piece, length)
      length = needed
    })
    if (needed <= body.length) return add
    const size = Math.min(bytesMax, Math.max(needed, 2 * body.length))
    const grow = Effect.sync(() => {
      const larger = Buffer.allocUnsafe(size)
      body.copy(larger, 0, 0, length)
      body = larger
    })
    return Effect.andThen(Effect.andThen(resize(size), grow), add)
  })
  yield* resize(length)
  return body.subarray(0, length)
})

/** The text of the body, which keeps its room. */
export const readBody = Effect.fnUntraced(function* (
  room: BodyRoom,
  request: HttpServerRequest.HttpServerRequest,
  mediaType: string,
  bytesMax: number
) {
  const { headers } = request
  // A form, which a page of any origin may send without asking, is none of these types.
  const [given = ""] = (headers["content-type"] ?? "").split(";")
  if (given.trim().toLowerCase() !== mediaType)
    return yield* new UnsupportedMediaType({ expected: mediaType })
  const coding = headers["content-encoding"]?.trim().toLowerCase() ?? "identity"
  if (coding !== "identity" && coding !== "")
    return yield* new UnsupportedMediaType({ expected: `${mediaType}, without a content-encoding` })
  // Node takes the chunks apart and leaves what is coded in them as it is (RFC 9112, 6.1).
  const transfer = headers["transfer-encoding"]?.trim().toLowerCase() ?? "chunked"
  if (transfer !== "chunked")
    return yield* new UnsupportedMediaType({
      expected: `${mediaType}, without a transfer-encoding other than chunked`
    })
  const announced = Number(headers["content-length"] ?? 0)
  if (announced > bytesMax) return yield* new PayloadTooLarge({ bytesMax })
  // One that comes in chunks announces nothing, and may be long; without both headers there is none (RFC 9112, 6.3).
  const isChunked = headers["transfer-encoding"] !== undefined
  const bytes: Effect.Effect<Buffer, HttpServerError.HttpServerError | PayloadTooLarge | Overloaded> =
    isChunked || announced > atOnceMax
      ? gather(room, request, isChunked ? bytesMax : announced)
      : Effect.andThen(room.resize(announced), readWhole(request, bytesMax))
  const body = yield* Effect.mapError(bytes, (error) => {
    if (error._tag !== "HttpServerError") return error
    return isTooLarge(error)
      ? new PayloadTooLarge({ bytesMax })
      : InvalidCommand.at("body", "did not arrive whole")
  })
  if (body.length > bytesMax) return yield* new PayloadTooLarge({ bytesMax })
  if (!isUtf8(body)) return yield* InvalidCommand.at("body", "must be UTF-8")
  return body.toString("utf8")
})
