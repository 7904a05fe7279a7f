/** Serves a group of routes that comes from a table, whose loop forgot the types of its routes: each handler reads the request itself. */
import { Effect, Layer, type Scope } from "effect"
import type { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { HttpApiBuilder, type HttpApiGroup } from "effect/http-api"
import { type CurrentCaller, LedgerHttpApi } from "../api/LedgerHttpApi.ts"

/** Parameters of the query as the schema of the route has decoded them. */
export type Parameters = Readonly<Record<string, unknown>>

export type Handle = (
  query: Parameters
) => Effect.Effect<
  HttpServerResponse.HttpServerResponse,
  never,
  CurrentCaller | HttpServerRequest.HttpServerRequest | HttpRouter.RouteContext | Scope.Scope
>

/** Fails at the start where a route of the group has no handler. */
export const serveGroup = <Name extends "commands" | "queries" | "webhooks", R>(
  name: Name,
  make: Effect.Effect<ReadonlyMap<string, Handle>, never, R>
): Layer.Layer<HttpApiGroup.Service<"chronicle", Name>, never, R> => {
  const served = Effect.map(make, (handles) =>
    HttpApiBuilder.group(LedgerHttpApi, name, (handlers) => {
      for (const route of Object.keys(LedgerHttpApi.groups[name].endpoints)) {
        const handle = handles.get(route)
        if (handle === undefined) throw new Error(`the route ${route} has no handler`)
        handlers.handleRaw(route, ({ query }: { readonly query?: unknown }) => handle(Object(query ?? {})))
      }
      return handlers as never // all are handled, which the types of routes from a table cannot tell
    })
  )
  return Layer.unwrap(served)
}
