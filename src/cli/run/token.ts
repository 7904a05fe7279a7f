/** `chronicle token`: makes a token for a peer, and the entry by which nodes know it. */
import { Effect, Schema } from "effect"
import { SecureRandom } from "effect/crypto"
import { hashToken, Token } from "../../access/Tokens.ts"
import { makeOutput, printJson } from "../Output.ts"
import type { TokenFlags } from "../token.ts"

const tokenBytes = 32

export const token = Effect.fnUntraced(function* ({ name, scopes, accounts, json }: TokenFlags) {
  const random = yield* SecureRandom.SecureRandom
  const secret = Buffer.from(yield* random.randomBytes(tokenBytes)).toString("base64url")
  const entry = yield* Schema.decodeUnknownEffect(Token)({
    name,
    sha256: hashToken(secret),
    scopes,
    ...(accounts.length === 0 ? {} : { accounts })
  })
  const output = makeOutput(json)
  yield* output.line(
    `The token, for ${name} alone (CHRONICLE_RPC_TOKEN); it is shown once and stored nowhere:`
  )
  yield* output.line(`  ${secret}`)
  yield* output.line(
    "Its entry, for the array in CHRONICLE_RPC_TOKENS or the file CHRONICLE_RPC_TOKENS_FILE:"
  )
  yield* output.line(`  ${JSON.stringify(entry)}`)
  if (json) yield* printJson({ token: secret, entry })
}, Effect.provide(SecureRandom.layerWebCrypto))
