/**
 * How a group of limits is declared: one schema with a default and a description a limit. The environment is read by
 * that schema, and the table in docs/limits.md is printed from it, so that neither can say something else than the code.
 */
import { Config, Effect, Result, Schema } from "effect"

const anyNumber = Number.MAX_SAFE_INTEGER

const limitFrom = (least: number, most: number) => {
  const from = `must be a whole number of ${least.toLocaleString("en-US")}`
  const message = most === anyNumber ? `${from} or more` : `${from} to ${most.toLocaleString("en-US")}`
  return Schema.Int.check(Schema.isBetween({ minimum: least, maximum: most }, { message }))
}

/** A limit of zero would stop what it bounds for ever. */
export const Limit = limitFrom(1, anyNumber)

const withDefault = (value: number, least: number, most: number) =>
  limitFrom(least, most).pipe(Schema.withConstructorDefault(Effect.succeed(value)))

type Fields = { readonly [limit: string]: ReturnType<typeof withDefault> }

/** One limit, and the least and most that it may be. Its unit is the end of its name (`Ms`: milliseconds) or the first noun of the description. */
export const limit = (value: number, description: string, least = 1, most = anyNumber) =>
  withDefault(value, least, most).annotateKey({ description })

export interface LimitGroup<F extends Fields> {
  /** The beginning of each variable. */
  readonly prefix: string
  readonly schema: Schema.Struct<F>
  readonly defaults: Schema.Struct.Type<F>
}

export const limitGroup = <F extends Fields>(prefix: string, fields: F): LimitGroup<F> => {
  const schema = Schema.Struct(fields)
  // Every field has a default, which a type that varies does not tell.
  return { prefix, schema, defaults: schema.make({} as Schema.Struct.MakeIn<F>) }
}

/** `batchRowsMax` is set by `CHRONICLE_BATCH_ROWS_MAX`. */
export const variableOf = (limit: string, prefix = "CHRONICLE"): string =>
  `${prefix}_${limit.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`

/** The limits of a group, each overridden by its environment variable if that is set. */
export const limitsOf = Effect.fnUntraced(function* <F extends Fields>({
  prefix,
  schema,
  defaults
}: LimitGroup<F>) {
  const limits: Record<string, number> = {}
  for (const [name, value] of Object.entries<number>(defaults)) {
    limits[name] = yield* Config.schema(schema.fields[name] ?? Limit, variableOf(name, prefix)).pipe(
      Config.withDefault(value)
    )
  }
  return schema.make(limits as Schema.Struct.MakeIn<F>) // the names are those of the schema
})

/** What is wrong with limits that a host gives in code; undefined where nothing is. The environment is refused before. */
export const limitsFault = <F extends Fields>(
  { schema }: Pick<LimitGroup<F>, "schema">,
  limits: Schema.Struct.Type<F>
): string | undefined => {
  const given: Readonly<Record<string, unknown>> = limits
  for (const [name, field] of Object.entries(schema.fields)) {
    const read = Schema.decodeUnknownResult(field)(given[name])
    if (Result.isFailure(read))
      return `${name}: ${read.failure.message.charAt(0).toLowerCase()}${read.failure.message.slice(1)}`
  }
  return undefined
}

/** A Markdown table of a group: variable, default, description. */
export const limitsTable = <F extends Fields>({ prefix, schema, defaults }: LimitGroup<F>): string =>
  [
    "| variable | default | |",
    "|---|---|---|",
    ...Object.entries<number>(defaults).map(([name, value]) => {
      const field = schema.fields[name]
      const description = field === undefined ? "" : Schema.resolveAnnotationsKey(field)?.description
      const unit = name.endsWith("Ms") || name.endsWith("MsMax") ? " ms" : ""
      return `| \`${variableOf(name, prefix)}\` | ${value.toLocaleString("en-US")}${unit} | ${description} |`
    })
  ].join("\n")
