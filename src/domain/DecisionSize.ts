/** How large the events of a decision may be: one command is one statement, whatever was written to each of its events. Pure. */
import { Result } from "effect"
import type { Command, CommandContext } from "./Command.ts"
import type { Decided, Decision } from "./Decide.ts"
import { InvalidCommand } from "./Errors.ts"

/** A row beside its texts, about. */
const rowBytes = 400

/**
 * What the events of a decision come to in the INSERT, about. From their texts alone, each looked at once: to make all rows of a
 * command that is refused for it takes a second.
 */
const bytesOf = (decision: ReadonlyArray<Decided>, context: CommandContext | undefined): number => {
  const lengths = new Map<unknown, number>()
  const lengthOf = (text: unknown): number => {
    const length = lengths.get(text) ?? (text === undefined ? 0 : JSON.stringify(text).length)
    lengths.set(text, length)
    return length
  }
  let bytes = 0
  for (const { event } of decision) {
    bytes += rowBytes + lengthOf(context)
    if ("description" in event) bytes += lengthOf(event.description)
    if ("metadata" in event) bytes += lengthOf(event.metadata)
  }
  return bytes
}

/**
 * The decision, unless it comes to more than one statement may carry: a command is never split, and each leg of a journal has what was
 * written to it. Most decisions have two events at most, which no bound is near.
 */
export const bounded = (decision: Decision, { context }: Command, bytesMax: number): Decision => {
  if (Result.isFailure(decision) || decision.success.length <= 2) return decision
  const bytes = bytesOf(decision.success, context)
  if (bytes <= bytesMax) return decision
  const message = `must come to ${bytesMax} characters of events at most (CHRONICLE_BATCH_BYTES_MAX), not ${bytes}: each leg of a journal has its metadata and description`
  return Result.fail(new InvalidCommand({ faults: [{ path: [], message }] }))
}
