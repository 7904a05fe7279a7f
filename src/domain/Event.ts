/** Events: what happened to one account, as the log keeps it for ever. */
import { Schema } from "effect"
import { AccountMetadata } from "./Command.ts"
import {
  AccountId,
  AccountOrContra,
  AnyCommandId,
  CommandId,
  ContraId,
  Instant,
  isContra,
  Version
} from "./Ids.ts"
import { Amount, Asset, OverdraftLimit } from "./Money.ts"

const Description = Schema.optionalKey(Schema.String)

/** One leg of a journal as its first leg records it, so that the whole journal can be found from there. */
const PostedLeg = Schema.Struct({
  account: AccountId,
  version: Version,
  side: Schema.Literals(["debit", "credit"]),
  amount: Amount
})

/**
 * That an event gives back what an earlier command moved: as the n-th reversal of `original`. The first event of a reversal
 * says what each leg of the original `gave` back, in minor units; `isShortfall` marks the leg of the account that paid what
 * another one lacked.
 */
const Reverses = Schema.optionalKey(
  Schema.Struct({
    original: AnyCommandId,
    n: Schema.Int,
    gave: Schema.optionalKey(Schema.Array(Schema.Struct({ account: AccountOrContra, amount: Amount }))),
    isShortfall: Schema.optionalKey(Schema.Boolean)
  })
)

/**
 * Each leg of a transaction names where its counter-legs stand (account and version), as a paper ledger's
 * posting reference does: from one leg all others are found by primary key, and checked against it.
 */
export const Event = Schema.TaggedUnion({
  AccountOpened: {
    asset: Asset,
    owner: Schema.String,
    overdraftLimit: OverdraftLimit,
    metadata: AccountMetadata
  },
  Deposited: { amount: Amount, contra: ContraId, description: Description, reverses: Reverses },
  Withdrawn: { amount: Amount, contra: ContraId, description: Description, reverses: Reverses },
  TransferSent: { amount: Amount, to: AccountId, toVersion: Version, description: Description },
  TransferReceived: { amount: Amount, from: AccountId, fromVersion: Version, description: Description },
  /** The first leg (ordinal 0) of a journal. */
  JournalPosted: { legs: Schema.Array(PostedLeg), description: Description, reverses: Reverses },
  /** Every further leg; `head` is where the first one stands. */
  JournalLegPosted: {
    amount: Amount,
    side: Schema.Literals(["debit", "credit"]),
    head: AccountId,
    headVersion: Version,
    description: Description,
    reverses: Reverses
  },
  /** `hold` is the id of the command. */
  HoldPlaced: {
    hold: CommandId,
    amount: Amount,
    expiresAt: Schema.optionalKey(Instant),
    to: Schema.optionalKey(AccountOrContra),
    description: Description
  },
  /**
   * Money that was held moves to `to`: to an account, where a `TransferReceived` stands at `toVersion`, or out of the
   * books. What is more than the hold had left came from what was available; `final` gives free what is left after it.
   */
  HoldCaptured: {
    hold: CommandId,
    toVersion: Schema.optionalKey(Version),
    amount: Amount,
    to: AccountOrContra,
    final: Schema.optionalKey(Schema.Boolean),
    description: Description
  },
  /** `amount` is the new total, of which some may be captured or released already. */
  HoldAdjusted: {
    hold: CommandId,
    amount: Amount,
    expiresAt: Schema.optionalKey(Instant),
    description: Description
  },
  HoldReleased: { hold: CommandId, amount: Amount, description: Description },
  /** A notice for subscribers: `amount` was given free at `expiredAt`, some time before the notice was written. */
  HoldExpired: { hold: CommandId, amount: Amount, expiredAt: Instant },
  AccountFrozen: { reason: Description },
  AccountUnfrozen: { reason: Description },
  AccountClosed: { reason: Description }
})
export type Event = typeof Event.Type
export type EventType = Event["_tag"]

/** What the event adds to the balance of its account, in minor units; 0 where no money moves. */
export const amountOf = (event: Event): bigint => {
  switch (event._tag) {
    case "Deposited":
    case "TransferReceived":
      return event.amount
    case "Withdrawn":
    case "TransferSent":
    case "HoldCaptured":
      return -event.amount
    case "JournalPosted": {
      const own = event.legs[0]
      return own === undefined ? 0n : own.side === "credit" ? own.amount : -own.amount
    }
    case "JournalLegPosted":
      return event.side === "credit" ? event.amount : -event.amount
    default:
      return 0n
  }
}

/** The contra account that money enters from or leaves to by the event. */
export const contraOf = (event: Event): ContraId | undefined => {
  switch (event._tag) {
    case "Deposited":
    case "Withdrawn":
      return event.contra
    case "HoldCaptured":
      return isContra(event.to) ? event.to : undefined
    default:
      return undefined
  }
}

/** Where the receiver's leg of a transfer stands, as its sender's names it; a capture to an account is one. */
export const counterLegOf = (
  event: Event
): { readonly account: AccountId; readonly version: Version } | undefined => {
  switch (event._tag) {
    case "TransferSent":
      return { account: event.to, version: event.toVersion }
    case "HoldCaptured": {
      const { to, toVersion } = event
      return isContra(to) || toVersion === undefined ? undefined : { account: to, version: toVersion }
    }
    default:
      return undefined
  }
}
