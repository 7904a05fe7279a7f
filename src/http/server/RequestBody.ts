/** Reads the body of a request: bounded in bytes, of the media type that the route takes, and well-formed UTF-8. */
import { isUtf8 } from "node:buffer"
import { ByteSize, Effect } from "effect"
import { HttpIncomingMessage, type HttpServerError, type HttpServerRequest } from "effect/http"
import { InvalidCommand } from "../../domain/Errors.ts"
import { PayloadTooLarge, UnsupportedMediaType } from "../api/Problems.ts"
import type { HttpConnections } from "./HttpConnections.ts"

const isTooLarge = ({ reason }: HttpServerError.HttpServerError): boolean =>
  reason._tag === "RequestParseError" && reason.reason === "BodyTooLarge"

/** The text of the body, which stays reserved until the scope of the request ends. */
export const readBody = Effect.fnUntraced(function* (
  { reserve }: Pick<HttpConnections["Service"], "reserve">,
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
  const announced = Number(headers["content-length"] ?? Number.NaN)
  if (announced > bytesMax) return yield* new PayloadTooLarge({ bytesMax })
  yield* reserve(Number.isNaN(announced) ? bytesMax : announced)
  const bytes = yield* request.arrayBuffer.pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(bytesMax)),
    Effect.mapError((error) =>
      isTooLarge(error)
        ? new PayloadTooLarge({ bytesMax })
        : InvalidCommand.at("body", "did not arrive whole")
    )
  )
  const body = Buffer.from(bytes)
  if (body.length > bytesMax) return yield* new PayloadTooLarge({ bytesMax })
  if (!isUtf8(body)) return yield* InvalidCommand.at("body", "must be UTF-8")
  return body.toString("utf8")
})
