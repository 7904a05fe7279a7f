/** The steps of a command, measured one by one without store and fibers, so that a change shows in the step that it touches. */
import { Result } from "effect"
import type { Bench } from "tinybench"
import { AccountActor, type PendingCommand } from "../src/actors/accounts/Lifecycle.ts"
import { CommitQueue } from "../src/actors/commit/CommitQueue.ts"
import { type Account, evolve } from "../src/domain/Account.ts"
import { type Command, fromHost } from "../src/domain/Command.ts"
import { decide } from "../src/domain/Decide.ts"
import type { Event } from "../src/domain/Event.ts"
import { genesis, hashCommand, linked } from "../src/domain/HashChain.ts"
import { emptyHead } from "../src/domain/Head.ts"
import { holding } from "../src/domain/Holds.ts"
import { AccountId, CommandId } from "../src/domain/Ids.ts"
import { Asset } from "../src/domain/Money.ts"
import { encodePayload, type StoredEvent } from "../src/domain/StoredEvent.ts"
import { defaultLimits } from "../src/infra/config/LedgerConfig.ts"
import { eventColumns } from "../src/infra/eventstore/SqlRows.ts"
import { pendingOf } from "../test/support/CommandFixture.ts"

const from = AccountId.make("bench-from")
const to = AccountId.make("bench-to")
const rowsOfBatch = 1_000
const bytesMax = defaultLimits.batchBytesMax

const opened = (id: AccountId): Account => ({
  _tag: "Opened",
  id,
  version: 1,
  status: "open",
  asset: Asset.make("USD/2"),
  owner: "bench",
  overdraftLimit: 0n,
  balance: 10n ** 15n,
  ...holding([]),
  metadata: {}
})

const transfer: Command = { _tag: "Transfer", commandId: CommandId.make("bench:1"), from, to, amount: 125n }
const sent: Event = { _tag: "TransferSent", amount: 125n, to, toVersion: 2 }

const after = { balance: 10n ** 15n, held: 0n, available: 10n ** 15n }

const payload = encodePayload(sent, after)

const row: StoredEvent = {
  accountId: from,
  version: 2,
  type: "TransferSent",
  schemaVersion: 2,
  payload: payload.stored,
  commandId: transfer.commandId,
  ordinal: 0,
  commandHash: hashCommand(transfer),
  recordedAt: 1_767_225_600_000,
  effectiveAt: null,
  context: null,
  hash: "BUcbzZ5rLwaXDf7EZpC-8VJ3M2jXw5cD2uwS1LhZ8mA"
}

const readyActor = (id: AccountId): AccountActor => {
  const actor = new AccountActor(id, 0)
  actor.load({ ...emptyHead(id), account: opened(id) })
  return actor
}

export const addDomain = (bench: Bench): void => {
  const states: Record<string, Account> = { [from]: opened(from), [to]: opened(to) }
  const stateOf = (id: AccountId): Account => {
    const state = states[id]
    if (state === undefined) throw new Error(`no account ${id}`)
    return state
  }
  const sender = stateOf(from)
  bench
    .add("check a transfer against the schema", () => {
      Result.getOrThrow(fromHost(transfer))
    })
    .add("hash a command", () => {
      hashCommand(transfer)
    })
    .add("decide a transfer", () => {
      Result.getOrThrow(decide(transfer, stateOf, row.recordedAt))
    })
    .add("evolve by one event", () => {
      evolve(sender, sent, row.recordedAt)
    })
    .add("encode the payload of one event", () => {
      encodePayload(sent, after)
    })
    .add("link one event to the chain", () => {
      linked(genesis, row, payload.chained)
    })
}

export const addActors = (bench: Bench): void => {
  const actors = [readyActor(from), readyActor(to)]
  const heads = actors.map((actor) => actor.speculative)
  const commandHash = hashCommand(transfer)
  let decided: PendingCommand | undefined
  bench.add(
    "one turn: decide, evolve, encode, link both legs",
    () => {
      decided = pendingOf(transfer, commandHash)
      decided.decide(actors, 1, bytesMax)
    },
    {
      // Not timed: takes the last turn back, so that each decides on the same state.
      beforeEach: () => {
        decided?.evict()
        for (const [index, actor] of actors.entries()) {
          const head = heads[index]
          if (head !== undefined) actor.speculate(head)
        }
      }
    }
  )
  const commands = Array.from({ length: rowsOfBatch / 2 }, (_, index) => {
    const pair = [readyActor(AccountId.make(`a${index}`)), readyActor(AccountId.make(`b${index}`))]
    const [sender, receiver] = pair
    if (sender === undefined || receiver === undefined) throw new Error("a pair has two actors")
    const pending = pendingOf({ ...transfer, from: sender.id, to: receiver.id }, commandHash)
    pending.decide(pair, 1, bytesMax)
    return pending
  })
  let queue = new CommitQueue()
  let taken: ReturnType<CommitQueue["take"]>
  bench.add(
    `queue ${commands.length} transfers and take them as one batch`,
    () => {
      queue = new CommitQueue()
      for (const pending of commands) queue.push(pending)
      taken = queue.take({ rowsMax: rowsOfBatch, bytesMax: 10_000_000 })
      if (taken?.commands.length !== commands.length) throw new Error("the batch is not whole")
    },
    {
      // Not timed: gives the commands back the state in which they are queued.
      beforeEach: () => {
        if (taken !== undefined) queue.requeue(taken)
        taken = undefined
      }
    }
  )
  const rows = commands.flatMap(({ pendingEvents }) => pendingEvents.map((leg) => leg.row))
  bench.add(`turn ${rows.length} rows into columns of an INSERT`, () => {
    eventColumns.arrays(rows)
  })
}
