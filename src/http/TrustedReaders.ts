/**
 * Who may read how a node is. Programs of the machine itself may, as they could read its memory; from elsewhere, and for pages in a
 * browser of this machine, a token with the scope `read` is asked for, because the metrics of a ledger say much about its business.
 */
import { Effect, Option, Result } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { Authenticator } from "../access/Authenticator.ts"
import { isLoopback } from "../infra/config/ClusterSecurity.ts"
import { webPageFault } from "./WebPages.ts"

export const isTrusted = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  const { headers, remoteAddress } = request
  const { admitUnsafe, isGuarded } = yield* Authenticator
  const address = Option.getOrElse(remoteAddress, () => "").replace(/^::ffff:/, "")
  if (webPageFault(request) !== undefined) {
    if (!isGuarded) return false
  } else if (isLoopback(address)) return true
  return Result.isSuccess(admitUnsafe("read", headers.authorization, { token: undefined, caller: undefined }))
})

/** The same for trusted readers, and 401 for all others. */
export const onlyTrusted = <E, R>(answer: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
  Effect.flatMap(
    isTrusted,
    (is): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R> =>
      is
        ? answer
        : Effect.succeed(HttpServerResponse.empty({ status: 401, headers: { "www-authenticate": "Bearer" } }))
  )
