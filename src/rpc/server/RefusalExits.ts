/** Encodes refusals of calls, which are answered before effect's server sees the call, so that their callers decode typed errors. */
import { Exit, Schema } from "effect"
import { Rpc, type RpcMessage, type RpcSerialization } from "effect/rpc"
import type { AdmissionError } from "../../access/Authenticator.ts"
import type { Unavailable } from "../../domain/Errors.ts"
import { LedgerRpc, type Procedure } from "../LedgerRpc.ts"

/** One encoder for each procedure, made once. */
export const makeRefusalExits = (codecFor: RpcSerialization.CodecFor) => {
  const encoders = new Map<string, (exit: unknown) => unknown>()
  for (const [tag, rpc] of LedgerRpc.requests) {
    encoders.set(tag, Schema.encodeUnknownSync(codecFor(Rpc.exitSchema(rpc))))
  }
  return (
    procedure: Procedure,
    refusal: AdmissionError | Unavailable
  ): RpcMessage.ResponseExitEncoded["exit"] => {
    const encode = encoders.get(procedure)
    if (encode === undefined) throw new Error(`no procedure ${procedure}`)
    // What a codec makes of an exit is opaque: JSON or bytes, read by the peer's codec alone.
    return encode(Exit.fail(refusal)) as RpcMessage.ResponseExitEncoded["exit"]
  }
}
