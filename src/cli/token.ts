/** `chronicle token`: makes a token for a peer, and the entry by which nodes know it. */
import { Effect, Schema } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { SecureRandom } from "effect/crypto"
import { Scope } from "../access/Scope.ts"
import { hashToken, Token } from "../access/Tokens.ts"
import { makeOutput, printJson } from "./Output.ts"
import { jsonFlag } from "./serviceOptions.ts"

const tokenBytes = 32

export const token = Command.make(
  "token",
  {
    name: Argument.String("name").pipe(
      Argument.withDescription(
        "The caller that gets it: this name stands in the events it causes, and in the log"
      ),
      Argument.withSchema(Token.fields.name)
    ),
    scopes: Flag.Literals("scope", Scope.literals).pipe(
      Flag.withDescription("What it may do: read, command or admin (all); may be given several times"),
      Flag.atLeast(1)
    ),
    accounts: Flag.String("account").pipe(
      Flag.withDescription("Only accounts whose id begins with this; may be given several times"),
      Flag.atLeast(0)
    ),
    json: jsonFlag
  },
  Effect.fnUntraced(function* ({ name, scopes, accounts, json }) {
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
).pipe(Command.withDescription("Make a token for a peer, and the entry by which nodes know it"))
