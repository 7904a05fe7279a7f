/** The answers to queries as schemas, so that the terminal, RPC and HTTP show the same. */
import { Schema, Struct } from "effect"
import { availableOf } from "./Account.ts"
import { type HoldRow, holdOf, type OpenedHead } from "./Books.ts"
import { AccountMetadata, CommandContext, FrozenSide } from "./Command.ts"
import { Event } from "./Event.ts"
import { Hold, holding, openAt } from "./Holds.ts"
import { AccountId, AnyCommandId, ContraId, Instant, Version } from "./Ids.ts"
import { Asset, Balance, OverdraftLimit } from "./Money.ts"

const SumOfBalances = Schema.BigIntFromString

/** An account at some version. All amounts in minor units. */
export const AccountView = Schema.Struct({
  account: AccountId,
  asset: Asset,
  owner: Schema.String,
  status: Schema.Literals(["open", "frozen", "closed"]),
  /** The side that is frozen, or both; absent where none is. */
  frozen: Schema.optionalKey(FrozenSide),
  balance: Balance,
  /** What holds keep back that are open at the instant of the answer; absent from a node of an earlier version alone. */
  held: Schema.optionalKey(Balance),
  /**
   * What may leave the account: the balance plus the overdraft limit, less what is held; 0 where it is closed or frozen
   * for debits.
   */
  available: SumOfBalances,
  /** Those holds, in the order in which they were placed; absent where the answer is one of many. */
  holds: Schema.optionalKey(Schema.Array(Hold)),
  overdraftLimit: OverdraftLimit,
  metadata: AccountMetadata,
  version: Version,
  /** When the event of that version was recorded. */
  recordedAt: Instant,
  /** The hash of that event: the proof of everything before it. */
  hash: Schema.String,
  /**
   * Of a balance from the read model: what was recorded on the account before this instant is in it, what came later
   * may not be yet. Absent where nothing can be missing, or the answer is one of many.
   */
  completeTo: Schema.optionalKey(Instant)
})
export type AccountView = typeof AccountView.Type

/** The account at its version, without the holds that have expired by `at`. */
export const viewOf = (head: OpenedHead, at: Instant): AccountView => ({
  ...listedViewOf(head, at),
  holds: openAt(head.account.holds, at)
})

/** The same without the list of its holds, as one of many. */
export const listedViewOf = ({ account, hash, recordedAt }: OpenedHead, at: Instant): AccountView => {
  const { id, asset, owner, status, frozen, balance, overdraftLimit, metadata, version } = account
  const { held } = holding(openAt(account.holds, at))
  const available = availableOf({ ...account, held })
  return {
    account: id,
    asset,
    owner,
    status,
    ...(frozen === undefined ? {} : { frozen }),
    balance,
    held,
    available,
    overdraftLimit,
    metadata,
    version,
    recordedAt,
    hash
  }
}

/** An open hold as one of many, on whichever account. Amounts in minor units. */
export const HoldView = Schema.Struct({ account: AccountId, asset: Asset, ...Hold.fields })
export type HoldView = typeof HoldView.Type

export const holdViewOf = (row: HoldRow): HoldView => ({
  account: row.account,
  asset: row.asset,
  ...holdOf(row)
})

/** An account as of a version or an instant: the same answer for ever (I9). */
export const PastView = Schema.Struct({
  ...AccountView.fields,
  /**
   * The events that it is the fold of, as many as its version. How many of them were read to find it depends on the snapshots that there
   * are, and would be another number in the next answer.
   */
  eventsRead: Schema.Int,
  /** The recorded instant that was asked for. Absent where a version was, and from a node of an earlier version. */
  knownAt: Schema.optionalKey(Instant)
})
export type PastView = typeof PastView.Type

/** Most rows of one page of any answer. */
export const pageRowsMax = 1_000

/** One event straight from the log. */
export const HistoryEntry = Schema.Struct({
  version: Version,
  event: Event,
  commandId: AnyCommandId,
  recordedAt: Instant,
  effectiveAt: Instant,
  hash: Schema.String,
  /** The caller and the trace of the command, where it came with them. */
  context: Schema.optionalKey(CommandContext)
})
export type HistoryEntry = typeof HistoryEntry.Type

/** A command by its id: its events on all accounts, in order, and how it hangs together with others. */
export const CommandView = Schema.Struct({
  commandId: AnyCommandId,
  recordedAt: Instant,
  effectiveAt: Instant,
  legs: Schema.Array(
    Schema.Struct({
      account: AccountId,
      version: Version,
      event: Event,
      hash: Schema.String,
      /** Where it counts at another instant than the first one: the commands of a group may each say when they do. */
      effectiveAt: Schema.optionalKey(Instant)
    })
  ),
  /** Legs are left out, on accounts that the caller may not name; absent where none are. */
  isPartial: Schema.optionalKey(Schema.Boolean),
  /** The ids of its reversals, in order of n. */
  reversals: Schema.Array(AnyCommandId),
  /** What it gives back, where it is itself the n-th reversal of a command. */
  reverses: Schema.optionalKey(Schema.Struct({ original: AnyCommandId, n: Schema.Int }))
})
export type CommandView = typeof CommandView.Type

/** The account or contra account on the other side of a statement line. */
export const Counterparty = Schema.String.check(
  // Either id, by one pattern, which the description of the API can show.
  Schema.isPattern(/^(?!external:$)[A-Za-z0-9_:-]{1,64}$/u, {
    message: "must be the id of an account or of a contra account"
  })
)

/** The type of the event that a statement line stands for. */
export const LineType = Schema.Literals(Struct.keys(Event.cases))

/**
 * One line of a statement: `amount` signed, `balance` the account's after the line in the order of the statement, both
 * in minor units. In effective order the balance may have been out of an account's bounds.
 */
export const StatementLineView = Schema.Struct({
  account: AccountId,
  version: Version,
  type: LineType,
  amount: SumOfBalances,
  balance: SumOfBalances,
  asset: Asset,
  counterparty: Schema.NullOr(Schema.String),
  description: Schema.NullOr(Schema.String),
  /** What a journal adds to contra accounts, on the line of its first leg; null where there is none. */
  contras: Schema.optionalKey(
    Schema.NullOr(Schema.Array(Schema.Struct({ contra: ContraId, asset: Asset, amount: SumOfBalances })))
  ),
  commandId: AnyCommandId,
  recordedAt: Instant,
  effectiveAt: Instant
})

/** What all accounts that begin with a prefix have together, asset by asset, in minor units. */
export const SumView = Schema.Struct({
  prefix: Schema.String,
  /** What had been recorded up to here is in it, and nothing else: asked again with it, the answer is the same. */
  knownAt: Instant,
  /** Entries that count later are not in it; absent where all count. */
  effectiveAt: Schema.optionalKey(Instant),
  sums: Schema.Array(Schema.Struct({ asset: Asset, balance: SumOfBalances, accounts: Schema.Int })),
  /** Accounts among them that are parked: what their last events did is not in it. */
  parked: Schema.Int
})
export type SumView = typeof SumView.Type

/** The sums of one asset; `total` is zero once the read model has caught up (I2). */
export const TrialLineView = Schema.Struct({
  asset: Asset,
  accounts: SumOfBalances,
  contras: SumOfBalances,
  total: SumOfBalances
})
