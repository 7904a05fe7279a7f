/** Which node owns an account, and how to reach it. The default is a node alone, which owns all of them. */
import { Context, Data, Effect, type Exit, Layer, Schema } from "effect"
import { Account } from "../../domain/Account.ts"
import type { Command } from "../../domain/Command.ts"
import { CommandError, Overloaded, Unavailable } from "../../domain/Errors.ts"
import type { Head } from "../../domain/Head.ts"
import { type AccountId, Instant } from "../../domain/Ids.ts"
import { Receipt } from "../../domain/Receipt.ts"
import { allShards, type OwnedShards } from "../../domain/Shard.ts"

/** A head as it travels between nodes. */
export const HeadSent = Schema.Struct({ account: Account, hash: Schema.String, recordedAt: Instant })

/** The committed head of an account as its owner told it. */
export interface ToldHead {
  readonly head: Head
  /**
   * The owner's instant when it was told: what that node decides on the account afterwards is recorded then or later. Undefined from a
   * node of an earlier version.
   */
  readonly at: Instant | undefined
}

/** The node that was asked does not own the account (any more, or yet): nothing was done; ask again. */
export class NotMine extends Schema.TaggedError<NotMine>()("NotMine", {}) {}

/** What became of one command that was sent to the owner of its first account. */
export const Answer = Schema.TaggedUnion({
  Done: { receipt: Receipt },
  Failed: { error: CommandError },
  /** Nothing was done: the node that was asked does not own the account. */
  Moved: {},
  /** No answer came. Ask again: the node that owns the account then knows the command id, or decides anew. */
  Unknown: {}
})
export type Answer = typeof Answer.Type

/** An account is leased: its committed head, on which only the node that asked decides while the lease lasts. */
export const LeaseGrant = Schema.Struct({
  head: HeadSent,
  /** How long the request waited for its turn, in milliseconds: the lease began so long after it was sent, or later. */
  waitedMs: Schema.Finite,
  leaseMs: Schema.Finite
})
export type LeaseGrant = typeof LeaseGrant.Type

/** How a leased account is returned. `Reload`: the node does not know what the log holds. */
export const Returned = Schema.TaggedUnion({ Unchanged: {}, Moved: { head: HeadSent }, Reload: {} })
export type Returned = typeof Returned.Type

/** Why an account is not leased: it is not there, its log is broken or not to be read, or memory is full. */
export const LeaseRefused = Schema.Union([NotMine, Unavailable, Overloaded])
export type LeaseRefused = typeof LeaseRefused.Type

/** The node of the account has too much to do to take a message: nothing was done. An `Overloaded` is made of it too. */
export class PeerBusy extends Data.TaggedError("PeerBusy")<{}> {}

/** Another node, as this one is connected with it, and the shards that it says are its own. */
export interface OtherNode {
  readonly node: string
  readonly shards: ReadonlyArray<number>
}

/** Takes the grant of a lease, or why there is none. */
export type LeaseReply = (granted: Exit.Exit<LeaseGrant, LeaseRefused | PeerBusy>) => void

/** See `Placing.requestLease`. */
type RequestUnderWay = Effect.Effect<LeaseGrant, LeaseRefused | PeerBusy> | (() => void) | undefined

export interface Placing {
  /** No other node is known to this one: whatever wrote to the log before was an earlier life of it. */
  readonly isAlone: boolean
  /** True while this node, as far as it can know, is the only one that decides on the account. Never blocks. */
  readonly owns: (account: AccountId) => boolean
  /** Accounts of one shard are owned by one node at any time. */
  readonly shardOf: (account: AccountId) => number
  /** The other node that had the accounts of a shard when it was last heard of, also where it is gone; undefined where none was. */
  readonly nodeOf: (shard: number) => string | undefined
  /** Which shards this node owns, for callers. */
  readonly ownedShards: () => OwnedShards
  /** The nodes that this one is connected with, by what they said last. */
  readonly others: () => ReadonlyArray<OtherNode>
  /**
   * Sends commands to the owner of the account, all of whose first accounts are in its shard, in their order. Where no
   * answer came within `askMs`, all are `Unknown`. `isAgain`: they were sent before, and some have no answer.
   */
  readonly dispatch: (
    account: AccountId,
    commands: ReadonlyArray<Command>,
    isAgain: boolean
  ) => Effect.Effect<ReadonlyArray<Answer>, Unavailable | PeerBusy>
  readonly head: (account: AccountId) => Effect.Effect<ToldHead, NotMine | Unavailable>
  /**
   * Leases an account from its owner; waits for its turn. Release it, even if it was refused: the answer with the grant may be lost. Either
   * calls `reply` once, perhaps before this returns, and returns how to withdraw the request (what is granted all the same expires); or
   * returns the effect that asks. Nodes ask without a fiber, because each transaction over two of them needs a lease.
   */
  readonly requestLease: (account: AccountId, lease: string, reply: LeaseReply) => RequestUnderWay
  /** May be lost: then the lease expires. Returns what remains to be run, where the return was not said at once. */
  readonly release: (account: AccountId, lease: string, returned: Returned) => Effect.Effect<void> | undefined
}

const notMine = Effect.fail(new NotMine())

/** Whatever it answers, the log stays right (design §7): its unique keys let one of two deciding nodes win. */
export const Placement = Context.Reference<Placing>("chronicle/actors/Placement", {
  defaultValue: () => alone
})

const alone: Placing = {
  isAlone: true,
  owns: () => true,
  shardOf: () => 0,
  nodeOf: () => undefined,
  ownedShards: () => allShards,
  others: () => [],
  dispatch: (_, commands) => Effect.succeed(commands.map(() => Answer.make({ _tag: "Moved" }))),
  head: () => notMine,
  requestLease: () => notMine,
  release: () => undefined
}

/** Of a node that takes no commands: callers are told that it owns no account. */
export const layerOwningNone = Layer.succeed(Placement, {
  ...alone,
  owns: () => false,
  ownedShards: () => ({ ...allShards, owned: [] })
})
