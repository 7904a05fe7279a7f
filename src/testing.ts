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
import { type Decided, type Decision, decide } from "./domain/Decide.ts"
import { bounded } from "./domain/DecisionSize.ts"
import {
  CommandIdReused,
  CommandNotFound,
  GroupRejected,
  HoldClosed,
  type InvalidCommand,
  type Rejection
} from "./domain/Errors.ts"
import { hashCommand } from "./domain/HashChain.ts"
import type { AccountId, CommandId, Instant } from "./domain/Ids.ts"
import type { Asset } from "./domain/Money.ts"
import { movedBy, originalOf } from "./domain/MovedByOriginal.ts"
import { reversalIdOf } from "./domain/Original.ts"
import { defaultLimits } from "./infra/config/LedgerConfig.ts"

export { openLayer } from "./AsyncLedger.ts"
export { layerMemory } from "./LedgerNode.ts"
export { Ledger } from "./LedgerService.ts"

/**
 * The events of an accepted command, in order, each with its account; or why it is rejected. A command that was accepted before has
 * the events that it had then, and none further.
 */
export type Outcome = { readonly events: ReadonlyArray<Decided> } | { readonly rejection: Refusal }

type Refusal = Rejection | InvalidCommand | CommandIdReused | CommandNotFound

export interface GivenCommands {
  /** What the ledger would do with this command at an instant (default 0), after those given. Changes nothing. */
  readonly when: (command: CommandInput, at?: Instant) => Outcome
  /** The state of an account after the given commands; `Absent` where none opened it. */
  readonly account: (id: string) => Account
}

/** When the given commands were recorded. */
const givenAt: Instant = 0

/** A command that was accepted, as far as the log tells of it. */
interface Accepted {
  readonly hash: string
  readonly events: ReadonlyArray<Decided>
}

/** What a command comes to, under the id that it lands with. */
type Made = Result.Result<{ readonly command: Command; readonly events: ReadonlyArray<Decided> }, Refusal>

/** The accounts and the accepted commands, by their ids. */
class Books {
  readonly #accounts = new Map<string, Account>()
  readonly #accepted = new Map<string, Accepted>()

  readonly accountOf = (id: AccountId): Account => this.#accounts.get(id) ?? absent(id)

  /** The command as the ledger would read it, with an id of its own where it has none. */
  #read(input: CommandInput): Result.Result<Command, InvalidCommand> {
    return fromHost(input?.commandId === undefined ? { ...input, commandId: this.#freeId() } : input)
  }

  #freeId(): string {
    for (let number = 1; ; number++) {
      const id = `test-${number}`
      if (!this.#accepted.has(id)) return id
    }
  }

  decide(input: CommandInput, at: Instant): Made {
    const asked = Result.flatMap(
      this.#read(input),
      (command): Result.Result<Command, CommandNotFound | InvalidCommand> =>
        command._tag === "Reverse" ? this.#resolve(command) : Result.succeed(command)
    )
    return Result.flatMap(asked, (command): Made => {
      const { commandId } = command
      const before = this.#accepted.get(commandId)
      if (before === undefined)
        return Result.mapBoth(this.#decided(command, at), {
          onSuccess: (events) => ({ command, events }),
          onFailure: (rejection) => this.#explained(rejection)
        })
      return before.hash === hashCommand(command)
        ? Result.succeed({ command, events: before.events })
        : Result.fail(new CommandIdReused({ commandId }))
    })
  }

  /** What it comes to may be no more than one statement carries, by the ledger's default. */
  #decided(command: Command, at: Instant): Decision {
    return bounded(decide(command, this.accountOf, at), command, defaultLimits.batchBytesMax)
  }

  /** Takes what a command was decided to come to; of one that was accepted before, nothing again. */
  accept({ command, events }: Result.Result.Success<Made>): void {
    if (this.#accepted.has(command.commandId)) return
    this.#accepted.set(command.commandId, { hash: hashCommand(command), events })
    for (const { account, event } of events)
      this.#accounts.set(account, evolve(this.accountOf(account), event, givenAt))
  }

  #resolve(
    command: Extract<Command, { readonly _tag: "Reverse" }>
  ): Result.Result<Command, CommandNotFound | InvalidCommand> {
    const { n = 1, original } = command
    const accepted = this.#accepted.get(original)
    if (accepted === undefined) return Result.fail(new CommandNotFound({ commandId: original }))
    const assets = new Map<AccountId, Asset>()
    for (const account of this.#accounts.values())
      if (account._tag === "Opened") assets.set(account.id, account.asset)
    return Result.map(movedBy(original, accepted.events, assets), (nets) => ({
      ...command,
      commandId: reversalIdOf(original, n),
      found: originalOf(nets, this.#reversalsOf(original), n)
    }))
  }

  #reversalsOf(original: CommandId) {
    const found: Array<Decided["event"]> = []
    for (let n = 1; ; n++) {
      const first = this.#accepted.get(reversalIdOf(original, n))?.events[0]
      if (first === undefined) return found
      found.push(first.event)
    }
  }

  /** A refusal as the log explains it: of a hold that was there once it tells how that ended. */
  #explained(rejection: Rejection): Rejection {
    if (rejection._tag === "GroupRejected") {
      const { index, command, rejection: own } = rejection
      const told = this.#explained(own)
      return told._tag === "GroupRejected"
        ? rejection
        : new GroupRejected({ index, command, rejection: told })
    }
    if (rejection._tag !== "HoldNotFound") return rejection
    const { account, hold } = rejection
    const all = [...this.#accepted.values()].flatMap(({ events }) => events)
    const last = all.findLast(
      (one) => one.account === account && "hold" in one.event && one.event.hold === hold
    )
    if (last === undefined) return rejection
    const how = last.event._tag === "HoldReleased" ? "released" : "captured"
    return new HoldClosed({ account, hold, how, at: givenAt })
  }
}

/** Accounts after these commands, all of which the ledger must accept; throws the rejection of the first that it does not. */
export const given = (...commands: ReadonlyArray<CommandInput>): GivenCommands => {
  const books = new Books()
  for (const command of commands) books.accept(Result.getOrThrow(books.decide(command, givenAt)))
  return {
    account: (id) => books.accountOf(id as AccountId), // an id of no account is absent
    when: (command, at = givenAt) =>
      Result.match(books.decide(command, at), {
        onSuccess: ({ events }): Outcome => ({ events }),
        onFailure: (rejection): Outcome => ({ rejection })
      })
  }
}
