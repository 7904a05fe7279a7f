/**
 * Identifiers, versions and instants: what a value from outside must be, so that it is safe in SQL, a URL and a NATS
 * subject.
 */
import { DateTime, Schema } from "effect"
import { accountIdPattern, anyCommandIdPattern, commandIdPattern, externalPrefix } from "./IdPatterns.ts"

const idMessage = "must be 1 to 64 characters of A-Z a-z 0-9 _ : -"

/** An account that holds a stream of events: 1-64 of `[A-Za-z0-9_:-]`, not beginning with `external:`. */
export const AccountId = Schema.String.check(
  Schema.isPattern(accountIdPattern, { message: idMessage }),
  Schema.makeFilter<string>(
    (id) => !id.startsWith(externalPrefix) || `"${externalPrefix}" is reserved for contra accounts`
  )
).pipe(Schema.brand("AccountId"))
export type AccountId = typeof AccountId.Type

/** The beginning of the ids of accounts, up to a whole one; empty for all of them. */
export const AccountPrefix = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9_:-]{0,64}$/u, {
    message: "must be at most 64 characters of A-Z a-z 0-9 _ : -"
  }),
  Schema.makeFilter<string>(
    (prefix) => !prefix.startsWith(externalPrefix) || "is of contra accounts, which contraBalances sums up"
  )
)

/** An account outside the books (`external:bank`); it has no stream, its balance is derived. */
export const ContraId = Schema.String.check(
  Schema.isPattern(/^external:[A-Za-z0-9_:-]{1,55}$/u, {
    message: `must begin with "${externalPrefix}" and have 10 to 64 characters of A-Z a-z 0-9 _ : -`
  })
).pipe(Schema.brand("ContraId"))
export type ContraId = typeof ContraId.Type

const [isAccountId, isContraId] = [Schema.is(AccountId), Schema.is(ContraId)]

/** An account of the books, or a contra account outside of them. */
export const AccountOrContra = Schema.String.pipe(
  Schema.refine((id): id is AccountId | ContraId => isAccountId(id) || isContraId(id), {
    message: `must be the id of an account, or of a contra account (${externalPrefix}…)`,
    // Few texts drawn at random are ids.
    arbitraryConstraint: { patterns: [{ source: accountIdPattern.source, flags: accountIdPattern.flags }] }
  })
)
export type AccountOrContra = AccountId | ContraId

/** Whether it lies outside of the books. Ids were checked when they came in. */
export const isContra = (id: AccountOrContra): id is ContraId => id.startsWith(externalPrefix)

export const commandIdMessage = "must be 1 to 128 characters of A-Z a-z 0-9 _ : - . / @ = +"

/**
 * Chosen by the client; names one command for ever (I4): 1-128 of `[A-Za-z0-9_:-./@=+]`, so that a payment reference, a UUID or a
 * text in base64 is one as it is. The transaction that the command makes has the same id.
 */
export const CommandId = Schema.String.check(
  Schema.isPattern(commandIdPattern, { message: commandIdMessage })
).pipe(Schema.brand("CommandId"))
export type CommandId = typeof CommandId.Type

/** The id of a command that can be reversed: a client's, for those that the ledger made are of reversals, notices and parts of groups. */
export const OriginalId = Schema.String.check(
  Schema.isPattern(commandIdPattern, {
    message: `${commandIdMessage}: what has an id of the ledger's own (~), a reversal or a part of a group, cannot be reversed`
  })
).pipe(Schema.brand("CommandId"))

/**
 * An id by which a command or a transfer is found: chosen by a client; the ledger's own, `~r<n>~<original>`, for the n-th reversal of
 * another, or `~x~<account>~<hold>` for the notice that a hold has expired; or `<group>~<ordinal>` of a transfer in a group, which may have several.
 */
export const AnyCommandId = Schema.String.check(
  Schema.isPattern(anyCommandIdPattern, {
    message: `${commandIdMessage}, or an id that the ledger made of one`
  })
).pipe(Schema.brand("CommandId"))

/** The id of the command that a transfer is of: a group has one, and its transfers have an ordinal behind it. */
export const commandOfTransfer = (id: CommandId): CommandId =>
  id.replace(/^((?:~r\d+~)?[^~]+)~\d+$/u, "$1") as CommandId // an id without its ordinal

/** The end of the year 9999, as far as four digits of a year go. */
export const instantMax = 253_402_300_799_999

/** What is wrong with an instant that is no whole number. */
export const instantMessage = "must be epoch milliseconds, a whole number"

/** Milliseconds since the Unix epoch, UTC. */
export const Instant = Schema.Number.annotate({ message: instantMessage }).check(
  Schema.isInt({ message: instantMessage }),
  Schema.isBetween(
    { minimum: 0, maximum: instantMax },
    { message: `must lie between 0 (1970) and ${instantMax} (9999) epoch milliseconds` }
  )
)
export type Instant = typeof Instant.Type

const versionMessage = "must be a version: a whole number of 0 or more"

/** The position of an event on its account: 1, 2, 3 … (I1); 0 means before the first event. */
export const Version = Schema.Number.annotate({ message: versionMessage }).check(
  Schema.isInt({ message: versionMessage }),
  Schema.isGreaterThanOrEqualTo(0, { message: versionMessage })
)
export type Version = typeof Version.Type

/** `2026-11-24T23:19:34.000Z` */
export const printInstant = (instant: Instant): string => DateTime.formatIso(DateTime.makeUnsafe(instant))
