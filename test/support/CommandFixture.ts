/** Actors of open accounts in memory and a commit queue, with no store and no clock, moved by their real transitions. */
import {
  AccountActor,
  type CommitBatch,
  type Continuation,
  PendingCommand
} from "../../src/actors/accounts/Lifecycle.ts"
import { CommitQueue } from "../../src/actors/commit/CommitQueue.ts"
import { accountsOf, type Command } from "../../src/domain/Command.ts"
import { hashCommand } from "../../src/domain/HashChain.ts"
import { emptyHead } from "../../src/domain/Head.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { deposit, open, toCommand } from "./ledgerWorld.ts"

export type Input = Parameters<typeof toCommand>[0]

const unbounded = { rowsMax: Number.POSITIVE_INFINITY, bytesMax: Number.POSITIVE_INFINITY }

const nothingExecutes: Continuation = ({ command }) => {
  throw new Error(`nothing executes command ${command.commandId}`)
}

/** A command that is never resumed: nothing makes it wait. */
export const pendingOf = (
  command: Command,
  commandHash = hashCommand(command),
  deadline = 0
): PendingCommand => new PendingCommand(command, commandHash, deadline, accountsOf(command), nothingExecutes)

/** Decides it, however large its events are. */
export const decideOn = (pending: PendingCommand, actors: ReadonlyArray<AccountActor>, now: number): void =>
  pending.decide(actors, now, Number.POSITIVE_INFINITY)

/** Each account has a balance of 100. */
export class CommandFixture {
  readonly actors = new Map<string, AccountActor>()
  readonly queue = new CommitQueue()
  now = 1_000

  constructor(accounts: ReadonlyArray<string>, balance = 100n) {
    for (const name of accounts) {
      const id = AccountId.make(name)
      const actor = new AccountActor(id, 0)
      actor.load(emptyHead(id))
      this.actors.set(name, actor)
      for (const input of [open(name), deposit(name, balance)]) this.push(input)
    }
    this.commit(this.queue.take(unbounded))
  }

  actor(name: string): AccountActor {
    const actor = this.actors.get(name)
    if (actor === undefined) throw new Error(`no account ${name}`)
    return actor
  }

  decide(input: Input): PendingCommand {
    const command = toCommand(input)
    const pending = pendingOf(command)
    decideOn(
      pending,
      pending.accounts.map((id) => this.actor(id)),
      this.now
    )
    return pending
  }

  push(input: Input): PendingCommand {
    const pending = this.decide(input)
    this.queue.push(pending)
    return pending
  }

  /** The batch is durable. */
  commit(batch: CommitBatch | undefined): void {
    if (batch !== undefined) this.queue.commit(batch)
  }

  /** Decides and commits a command by itself. */
  settle(input: Input): PendingCommand {
    const pending = this.push(input)
    this.commit(this.queue.take(unbounded))
    return pending
  }
}
