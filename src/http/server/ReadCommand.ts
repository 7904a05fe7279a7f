/**
 * Makes a command of what a request says: its body, the parameters of its path, and the headers that stand for fields. What a request
 * says twice must be the same.
 */
import { Result, Schema } from "effect"
import { InvalidCommand } from "../../domain/Errors.ts"
import { CommandId, commandIdMessage } from "../../domain/Ids.ts"
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
      const path = duplicateKeyOf(text, value)
      return path === undefined
        ? Result.succeed(value)
        : Result.fail(new InvalidCommand({ faults: [{ path, message: "stands twice in one object" }] }))
    })
  )

/** A structured field is quoted, a plain one is not: both are the same key. */
const unquoted = (key: string): string => key.replace(/^"(.*)"$/, "$1")

const isCommandId = Schema.is(CommandId)

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
  if (key !== undefined) {
    const commandId = unquoted(key)
    // Lines of one header come as one, with commas between, which no id has. What an id of the ledger's own (~) is for is told below.
    if (!isCommandId(commandId) && !commandId.startsWith("~"))
      return Result.fail(InvalidCommand.at("Idempotency-Key", `must be there once, and ${commandIdMessage}`))
    beside.push(["commandId", commandId, "the header Idempotency-Key"])
  }
  const ifMatch = headers["if-match"]
  if (ifMatch === undefined) return Result.succeed(beside)
  return Result.map(expectedVersionOf(ifMatch), (version) => [
    ...beside,
    ["expectedVersion", version, "the header If-Match"] as const
  ])
}

/**
 * A reversal's id is made of its original and n, whichever caller sends it. So a key of the client's own would promise what is not kept: that
 * another body under the same key is refused. The derived id itself says what is so already.
 */
const withoutDerivedId = (command: Fields): Result.Result<Fields, InvalidCommand> => {
  if (command._tag !== "Reverse" || command.commandId === undefined) return Result.succeed(command)
  const { commandId, ...others } = command
  const { n = 1, original } = others
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
    if (beside.length === 0) return withoutDerivedId(body)
    const named = Object.fromEntries(beside.map(([field, value]) => [field, value]))
    return withoutDerivedId({ ...body, ...named })
  })
}
