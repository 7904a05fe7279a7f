/**
 * The options of queries as parameters of a URL: texts that become what the table of queries asks for. Instants are read by the
 * ledger's one reader of them.
 */
import { Effect, Result, Schema, SchemaAST, SchemaIssue, SchemaTransformation } from "effect"
import { instantForms, parseInstant } from "../../domain/InstantText.ts"
import { AfterVersion, givenOf, isInstant, PageLimit } from "../../LedgerQueries.ts"
import type { AnyQuery } from "../../QueryMethods.ts"

/** Formats that the OpenAPI document replaces by what it can say of them more exactly. */
export const instantFormat = "chronicle-instant"
export const wholeNumberFormat = "chronicle-whole-number"
export const afterVersionFormat = "chronicle-after-version"
export const readTokenFormat = "chronicle-read-token"
export const webhookUrlFormat = "chronicle-webhook-url"
export const pageLimitFormat = "chronicle-page-limit"
export const commandKeyFormat = "chronicle-command-key"
export const entityTagFormat = "chronicle-entity-tag"
export const entityTagsFormat = "chronicle-entity-tags"

/** Text that a reader turns into a number, or says what is wrong with. */
const textOf = (format: string, description: string, read: (text: string) => Result.Result<number, string>) =>
  Schema.String.annotate({ format, description }).pipe(
    Schema.decodeTo(
      Schema.Number,
      SchemaTransformation.transformEffect({
        decode: (text: string, options) =>
          Result.match(read(text), {
            onFailure: (message) => Effect.fail(new SchemaIssue.InvalidValue({ message }, text, options)),
            onSuccess: (value) => Effect.succeed(value)
          }),
        encode: (value: number) => Effect.succeed(String(value))
      })
    )
  )

/** An instant as text. */
export const InstantText = textOf(instantFormat, `An instant: ${instantForms}.`, parseInstant)

const digits = /^(0|[1-9]\d{0,15})$/
const readDigits = (text: string): Result.Result<number, string> =>
  digits.test(text) ? Result.succeed(Number(text)) : Result.fail("must be a whole number")
const WholeNumberText = textOf(wholeNumberFormat, "A whole number.", readDigits)
const AfterVersionText = textOf(afterVersionFormat, "The version after which it goes on.", readDigits)
const PageLimitText = textOf(pageLimitFormat, "The most rows of a page.", readDigits)

const parameterSchema = (option: Schema.Top): Schema.Top => {
  if (isInstant(option)) return InstantText
  const given = givenOf(option)
  if (given === PageLimit) return PageLimitText
  if (given === AfterVersion) return AfterVersionText
  return SchemaAST.isNumber(given.ast) ? WholeNumberText : given
}

/** Options that have a parameter of their later name alone. */
const renamed: Readonly<Record<string, string>> = { recordedAt: "knownAt" }
const parameterName = (option: string): string => renamed[option] ?? option

/** The options that are parameters: a read token is a header, over which proxies and logs write no line. */
export const parametersOf = ({ fields }: AnyQuery): ReadonlyArray<readonly [parameter: string, Schema.Top]> =>
  Object.entries(fields)
    .filter(([option]) => option !== "readToken" && !Object.hasOwn(renamed, option))
    // A field of a table of options is a schema; the type of a struct's fields leaves more open.
    .map(([option, schema]) => [option, schema as Schema.Top])

/** The parameters of all queries of one path. */
export const querySchemaOf = (queries: ReadonlyArray<AnyQuery>): Readonly<Record<string, Schema.Top>> => {
  const schemas: Record<string, Schema.Top> = {}
  for (const query of queries) {
    for (const [name, schema] of parametersOf(query)) schemas[name] = Schema.optional(parameterSchema(schema))
    for (const [name, value] of Object.entries(query.http.chosenBy))
      schemas[name] = Schema.optional(Schema.Literal(value))
  }
  return schemas
}

/** The parameters of all queries of one path that may be there several times. */
export const repeatedOf = (queries: ReadonlyArray<AnyQuery>): ReadonlySet<string> =>
  new Set(
    queries.flatMap((query) =>
      parametersOf(query).flatMap(([name, schema]) => (SchemaAST.isArrays(givenOf(schema).ast) ? [name] : []))
    )
  )

/** Parameters by their decoded values. */
type Given = Readonly<Record<string, unknown>>

/** The names of what a query is given, the read token of the header among them. */
const takenBy = (query: AnyQuery): ReadonlySet<string> => {
  const taken = new Set([...parametersOf(query).map(([name]) => name), ...Object.keys(query.http.chosenBy)])
  return "readToken" in query.fields ? taken.add("readToken") : taken
}

/** What is given that no query of a path takes. */
export const strayOf = (queries: ReadonlyArray<AnyQuery>, given: Given): ReadonlyArray<string> => {
  const taken = new Set(queries.flatMap((query) => [...takenBy(query)]))
  return Object.keys(given).filter((name) => !taken.has(name))
}

const isChosen = (query: AnyQuery, given: Given): boolean => {
  const { chosenBy } = query.http
  const taken = takenBy(query)
  return (
    Object.keys(given).every((name) => taken.has(name)) &&
    Object.keys(chosenBy).every((name) => given[name] === chosenBy[name])
  )
}

/** The first query that takes all given parameters, and its options; undefined where none takes them together. */
export const chooseQuery = <Q extends { readonly query: AnyQuery }>(
  queries: ReadonlyArray<Q>,
  given: Given
): { readonly chosen: Q; readonly options: Readonly<Record<string, unknown>> } | undefined => {
  const chosen = queries.find(({ query }) => isChosen(query, given))
  if (chosen === undefined) return undefined
  const options: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(given))
    if (!(name in chosen.query.http.chosenBy)) options[name] = value
  return { chosen, options }
}

/** A sentence that names options in the caller's words. */
export const parameterWords = (message: string): string =>
  Object.entries(renamed).reduce((text, [option, parameter]) => text.replaceAll(option, parameter), message)

/** The path of a fault in the caller's words: as a parameter or a header, not as an option. */
export const parameterPath = ([option, ...rest]: ReadonlyArray<string>): ReadonlyArray<string> =>
  option === undefined
    ? []
    : [option === "readToken" ? "Chronicle-Read-Token" : parameterName(option), ...rest]
