/**
 * `chronicle-ledger/testing`: what tests of host code need. `layerMemory` is a whole ledger in this process's memory, for
 * `Effect.provide` or `openLayer`; `given` asks the ledger's decisions alone, without a ledger, a clock or an Effect:
 *
 *     given({ _tag: "OpenAccount", account: "a", asset: "USD/2", owner: "Ada" })
 *       .when({ _tag: "Withdraw", account: "a", amount: 1n }) // { rejection: InsufficientFunds }
 */
import "./requireNode.ts"
import { Result } from "effect"
import { type Account, absent, evolve } from "./domain/Account.ts"
import { type Command, type CommandInput, fromHost } from "./domain/Command.ts"
import { type Decided, decide } from "./domain/Decide.ts"
import type { InvalidCommand, Rejection } from "./domain/Errors.ts"
import type { AccountId, Instant } from "./domain/Ids.ts"

export { openLayer } from "./AsyncLedger.ts"
export { layerMemory } from "./LedgerNode.ts"
export { Ledger } from "./LedgerService.ts"

/** The events of an accepted command, in order, each with its account; or why it is rejected. */
export type Outcome =
  | { readonly events: ReadonlyArray<Decided> }
  | { readonly rejection: Rejection | InvalidCommand }

export interface GivenCommands {
  /** What the ledger would do with this command at an instant (default 0), after those given. Changes nothing. */
  readonly when: (command: CommandInput, at?: Instant) => Outcome
  /** The state of an account after the given commands; `Absent` where none opened it. */
  readonly account: (id: string) => Account
}

/** The command as the ledger would read it, with an id where it has none. */
const readCommand = (input: CommandInput): Result.Result<Command, InvalidCommand> =>
  fromHost({ commandId: "test", ...input })

/** When the given commands were recorded. */
const givenAt: Instant = 0

/** Accounts after these commands, all of which the ledger must accept; throws the rejection of the first that it does not. */
export const given = (...commands: ReadonlyArray<CommandInput>): GivenCommands => {
  const accounts = new Map<string, Account>()
  const stateOf = (id: AccountId): Account => accounts.get(id) ?? absent(id)
  for (const command of commands) {
    const decided = Result.getOrThrow(decide(Result.getOrThrow(readCommand(command)), stateOf, givenAt))
    for (const { account, event } of decided) accounts.set(account, evolve(stateOf(account), event, givenAt))
  }
  return {
    account: (id) => stateOf(id as AccountId), // an id of no account is absent
    when: (input, at = givenAt) => {
      const command = readCommand(input)
      if (Result.isFailure(command)) return { rejection: command.failure }
      const decision = decide(command.success, stateOf, at)
      return Result.isSuccess(decision) ? { events: decision.success } : { rejection: decision.failure }
    }
  }
}
