/**
 * A batch of commands some of which are refused before they are sent: by the ledger's check, by a door's authorization,
 * by a client's encoding. It exists so that each of these answers one result a command, in the caller's order.
 */
import { Effect, Result } from "effect"
import type { CommandError } from "./domain/Errors.ts"
import type { Receipt } from "./domain/Receipt.ts"

/** Sends the commands that pass the check, and puts their results between those of the others. */
export const dispatchChecked = Effect.fnUntraced(function* <Input, Checked, E>(
  inputs: ReadonlyArray<Input>,
  check: (input: Input) => Effect.Effect<Checked, CommandError>,
  dispatchMany: (
    commands: ReadonlyArray<Checked>
  ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>, E>
) {
  const checks = yield* Effect.forEach(inputs, (input) => Effect.result(check(input)))
  const results = yield* dispatchMany(checks.filter(Result.isSuccess).map(({ success }) => success))
  let next = 0
  return checks.map((checked): Result.Result<Receipt, CommandError> => {
    if (Result.isFailure(checked)) return Result.fail(checked.failure)
    const result = results[next++]
    if (result === undefined) throw new Error("a command of a batch has no result")
    return result
  })
})
