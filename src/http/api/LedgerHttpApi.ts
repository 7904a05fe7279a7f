/** The ledger over HTTP as one description, from which routes and the OpenAPI document follow. */
import { Context } from "effect"
import { HttpApi, type HttpApiEndpoint, HttpApiGroup, HttpApiMiddleware, OpenApi } from "effect/http-api"
import type { Scope } from "../../access/Scope.ts"
import type { Caller } from "../../access/Tokens.ts"
import { batchEndpoint, commandEndpoints } from "./CommandRoutes.ts"
import { queryEndpoints, queryRoutes } from "./QueryRoutes.ts"
import { scopeOfWebhooks, webhookEndpoints } from "./WebhookRoutes.ts"

/** The scope that a caller of a route needs. */
const RequiredScope = Context.Service<{ readonly RequiredScope: unique symbol }, Scope>(
  "chronicle/http/RequiredScope"
)

/** Known before anything of a request's body is read; throws where a route has none. */
export const scopeOf = (endpoint: HttpApiEndpoint.Top): Scope =>
  Context.getUnsafe(endpoint.annotations, RequiredScope)

/** The caller of an admitted request. */
export class CurrentCaller extends Context.Service<CurrentCaller, Caller>()("chronicle/http/CurrentCaller") {}

/** Admits a request before any part of it is decoded, or answers a problem document. */
export class Admission extends HttpApiMiddleware.Service<Admission, { provides: CurrentCaller }>()(
  "chronicle/http/Admission"
) {}

type Endpoints = readonly [HttpApiEndpoint.Top, ...Array<HttpApiEndpoint.Top>]

/** What the loops over the tables forgot of the types, the handlers read from the request itself. */
const needing = (
  list: ReadonlyArray<HttpApiEndpoint.Constraint>,
  scopeOfRoute: (identifier: string) => Scope
): Endpoints => {
  const [first, ...others] = (list as ReadonlyArray<HttpApiEndpoint.Top>).map((one) =>
    one.annotate(RequiredScope, scopeOfRoute(one.identifier))
  )
  if (first === undefined) throw new Error("a group of routes has at least one")
  return [first, ...others]
}

/** That of the queries of a route, which are all of one scope. */
const scopeOfQueries = (identifier: string): Scope => {
  const { queries = [] } = queryRoutes.find((route) => route.identifier === identifier) ?? {}
  const [scope, ...others] = new Set(queries.map(({ query }) => query.scope))
  if (scope === undefined || others.length > 0) throw new Error(`the route ${identifier} must have one scope`)
  return scope
}

export class LedgerHttpApi extends HttpApi.make("chronicle")
  .add(
    HttpApiGroup.make("commands").add(...needing([...commandEndpoints, batchEndpoint], () => "command")),
    HttpApiGroup.make("queries").add(...needing(queryEndpoints, scopeOfQueries)),
    HttpApiGroup.make("webhooks").add(...needing(webhookEndpoints, () => scopeOfWebhooks))
  )
  .middleware(Admission)
  .annotate(HttpApi.QueryParseOptions, { errors: "all", onExcessProperty: "error" })
  .annotateMerge(OpenApi.annotations({ title: "Chronicle Ledger", version: "0.1.0" })) {}
