/**
 * Holds: money that an account keeps back for a payment to come. They live on the stream of the account that will pay, and
 * are a part of its state, so that a payment and a capture can never spend the same money twice. Pure.
 *
 * ```
 *   (none) ---PlaceHold---> open ---CaptureHold, AdjustHold, ReleaseHold---> open
 *                            |
 *                            |---CaptureHold of the rest, or final---> captured
 *                            |---ReleaseHold of the rest-------------> released
 *                            '---its instant of expiry---------------> expired
 * ```
 *
 * Expiry is exact and needs no event: a fold or an answer at an instant leaves out the holds that have expired by then. What is
 * closed leaves the state, which keeps it bounded.
 */
import { Schema } from "effect"
import type { Event } from "./Event.ts"
import { type AccountId, AccountOrContra, CommandId, Instant } from "./Ids.ts"
import { Amount, Balance } from "./Money.ts"

/** Most holds that an account may have open at once. */
export const openHoldsMax = 1_000
/** Most captures of one hold. */
export const capturesMax = 100

/** An open hold; the id of the command that placed it is its own. All amounts in minor units. */
export const Hold = Schema.Struct({
  id: CommandId,
  /** All that it was ever to keep back: as placed, and as adjusted since. */
  amount: Amount,
  /** What of it was captured so far; what is neither captured nor remaining was released. */
  captured: Balance,
  /** What it keeps back now; above zero, or else it is closed. */
  remaining: Amount,
  /** How often it was captured. */
  captures: Schema.Int,
  /** From this very instant on it keeps nothing back; without it, until it is captured or released. */
  expiresAt: Schema.optionalKey(Instant),
  /** Where its captures go; without it, each of them says so. */
  to: Schema.optionalKey(AccountOrContra)
})
export type Hold = typeof Hold.Type

/** The part of an account's state that its open holds make: `held` is the sum of what remains of them. */
interface Holding {
  readonly held: bigint
  readonly holds: ReadonlyArray<Hold>
}

/** Shared by all accounts that hold nothing, which are nearly all. */
const nothing: Holding = { held: 0n, holds: [] }

export const holding = (holds: ReadonlyArray<Hold>): Holding =>
  holds.length === 0
    ? { held: 0n, holds: nothing.holds }
    : { held: holds.reduce((sum, { remaining }) => sum + remaining, 0n), holds }

/**
 * The id under which the notice of a hold's expiry lands, whichever node sends it: the command key lets it land once. With the
 * account, for the holds that one group places on several accounts all have the group's id.
 */
export const noticeIdOf = (account: AccountId, hold: CommandId): CommandId =>
  `~x~${account}~${hold}` as CommandId // ids of this form are the ledger's own

export const isExpired = ({ expiresAt }: Pick<Hold, "expiresAt">, at: Instant): boolean =>
  expiresAt !== undefined && expiresAt <= at

/** The holds that are open at an instant; the very same list where none has expired. */
export const openAt = (holds: ReadonlyArray<Hold>, at: Instant): ReadonlyArray<Hold> =>
  holds.some((hold) => isExpired(hold, at)) ? holds.filter((hold) => !isExpired(hold, at)) : holds

type HoldEvent = Extract<Event, { readonly _tag: `Hold${string}` }>

/**
 * Folds one event about a hold. An event about a hold that is not open is a defect: the log is broken. What is held is not
 * summed up anew, for an account may have a thousand open holds.
 */
export const foldHold = ({ held, holds }: Holding, event: HoldEvent): Holding => {
  if (event._tag === "HoldExpired") return { held, holds }
  const { hold: id } = event
  const index = holds.findIndex((hold) => hold.id === id)
  const hold = holds[index]
  if (event._tag === "HoldPlaced") {
    if (hold !== undefined) throw new Error(`hold ${id} is placed twice`)
    const { amount, expiresAt, to } = event
    const placed = { id, amount, captured: 0n, remaining: amount, captures: 0 }
    const expiring = expiresAt === undefined ? placed : { ...placed, expiresAt }
    return { held: held + amount, holds: [...holds, to === undefined ? expiring : { ...expiring, to }] }
  }
  if (hold === undefined) throw new Error(`hold ${id} has ${event._tag} and is not open`)
  const changed = changeOf(hold, event)
  const rest = held + changed.remaining - hold.remaining
  if (changed.remaining > 0n) return { held: rest, holds: holds.with(index, changed) }
  return holds.length === 1 ? nothing : { held: rest, holds: holds.toSpliced(index, 1) }
}

const changeOf = (
  hold: Hold,
  event: Exclude<HoldEvent, { readonly _tag: "HoldPlaced" | "HoldExpired" }>
): Hold => {
  const { amount, captured, remaining } = hold
  switch (event._tag) {
    case "HoldCaptured": {
      // What was taken beyond the hold came from what was available.
      const isMore = event.amount > remaining
      const rest = isMore || event.final === true ? 0n : remaining - event.amount
      const taken = isMore ? remaining : event.amount
      return { ...hold, captured: captured + taken, remaining: rest, captures: hold.captures + 1 }
    }
    case "HoldAdjusted": {
      const { expiresAt } = event
      const adjusted = { ...hold, amount: event.amount, remaining: remaining + event.amount - amount }
      return expiresAt === undefined ? adjusted : { ...adjusted, expiresAt }
    }
    case "HoldReleased":
      return { ...hold, remaining: remaining - event.amount }
  }
}
