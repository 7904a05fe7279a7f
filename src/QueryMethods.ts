/**
 * What is derived from the table of queries: the methods of `Ledger` with their types, the check of their arguments, and
 * the payload by which a door carries a call. It exists so that no door writes the queries out a second time.
 */
import { Effect, Result, Schema, Stream } from "effect"
import { InvalidCommand, type QueryError } from "./domain/Errors.ts"
import { refuse, refuseWith, strictFor } from "./domain/StrictDecoding.ts"
import { type Fields, ledgerQueries, type Query, type Subject, subjects } from "./LedgerQueries.ts"

type Queries = typeof ledgerQueries
export type QueryName = keyof Queries

type SubjectOf<Name extends QueryName> = (typeof subjects)[Queries[Name]["about"]]

/** What a checked call of a query asks for: the id it is about, and its options. */
type QueryPayload<Name extends QueryName> = Schema.Struct.Type<SubjectOf<Name>> &
  Schema.Struct.Type<Queries[Name]["fields"]>

type Outcome<Q> =
  Q extends Query<infer _About, infer _F, infer Answer, infer Streams, infer _Options>
    ? Streams extends true
      ? Stream.Stream<Answer["Type"], QueryError>
      : Effect.Effect<Answer["Type"], QueryError>
    : never

type OptionsArgument<Options> =
  Record<never, never> extends Options ? [options?: Options] : [options: Options]

type Method<Q> =
  Q extends Query<infer About, infer F, infer _Answer, infer _Streams, infer Options>
    ? About extends "books"
      ? keyof F extends never
        ? Outcome<Q>
        : (...args: OptionsArgument<Options>) => Outcome<Q>
      : keyof F extends never
        ? (id: string) => Outcome<Q>
        : (id: string, ...args: OptionsArgument<Options>) => Outcome<Q>
    : never

/** The methods of `Ledger` that ask; a query that takes no arguments is the effect itself. */
export type QueryMethods = { readonly [Name in QueryName]: Method<Queries[Name]> }

/** How a ledger answers each query, its arguments checked. */
export type QueryAnswers = {
  readonly [Name in QueryName]: (payload: QueryPayload<Name>) => Outcome<Queries[Name]>
}

/** A query without its types, for what is derived from all of them alike. */
export type AnyQuery = Query<Subject, Fields, Schema.Top, boolean, unknown>
type AnyOutcome = Effect.Effect<unknown, QueryError> | Stream.Stream<unknown, QueryError>

/** Name and entry of each query. */
export const queryEntries = Object.entries(ledgerQueries) as ReadonlyArray<readonly [QueryName, AnyQuery]> // Object.entries forgets that the keys of a table are its keys

const byName: ReadonlyMap<QueryName, AnyQuery> = new Map(queryEntries)

export const queryOf = (name: QueryName): AnyQuery => {
  const query = byName.get(name)
  if (query === undefined) throw new Error(`no query ${name}`)
  return query
}

export const isQuery = (name: string): name is QueryName => Object.hasOwn(ledgerQueries, name)

const idOf = ({ about }: Pick<AnyQuery, "about">): string | undefined => Object.keys(subjects[about])[0]

/** A query without arguments has neither a payload nor a function. */
const hasArguments = (query: AnyQuery): boolean =>
  idOf(query) !== undefined || Object.keys(query.fields).length > 0

/** The fields of a query's payload as a door carries it; ids are plain text there, for the ledger checks them. */
export type PayloadFields<Name extends QueryName> = {
  readonly [Key in keyof SubjectOf<Name>]: Schema.String
} & Queries[Name]["fields"]

export const payloadFieldsOf = (query: AnyQuery): Fields | undefined => {
  const id = idOf(query)
  if (!hasArguments(query)) return undefined
  return id === undefined ? query.fields : { [id]: Schema.String, ...query.fields }
}

type Options = Readonly<Record<string, unknown>>

/** Neither null nor text, and no date, array or map, which would count as options that say nothing. */
const isOptions = (value: unknown): value is Options =>
  Object.prototype.toString.call(value) === "[object Object]"

/** The options under the names that every version knows; fails where one is given twice, and not the same. */
const withFirstNames = (
  options: Options,
  laterNames: AnyQuery["laterNames"]
): Result.Result<Options, InvalidCommand> => {
  const named = { ...options }
  for (const [later, first] of Object.entries(laterNames)) {
    const { [later]: value, [first]: other } = named
    delete named[later]
    if (value === undefined) continue
    if (other !== undefined && other !== value)
      return Result.fail(
        InvalidCommand.at(later, `must be the same as ${first}, which is another name of it`)
      )
    named[first] = value
  }
  return Result.succeed(named)
}

/** Checks the arguments of a method as strictly as a command: what is misspelt or contradicts itself is refused. */
export const makeReadArguments = (
  name: string,
  query: Pick<AnyQuery, "about" | "fields" | "laterNames" | "rule">
) => {
  const id = idOf(query)
  const known = Object.keys(query.fields)
  const takes = known.length === 0 ? "it takes none" : `it takes ${known.join(", ")}`
  const decode = Schema.decodeUnknownResult(Schema.Struct({ ...subjects[query.about], ...query.fields }))
  return (args: ReadonlyArray<unknown>): Result.Result<unknown, InvalidCommand> => {
    const [subject, options = {}] = id === undefined ? [undefined, args[0]] : args
    if (!isOptions(options))
      return Result.fail(InvalidCommand.at("options", `must be an object with options of ${name}; ${takes}`))
    const asked = id === undefined ? options : { ...options, [id]: subject }
    const { errors } = strictFor(asked)
    const decoded = decode(asked, { errors })
    const misspelt = Object.keys(options).filter((key) => !known.includes(key))
    if (misspelt.length > 0 || Result.isFailure(decoded)) {
      const wrong = Result.isFailure(decoded) ? refuse(decoded.failure).faults : []
      const faults = misspelt.map((key) => ({ path: [key], message: `is no option of ${name}; ${takes}` }))
      return Result.fail(refuseWith([...wrong, ...faults]))
    }
    const named = withFirstNames(decoded.success, query.laterNames)
    if (Result.isFailure(named)) return named
    const contradiction = query.rule?.(named.success)
    return contradiction === undefined ? named : Result.fail(contradiction)
  }
}

/** Makes one stream of one that an effect finds. */
type UnwrapStream = (
  found: Effect.Effect<Stream.Stream<unknown, QueryError>, InvalidCommand>
) => Stream.Stream<unknown, QueryError>

/** The methods of a ledger, which check their arguments before `ask` is given the payload. */
export const makeQueryMethods = (
  ask: (name: QueryName, payload: unknown) => AnyOutcome,
  unwrap: UnwrapStream = Stream.unwrap
): QueryMethods => {
  const methods: Record<string, unknown> = {}
  for (const [name, query] of queryEntries) {
    const readArguments = makeReadArguments(name, query)
    const method = (...args: ReadonlyArray<unknown>) => {
      const asked = Effect.suspend(() =>
        Effect.map(Effect.fromResult(readArguments(args)), (payload) => ask(name, payload))
      )
      // Every outcome of `ask` is of the kind that the table says.
      return query.isStream
        ? unwrap(asked as Effect.Effect<Stream.Stream<unknown, QueryError>, InvalidCommand>)
        : Effect.flatten(asked as Effect.Effect<Effect.Effect<unknown, QueryError>, InvalidCommand>)
    }
    methods[name] = hasArguments(query) ? method : method()
  }
  return methods as QueryMethods // one method for each entry of the table, from which this type is derived as well
}

/** The methods of the ledger that answers in this process. */
export const methodsOf = (answers: QueryAnswers, unwrap: UnwrapStream): QueryMethods =>
  // The payload was decoded by the schemas from which the type of the answer's parameter is derived.
  makeQueryMethods((name, payload) => (answers[name] as (payload: unknown) => AnyOutcome)(payload), unwrap)

/** Calls a method with the payload that a peer has sent, which the method checks. */
export const askMethod = (methods: QueryMethods, name: QueryName, payload: unknown): AnyOutcome => {
  const query = queryOf(name)
  const method = methods[name]
  if (Effect.isEffect(method)) return isNothing(payload) ? method : Effect.fail(takesNothing(name))
  const id = idOf(query)
  const call = method as (...args: ReadonlyArray<unknown>) => AnyOutcome // the method checks its arguments
  if (id === undefined) return call(payload)
  const { [id]: subject, ...options }: Options = isOptions(payload) ? payload : {}
  return Object.keys(options).length === 0 ? call(subject) : call(subject, options)
}

/** What may stand in the place of options where a query takes none. */
export const isNothing = (payload: unknown): boolean =>
  payload === undefined || payload === null || (isOptions(payload) && Object.keys(payload).length === 0)

export const takesNothing = (name: string): InvalidCommand =>
  InvalidCommand.at("options", `${name} takes no options`)
