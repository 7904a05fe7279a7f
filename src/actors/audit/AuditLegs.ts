/**
 * Whether the legs of a transaction fit together. Each leg of a transfer or journal names its counter-legs by account and
 * version; amounts, times, command and ordinal must agree both ways, so that no leg can be changed alone. Pure.
 */
import { amountOf, counterLegOf, type Event, type InGroup } from "../../domain/Event.ts"
import { noticeIdOf } from "../../domain/Holds.ts"
import { type AccountId, type CommandId, isContra, type Version } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { reversalIdOf } from "../../domain/Original.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"

export interface Key {
  readonly account: AccountId
  readonly version: Version
}

/** A row of the log with its event, which is undefined where the payload cannot be read. */
export interface Reading {
  readonly row: StoredEvent
  readonly event: Event | undefined
}

interface LegFault {
  /** I2: the legs do not balance, or do not name each other. I4: the events of the command are not there once each. */
  readonly invariant: "I2" | "I4"
  readonly reason: string
}

type Find = (key: Key) => Reading | undefined
type AssetOf = (account: AccountId) => Asset | undefined

/** The places of an event's counter-legs, and of what it names of its group. */
export const counterLegsOf = (event: Event): ReadonlyArray<Key> => {
  const { group } = event
  if (group === undefined) return legsOf(event)
  return [...legsOf(event), ...(group.events ?? [{ account: group.head, version: group.headVersion }])]
}

const legsOf = (event: Event): ReadonlyArray<Key> => {
  switch (event._tag) {
    case "TransferSent":
    case "HoldCaptured": {
      const counter = counterLegOf(event)
      return counter === undefined ? [] : [counter]
    }
    case "TransferReceived":
      return [{ account: event.from, version: event.fromVersion }]
    case "JournalPosted":
      return event.legs.slice(1)
    case "JournalLegPosted":
      return [{ account: event.head, version: event.headVersion }]
    default:
      return []
  }
}

const at = (key: { readonly account: string; readonly version: number }) => `${key.account}@${key.version}`

/**
 * The first fault of a leg. `find` must know the rows of all `counterLegsOf` that exist, and `assetOf` the assets of their
 * accounts.
 */
export const faultOfLeg = (
  { row, event }: Reading & { readonly event: Event },
  find: Find,
  assetOf: AssetOf
): LegFault | undefined => {
  const own: Key = { account: row.accountId, version: row.version }
  const isHead = event._tag !== "TransferReceived" && event._tag !== "JournalLegPosted"
  // Commands of a group go on counting where the one before ended.
  const isInPlace = event.group === undefined ? isHead === (row.ordinal === 0) : isHead || row.ordinal > 0
  if (!isInPlace) return { invariant: "I4", reason: `${event._tag} with ordinal ${row.ordinal}` }
  if ((row.ordinal === 0) !== (row.commandHash !== null)) {
    return { invariant: "I4", reason: "the hash of the command belongs on ordinal 0, and only there" }
  }
  const said = idSaidBy(row, event)
  if (said !== undefined && said !== row.commandId) {
    return {
      invariant: "I4",
      reason: `it is of command ${said}, by what it says, and not of ${row.commandId}`
    }
  }
  const ofGroup = event.group === undefined ? undefined : faultInGroup(own, row, event.group, find)
  if (ofGroup !== undefined) return ofGroup
  switch (event._tag) {
    case "HoldCaptured":
      if (isContra(event.to) !== (event.toVersion === undefined)) {
        return { invariant: "I2", reason: "it names a version exactly where it pays out of the books" }
      }
      return isContra(event.to) ? undefined : faultOfTransfer(own, row, event, find, assetOf)
    case "TransferSent":
    case "TransferReceived":
      return faultOfTransfer(own, row, event, find, assetOf)
    case "Deposited":
    case "Withdrawn":
      return faultOfGiven(row, event, find)
    case "JournalPosted":
      return faultOfJournal(own, row, event, find, assetOf) ?? faultOfGiven(row, event, find)
    case "JournalLegPosted": {
      const head = find({ account: event.head, version: event.headVersion })
      const first = head?.row.ordinal ?? 0
      const listed = head?.event?._tag === "JournalPosted" ? head.event.legs[row.ordinal - first] : undefined
      const fits =
        listed !== undefined &&
        at(listed) === at(own) &&
        listed.amount === event.amount &&
        listed.side === event.side
      const key = { account: event.head, version: event.headVersion }
      return faultOfPair(row, key, head, fits, event.group !== undefined || first === 0)
    }
    default:
      return undefined
  }
}

/** The id of its command, where an event says which it is: a hold has that id, and that of a reversal or a notice is made of what it is about. */
const idSaidBy = ({ accountId }: StoredEvent, event: Event): CommandId | undefined => {
  if ("reverses" in event && event.reverses !== undefined)
    return reversalIdOf(event.reverses.original, event.reverses.n)
  switch (event._tag) {
    case "HoldPlaced":
      return event.hold
    case "HoldExpired":
      return noticeIdOf(accountId, event.hold)
    default:
      return undefined
  }
}

/** The first event of a group must name this one at the place of its ordinal, and every event it names must be there. */
const faultInGroup = (own: Key, row: StoredEvent, { head, headVersion, events }: InGroup, find: Find) => {
  const first = find({ account: head, version: headVersion })
  const listed = first?.event?.group?.events?.[row.ordinal]
  if (first?.row.ordinal !== 0 || listed === undefined || at(listed) !== at(own)) {
    const reason = `the first event of its group, ${at({ account: head, version: headVersion })}, does not name it`
    return { invariant: "I4", reason } satisfies LegFault
  }
  if (first.row.commandId !== row.commandId || first.row.recordedAt !== row.recordedAt)
    return {
      invariant: "I4",
      reason: "its group is of another command, or of another time"
    } satisfies LegFault
  const missing = events?.find((key) => find(key)?.event?.group?.head !== head)
  return missing === undefined
    ? undefined
    : ({ invariant: "I4", reason: `${at(missing)} is not of its group` } satisfies LegFault)
}

/** Two rows of one command must name each other (`fits`), and share the command and both times. */
const faultOfPair = (
  row: StoredEvent,
  key: Key,
  counter: Reading | undefined,
  fits: boolean,
  hasOrdinal: boolean
): LegFault | undefined => {
  const name = `its counter-leg ${at(key)}`
  if (counter === undefined) return { invariant: "I2", reason: `${name} is missing` }
  if (counter.event === undefined) return { invariant: "I2", reason: `${name} cannot be read` }
  if (!fits) return { invariant: "I2", reason: `${name} names another event or another amount` }
  if (counter.row.commandId !== row.commandId) {
    return { invariant: "I4", reason: `${name} belongs to command ${counter.row.commandId}` }
  }
  if (!hasOrdinal) return { invariant: "I4", reason: `${name} has ordinal ${counter.row.ordinal}` }
  if (counter.row.recordedAt !== row.recordedAt || counter.row.effectiveAt !== row.effectiveAt) {
    return { invariant: "I2", reason: `${name} has another time` }
  }
  return undefined
}

const faultOfTransfer = (
  own: Key,
  row: StoredEvent,
  event: Extract<Event, { readonly _tag: "TransferSent" | "TransferReceived" | "HoldCaptured" }>,
  find: Find,
  assetOf: AssetOf
): LegFault | undefined => {
  const isSent = event._tag !== "TransferReceived"
  const key = isSent ? counterLegOf(event) : { account: event.from, version: event.fromVersion }
  if (key === undefined) return { invariant: "I2", reason: "it names no counter-leg" }
  const counter = find(key)
  const other = counter?.event
  const back = other === undefined ? undefined : namedBy(other, isSent)
  const fits = back !== undefined && at(back) === at(own) && back.amount === event.amount
  const fault = faultOfPair(row, key, counter, fits, counter?.row.ordinal === row.ordinal + (isSent ? 1 : -1))
  if (fault !== undefined) return fault
  const [mine, theirs] = [assetOf(own.account), assetOf(key.account)]
  return mine === undefined || theirs === undefined || mine === theirs
    ? undefined
    : { invariant: "I2", reason: `it moves ${mine}, its counter-leg ${at(key)} ${theirs}` }
}

/** The leg that the other side of a transfer names, and the amount that it says. */
const namedBy = (other: Event, isReceiver: boolean): (Key & { readonly amount: bigint }) | undefined => {
  if (isReceiver) {
    return other._tag === "TransferReceived"
      ? { account: other.from, version: other.fromVersion, amount: other.amount }
      : undefined
  }
  const named = counterLegOf(other)
  return named === undefined || !("amount" in other) ? undefined : { ...named, amount: other.amount }
}

const faultOfJournal = (
  own: Key,
  row: StoredEvent,
  event: Extract<Event, { readonly _tag: "JournalPosted" }>,
  find: Find,
  assetOf: AssetOf
): LegFault | undefined => {
  const [first] = event.legs
  if (first === undefined || at(first) !== at(own)) {
    return { invariant: "I2", reason: "its first leg is not itself" }
  }
  const sums = new Map<Asset | undefined, bigint>()
  for (const [ordinal, leg] of event.legs.entries()) {
    const asset = assetOf(leg.account)
    sums.set(asset, (sums.get(asset) ?? 0n) + (leg.side === "credit" ? leg.amount : -leg.amount))
    if (ordinal === 0) continue
    const counter = find(leg)
    const other = counter?.event
    const fits =
      other?._tag === "JournalLegPosted" &&
      at({ account: other.head, version: other.headVersion }) === at(own) &&
      other.amount === leg.amount &&
      other.side === leg.side
    const fault = faultOfPair(row, leg, counter, fits, counter?.row.ordinal === row.ordinal + ordinal)
    if (fault !== undefined) return fault
  }
  for (const { asset, side, amount } of event.contras ?? []) {
    sums.set(asset, (sums.get(asset) ?? 0n) + (side === "credit" ? amount : -amount))
  }
  // An account whose opening is lost has no asset, which is a finding of its own.
  if (sums.has(undefined)) return undefined
  for (const [asset, sum] of sums) {
    if (sum !== 0n)
      return { invariant: "I2", reason: `its legs sum to ${sum} minor units of ${asset}, not to zero` }
  }
  return undefined
}

/** An event that may be the first of a reversal, which says what each leg of the original gave back. */
type Movement = Extract<Event, { readonly _tag: "Deposited" | "Withdrawn" | "JournalPosted" }>

/** What the events of a reversal moved, in minor units. */
interface Moved {
  /** By account: below zero what it gave. */
  readonly own: Map<string, bigint>
  /** By contra and asset, without a sign. */
  readonly outside: Map<string, bigint>
  /** What the shortfall account paid for others, below zero. */
  readonly paid: bigint
}

const movedIn = (row: StoredEvent, event: Movement, find: Find): Moved => {
  const own = new Map<string, bigint>()
  if (event._tag !== "JournalPosted") {
    own.set(row.accountId, amountOf(event))
    // Of the account's own asset, which only the opening of the account names.
    return { own, outside: new Map([[event.contra, event.amount]]), paid: 0n }
  }
  let paid = 0n
  for (const [nth, leg] of event.legs.entries()) {
    const other = nth === 0 ? event : find(leg)?.event
    const units = leg.side === "credit" ? leg.amount : -leg.amount
    if (other !== undefined && "reverses" in other && other.reverses?.isShortfall === true) paid += units
    else own.set(leg.account, (own.get(leg.account) ?? 0n) + units)
  }
  const contras = event.contras ?? []
  return { own, outside: new Map(contras.map((one) => [`${one.contra} ${one.asset}`, one.amount])), paid }
}

/**
 * What a reversal says that each leg of its original gave back must be what its events moved, and what the shortfall account paid for
 * others: what is left to give back is told by that alone.
 */
const faultOfGiven = (row: StoredEvent, event: Movement, find: Find): LegFault | undefined => {
  const gave = event.reverses?.gave
  if (gave === undefined) return undefined
  const { own, outside, paid } = movedIn(row, event, find)
  const off = (account: string): LegFault => ({
    invariant: "I2",
    reason: `what it says that ${account} gave back, or got, is not what the events of the reversal moved`
  })
  let lacking = paid
  for (const { account, amount, asset } of gave) {
    if (isContra(account)) {
      const key = event._tag === "JournalPosted" ? `${account} ${asset}` : account
      if (outside.get(key) !== amount) return off(account)
      outside.delete(key)
      continue
    }
    const units = own.get(account) ?? 0n
    if (units > 0n ? units !== amount : -units > amount) return off(account)
    if (units <= 0n) lacking += amount + units
    own.delete(account)
  }
  const [more] = [...own.keys(), ...outside.keys()]
  if (more !== undefined) return off(more)
  return lacking === 0n ? undefined : off("the shortfall account")
}
