/**
 * The routes of the queries, derived from their table: a query's path, its parameters, and its answer. Queries of one path are one
 * route, which asks the one that its parameters choose.
 */
import { Schema, SchemaAST } from "effect"
import { HttpApiEndpoint, HttpApiSchema, OpenApi } from "effect/http-api"
import { AskedCommand } from "../../domain/Command.ts"
import { HistoryEntry } from "../../domain/Views.ts"
import { subjects } from "../../LedgerQueries.ts"
import { type AnyQuery, type QueryName, queryEntries } from "../../QueryMethods.ts"
import { entityTagsFormat, parametersOf, querySchemaOf, readTokenFormat, repeatedOf } from "./Parameters.ts"
import { queryProblems } from "./Problems.ts"

interface NamedQuery {
  readonly name: QueryName
  readonly query: AnyQuery
}

export interface QueryRoute {
  /** That of its operation. */
  readonly identifier: string
  /** Of its first query. */
  readonly name: QueryName
  /** The ids that its path does not carry, because they are empty. */
  readonly emptyIds: Readonly<Record<string, "">>
  readonly path: `/v1/${string}`
  readonly queries: ReadonlyArray<NamedQuery>
  /** The answer is a stream, and nothing else. */
  readonly isStream: boolean
}

const kebab = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

/** A query that names no path stands below what it is about. */
const pathOf = (name: QueryName, { about, http }: AnyQuery): QueryRoute["path"] => {
  if (http.path !== undefined) return http.path
  const [id] = Object.keys(subjects[about])
  if (id === undefined) return `/v1/${kebab(name)}`
  return about === "account" ? `/v1/accounts/:account/${kebab(name)}` : `/v1/${kebab(name)}/:${id}`
}

const makeRoutes = (): ReadonlyArray<QueryRoute> => {
  const routes = new Map<string, QueryRoute>()
  for (const [name, query] of queryEntries) {
    const path = pathOf(name, query)
    const route = { identifier: name, name, emptyIds: {}, path, queries: [], isStream: query.isStream }
    const first = routes.get(path) ?? route
    routes.set(path, { ...first, queries: [...first.queries, { name, query }] })
    const { pathOfEmpty } = query.http
    const [id] = Object.keys(subjects[query.about])
    if (pathOfEmpty === undefined || id === undefined) continue
    const ofEmpty = { identifier: `${name}OfAll`, emptyIds: { [id]: "" }, path: pathOfEmpty } as const
    routes.set(pathOfEmpty, { ...route, ...ofEmpty, queries: [{ name, query }] })
  }
  return [...routes.values()]
}

export const queryRoutes = makeRoutes()

/** By the identifier of each route that takes parameters which of them it takes, and which it takes several times. */
export const parametersOfRoutes: ReadonlyMap<
  string,
  { readonly taken: ReadonlySet<string>; readonly repeated: ReadonlySet<string> }
> = new Map(
  queryRoutes.flatMap(({ identifier, queries }) => {
    const all = queries.map(({ query }) => query)
    const taken = new Set(Object.keys(querySchemaOf(all)))
    return taken.size === 0 ? [] : [[identifier, { taken, repeated: repeatedOf(all) }] as const]
  })
)

/** The value of an answer that may be none, which over HTTP is 404; the answer itself where it cannot. */
export const foundOf = (answer: Schema.Top): { readonly found: Schema.Top; readonly isOption: boolean } => {
  const isOption = SchemaAST.isDeclaration(answer.ast) && "value" in answer && Schema.isSchema(answer.value)
  if (!isOption) return { found: answer, isOption }
  return { found: answer.value as Schema.Top, isOption: true } // as `Schema.Option` was given it
}

const headersOf = ({ queries, isStream, name }: QueryRoute): Readonly<Record<string, Schema.Top>> => {
  const text = (description: string, format?: string) =>
    Schema.optional(Schema.String.annotate(format === undefined ? { description } : { description, format }))
  return {
    ...(queries.some(({ query }) => "readToken" in query.fields)
      ? {
          "chronicle-read-token": text(
            "Of a receipt: the answer contains at least that write.",
            readTokenFormat
          )
        }
      : {}),
    ...(hasETag(name)
      ? { "if-none-match": text("The ETag of an answer that the client has.", entityTagsFormat) }
      : {}),
    ...(isStream || isFollowed(name)
      ? { "last-event-id": text("The id of the last event that was received: the stream goes on after it.") }
      : {})
  }
}

/** The account, whose ETag is its version, and what is held where anything is. */
export const hasETag = (name: QueryName): boolean => name === "balance"
/** The events of an account, which are also a stream. */
export const isFollowed = (name: QueryName): boolean => name === "history"

const capital = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1)

/** The body of a command may have the name of a query. */
const componentOf = (name: QueryName): string =>
  Object.hasOwn(AskedCommand.cases, capital(name)) ? `${capital(name)}View` : capital(name)

const accountHeaders = {
  etag: Schema.optional(Schema.String),
  "chronicle-read-token": Schema.optional(Schema.String)
}

/** The answer of each query under the name of its component, which is one and the same on every route. */
const components: ReadonlyMap<QueryName, Schema.Top> = new Map(
  queryEntries.map(([name, { answer }]) => [
    name,
    foundOf(answer).found.annotate({ identifier: componentOf(name) })
  ])
)

const answersOf = ({ queries, isStream, name }: QueryRoute): ReadonlyArray<Schema.Top> => {
  if (isStream) return queries.map(({ query }) => HttpApiSchema.StreamSse({ data: query.answer }))
  const plain = queries.map((one) => components.get(one.name) ?? one.query.answer)
  return [
    ...(hasETag(name) ? [HttpApiSchema.WithHeaders(Schema.Union(plain), accountHeaders)] : plain),
    ...(hasETag(name) ? [HttpApiSchema.Empty(304).annotate({ description: "The client has it." })] : []),
    ...(isFollowed(name) ? [HttpApiSchema.StreamSse({ data: HistoryEntry })] : [])
  ]
}

const paramsOf = ({ emptyIds, queries }: QueryRoute): Schema.Struct.Fields => {
  const [first] = queries
  return first === undefined || Object.keys(emptyIds).length > 0 ? {} : subjects[first.query.about]
}

/** Queries of one path are told apart in its description, by the parameters that choose them. */
const wordsOf = ({ emptyIds, queries }: QueryRoute) => {
  const [summary = ""] = queries.map(({ query }) => query.says)
  const [id] = Object.keys(emptyIds)
  if (id !== undefined) return { summary, description: `The same of the empty ${id}, which is that of all.` }
  if (queries.length === 1) return { summary }
  const lines = queries.map(({ query }, index) => {
    const chosen = Object.entries(query.http.chosenBy).map(([name, value]) => `\`${name}=${value}\``)
    const taken = parametersOf(query).map(([name]) => `\`${name}\``)
    // A request asks the first query that takes all of its parameters.
    const further = chosen.length > 0 ? `with ${chosen.join(", ")}` : `by ${taken.join(", ")}`
    const parameters = index === 0 ? "without the parameters below" : further
    return `- ${parameters}: ${query.says}`
  })
  return { summary, description: lines.join("\n") }
}

const queryEndpoint = (route: QueryRoute) => {
  const [params, query, headers] = [
    paramsOf(route),
    querySchemaOf(route.queries.map((one) => one.query)),
    headersOf(route)
  ]
  return HttpApiEndpoint.get(route.identifier, route.path, {
    ...(Object.keys(params).length === 0 ? {} : { params }),
    query,
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    success: answersOf(route),
    error: queryProblems
  }).annotateMerge(OpenApi.annotations(wordsOf(route)))
}

export const queryEndpoints = queryRoutes.map(queryEndpoint)
