/**
 * Commands as JSON, the shared form of clients and servers: amounts are strings, because JSON has no integers of 38 digits. Nothing is
 * checked here; the ledger checks what comes out.
 */
import type { Command } from "./domain/Command.ts"
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

/** Amounts become bigints where they can be; every other value stays as it came, for the ledger to check. */
export const fromJsonCommand = (value: unknown): unknown =>
  isFields(value) ? mapAmounts(value, revive) : value
