/** An account enters; whether this node owns it, and a way to the node that does, leave. */
import { Context, Effect, Schema } from "effect"
import { Account } from "../../domain/Account.ts"
import type { Command } from "../../domain/Command.ts"
import { CommandError, Overloaded, Unavailable } from "../../domain/Errors.ts"
import type { Head } from "../../domain/Head.ts"
import { type AccountId, Instant } from "../../domain/Ids.ts"
import { Receipt } from "../../domain/Receipt.ts"

/** A head as it travels between nodes. */
export const HeadSent = Schema.Struct({ account: Account, hash: Schema.String, recordedAt: Instant })

/** The node that was asked does not own the account (any more, or yet): nothing was done; ask again. */
export class NotMine extends Schema.TaggedError<NotMine>()("NotMine", {}) {}

/** What became of one command that was sent to the owner of its first account. */
export const Answer = Schema.TaggedUnion({
  Done: { receipt: Receipt },
  Failed: { error: CommandError },
  /** Nothing was done: the node that was asked does not own the account. */
  Moved: {},
  /** No answer came. Ask again: whoever owns the account then knows the command id, or decides anew. */
  Unknown: {}
})
export type Answer = typeof Answer.Type

/** An account is lent: its committed head, on which only the borrower decides while the lease lasts. */
export const Loan = Schema.Struct({
  head: HeadSent,
  /** How long the borrower waited for its turn, in milliseconds: the lease began so long after it asked, or later. */
  waitedMs: Schema.Finite,
  leaseMs: Schema.Finite
})
export type Loan = typeof Loan.Type

/** How a borrower gives an account back. `Reload`: it does not know what the log holds. */
export const GivenBack = Schema.TaggedUnion({ Unchanged: {}, Moved: { head: HeadSent }, Reload: {} })
export type GivenBack = typeof GivenBack.Type

/** Why an account is not lent: it is not there, its log is broken or not to be read, or memory is full. */
export const NotLent = Schema.Union([NotMine, Unavailable, Overloaded])
export type NotLent = typeof NotLent.Type

export interface Placing {
  /** True while this node, as far as it can know, is the only one that decides on the account. Never blocks. */
  readonly owns: (account: AccountId) => boolean
  /** Accounts of one group are owned by one node at any time. */
  readonly groupOf: (account: AccountId) => number
  /** Puts commands to the owner of the account, all of whose first accounts are in its group, in their order. */
  readonly dispatch: (
    account: AccountId,
    commands: ReadonlyArray<Command>
  ) => Effect.Effect<ReadonlyArray<Answer>, Unavailable>
  readonly head: (account: AccountId) => Effect.Effect<Head, NotMine | Unavailable>
  /** Borrows an account of its owner; waits for its turn. Give it back, even if this is interrupted. */
  readonly borrow: (account: AccountId, lease: string) => Effect.Effect<Loan, NotLent>
  /** May be lost: then the lease ends by itself. */
  readonly giveBack: (account: AccountId, lease: string, given: GivenBack) => Effect.Effect<void>
}

const nobody = Effect.fail(new NotMine())

/**
 * Which node owns which account. An optimisation (design §7): whatever it answers, two nodes that decide on one
 * account do no harm. The default is a node alone, which owns them all.
 */
export const Placement = Context.Reference<Placing>("chronicle/actors/Placement", {
  defaultValue: () => ({
    owns: () => true,
    groupOf: () => 0,
    dispatch: (_, commands) => Effect.succeed(commands.map(() => Answer.make({ _tag: "Moved" }))),
    head: () => nobody,
    borrow: () => nobody,
    giveBack: () => Effect.void
  })
})
