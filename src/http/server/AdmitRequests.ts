/**
 * Admits a request before any part of it is decoded: by the caller's token, the scope of the route and the caller's rate, as RPC
 * does. Whatever fails behind it is answered with a problem document.
 */
import { Effect, Layer, Option, Result } from "effect"
import { HttpServerRequest, HttpServerResponse } from "effect/http"
import { type HttpApiEndpoint, HttpApiError } from "effect/http-api"
import { Authenticator } from "../../access/Authenticator.ts"
import { RefusalLog } from "../../access/RefusalLog.ts"
import type { Scope } from "../../access/Scope.ts"
import type { Caller } from "../../access/Tokens.ts"
import { Forbidden, InvalidCommand, Overloaded, Unavailable } from "../../domain/Errors.ts"
import { refuse } from "../../domain/StrictDecoding.ts"
import { Admission, CurrentCaller, scopeOf } from "../api/LedgerHttpApi.ts"
import type { RequestError } from "../api/Problems.ts"
import { parametersOfRoutes } from "../api/QueryRoutes.ts"
import { webPageFault } from "../WebPages.ts"
import { HttpConnections } from "./HttpConnections.ts"
import { HttpConfig } from "./HttpLimits.ts"
import { problemResponse } from "./Responses.ts"

/** What a caller is told to wait whose connection has as many requests under way as it may, in milliseconds. */
const retryAfterMs = 10

/** More than any route has, the types of a statement included. */
const parametersMax = 100

/** A fault of a parameter of the path or the query, in the words of the ledger. */
const invalidParameter = ({ kind, cause }: HttpApiError.HttpApiSchemaError): RequestError =>
  kind === "Params" || kind === "Query" || kind === "Headers"
    ? refuse(cause)
    : InvalidCommand.at("body", "is not what this route takes")

/**
 * A misspelt parameter would change what is asked for; the parameters of routes that take some are checked by their schema, which
 * tells every fault but this: that one stands twice, which it takes for a value of another kind.
 */
const faultOfParameters = (
  parameters: Readonly<Record<string, string | ReadonlyArray<string>>>,
  route: string
): InvalidCommand | undefined => {
  const names = Object.keys(parameters)
  const [name] = names
  if (name === undefined) return undefined
  const known = parametersOfRoutes.get(route)
  if (known === undefined)
    return InvalidCommand.at(name.slice(0, 64), "is no parameter: this route takes none")
  const count = names.reduce((sum, one) => sum + [parameters[one] ?? []].flat().length, 0)
  if (count > parametersMax)
    return InvalidCommand.at("query", `has ${count} parameters, at most ${parametersMax} are read`)
  const { repeated, taken } = known
  const twice = names.filter((one) => Array.isArray(parameters[one]) && taken.has(one) && !repeated.has(one))
  return twice.length === 0
    ? undefined
    : new InvalidCommand({ faults: twice.map((one) => ({ path: [one], message: "must be there once" })) })
}

export const layer: Layer.Layer<Admission, never, Authenticator | RefusalLog | HttpConnections> =
  Layer.effect(
    Admission,
    Effect.gen(function* () {
      const authenticator = yield* Authenticator
      const connections = yield* HttpConnections
      const refusals = yield* RefusalLog
      const { refusalsMax } = yield* HttpConfig

      const admit = (
        request: HttpServerRequest.HttpServerRequest,
        scope: Scope
      ): Result.Result<Caller, RequestError> => {
        if (connections.isClosingUnsafe())
          return Result.fail(new Unavailable({ what: "this node", reason: "it is closing" }))
        if (connections.isFullUnsafe(request)) {
          connections.countUnsafe("requests")
          return Result.fail(new Overloaded({ what: "this connection", retryAfterMs }))
        }
        const fault = authenticator.isGuarded ? undefined : webPageFault(request)
        if (fault !== undefined) return Result.fail(new Forbidden({ caller: "a web page", reason: fault }))
        const { identity } = connections.stateOf(request)
        const admitted = authenticator.admitUnsafe(scope, request.headers.authorization, identity)
        if (Result.isFailure(admitted) && admitted.failure._tag === "Overloaded")
          connections.countUnsafe("rate")
        return admitted
      }

      /** A connection that is refused too often is closed, as is one that comes while the node closes. */
      const refused = (request: HttpServerRequest.HttpServerRequest, route: string, error: RequestError) => {
        const response = problemResponse(error)
        if (error._tag === "Unavailable")
          return Effect.succeed(HttpServerResponse.setHeader(response, "connection", "close"))
        if (error._tag === "Overloaded") return Effect.succeed(response)
        const state = connections.stateOf(request)
        const address = Option.getOrElse(request.remoteAddress, () => "an unknown address")
        const caller = state.identity.caller?.name ?? "an unknown caller"
        const isLast = ++state.refusals >= refusalsMax
        return Effect.as(
          refusals.log("http", `${caller} at ${address}`, `${route}: ${error.message}`),
          isLast ? HttpServerResponse.setHeader(response, "connection", "close") : response
        )
      }

      const answer = Effect.fnUntraced(function* <E, R>(
        handle: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>,
        endpoint: HttpApiEndpoint.Top
      ) {
        const request = yield* HttpServerRequest.HttpServerRequest
        const admitted = admit(request, scopeOf(endpoint))
        if (Result.isFailure(admitted)) return yield* refused(request, endpoint.identifier, admitted.failure)
        const parameters = yield* HttpServerRequest.ParsedSearchParams
        const fault = faultOfParameters(parameters, endpoint.identifier)
        if (fault !== undefined) return problemResponse(fault)
        return yield* Effect.provideService(handle, CurrentCaller, admitted.success)
      })
      return (handle, { endpoint }) =>
        Effect.catch(answer(handle, endpoint), (error) =>
          HttpApiError.HttpApiSchemaError.is(error)
            ? Effect.succeed(problemResponse(invalidParameter(error)))
            : Effect.fail(error)
        )
    })
  )
