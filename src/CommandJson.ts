/**
 * Commands as JSON, the shared form of clients and servers: amounts are strings, because JSON has no integers of 38 digits, and instants
 * may be texts. Nothing is checked here; the ledger checks what comes out.
 */
import { Result } from "effect"
import type { Command } from "./domain/Command.ts"
import type { InvalidCommand } from "./domain/Errors.ts"
import { instantMessage } from "./domain/Ids.ts"
import { instantForms, parseInstant } from "./domain/InstantText.ts"
import { minorUnitsPattern } from "./domain/Money.ts"

type Fields = Readonly<Record<string, unknown>>

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const amountFields = ["amount", "overdraftLimit"] as const

/** `within` bounds what a body may nest: a group has commands, a command has legs, and a leg has neither. */
const mapAmounts = (
  fields: Fields,
  change: (amount: unknown) => unknown,
  within: "group" | "command" | "leg" = "group"
): Fields => {
  let changed: Record<string, unknown> | undefined
  for (const name of amountFields) {
    const value = fields[name]
    if (value !== undefined) changed = { ...(changed ?? fields), [name]: change(value) }
  }
  if (within !== "leg" && Array.isArray(fields.legs)) {
    const legs = fields.legs.map((leg: unknown) => (isFields(leg) ? mapAmounts(leg, change, "leg") : leg))
    changed = { ...(changed ?? fields), legs }
  }
  if (within === "group" && Array.isArray(fields.commands)) {
    const commands = fields.commands.map((one: unknown) =>
      isFields(one) ? mapAmounts(one, change, "command") : one
    )
    changed = { ...(changed ?? fields), commands }
  }
  return changed ?? fields
}

const print = (amount: unknown): unknown => (typeof amount === "bigint" ? amount.toString() : amount)

/** More digits than any amount has stay a text, which the ledger refuses: BigInt is slow on long ones. */
const digitsMax = 40

const revive = (amount: unknown): unknown =>
  typeof amount === "string" && amount.length <= digitsMax && minorUnitsPattern.test(amount)
    ? BigInt(amount)
    : amount

export const toJsonCommand = (command: Command): unknown => mapAmounts(command as Fields, print) // the fields of a command are its properties

const instantFields = ["effectiveAt", "expiresAt"] as const

/** Texts that are instants as epoch milliseconds. One that is none stays a text, which the ledger refuses: `inWordsOfInstants` says why. */
export const withInstants = (fields: Fields, within: "group" | "command" = "group"): Fields => {
  let changed: Record<string, unknown> | undefined
  for (const name of instantFields) {
    const text = fields[name]
    const instant = typeof text === "string" ? parseInstant(text) : undefined
    if (instant !== undefined && Result.isSuccess(instant))
      changed = { ...(changed ?? fields), [name]: instant.success }
  }
  // A group's commands have instants of their own; what they nest further is no command.
  if (within === "group" && Array.isArray(fields.commands)) {
    const commands = fields.commands.map((one: unknown) =>
      isFields(one) ? withInstants(one, "command") : one
    )
    changed = { ...(changed ?? fields), commands }
  }
  return changed ?? fields
}

type Fault = InvalidCommand["faults"][number]

/** What is wrong with an instant of the command, in the words of its reader: the ledger has seen it as something other than epoch milliseconds. */
export const inWordsOfInstants =
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

/** Amounts become bigints and instants numbers where they can be; every other value stays as it came, for the ledger to check. */
export const fromJsonCommand = (value: unknown): unknown =>
  isFields(value) ? mapAmounts(withInstants(value), revive) : value
