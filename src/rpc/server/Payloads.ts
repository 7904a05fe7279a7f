/**
 * Decodes the payloads of calls so that a wrong one reaches its handler, which answers `InvalidCommand` with the path of each
 * fault. Effect's server would answer a defect, which a client takes for a fault of the node and sends again. In JSON an instant
 * may be a text, which the ledger's one reader of them reads.
 */
import { Predicate, Result, Schema, SchemaTransformation } from "effect"
import type { RpcSerialization } from "effect/rpc"
import { InvalidCommand } from "../../domain/Errors.ts"
import { parseInstant } from "../../domain/InstantText.ts"
import { refuse, strictFor, withFewFields } from "../../domain/StrictDecoding.ts"
import { isInstant } from "../../LedgerQueries.ts"
import { isQuery, queryOf } from "../../QueryMethods.ts"
import { LedgerRpc } from "../LedgerRpc.ts"

/** What is wrong with the texts that stand in the place of instants, by option. */
type TextFaults = ReadonlyMap<string, string>

const noFaults: TextFaults = new Map()

/** What stands in the place of a payload that its procedure does not take. */
export class MalformedPayload {
  readonly payload: unknown
  readonly error: InvalidCommand
  readonly #faults: TextFaults
  constructor(payload: unknown, error: InvalidCommand, faults = noFaults) {
    this.payload = payload
    this.error = error
    this.#faults = faults
  }

  /** The error with what is wrong with an instant in the words of its reader: what checked it knows instants as numbers alone. */
  inWordsOfTexts(error: unknown): unknown {
    if (!(error instanceof InvalidCommand)) return error
    return new InvalidCommand({
      faults: error.faults.map(({ path, message }) => ({
        path,
        message: (path.length === 1 ? this.#faults.get(path[0] ?? "") : undefined) ?? message
      }))
    })
  }
}

const instantOptionsOf = (procedure: string): ReadonlyArray<string> =>
  isQuery(procedure)
    ? Object.entries(queryOf(procedure).fields).flatMap(([option, schema]) =>
        // A field of a table of options is a schema; the type of a struct's fields leaves more open.
        isInstant(schema as Schema.Top) ? [option] : []
      )
    : []

/** The payloads of all procedures, each with its options that are instants. */
const payloadSchemas: ReadonlyMap<unknown, ReadonlyArray<string>> = new Map(
  [...LedgerRpc.requests].map(
    ([procedure, { payloadSchema }]) => [payloadSchema, instantOptionsOf(procedure)] as const
  )
)

/** The payload with numbers in the place of its texts that are instants, and what is wrong with the others. */
const readTexts = (encoded: Readonly<Record<string, unknown>>, options: ReadonlyArray<string>) => {
  const payload: Record<string, unknown> = { ...encoded }
  const faults = new Map<string, string>()
  for (const option of options) {
    const text = encoded[option]
    if (typeof text !== "string") continue
    const instant = parseInstant(text)
    if (Result.isSuccess(instant)) payload[option] = instant.success
    else faults.set(option, instant.failure)
  }
  return { payload, faults }
}

/** A field that a procedure does not know is a mistyped one, as in a command. The binary form skips such fields. */
const tolerant = (
  codec: Schema.Codec<unknown, unknown>,
  instantOptions: ReadonlyArray<string>
): Schema.Codec<unknown, unknown> => {
  const decode = Schema.decodeUnknownResult(codec)
  return Schema.Unknown.pipe(
    Schema.decodeTo(
      Schema.Unknown,
      SchemaTransformation.transform({
        decode: (sent) => {
          const encoded = withFewFields(sent)
          const decoded = decode(encoded, strictFor(encoded))
          if (Result.isSuccess(decoded)) return decoded.success
          // Bytes are no object with options.
          if (instantOptions.length === 0 || !Predicate.isObject(encoded) || encoded instanceof Uint8Array)
            return new MalformedPayload(encoded, refuse(decoded.failure))
          const { faults, payload } = readTexts(encoded, instantOptions)
          const again = decode(payload, strictFor(payload))
          return Result.isSuccess(again)
            ? again.success
            : new MalformedPayload(payload, refuse(again.failure), faults)
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
    const instantOptions = payloadSchemas.get(schema)
    return instantOptions === undefined
      ? codec
      : tolerant(codec as Schema.Codec<unknown, unknown>, instantOptions)
  }) as RpcSerialization.CodecFor
