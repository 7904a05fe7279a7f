/** Commands of the host enter; each with an id and its JSON leaves, cut into messages of a bounded size. */
import { Effect, Result } from "effect"
import type { SecureRandom } from "effect/crypto"
import type { CommandInput } from "../../domain/Command.ts"
import { InvalidCommand } from "../../domain/Errors.ts"
import { toJsonCommand } from "../CommandJson.ts"
import type { ClientLimits } from "./ClientOptions.ts"

export interface EncodedCommand {
  readonly commandId: string
  readonly json: unknown
  /** Characters of its JSON. */
  readonly size: number
}

/** The id is made here, before the first sending: whatever happens on the way, the same id is sent again. */
export const makeEncodeCommand = (random: SecureRandom.SecureRandom["Service"], limits: ClientLimits) => {
  const toJson = (
    command: CommandInput,
    commandId: string
  ): Result.Result<EncodedCommand, InvalidCommand> => {
    const json = toJsonCommand({ ...command, commandId })
    const text = Result.try(() => JSON.stringify(json))
    if (Result.isFailure(text))
      return Result.fail(InvalidCommand.at("command", "has a value that JSON cannot carry"))
    const size = text.success.length
    return size <= limits.commandCharactersMax
      ? Result.succeed({ commandId, json, size })
      : Result.fail(InvalidCommand.at("command", `has ${size} characters as JSON`))
  }
  return (command: CommandInput): Effect.Effect<EncodedCommand, InvalidCommand> =>
    command.commandId === undefined
      ? Effect.flatMap(random.uuidV7({}), (made) => Effect.fromResult(toJson(command, made)))
      : Effect.fromResult(toJson(command, command.commandId))
}

/** In order; each chunk is one message. */
export const chunksOf = (
  commands: ReadonlyArray<EncodedCommand>,
  limits: ClientLimits
): ReadonlyArray<ReadonlyArray<EncodedCommand>> => {
  const chunks: Array<Array<EncodedCommand>> = []
  let chunk: Array<EncodedCommand> = []
  let size = 0
  for (const command of commands) {
    if (
      chunk.length > 0 &&
      (chunk.length >= limits.batchMax || size + command.size > limits.batchCharactersMax)
    ) {
      chunks.push(chunk)
      chunk = []
      size = 0
    }
    chunk.push(command)
    size += command.size
  }
  if (chunk.length > 0) chunks.push(chunk)
  return chunks
}
