/**
 * What the methods that take commands have in common in process, at the server and in the client: how a command is
 * checked and given its id, and how a batch answers one result a command although some are refused before they are sent.
 */
import { Clock, Effect, Result } from "effect"
import type { SecureRandom } from "effect/crypto"
import { type Command, type CommandInput, fromHost } from "./domain/Command.ts"
import { type CommandError, InvalidCommand } from "./domain/Errors.ts"
import type { Receipt } from "./domain/Receipt.ts"
import { type Sought, soughtBeside } from "./domain/StrictDecoding.ts"
import { makeTurns } from "./infra/config/Elapsed.ts"

type CommandResult = Result.Result<Receipt, CommandError>

/** Checks a command of a host, and makes its id where it has none. A host without types may pass anything, or nothing. */
export const makeReadCommand =
  (random: SecureRandom.SecureRandom["Service"]) =>
  (input: CommandInput | undefined | null, sought?: Sought): Effect.Effect<Command, InvalidCommand> =>
    input?.commandId === undefined
      ? Effect.flatMap(random.uuidV7({}), (made) =>
          Effect.fromResult(fromHost({ ...input, commandId: made }, sought))
        )
      : Effect.fromResult(fromHost(input, sought))

/** What the commands of a group have in common. */
export type GroupOptions = Pick<
  Extract<CommandInput, { readonly _tag: "Group" }>,
  "commandId" | "effectiveAt" | "expectedVersion" | "context"
>

/** A command of a group, which is named by the group's id. */
export type GroupMemberInput = Extract<CommandInput, { readonly _tag: "Group" }>["commands"][number]

/**
 * The command that a group is. A host without types may pass options of another kind, such as a map: spread out they would say nothing,
 * and the group would be sent under an id of its own. So they stand as a field, which the check refuses.
 */
export const toGroup = (
  commands: ReadonlyArray<GroupMemberInput>,
  options: GroupOptions = {}
): CommandInput => {
  const isGood = Object.prototype.toString.call(options) === "[object Object]"
  return { ...(isGood ? options : { options }), _tag: "Group", commands }
}

/**
 * Sends the commands that pass the check, in order, and puts their results between those of the others. Fails where the
 * commands are no list, and as a whole where the sending does. They are checked in short turns; and once a hundred faults are known,
 * one is looked for in each further command, because there may be hundreds in each of a thousand.
 */
export const dispatchChecked = Effect.fnUntraced(function* <Input, Checked, E>(
  inputs: ReadonlyArray<Input>,
  check: (input: Input, sought: Sought) => Effect.Effect<Checked, CommandError>,
  dispatchMany: (commands: ReadonlyArray<Checked>) => Effect.Effect<ReadonlyArray<CommandResult>, E>
) {
  if (!Array.isArray(inputs)) return yield* InvalidCommand.at("commands", "must be a list of commands")
  const turns = makeTurns(yield* Clock.Clock)
  const checks: Array<Result.Result<Checked, CommandError>> = []
  let faults = 0
  // A copy: between two turns a host may change its list.
  for (const input of [...inputs]) {
    const turn = turns()
    if (turn !== undefined) yield* turn
    const checked = yield* Effect.result(check(input, soughtBeside(faults)))
    if (Result.isFailure(checked) && checked.failure._tag === "InvalidCommand")
      faults += checked.failure.faults.length
    checks.push(checked)
  }
  const results = yield* dispatchMany(checks.filter(Result.isSuccess).map(({ success }) => success))
  let next = 0
  return checks.map((checked): CommandResult => {
    if (Result.isFailure(checked)) return Result.fail(checked.failure)
    const result = results[next++]
    if (result === undefined) throw new Error("a command of a batch has no result")
    return result
  })
})
