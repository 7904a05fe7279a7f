/**
 * Who may read how a node is. Programs of the machine itself may, as they could read its memory; from elsewhere, and for pages in a
 * browser of this machine, a token with the scope `read` is asked for, because the metrics of a ledger say much about its business. It
 * must be one without account prefixes, as for the query `stats`: the figures are of all accounts, and an alarm names one of them.
 */
import { Effect, Option, Result } from "effect"
import { HttpServerRequest, type HttpServerResponse } from "effect/http"
import { Authenticator } from "../access/Authenticator.ts"
import { permitQuery } from "../access/Authorization.ts"
import { Forbidden } from "../domain/Errors.ts"
import { isLoopback } from "../infra/config/ClusterSecurity.ts"
import { queryOf } from "../QueryMethods.ts"
import { problemResponse } from "./server/Responses.ts"
import { webPageFault } from "./WebPages.ts"

/** Why a reader is none of these. */
const trust = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  const { headers, remoteAddress } = request
  const { admitUnsafe, isGuarded } = yield* Authenticator
  const address = Option.getOrElse(remoteAddress, () => "").replace(/^::ffff:/, "")
  const reason = webPageFault(request)
  if (reason === undefined && isLoopback(address)) return Result.succeed(undefined)
  if (reason !== undefined && !isGuarded) return Result.fail(new Forbidden({ caller: "a web page", reason }))
  const identity = { token: undefined, caller: undefined }
  return Result.flatMap(admitUnsafe("read", headers.authorization, identity), (caller) =>
    permitQuery(caller, queryOf("stats"), undefined)
  )
})

export const isTrusted = Effect.map(trust, Result.isSuccess)

/** The same for trusted readers; all others are told why not. */
export const onlyTrusted = <E, R>(answer: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>) =>
  Effect.flatMap(
    trust,
    (found): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R> =>
      Result.isSuccess(found) ? answer : Effect.succeed(problemResponse(found.failure))
  )
