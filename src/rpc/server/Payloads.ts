/**
 * Decodes the payloads of calls so that a wrong one reaches its handler, which answers `InvalidCommand` with the path of each
 * fault. Effect's server would answer a defect, which a client takes for a fault of the node and sends again.
 */
import { Result, Schema, SchemaTransformation } from "effect"
import type { RpcSerialization } from "effect/rpc"
import type { InvalidCommand } from "../../domain/Errors.ts"
import { refuse, strictFor } from "../../domain/StrictDecoding.ts"
import { LedgerRpc } from "../LedgerRpc.ts"

/** What stands in the place of a payload that its procedure does not take. */
export class MalformedPayload {
  readonly payload: unknown
  readonly error: InvalidCommand
  constructor(payload: unknown, error: InvalidCommand) {
    this.payload = payload
    this.error = error
  }
}

const payloadSchemas: ReadonlySet<unknown> = new Set(
  [...LedgerRpc.requests.values()].map((rpc) => rpc.payloadSchema)
)

/** A field that a procedure does not know is a mistyped one, as in a command. The binary form skips such fields. */
const tolerant = (codec: Schema.Codec<unknown, unknown>): Schema.Codec<unknown, unknown> => {
  const decode = Schema.decodeUnknownResult(codec)
  return Schema.Unknown.pipe(
    Schema.decodeTo(
      Schema.Unknown,
      SchemaTransformation.transform({
        decode: (encoded) => {
          const decoded = decode(encoded, strictFor(encoded))
          return Result.isSuccess(decoded)
            ? decoded.success
            : new MalformedPayload(encoded, refuse(decoded.failure))
        },
        encode: (payload) => payload // a server encodes no payload
      })
    )
  )
}

/** The same codecs, except that no payload fails to decode. */
export const tolerantOfPayloads = (codecFor: RpcSerialization.CodecFor): RpcSerialization.CodecFor =>
  ((schema) => {
    const codec = codecFor(schema)
    // None of the procedures' schemas needs a service; the type of a malformed payload is known to the handlers alone.
    return payloadSchemas.has(schema) ? tolerant(codec as Schema.Codec<unknown, unknown>) : codec
  }) as RpcSerialization.CodecFor
