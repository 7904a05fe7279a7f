/** What the routes of queries do: parameters become the options of a query, and its answer or error the response. */
import { Clock, Effect, Option, Result, Schema } from "effect"
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { type GuardedLedger, makeGuardedLedger } from "../../access/GuardedLedger.ts"
import type { Caller } from "../../access/Tokens.ts"
import { shortenCursor } from "../../actors/subscriptions/SubscriptionCursor.ts"
import { Subscriptions } from "../../actors/subscriptions/Subscriptions.ts"
import { InvalidCommand, type Unavailable } from "../../domain/Errors.ts"
import { printToken } from "../../domain/Receipt.ts"
import { AccountView, HistoryEntry } from "../../domain/Views.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { CurrentCaller } from "../api/LedgerHttpApi.ts"
import { chooseQuery, parameterPath, parameterWords, strayOf } from "../api/Parameters.ts"
import { NotFound, type RequestError } from "../api/Problems.ts"
import { foundOf, hasETag, isFollowed, type QueryRoute, queryRoutes } from "../api/QueryRoutes.ts"
import { entityTagOf, isKnown } from "./EntityTags.ts"
import { type EventStream, makeEventStream, makePrintEvent } from "./EventStreams.ts"
import { HttpConfig } from "./HttpLimits.ts"
import { jsonResponse, problemResponse } from "./Responses.ts"
import { type Handle, type Parameters, serveGroup } from "./RouteGroup.ts"

type Fields = Parameters

/** Given parameters, the read token of the header among them. */
const givenOf = (query: Fields, headers: Readonly<Record<string, string | undefined>>): Fields => {
  const given: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(query)) if (value !== undefined) given[name] = value
  const readToken = headers["chronicle-read-token"]
  return readToken === undefined ? given : { ...given, readToken }
}

/** No query of this path takes all that is given together: some of it none of them does, or not with the rest. */
const contradiction = ({ queries }: QueryRoute, given: Fields) => {
  const stray = strayOf(
    queries.map(({ query }) => query),
    given
  )
  const message =
    stray.length > 0 ? "is not taken by this route" : "does not go together with the other parameters"
  return new InvalidCommand({
    faults: (stray.length > 0 ? stray : Object.keys(given)).map((name) => ({
      path: parameterPath([name]),
      message
    }))
  })
}

/** The faults of options as faults of the parameters that they came from. */
const inWordsOfParameters = (error: RequestError): RequestError =>
  error._tag === "InvalidCommand"
    ? new InvalidCommand({
        faults: error.faults.map(({ path, message }) => ({
          path: parameterPath(path),
          message: parameterWords(message)
        }))
      })
    : error

const encoders = new Map(
  queryRoutes.flatMap(({ queries }) =>
    queries.map(({ name, query }) => {
      const answer: Schema.Top = Schema.toCodecJson(foundOf(query.answer).found)
      // No answer needs a service to be encoded.
      return [name, Schema.encodeUnknownSync(answer as Schema.Codec<unknown, unknown>)] as const
    })
  )
)
const encoderOf = (name: QueryRoute["name"]) => {
  const encode = encoders.get(name)
  if (encode === undefined) throw new Error(`no encoder of ${name}`)
  return encode
}

interface WithCursor {
  readonly cursor: string
}

/** The cursor as a header takes it. */
const fitted = (cursor: string, cursorMax: number): string =>
  cursor.length <= cursorMax ? cursor : shortenCursor(cursor, cursorMax)

/** How long what follows a cursor that had to be shortened is told with the same one, in milliseconds. */
const shortenedMs = 100

/**
 * The cursors of one stream, made to fit into a header. To shorten one takes some milliseconds where hundreds of nodes are named, beside the
 * commands of the node, so what comes soon after is told with the cursor before it: a client that comes back with that is told it again.
 */
const makeShorten = (cursorMax: number, clock: Clock.Clock) => {
  let [last, until] = ["", 0]
  return (cursor: string): string => {
    if (cursor.length <= cursorMax) return cursor
    const now = elapsedMsUnsafe(clock)
    if (last === "" || now >= until) {
      last = shortenCursor(cursor, cursorMax)
      until = now + shortenedMs
    }
    return last
  }
}

/** How the items of each stream are printed; the table says of them that they have a cursor, which a client sends back in a header. */
const makePrinters = (cursorMax: number, clock: Clock.Clock) => {
  const printers = new Map(
    queryRoutes
      .filter(({ isStream }) => isStream)
      .map(({ name }) => {
        const encode = encoderOf(name)
        const print = makePrintEvent((item: WithCursor, shorten: ReturnType<typeof makeShorten>) => {
          const cursor = shorten(item.cursor)
          return [cursor, encode(cursor === item.cursor ? item : { ...item, cursor })]
        })
        // An item that streams share has one place for all: what one of them had read before it, each of them has.
        const ofStream = () => {
          const shorten = makeShorten(cursorMax, clock)
          return (item: unknown) => print(item as WithCursor, shorten)
        }
        return [name, ofStream] as const
      })
  )
  return (name: QueryRoute["name"]) => {
    const ofStream = printers.get(name)
    if (ofStream === undefined) throw new Error(`no printer of ${name}`)
    return ofStream()
  }
}

/** What is known by the id, or `NotFound`. */
const found = (
  route: QueryRoute,
  name: QueryRoute["name"],
  answer: unknown,
  params: Fields
): Effect.Effect<unknown, NotFound> => {
  const query = route.queries.find((one) => one.name === name)?.query
  if (query === undefined || !foundOf(query.answer).isOption) return Effect.succeed(answer)
  const option = answer as Option.Option<unknown> // its schema is that of an option
  const what = `${name === "find" ? "command" : name} ${Object.values(params).join(" ").slice(0, 128)}`
  return Option.isSome(option) ? Effect.succeed(option.value) : Effect.fail(new NotFound({ what }))
}

const isAccount = Schema.is(
  Schema.Struct({
    account: AccountView.fields.account,
    version: AccountView.fields.version,
    held: AccountView.fields.held
  })
)

/** The headers of an account's answer, and 304 where the client has it. */
const accountResponse = (
  answer: unknown,
  body: unknown,
  ifNoneMatch: string | undefined
): Result.Result<HttpServerResponse.HttpServerResponse, InvalidCommand> => {
  if (!isAccount(answer)) return Result.succeed(jsonResponse(body))
  const { held, version } = answer
  const entityTag = entityTagOf(held === undefined ? { version } : { version, held })
  const headers = {
    etag: `"${entityTag}"`,
    "chronicle-read-token": printToken([answer]),
    "cache-control": "private, no-cache"
  }
  return Result.map(isKnown(ifNoneMatch, entityTag), (known) =>
    known ? HttpServerResponse.empty({ status: 304, headers }) : jsonResponse(body, 200, headers)
  )
}

/** The handler of a route whose answer is one document. */
const answerOnce = (guarded: GuardedLedger, route: QueryRoute) =>
  Effect.fnUntraced(function* (caller: Caller, params: Fields, given: Fields) {
    const request = yield* HttpServerRequest.HttpServerRequest
    const choice = chooseQuery(route.queries, given)
    if (choice === undefined) return yield* contradiction(route, given)
    const { name } = choice.chosen
    const payload = { ...route.emptyIds, ...params, ...choice.options }
    const isEmpty = Object.keys(payload).length === 0
    const answer = yield* guarded.ask(caller, name, isEmpty ? undefined : payload)
    const value = yield* found(route, name, answer, params)
    const body = encoderOf(name)(value)
    return hasETag(route.name)
      ? yield* Effect.fromResult(accountResponse(value, body, request.headers["if-none-match"]))
      : jsonResponse(body)
  })

/** Whether a client asks for a stream by name: `*` is every type, and the weight 0 refuses one (RFC 9110, 12.5.1). */
const takesEvents = (accept = ""): boolean =>
  accept.split(",").some((range) => {
    const [type = "", ...parameters] = range.split(";").map((part) => part.trim().toLowerCase())
    return type === "text/event-stream" && !parameters.some((one) => /^q=0(\.0*)?$/.test(one))
  })

/** Where a stream goes on: the id of the last event that the client received, or a parameter. */
const afterOf = (given: Fields, headers: Readonly<Record<string, string | undefined>>): unknown =>
  headers["last-event-id"] ?? given.after

/** The faults of where a stream goes on as those of the header, where that said so. */
const inWordsOfHeader = (
  error: RequestError,
  headers: Readonly<Record<string, string | undefined>>
): RequestError =>
  error._tag === "InvalidCommand" && headers["last-event-id"] !== undefined
    ? new InvalidCommand({
        faults: error.faults.map(({ path, message }) => ({
          path: path[0] === "after" ? ["Last-Event-ID", ...path.slice(1)] : path,
          message
        }))
      })
    : error

const followAll = (
  guarded: GuardedLedger,
  send: EventStream,
  printerOf: ReturnType<typeof makePrinters>,
  endOfLog: Effect.Effect<{ readonly whole: string; readonly header: string }, Unavailable>,
  { name }: QueryRoute
) =>
  Effect.fnUntraced(function* (caller: Caller, given: Fields) {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const after = afterOf(given, headers)
    const asked = after === undefined ? given : { ...given, after }
    // Told before the first event: a client that lost the stream until then would ask for another "now", and miss what came meanwhile.
    const fromNow = Effect.gen(function* () {
      yield* guarded.permit(caller, name, asked)
      const { header, whole } = yield* endOfLog
      return { events: guarded.follow(caller, name, { ...asked, after: whole }), beginsAfter: header }
    })
    const begin = after === "now" ? fromNow : Effect.succeed({ events: guarded.follow(caller, name, asked) })
    return yield* send(caller, begin, printerOf(name))
  })

const encodeEntry = Schema.encodeSync(Schema.toCodecJson(HistoryEntry))
const printEntry = makePrintEvent((entry: HistoryEntry) => [String(entry.version), encodeEntry(entry)])

const followAccount = (guarded: GuardedLedger, send: EventStream, followMs: number, route: QueryRoute) =>
  Effect.fnUntraced(function* (caller: Caller, params: Fields, given: Fields) {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    if (given.limit !== undefined)
      return yield* InvalidCommand.at("limit", "is not of a stream, which has no end")
    // As of the same path without a stream: events come from the log, which needs no waiting for.
    if (given.readToken !== undefined) return yield* contradiction(route, given)
    const text = String(afterOf(given, headers) ?? 0)
    const after = Number(text)
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(after))
      return yield* InvalidCommand.at("after", "must be the version of an event")
    const events = guarded.events(caller, { account: String(params.account), after, followMs })
    return yield* send(caller, Effect.succeed({ events }), (entry) => printEntry(entry, undefined))
  })

const makeHandle = Effect.gen(function* () {
  const { batchMax, followMs, headerBytesMax } = yield* HttpConfig
  const { end } = yield* Subscriptions
  // A quarter is left for the other headers.
  const cursorMax = Math.floor(headerBytesMax * 0.75)
  const printerOf = makePrinters(cursorMax, yield* Clock.Clock)
  const endOfLog = Effect.map(end, (cursor) => ({ whole: cursor, header: fitted(cursor, cursorMax) }))
  const guarded = yield* makeGuardedLedger("http", batchMax)
  const send = yield* makeEventStream
  return (route: QueryRoute): Handle => {
    const once = answerOnce(guarded, route)
    const all = followAll(guarded, send, printerOf, endOfLog, route)
    const account = followAccount(guarded, send, followMs, route)
    return (query: Fields) =>
      Effect.gen(function* () {
        const { headers } = yield* HttpServerRequest.HttpServerRequest
        const caller = yield* CurrentCaller
        const { params } = yield* HttpRouter.RouteContext
        const given = givenOf(query, headers)
        const isStream = route.isStream || (isFollowed(route.name) && takesEvents(headers.accept))
        if (!isStream) return yield* once(caller, params, given)
        return yield* Effect.mapError(
          route.isStream ? all(caller, given) : account(caller, params, given),
          (error) => inWordsOfHeader(error, headers)
        )
      }).pipe(Effect.catch((error) => Effect.succeed(problemResponse(inWordsOfParameters(error)))))
  }
})

export const layer = serveGroup(
  "queries",
  Effect.map(makeHandle, (handle) => new Map(queryRoutes.map((route) => [route.identifier, handle(route)])))
)
