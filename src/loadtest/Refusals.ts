/**
 * Judges refusals under load: the commands of a scenario are drawn so that it is known which of them may be refused, and by
 * what. Any other definite refusal was true of no state of its accounts, and is a broken promise (I7).
 */
import { accountsOf, type Command } from "../domain/Command.ts"
import type { CommandError } from "../domain/Errors.ts"
import type { Acknowledged } from "./Acknowledged.ts"
import type { RunIds } from "./RunIds.ts"
import type { LoadSettings } from "./Settings.ts"

/** More than any account of a load is funded with. */
const unaffordable = 10n ** 15n

interface LoadOf {
  readonly ids: RunIds
  /** Accounts below this number were opened and funded before the load; others open during it, with an overdraft alone. */
  readonly accounts: number
  /** Whether a command carries the id of an accepted one and another body. */
  readonly isChanged: (command: Command) => boolean
}

export const loadOf = (ids: RunIds, { accounts }: LoadSettings, acknowledged: Acknowledged): LoadOf => ({
  ids,
  accounts,
  isChanged: (command) => acknowledged.isChanged(command)
})

const isLarge = (command: Command): boolean => "amount" in command && command.amount >= unaffordable

/** Whether the refusal may be true. */
export const mayBeRefused = (
  command: Command,
  error: CommandError,
  { ids, accounts, isChanged }: LoadOf
): boolean => {
  const isFunded = accountsOf(command).every((account) => {
    const index = ids.indexOf(account)
    return index !== undefined && index < accounts
  })
  switch (error._tag) {
    case "InsufficientFunds":
      return !isFunded || isLarge(command)
    case "AccountNotFound":
      return !isFunded
    case "VersionConflict":
      return command.expectedVersion !== undefined
    case "AssetMismatch":
      return "asset" in command && command.asset !== undefined
    case "CommandIdReused":
      return isChanged(command)
    default:
      return false
  }
}
