/** The prefixes whose sums the read model keeps at hand, so that a question about them does not read each of their accounts. */
import { Config, Context, Effect, Layer, Schema, SchemaTransformation } from "effect"

/** Most prefixes that may be declared: each event is held against all of them. */
const sumPrefixesMax = 32

const prefixMessage = "must be 1 to 64 characters of an account id: A-Z a-z 0-9 _ : -"

const Declared = Schema.Array(
  Schema.String.check(Schema.isPattern(/^[A-Za-z0-9_:-]{1,64}$/, { message: prefixMessage }))
).check(
  Schema.isMaxLength(sumPrefixesMax, { message: `must be ${sumPrefixesMax} prefixes at most` }),
  Schema.makeFilter<ReadonlyArray<string>>(
    (prefixes) => new Set(prefixes).size === prefixes.length || "must not name a prefix twice"
  )
)

/** Those in force, the same on all nodes with a read side; a reference, so that a host without them need not name any. */
export const SumPrefixes = Context.Reference<ReadonlyArray<string>>("chronicle/infra/SumPrefixes", {
  defaultValue: () => []
})

/** Throws where they cannot be declared, with the reason. */
export const sumPrefixesOf = (prefixes: ReadonlyArray<string>) =>
  Layer.succeed(SumPrefixes, Schema.decodeSync(Declared)(prefixes))

const CommaSeparated = Schema.String.pipe(
  Schema.decodeTo(
    Declared,
    SchemaTransformation.transform({
      decode: (text): ReadonlyArray<string> =>
        text
          .split(",")
          .map((one) => one.trim())
          .filter((one) => one !== ""),
      encode: (prefixes) => prefixes.join()
    })
  )
)

/** `CHRONICLE_SUM_PREFIXES`: `merchant:,wallet:eu:`; none where it is absent. */
export const sumPrefixesFromEnvironment = Layer.unwrap(
  Effect.gen(function* () {
    const declared = Config.schema(CommaSeparated, "CHRONICLE_SUM_PREFIXES").pipe(Config.withDefault([]))
    return Layer.succeed(SumPrefixes, yield* declared)
  })
)
