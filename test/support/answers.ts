/**
 * Judges what owners answered from memory, by the log and by what callers saw: a strong balance and a definite refusal
 * must be true of a state that was the account's last at some moment between the question and the answer (I7).
 *
 * Which states those may be is known from outside alone: every version that was acknowledged to anybody before the
 * question is in them, and none whose command was first sent after the answer.
 */
import type { CommandInput } from "../../src/domain/Command.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { type Attempt, balanceAfter, type Log, limitOf } from "./invariants.ts"

/** A strong balance that was told; `start` and `end` by the clock of the attempts. */
export interface ToldBalance {
  readonly account: string
  readonly start: number
  readonly end: number
  readonly version: number
  readonly balance: bigint
}

/** A command that was refused for good, by the tag of the error. */
export interface Refusal {
  readonly command: CommandInput
  readonly start: number
  readonly end: number
  readonly tag: string
}

/** Balance and overdraft limit of an account at each version; version 0 is before it was opened. */
interface States {
  readonly balances: ReadonlyArray<bigint>
  readonly limits: ReadonlyArray<bigint>
}

const statesOf = (rows: ReadonlyArray<StoredEvent>): States => {
  const balances = [0n]
  const limits = [0n]
  for (const row of rows) {
    balances.push(balanceAfter(balances.at(-1) ?? 0n, row))
    limits.push(limitOf(limits.at(-1) ?? 0n, row))
  }
  return { balances, limits }
}

/** The versions that may have been an account's last one at some moment between two instants. */
const makeVersions = ({ streams }: Log, attempts: ReadonlyArray<Attempt>) => {
  const firstSent = new Map<string, number>()
  /** When callers were told of a version of an account, first. */
  const told = new Map<string, Map<number, number>>()
  for (const { commandId, start, end, answer } of attempts) {
    firstSent.set(commandId, Math.min(start, firstSent.get(commandId) ?? Number.POSITIVE_INFINITY))
    if (typeof answer === "string") continue
    for (const { account, version } of answer.postings) {
      const ofAccount = told.get(account) ?? new Map<number, number>()
      told.set(account, ofAccount)
      ofAccount.set(version, Math.min(end, ofAccount.get(version) ?? Number.POSITIVE_INFINITY))
    }
  }
  return (account: string, start: number, end: number): { readonly least: number; readonly most: number } => {
    let least = 0
    for (const [version, at] of told.get(account) ?? []) if (at < start) least = Math.max(least, version)
    const rows = streams.get(account) ?? []
    const later = rows.findIndex((row) => (firstSent.get(row.commandId) ?? 0) > end)
    return { least, most: later < 0 ? rows.length : later }
  }
}

/** What a command takes from each account, where it takes anything. */
const takenBy = (command: CommandInput): ReadonlyArray<readonly [account: string, amount: bigint]> => {
  switch (command._tag) {
    case "Withdraw":
      return [[command.account, BigInt(command.amount)]]
    case "Transfer":
      return [[command.from, BigInt(command.amount)]]
    case "PostJournal":
      return command.legs.flatMap(({ account, side, amount }) =>
        side === "debit" ? [[account, BigInt(amount)] as const] : []
      )
    default:
      return []
  }
}

const namedBy = (command: CommandInput): ReadonlyArray<string> => {
  if ("account" in command) return [command.account]
  if ("from" in command) return [command.from, command.to]
  return "legs" in command ? command.legs.map(({ account }) => account) : []
}

/** What an account with holds has available depends on when they expire: such an account's funds are not judged here. */
const hasHolds = (rows: ReadonlyArray<StoredEvent> | undefined): boolean =>
  rows?.some(({ type }) => type.startsWith("Hold")) ?? false

/** Each answer that was true of no state, in words. Refusals of other kinds than these three are not judged. */
export const untrueAnswers = (
  log: Log,
  attempts: ReadonlyArray<Attempt>,
  balances: ReadonlyArray<ToldBalance>,
  refusals: ReadonlyArray<Refusal>
): ReadonlyArray<string> => {
  const versionsOf = makeVersions(log, attempts)
  const states = new Map<string, States>()
  const stateOf = (account: string): States => {
    const known = states.get(account) ?? statesOf(log.streams.get(account) ?? [])
    states.set(account, known)
    return known
  }
  const wasSome = (account: string, start: number, end: number, isIt: (version: number) => boolean) => {
    const { least, most } = versionsOf(account, start, end)
    for (let version = least; version <= most; version++) if (isIt(version)) return true
    return false
  }
  const faults: Array<string> = []
  for (const { account, start, end, version, balance } of balances) {
    if (stateOf(account).balances[version] !== balance)
      faults.push(
        `I7: ${account} was told as ${balance} at version ${version}, and is not in the log as that`
      )
    else if (!wasSome(account, start, end, (one) => one === version)) {
      const { least, most } = versionsOf(account, start, end)
      faults.push(
        `I7: ${account} was told at version ${version}, when its last was one of ${least} to ${most}`
      )
    }
  }
  for (const { command, start, end, tag } of refusals) {
    const isTrue =
      tag === "InsufficientFunds"
        ? takenBy(command).some(
            ([account, amount]) =>
              hasHolds(log.streams.get(account)) ||
              wasSome(account, start, end, (version) => {
                const { balances, limits } = stateOf(account)
                return (balances[version] ?? 0n) + (limits[version] ?? 0n) < amount
              })
          )
        : tag === "AccountNotFound"
          ? namedBy(command).some((account) => wasSome(account, start, end, (version) => version === 0))
          : tag !== "AccountAlreadyExists" ||
            namedBy(command).some((account) => wasSome(account, start, end, (version) => version > 0))
    if (!isTrue) faults.push(`I7: ${command.commandId} was refused by ${tag}, which was true of no state`)
  }
  return faults
}
