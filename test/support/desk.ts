/** Account names enter; actors of open accounts in memory leave, with a commit queue, and no store and no clock. */
import { AccountActor, decideOn } from "../../src/actors/accounts/AccountActor.ts"
import type { CommitBatch } from "../../src/actors/accounts/Flight.ts"
import { PendingCommand } from "../../src/actors/accounts/Lifecycle.ts"
import { CommitQueue } from "../../src/actors/commit/CommitQueue.ts"
import { hashCommand } from "../../src/domain/HashChain.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { deposit, open, toCommand } from "./ledgerWorld.ts"

export type Input = Parameters<typeof toCommand>[0]

/** Actors of open accounts with 100 each, and tickets decided on them. */
export class Desk {
  readonly actors = new Map<string, AccountActor>()
  readonly queue = new CommitQueue()
  now = 1_000

  constructor(accounts: ReadonlyArray<string>, balance = 100n) {
    for (const name of accounts) {
      const actor = new AccountActor(AccountId.make(name), 0)
      actor.phase = "ready"
      this.actors.set(name, actor)
      for (const input of [open(name), deposit(name, balance)]) this.settle(this.decide(input))
    }
  }

  actor(name: string): AccountActor {
    const actor = this.actors.get(name)
    if (actor === undefined) throw new Error(`no account ${name}`)
    return actor
  }

  decide(input: Input): PendingCommand {
    const command = toCommand(input)
    const ticket = new PendingCommand(command, hashCommand(command), 0)
    decideOn(
      ticket,
      ticket.accounts.map((id) => this.actor(id)),
      this.now
    )
    return ticket
  }

  push(input: Input): PendingCommand {
    const ticket = this.decide(input)
    this.queue.push(ticket)
    return ticket
  }

  /** As the pipeline does with what is durable. */
  land(flight: CommitBatch | undefined): void {
    if (flight === undefined) return
    this.queue.land(flight)
    this.settle(...flight.commands)
  }

  settle(...tickets: ReadonlyArray<PendingCommand>): void {
    for (const ticket of tickets) {
      for (const { actor, after } of ticket.pendingEvents) actor.committed = after
      for (const actor of ticket.participants) actor.uncommitted--
      ticket.phase = "settled"
    }
  }
}
