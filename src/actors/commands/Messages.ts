/**
 * Cuts the commands for one owner into messages, each of so much work that the owner answers it well before it would be asked again, and
 * of so many bytes that a few of them fit into what may be unsent. A message is answered once all of it is done.
 */
import type { Command } from "../../domain/Command.ts"

/**
 * The size of a message: that of so many plain commands. With the longest texts it is far from the longest frame (PeerConnection.ts), and so
 * are its answers.
 */
export const messageMax = 1_000

/** What a row of the log has beside its texts, about, in characters. */
const rowChars = 400
/** Rows, and characters of rows, that count as one command: a plain transfer has two, and fewer characters. */
const commandRows = 2
const commandChars = 2_000

type Single = Exclude<Command, { readonly _tag: "Group" }>
type Part = Single | Extract<Command, { readonly _tag: "Group" }>["commands"][number]

const rowsOf = (part: Part): number => {
  if (part._tag === "Transfer") return 2
  return part._tag === "PostJournal" ? part.legs.length : 1
}

const lengthOf = (texts: Readonly<Record<string, string | undefined>> | undefined): number => {
  let length = 0
  for (const key in texts) length += key.length + (texts[key]?.length ?? 0)
  return length
}

/** Each row of a command bears what was written to it: a journal its metadata in each leg. */
const textsOf = (part: Part): number =>
  ("description" in part ? (part.description?.length ?? 0) : 0) +
  ("metadata" in part ? lengthOf(part.metadata) : 0)

const sizeOfPart = (part: Part, contextChars: number): number => {
  const rows = rowsOf(part)
  const chars = rows * (rowChars + contextChars + textsOf(part))
  return Math.ceil(Math.max(rows / commandRows, chars / commandChars))
}

/** A plain command counts once, a journal by its legs, a group as its commands do, and long texts by their length. */
const sizeOf = (command: Command): number => {
  const contextChars = lengthOf(command.context)
  if (command._tag !== "Group") return sizeOfPart(command, contextChars)
  return command.commands.reduce((size, part) => size + sizeOfPart(part, contextChars), 0)
}

interface Message {
  readonly commands: ReadonlyArray<Command>
  readonly size: number
}

/** The commands of each message, in order; one that is larger than `sizeMax` goes alone. */
export const messagesOf = (commands: ReadonlyArray<Command>, sizeMax: number): ReadonlyArray<Message> => {
  const messages: Array<{ readonly commands: Array<Command>; size: number }> = []
  for (const command of commands) {
    const size = sizeOf(command)
    const last = messages.at(-1)
    if (last === undefined || last.size + size > sizeMax) messages.push({ commands: [command], size })
    else {
      last.commands.push(command)
      last.size += size
    }
  }
  return messages
}
