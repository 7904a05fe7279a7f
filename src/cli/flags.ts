/** The arguments and flags that several commands share, and the checks of what they say together. */
import { Effect, FileSystem, Option, Path, type PlatformError, Result, Schema } from "effect"
import { Argument, CliError, Flag } from "effect/cli"
import { AccountId } from "../domain/Ids.ts"
import { instantForms, parseInstant } from "../domain/InstantText.ts"
import { pageRowsMax } from "../domain/Views.ts"
import { JsonAnswer } from "./Output.ts"

/** The account that a command is about. */
export const accountArgument = (name = "account", description = "The account's id") =>
  Argument.String(name).pipe(Argument.withDescription(description), Argument.withSchema(AccountId))

/** A path as it was typed; '' is none, where the library's own flags take it for the current directory. */
const pathText = (name: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("path"),
    Flag.filter(
      (text) => text !== "",
      () => "is no path"
    )
  )

const absolute = (text: string) => Path.Path.use(({ resolve }) => Effect.succeed(resolve(text)))

/** An absolute path. */
export const pathFlag = (name: string) => pathText(name).pipe(Flag.mapEffect(absolute))

/** An absolute path, or `-` for stdout. */
export const outputPathFlag = (name: string) =>
  pathText(name).pipe(Flag.mapEffect((text) => (text === "-" ? Effect.succeed(text) : absolute(text))))

/** The absolute path of something to read: a file, or a pipe or a device, as a shell names what another command writes. */
export const readableArgument = (name: string) =>
  Argument.Path(name, { pathType: "either", mustExist: true }).pipe(
    Argument.mapEffect((path) =>
      FileSystem.FileSystem.use((fs) => fs.stat(path)).pipe(
        Effect.map(({ type }) => type !== "Directory"),
        // What cannot be looked at is told of as it is read.
        Effect.orElseSucceed(() => true),
        Effect.filterOrFail(
          (isReadable) => isReadable,
          () =>
            new CliError.InvalidValue({
              option: name,
              value: path,
              expected: "is a directory",
              kind: "argument"
            })
        ),
        Effect.as(path)
      )
    )
  )

/** The path, where it passes the check; else wrong usage. */
const checkedData = (
  path: string,
  check: (fs: FileSystem.FileSystem) => Effect.Effect<boolean, PlatformError.PlatformError>,
  fault: string
) =>
  FileSystem.FileSystem.use(check).pipe(
    Effect.orElseSucceed(() => false),
    Effect.filterOrFail(
      (isRight) => isRight,
      () => new CliError.InvalidValue({ option: "data", value: path, expected: fault, kind: "flag" })
    ),
    Effect.as(path)
  )

const dataDirectory = pathFlag("data").pipe(
  Flag.withMetavar("directory"),
  Flag.withDescription(
    "Ask the embedded stack of this data directory (as `demo` and `dev` leave it), started for as long as it takes"
  ),
  Flag.mapEffect((path) =>
    checkedData(
      path,
      (fs) => Effect.map(fs.stat(path), ({ type }) => type === "Directory"),
      "is no directory that can be read"
    )
  )
)

/** `--data DIR` of every command that asks: a stack that is made for the question has nothing to answer. */
export const dataFlag = dataDirectory.pipe(
  Flag.mapEffect((path) =>
    checkedData(
      path,
      (fs) => fs.exists(`${path}/version.json`),
      "is no data directory of the ledger: it lacks the version.json that `demo` and `dev` leave"
    )
  ),
  Flag.optional
)

/** `--data DIR` of `migrate`, which may be the first that is done there. */
export const migratedDataFlag = dataDirectory.pipe(Flag.optional)

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

/** The form of a read token; its reader is no part of what every command loads. */
const readTokenForm = /^[\w:-]{1,64}@\d+(?:,[\w:-]{1,64}@\d+)*$/

export const readTokenFlag = Flag.String("token").pipe(
  Flag.withDescription("A receipt's read token: wait until the read model holds that write"),
  Flag.filterMap(
    (text) => (readTokenForm.test(text) ? Option.some(text) : Option.none()),
    () => "is no read token: it is account@version, or several of them with commas"
  ),
  Flag.optional
)

const wholeNumber = /^(?:0|-?[1-9]\d{0,15})$/

/** A whole number as every door takes it, in digits: the library's own flag takes `1e3` and `5.0` for one, too. */
export const wholeNumberFlag = (name: string) =>
  Flag.String(name).pipe(
    Flag.withMetavar("integer"),
    Flag.filterMap(
      (text) => (wholeNumber.test(text) ? Option.some(Number(text)) : Option.none()),
      () => "must be a whole number, in digits"
    )
  )

/** What is wrong with texts of the form `key=value`; undefined where each is one and no key stands twice. */
const pairsFault = (texts: ReadonlyArray<string>): string | undefined => {
  const keys = texts.map((text) => text.slice(0, Math.max(0, text.indexOf("="))))
  if (keys.includes("")) return "must be key=value"
  const twice = keys.find((key, index) => keys.indexOf(key) < index)
  return twice === undefined ? undefined : `has the key ${twice} twice`
}

/** `--metadata key=value`, once for each key; the library's own flag takes the last of two values of one key without a word. */
export const metadataFlag = Flag.String("metadata").pipe(
  Flag.withMetavar("key=value"),
  Flag.withDescription("Free text kept with it: --metadata invoice=4711, once for each key"),
  Flag.atLeast(1),
  Flag.filterMap(
    (texts) =>
      pairsFault(texts) === undefined
        ? Option.some(
            Object.fromEntries(
              texts.map((text) => [text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1)])
            )
          )
        : Option.none(),
    (texts) => pairsFault(texts) ?? ""
  ),
  Flag.optional
)

export const Positive = Schema.Int.check(
  Schema.isGreaterThanOrEqualTo(1, { message: "must be a whole number of 1 or more" })
)

/** `--limit` of every command that answers by pages. */
export const limitFlag = (what: string) =>
  wholeNumberFlag("limit").pipe(
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
