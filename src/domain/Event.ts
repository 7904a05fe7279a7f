/** Events: what happened to one account, as the log keeps it for ever. */
import { Schema } from "effect"
import { AccountMetadata, Exchange, FrozenSide } from "./Command.ts"
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

export { amountOf } from "./Amounts.ts"

const Description = Schema.optionalKey(Schema.String)

/** What the sender of a command wrote to it; of a movement on every leg, for each account has a statement of its own. */
const noted = { description: Description, metadata: Schema.optionalKey(AccountMetadata) }

/** One leg of a journal as its first leg records it, so that the whole journal can be found from there. */
const PostedLeg = Schema.Struct({
  account: AccountId,
  version: Version,
  side: Schema.Literals(["debit", "credit"]),
  amount: Amount
})

/** One leg of a journal on a contra account, which has no stream: the journal's first leg is all that tells of it. */
const ContraLeg = Schema.Struct({
  contra: ContraId,
  side: Schema.Literals(["debit", "credit"]),
  amount: Amount,
  asset: Asset
})

/**
 * On every event of a group of commands: where its first event stands, and on that one where all of them stand, in the
 * order of their ordinals. So the whole group is found from any of its events.
 */
const InGroup = Schema.Struct({
  head: AccountId,
  headVersion: Version,
  events: Schema.optionalKey(Schema.Array(Schema.Struct({ account: AccountId, version: Version })))
})
export type InGroup = typeof InGroup.Type

const group = { group: Schema.optionalKey(InGroup) }

/** Every kind of event, with the place that it has in a group. */
const grouped = <Kinds extends { readonly [Kind in string]: Schema.Struct.Fields }>(kinds: Kinds) =>
  Object.fromEntries(Object.entries(kinds).map(([kind, fields]) => [kind, { ...fields, ...group }])) as {
    readonly [Kind in keyof Kinds]: Kinds[Kind] & typeof group
  } // as the line above says

/**
 * That an event gives back what an earlier command moved: as the n-th reversal of `original`. The first event of a reversal
 * says what each leg of the original `gave` back, in minor units (of `asset` on a contra account, which may have several);
 * `isShortfall` marks the leg of the account that paid what another one lacked. `reason` is the command's where that has a
 * description besides; else the description of the event is the reason.
 */
const Reverses = Schema.optionalKey(
  Schema.Struct({
    original: AnyCommandId,
    n: Schema.Int,
    gave: Schema.optionalKey(
      Schema.Array(
        Schema.Struct({ account: AccountOrContra, amount: Amount, asset: Schema.optionalKey(Asset) })
      )
    ),
    isShortfall: Schema.optionalKey(Schema.Boolean),
    reason: Schema.optionalKey(Schema.String)
  })
)

/**
 * Each leg of a transaction names where its counter-legs stand (account and version), as a paper ledger's
 * posting reference does: from one leg all others are found by primary key, and checked against it.
 */
export const Event = Schema.TaggedUnion(
  grouped({
    AccountOpened: {
      asset: Asset,
      owner: Schema.String,
      overdraftLimit: OverdraftLimit,
      metadata: AccountMetadata
    },
    Deposited: { amount: Amount, contra: ContraId, ...noted, reverses: Reverses },
    Withdrawn: { amount: Amount, contra: ContraId, ...noted, reverses: Reverses },
    TransferSent: { amount: Amount, to: AccountId, toVersion: Version, ...noted },
    TransferReceived: { amount: Amount, from: AccountId, fromVersion: Version, ...noted },
    /**
     * The first leg (ordinal 0) of a journal, with all legs in the order of their ordinals, those on contra accounts, and the
     * rates that the journal was held against.
     */
    JournalPosted: {
      legs: Schema.Array(PostedLeg),
      contras: Schema.optionalKey(Schema.Array(ContraLeg)),
      fx: Schema.optionalKey(Schema.Array(Exchange)),
      ...noted,
      reverses: Reverses
    },
    /** Every further leg; `head` is where the first one stands. */
    JournalLegPosted: {
      amount: Amount,
      side: Schema.Literals(["debit", "credit"]),
      head: AccountId,
      headVersion: Version,
      ...noted,
      reverses: Reverses
    },
    /** What was changed, with its new value. */
    AccountUpdated: {
      owner: Schema.optionalKey(Schema.String),
      metadata: Schema.optionalKey(AccountMetadata),
      overdraftLimit: Schema.optionalKey(OverdraftLimit),
      description: Description
    },
    /** `hold` is the id of the command. */
    HoldPlaced: {
      hold: CommandId,
      amount: Amount,
      expiresAt: Schema.optionalKey(Instant),
      to: Schema.optionalKey(AccountOrContra),
      ...noted
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
      ...noted
    },
    /** `amount` is the new total, of which some may be captured or released already. */
    HoldAdjusted: {
      hold: CommandId,
      amount: Amount,
      expiresAt: Schema.optionalKey(Instant),
      ...noted
    },
    HoldReleased: { hold: CommandId, amount: Amount, ...noted },
    /** A notice for subscribers: `amount` was given free at `expiredAt`, some time before the notice was written. */
    HoldExpired: { hold: CommandId, amount: Amount, expiredAt: Instant },
    AccountFrozen: { side: FrozenSide, reason: Description, ...noted },
    AccountUnfrozen: { side: FrozenSide, reason: Description, ...noted },
    AccountClosed: { reason: Description, ...noted }
  })
)
export type Event = typeof Event.Type
export type EventType = Event["_tag"]

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
