/**
 * Makes a command of what a request says: its body, the parameters of its path, and the headers that stand for fields. What a request
 * says twice must be the same.
 */
import { Result } from "effect"
import { InvalidCommand } from "../../domain/Errors.ts"
import { type CommandId, instantMessage } from "../../domain/Ids.ts"
import { instantForms, parseInstant } from "../../domain/InstantText.ts"
import { reversalIdOf } from "../../domain/Original.ts"
import { duplicateKeyOf } from "./DuplicateKeys.ts"
import { expectedVersionOf } from "./EntityTags.ts"

type Fields = Readonly<Record<string, unknown>>

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

export const parseJson = (text: string): Result.Result<unknown, InvalidCommand> =>
  Result.try((): unknown => JSON.parse(text)).pipe(
    Result.mapError(() => InvalidCommand.at("body", "must be JSON")),
    Result.flatMap((value) => {
      const key = duplicateKeyOf(text, value)
      return key === undefined
        ? Result.succeed(value)
        : Result.fail(InvalidCommand.at(key, "stands twice in one object"))
    })
  )

/** A structured field is quoted, a plain one is not: both are the same key. */
const unquoted = (key: string): string => key.replace(/^"(.*)"$/, "$1")

/** What stands for fields of the command outside of the body, each with where it stands. */
const fieldsBeside = (
  params: Fields,
  headers: Readonly<Record<string, string | undefined>>
): Result.Result<ReadonlyArray<readonly [field: string, value: unknown, where: string]>, InvalidCommand> => {
  const beside: Array<readonly [string, unknown, string]> = Object.entries(params).map(([field, value]) => [
    field,
    value,
    "the path"
  ])
  const key = headers["idempotency-key"]
  if (key !== undefined) beside.push(["commandId", unquoted(key), "the header Idempotency-Key"])
  const ifMatch = headers["if-match"]
  if (ifMatch === undefined) return Result.succeed(beside)
  return Result.map(expectedVersionOf(ifMatch), (version) => [
    ...beside,
    ["expectedVersion", version, "the header If-Match"] as const
  ])
}

const instantFields = ["effectiveAt", "expiresAt"] as const

/** Instants may be texts here. One that is none stays a text, which the ledger refuses: `inWordsOfInstants` says why. */
const withInstants = (fields: Fields, depth = 0): Fields => {
  const read: Record<string, unknown> = {}
  for (const name of instantFields) {
    const text = fields[name]
    const instant = typeof text === "string" ? parseInstant(text) : undefined
    if (instant !== undefined && Result.isSuccess(instant)) read[name] = instant.success
  }
  // A group's commands have instants of their own; what they nest further is no command.
  if (Array.isArray(fields.commands) && depth === 0)
    read.commands = fields.commands.map((one: unknown) => (isFields(one) ? withInstants(one, 1) : one))
  return { ...fields, ...read }
}

/**
 * A reversal's id is made of its original and n, whichever caller sends it. So a key of the client's own would promise what is not kept: that
 * another body under the same key is refused. The derived id itself says what is so already.
 */
const withoutDerivedId = (command: Fields): Result.Result<Fields, InvalidCommand> => {
  const { commandId, ...others } = command
  const { _tag, n = 1, original } = others
  if (_tag !== "Reverse" || commandId === undefined) return Result.succeed(command)
  // What is wrong with these is told by the ledger.
  if (typeof original !== "string" || typeof n !== "number") return Result.succeed(others)
  const derived = reversalIdOf(original as CommandId, n) // not checked yet
  if (commandId === derived) return Result.succeed(others)
  const message = `of reversal ${n} of ${original.slice(0, 128)} is ${derived.slice(0, 160)}: send that, or no key and no commandId`
  return Result.fail(InvalidCommand.at("commandId", message))
}

/** JSON that should be a command; the ledger checks what it is. `params` are fields, `_tag` among them where the route is of one kind. */
export const commandOf = (
  body: unknown,
  params: Fields,
  headers: Readonly<Record<string, string | undefined>>
): Result.Result<unknown, InvalidCommand> => {
  if (!isFields(body)) return Result.fail(InvalidCommand.at("body", "must be an object"))
  return Result.flatMap(fieldsBeside(params, headers), (beside) => {
    if (headers["if-none-match"] !== undefined)
      return Result.fail(InvalidCommand.at("If-None-Match", "is of questions; a command takes If-Match"))
    const faults = beside.flatMap(([field, value, where]) =>
      Object.hasOwn(body, field) && body[field] !== value
        ? [{ path: [field], message: `must be the same as in ${where}` }]
        : []
    )
    if (faults.length > 0) return Result.fail(new InvalidCommand({ faults }))
    const named = Object.fromEntries(beside.map(([field, value]) => [field, value]))
    return withoutDerivedId(withInstants({ ...body, ...named }))
  })
}

type Fault = InvalidCommand["faults"][number]

/** What is wrong with an instant, in the words of its reader: the ledger has seen it as something other than epoch milliseconds. */
const inWordsOfInstants =
  (command: Fields) =>
  (fault: Fault): Fault => {
    const { path } = fault
    // Other faults have words of their own, as of a field that is none of the kind, or of metadata under such a name.
    if (fault.message !== instantMessage) return fault
    const value = path.reduce<unknown>(
      (inner, name) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, name) : undefined),
      command
    )
    if (typeof value === "number") return fault
    const read =
      typeof value === "string" ? parseInstant(value) : Result.fail(`is no instant: write ${instantForms}`)
    return Result.isFailure(read) ? { path, message: read.failure } : fault
  }

/** The same of an error, where it is that a command is no right one. */
export const inWordsOfText =
  (command: unknown) =>
  <E extends { readonly _tag: string }>(error: E): E | InvalidCommand =>
    isFields(command) && error instanceof InvalidCommand
      ? new InvalidCommand({ faults: error.faults.map(inWordsOfInstants(command)) })
      : error
