/** The arguments and flags that several commands share, and the checks of what they say together. */
import { Effect, Option, Result, Schema } from "effect"
import { Argument, Flag } from "effect/cli"
import { AccountId } from "../domain/Ids.ts"
import { instantForms, parseInstant } from "../domain/InstantText.ts"
import { pageRowsMax } from "../domain/Views.ts"
import { JsonAnswer } from "./Output.ts"

/** The account that a command is about. */
export const accountArgument = (name = "account", description = "The account's id") =>
  Argument.String(name).pipe(Argument.withDescription(description), Argument.withSchema(AccountId))

/** `--data DIR` of every command that asks. */
export const dataFlag = Flag.Directory("data", { mustExist: true }).pipe(
  Flag.withDescription(
    "Ask the embedded stack of this data directory (as `demo` and `dev` leave it), started for as long as it takes"
  ),
  Flag.optional
)

/** `--json` of every command. */
export const jsonFlag = Flag.Boolean("json").pipe(
  Flag.withDescription("Print one JSON value as the last line on stdout"),
  Flag.withDefault(false),
  Flag.mapEffect((isAsked) =>
    Effect.map(JsonAnswer, (answer) => {
      answer.isAsked = isAsked
      return isAsked
    })
  )
)

/** An option that names an instant. */
export const instantFlag = (name: string, description: string) =>
  Flag.String(name).pipe(
    Flag.withDescription(`${description}: ${instantForms}`),
    Flag.filterMap(
      (text) => Result.getSuccess(parseInstant(text)),
      (text) => Result.match(parseInstant(text), { onSuccess: String, onFailure: String })
    ),
    Flag.optional
  )

export const readTokenFlag = Flag.String("token").pipe(
  Flag.withDescription("A receipt's read token: wait until the read model holds that write"),
  Flag.optional
)

export const Positive = Schema.Int.check(
  Schema.isGreaterThanOrEqualTo(1, { message: "must be a whole number of 1 or more" })
)

/** `--limit` of every command that answers by pages. */
export const limitFlag = (what: string) =>
  Flag.Int("limit").pipe(
    Flag.withDescription(`${what}, at most ${pageRowsMax}`),
    Flag.withSchema(
      Schema.Int.check(
        Schema.isBetween(
          { minimum: 1, maximum: pageRowsMax },
          { message: `must be a whole number of 1 to ${pageRowsMax}` }
        )
      )
    )
  )

/** The options that were given, as fields. */
export const given = <A>(options: {
  readonly [name: string]: Option.Option<A>
}): {
  readonly [name: string]: A
} =>
  Object.fromEntries(
    Object.entries(options).flatMap(([name, value]) => (Option.isSome(value) ? [[name, value.value]] : []))
  )
