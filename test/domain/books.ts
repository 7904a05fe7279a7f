/** A few accounts as a plain fold of decided commands: what the domain tests and the fake ledger stand on. */
import { Result } from "effect"
import { type Account, absent, evolve } from "../../src/domain/Account.ts"
import { type AskedCommand, type Command, type CommandInput, fromHost } from "../../src/domain/Command.ts"
import { type Decided, type Decision, decide } from "../../src/domain/Decide.ts"
import type { AccountId } from "../../src/domain/Ids.ts"

/** A valid command from plain values; the id is `c` unless one is given. */
export const command = (input: CommandInput): AskedCommand =>
  Result.getOrThrow(fromHost({ commandId: "c", ...input }))

/** Account states by id; `stateOf` answers `Absent` for one that was never opened. */
export class Books {
  readonly accounts = new Map<string, Account>()
  /** The instant that commands are recorded at. */
  now = 1_767_225_600_000

  readonly stateOf = (id: AccountId): Account => this.accounts.get(id) ?? absent(id)

  /** Decides and, if accepted, folds the legs. */
  run(command: Command): Decision {
    const decision = decide(command, this.stateOf, this.now)
    if (Result.isSuccess(decision)) this.fold(decision.success)
    return decision
  }

  fold(legs: ReadonlyArray<Decided>): void {
    for (const { account, event } of legs) {
      this.accounts.set(account, evolve(this.stateOf(account), event, this.now))
    }
  }
}

/** The books after commands that must all be accepted. */
export const given = (inputs: ReadonlyArray<CommandInput>): Books => {
  const books = new Books()
  for (const input of inputs) Result.getOrThrow(books.run(command(input)))
  return books
}
