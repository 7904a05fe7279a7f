/** Writes events for tests without a node: decides commands on heads of its own, and chains rows as one writer's commits. */
import { Result } from "effect"
import { afterOf, evolve } from "../../src/domain/Account.ts"
import { type Command, type CommandInput, fromHost } from "../../src/domain/Command.ts"
import { decide } from "../../src/domain/Decide.ts"
import { hashCommand, link } from "../../src/domain/HashChain.ts"
import { emptyHead, type Head } from "../../src/domain/Head.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import {
  encodeContext,
  encodePayload,
  type StoredEvent,
  schemaVersionOf
} from "../../src/domain/StoredEvent.ts"
import type { Commit } from "../../src/infra/eventstore/EventStoreTypes.ts"

/** 2026-01-01, and one millisecond more a command. */
const beginning = 1_767_225_600_000

export class EventWriter {
  readonly writerId: string
  readonly heads = new Map<AccountId, Head>()
  /** Every row that was written, in order. */
  readonly log: Array<StoredEvent> = []
  /** The instant of the next command; set it to the present where the reader compares with its clock. */
  now: number
  #seq = 0
  #commands = 0

  constructor(writerId = "writer-1", now = beginning) {
    this.writerId = writerId
    this.now = now
  }

  /** Another writer that goes on where this one stands: what it writes continues the same hash chains. */
  fork(writerId: string): EventWriter {
    const fork = new EventWriter(writerId, this.now)
    for (const [account, head] of this.heads) fork.heads.set(account, head)
    return fork
  }

  headOf(account: AccountId): Head {
    return this.heads.get(account) ?? emptyHead(account)
  }

  /** The rows of one command; none when it is refused. A command id is made when it has none. */
  decide(input: CommandInput): ReadonlyArray<StoredEvent> {
    const command = Result.getOrThrow(
      fromHost({ commandId: `${this.writerId}-${++this.#commands}`, ...input })
    )
    const recordedAt = this.now
    const decision = decide(command, (account) => this.headOf(account).account, recordedAt)
    if (Result.isFailure(decision)) return []
    this.now++
    return decision.success.map(({ account, event, effectiveAt = command.effectiveAt }, ordinal) => {
      const head = this.headOf(account)
      const evolved = evolve(head.account, event, recordedAt)
      const unlinked = {
        accountId: account,
        version: evolved.version,
        type: event._tag,
        schemaVersion: schemaVersionOf(event._tag),
        payload: encodePayload(event, afterOf(evolved)).stored,
        ...columnsOf(command, ordinal, recordedAt, effectiveAt)
      }
      const row = { ...unlinked, hash: link(head.hash, unlinked) }
      this.heads.set(account, { account: evolved, hash: row.hash, recordedAt })
      this.log.push(row)
      return row
    })
  }

  /** All that is accepted of the commands, as this writer's next commit. */
  commit(...inputs: ReadonlyArray<CommandInput>): Commit {
    const events = inputs.flatMap((input) => this.decide(input))
    if (events.length === 0) throw new Error("a commit holds at least one event")
    return this.commitOf(events)
  }

  /** Rows that were decided, as this writer's next commit. */
  commitOf(events: ReadonlyArray<StoredEvent>): Commit {
    return { writerId: this.writerId, seq: ++this.#seq, events }
  }
}

const columnsOf = (
  command: Command,
  ordinal: number,
  recordedAt: number,
  effectiveAt: number | undefined
) => ({
  commandId: command.commandId,
  ordinal,
  commandHash: ordinal === 0 ? hashCommand(command) : null,
  recordedAt,
  effectiveAt: effectiveAt === undefined || effectiveAt === recordedAt ? null : effectiveAt,
  context: encodeContext(command.context)
})

type Input<Tag extends CommandInput["_tag"]> = Extract<CommandInput, { readonly _tag: Tag }>

/** Short words for the commands that tests need most; USD/2, minor units. */
export const openAccount = (account: string, overdraftLimit = 0n): Input<"OpenAccount"> => ({
  _tag: "OpenAccount",
  account,
  asset: "USD/2",
  owner: `owner of ${account}`,
  overdraftLimit
})
export const deposit = (account: string, amount: bigint, description?: string): Input<"Deposit"> => ({
  _tag: "Deposit",
  account,
  amount,
  ...(description === undefined ? {} : { description })
})
export const withdraw = (account: string, amount: bigint): Input<"Withdraw"> => ({
  _tag: "Withdraw",
  account,
  amount
})
export const transfer = (from: string, to: string, amount: bigint): Input<"Transfer"> => ({
  _tag: "Transfer",
  from,
  to,
  amount
})
