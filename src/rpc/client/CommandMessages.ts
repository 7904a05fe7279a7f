/** How commands become messages: each with an id and its JSON, many in one message of bounded size. */
import { Effect } from "effect"
import type { SecureRandom } from "effect/crypto"
import { toJsonCommand } from "../../CommandJson.ts"
import { makeReadCommand } from "../../CommandMethods.ts"
import type { Command, CommandInput } from "../../domain/Command.ts"
import { InvalidCommand } from "../../domain/Errors.ts"
import type { Sought } from "../../domain/StrictDecoding.ts"
import type { ClientLimits } from "./ClientOptions.ts"

export interface EncodedCommand {
  readonly command: Command
  readonly json: unknown
  /** Characters of its JSON. */
  readonly size: number
}

/**
 * Checks a command as the ledger in process does, so that a wrong one is refused alike over both doors and never sent. Its
 * id is made here, before the first sending: whatever happens on the way, the same id is sent again.
 */
export const makeEncodeCommand = (random: SecureRandom.SecureRandom["Service"], limits: ClientLimits) => {
  const read = makeReadCommand(random)
  return (input: CommandInput, sought?: Sought): Effect.Effect<EncodedCommand, InvalidCommand> =>
    Effect.flatMap(read(input, sought), (command) => {
      const json = toJsonCommand(command)
      const size = JSON.stringify(json).length
      return size <= limits.commandCharactersMax
        ? Effect.succeed({ command, json, size })
        : Effect.fail(
            InvalidCommand.at(
              "command",
              `has ${size} characters as JSON, at most ${limits.commandCharactersMax} are sent`
            )
          )
    })
}

/** Cuts a batch into chunks, in order; each chunk is one message. */
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
