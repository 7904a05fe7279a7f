/** A command of the host enters and its JSON value leaves, amounts as strings; and back. Checks nothing. */
import type { Command } from "../domain/Command.ts"

type Fields = Readonly<Record<string, unknown>>

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const amountFields = ["amount", "overdraftLimit"] as const

const mapAmounts = (fields: Fields, change: (amount: unknown) => unknown): Fields => {
  let changed: Record<string, unknown> | undefined
  for (const name of amountFields) {
    const value = fields[name]
    if (value !== undefined) changed = { ...(changed ?? fields), [name]: change(value) }
  }
  if (Array.isArray(fields.legs)) {
    const legs = fields.legs.map((leg: unknown) => (isFields(leg) ? mapAmounts(leg, change) : leg))
    changed = { ...(changed ?? fields), legs }
  }
  return changed ?? fields
}

const print = (amount: unknown): unknown => (typeof amount === "bigint" ? amount.toString() : amount)

/** More digits than any amount has are left a text, which the ledger refuses: BigInt is slow on long ones. */
const revive = (amount: unknown): unknown =>
  typeof amount === "string" && /^-?\d{1,40}$/.test(amount) ? BigInt(amount) : amount

export const toJsonCommand = (command: Command): unknown => mapAmounts(command as Fields, print) // the fields of a command are its properties

/** What the ledger is to check: host values where the JSON has what may be one, else the value as it came. */
export const fromJsonCommand = (value: unknown): unknown =>
  isFields(value) ? mapAmounts(value, revive) : value
