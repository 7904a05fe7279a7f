/**
 * The decisions of the ledger: what each command does to the accounts that it names, or why it is rejected. Pure (no
 * clock, no randomness), so that a command can be decided again on another state, and every rule is a line of a table.
 */
import { Result } from "effect"
import {
  type Account,
  active,
  covers,
  coversWith,
  evolve,
  hasRoomFor,
  isActive,
  isFrozenFor,
  notActive,
  notClosed,
  type OpenedAccount,
  ofAsset,
  whyNotActive,
  withoutExpired
} from "./Account.ts"
import type { Command, Exchange, Leg } from "./Command.ts"
import { accountsOf, firstAccountOf } from "./Command.ts"
import { adjustHold, captureHold, noteExpiry, placeHold, releaseHold } from "./DecideHolds.ts"
import {
  AccountAlreadyExists,
  GroupRejected,
  HoldClosed,
  HoldExpired,
  type HoldNotFound,
  type InsufficientFunds,
  InvalidCommand,
  type LimitExceeded,
  OpenHolds,
  RateMismatch,
  type Rejection,
  SameAccount,
  VersionConflict
} from "./Errors.ts"
import type { Event } from "./Event.ts"
import { isExpired } from "./Holds.ts"
import { type AccountId, type ContraId, type Instant, isContra, type Version } from "./Ids.ts"
import { type Asset, amountMax, balanceMax, convert, formatMoney } from "./Money.ts"
import { reverse } from "./Reversal.ts"

/** One event and the account whose stream it is for. The events of a command commit together or not at all. */
export interface Decided {
  readonly account: AccountId
  readonly event: Event
  /** When it counts, where the command of a group says so itself; otherwise when its command does. */
  readonly effectiveAt?: Instant
}

export type Decision = Result.Result<ReadonlyArray<Decided>, Rejection>
type StateOf = (account: AccountId) => Account
type Of<Tag extends Command["_tag"]> = Extract<Command, { readonly _tag: Tag }>

const bank = "external:bank" as ContraId // a literal that the schema of ContraId accepts

/**
 * Decides a command on the states of its accounts at the instant it is recorded at (design §6: both sides of a transfer
 * in one synchronous step). The legs stand in the order of `accountsOf(command)`; an accepted command has at least one.
 */
export const decide = (command: Command, stateBefore: StateOf, at: Instant): Decision => {
  // A reversal whose original was not found names no account, and is refused for that.
  if (command.expectedVersion !== undefined && accountsOf(command).length > 0) {
    const head = firstAccountOf(command)
    const { version } = stateBefore(head)
    if (version !== command.expectedVersion) {
      return Result.fail(
        new VersionConflict({ account: head, expected: command.expectedVersion, actual: version })
      )
    }
  }
  switch (command._tag) {
    case "OpenAccount":
      return open(command, withoutExpired(stateBefore(command.account), at))
    case "Deposit":
      return deposit(command, withoutExpired(stateBefore(command.account), at))
    case "Withdraw":
      return withdraw(command, withoutExpired(stateBefore(command.account), at))
    case "Transfer":
      return transfer(command, stateBefore, at)
    case "PostJournal":
      return postJournal(command, statesAt(stateBefore, at))
    case "PlaceHold":
      return placeHold(command, withoutExpired(stateBefore(command.account), at), at)
    case "CaptureHold":
      return captureHold(command, statesAt(stateBefore, at), stateBefore(command.account), at)
    case "AdjustHold": {
      const before = stateBefore(command.account)
      return adjustHold(command, withoutExpired(before, at), before, at)
    }
    case "ReleaseHold": {
      const before = stateBefore(command.account)
      return releaseHold(command, withoutExpired(before, at), before, at)
    }
    case "Reverse":
      return reverse(command, statesAt(stateBefore, at))
    case "UpdateAccount":
      return update(command, withoutExpired(stateBefore(command.account), at))
    case "FreezeAccount":
      return freeze(command, withoutExpired(stateBefore(command.account), at))
    case "UnfreezeAccount":
      return unfreeze(command, withoutExpired(stateBefore(command.account), at))
    case "CloseAccount":
      return close(command, withoutExpired(stateBefore(command.account), at))
    case "Group":
      return group(command, stateBefore, at)
    case "NoteExpiry":
      return noteExpiry(command, stateBefore(command.account), at)
  }
}

/** The same states without the holds that have expired by an instant. */
const statesAt =
  (stateBefore: StateOf, at: Instant): StateOf =>
  (account) =>
    withoutExpired(stateBefore(account), at)

const one = (account: AccountId, event: Event): Decision => Result.succeed([{ account, event }])

const described = (text: string | undefined) => (text === undefined ? {} : { description: text })

type Notes = Pick<Of<"Transfer">, "description" | "metadata">

/** An event with what the sender of the command wrote to it; the very same where that is nothing, which saves a copy. */
const noted = <Movement extends Event & Notes>(
  event: Movement,
  { description, metadata }: Notes
): Movement => {
  if (metadata !== undefined) return { ...event, ...described(description), metadata }
  return description === undefined ? event : { ...event, description }
}

const reasoned = (text: string | undefined) => (text === undefined ? {} : { reason: text })

const open = (command: Of<"OpenAccount">, account: Account): Decision => {
  if (account._tag !== "Absent") return Result.fail(new AccountAlreadyExists({ account: account.id }))
  const { asset, owner, overdraftLimit = 0n, metadata = {} } = command
  return one(account.id, { _tag: "AccountOpened", asset, owner, overdraftLimit, metadata })
}

// Written out, as is a transfer, where `flatMap` would be shorter: nearly all commands are these.
const deposit = (command: Of<"Deposit">, account: Account): Decision => {
  if (!isActive(account, command.asset, "credits"))
    return Result.fail(whyNotActive(account, command.asset, "credits"))
  const fits = hasRoomFor(account, command.amount)
  if (Result.isFailure(fits)) return Result.fail(fits.failure)
  const { account: id, amount, contra = bank } = command
  return one(id, noted({ _tag: "Deposited", amount, contra }, command))
}

const withdraw = (command: Of<"Withdraw">, account: Account): Decision => {
  if (!isActive(account, command.asset, "debits"))
    return Result.fail(whyNotActive(account, command.asset, "debits"))
  const covered = covers(account, command.amount)
  if (Result.isFailure(covered)) return Result.fail(covered.failure)
  const { account: id, amount, contra = bank } = command
  return one(id, noted({ _tag: "Withdrawn", amount, contra }, command))
}

const transfer = (command: Of<"Transfer">, stateBefore: StateOf, at: Instant): Decision => {
  const { from, to, amount, asset } = command
  if (from === to) return Result.fail(new SameAccount({ account: from }))
  // Written out, where a generator would be shorter: most commands are transfers.
  const sender = withoutExpired(stateBefore(from), at)
  if (!isActive(sender, asset, "debits")) return Result.fail(whyNotActive(sender, asset, "debits"))
  const receiver = withoutExpired(stateBefore(to), at)
  if (!isActive(receiver, sender.asset, "credits"))
    return Result.fail(whyNotActive(receiver, sender.asset, "credits"))
  const covered = covers(sender, amount)
  if (Result.isFailure(covered)) return Result.fail(covered.failure)
  const fits = hasRoomFor(receiver, amount)
  if (Result.isFailure(fits)) return Result.fail(fits.failure)
  const toVersion = receiver.version + 1
  const fromVersion = sender.version + 1
  return Result.succeed([
    { account: from, event: noted({ _tag: "TransferSent", amount, to, toVersion }, command) },
    { account: to, event: noted({ _tag: "TransferReceived", amount, from, fromVersion }, command) }
  ])
}

const postJournal = (command: Of<"PostJournal">, stateOf: StateOf): Decision =>
  Result.gen(function* () {
    const { legs, contras, sums } = yield* takeLegs(command.legs, stateOf)
    for (const [asset, changes] of sums) {
      const sum = [...changes.values()].reduce((sum, change) => sum + change, 0n)
      if (sum !== 0n) {
        const text = formatMoney(sum, asset)
        return yield* Result.fail(InvalidCommand.at("legs", `sum to ${text} (${asset}), not to zero`))
      }
    }
    for (const exchange of command.fx ?? []) yield* checkRate(exchange, command.fx ?? [], sums)
    const [head] = legs
    if (head === undefined) return yield* Result.fail(InvalidCommand.at("legs", "must not be empty"))
    const journal = {
      legs,
      ...(contras.length === 0 ? {} : { contras }),
      ...(command.fx === undefined ? {} : { fx: command.fx })
    }
    return legs.map(({ account, side, amount }, ordinal): Decided => {
      const further = { amount, side, head: head.account, headVersion: head.version }
      return {
        account,
        event: noted(
          ordinal === 0 ? { _tag: "JournalPosted", ...journal } : { _tag: "JournalLegPosted", ...further },
          command
        )
      }
    })
  })

type Journal = Extract<Event, { readonly _tag: "JournalPosted" }>
/** What each account and contra gets of an asset. */
type Sums = Map<Asset, Map<string, bigint>>

interface TakenLegs {
  /** Those on accounts, in the order of their events. */
  readonly legs: Array<Journal["legs"][number]>
  readonly contras: Array<NonNullable<Journal["contras"]>[number]>
  readonly sums: Sums
}

/** Sees that each leg may be posted, and sums them up. */
const takeLegs = (legs: ReadonlyArray<Leg>, stateOf: StateOf): Result.Result<TakenLegs, Rejection> =>
  Result.gen(function* () {
    const sums: Sums = new Map()
    const add = (asset: Asset, { account, side, amount }: Leg) => {
      const changes = sums.get(asset) ?? new Map<string, bigint>()
      sums.set(asset, changes)
      changes.set(account, (changes.get(account) ?? 0n) + (side === "credit" ? amount : -amount))
    }
    const waiting = new Map<AccountId, OwnLegs>()
    const order: Array<AccountId> = []
    for (const leg of legs) {
      if (isContra(leg.account)) continue
      const account = yield* active(stateOf(leg.account), leg.asset, `${leg.side}s`)
      add(account.asset, leg)
      order.push(leg.account)
      const before = waiting.get(leg.account)
      const change = leg.side === "credit" ? leg.amount : -leg.amount
      if (before === undefined) waiting.set(leg.account, { before: account, account, change, legs: [leg] })
      else {
        before.legs.push(leg)
        before.change += change
      }
    }
    const [only, ...others] = sums.keys()
    const contras: TakenLegs["contras"] = []
    for (const [index, leg] of legs.entries()) {
      const { account: contra, side, amount } = leg
      if (!isContra(contra)) continue
      const asset = leg.asset ?? (others.length === 0 ? only : undefined)
      if (asset === undefined) {
        const message = "must be named: the accounts of this journal have several, and a contra account none"
        return yield* Result.fail(
          new InvalidCommand({ faults: [{ path: ["legs", `${index}`, "asset"], message }] })
        )
      }
      add(asset, leg)
      contras.push({ contra, side, amount, asset })
    }
    for (const own of waiting.values()) arrange(own)
    const posted: TakenLegs["legs"] = []
    for (const id of order) {
      const own = waiting.get(id)
      if (own !== undefined) posted.push(yield* postNext(own))
    }
    return { legs: posted, contras, sums }
  })

/** The legs that one account has in a journal. */
interface OwnLegs {
  /** The account before the journal. */
  readonly before: OpenedAccount
  /** The account after the legs that are posted. */
  account: OpenedAccount
  /** What all its legs together change its balance by, in minor units. */
  change: bigint
  /** Those that are not posted yet. */
  readonly legs: Array<Leg>
}

/** Legs that are looked at, those that do not fit included, while an order of the legs of one account is looked for. */
const arrangingMax = 10_000

/**
 * Puts the legs of an account into an order in which each fits, where its holds and balance leave less room between its bounds than two
 * amounts may need: there the first one that fits may be the wrong one. They stay as they are where no order is found.
 */
const arrange = (own: OwnLegs): void => {
  const { account, legs } = own
  const wide = balanceMax + account.overdraftLimit - account.held >= 2n * amountMax
  if (wide || legs.length < 2) return
  let steps = 0
  const inOrder = (left: ReadonlyArray<Leg>, available: bigint, room: bigint): Array<Leg> | undefined => {
    if (left.length === 0) return []
    const tried = new Set<bigint>()
    for (const [nth, leg] of left.entries()) {
      if (++steps > arrangingMax) return undefined
      const change = leg.side === "credit" ? leg.amount : -leg.amount
      if (available + change < 0n || room - change < 0n || tried.has(change)) continue
      tried.add(change)
      const rest = inOrder(left.toSpliced(nth, 1), available + change, room - change)
      if (rest !== undefined) return [leg, ...rest]
    }
    return undefined
  }
  const available = account.balance + account.overdraftLimit - account.held
  const found = inOrder(legs, available, balanceMax - account.balance)
  if (found !== undefined) legs.splice(0, legs.length, ...found)
}

/**
 * Posts one of the legs that an account has in a journal: the first, unless it does not fit yet and one of the other side
 * does. So the account is covered after every event where it is in the end, for two amounts have room between its bounds.
 * A refusal tells the account before the journal, and what all its legs together would take or give.
 */
const postNext = (own: OwnLegs): Result.Result<Journal["legs"][number], Rejection> => {
  const { account, before, change, legs } = own
  const fits = ({ side, amount }: Leg): Result.Result<void, InsufficientFunds | LimitExceeded> =>
    side === "debit" ? covers(account, amount) : hasRoomFor(account, amount)
  const [first] = legs
  if (first === undefined) throw new Error(`account ${account.id} has no leg left`)
  let next = first
  const fit = fits(first)
  if (Result.isFailure(fit)) {
    const other = legs.find((leg) => leg.side !== first.side && Result.isSuccess(fits(leg)))
    if (other === undefined) {
      const whole: ReturnType<typeof fits> =
        change < 0n ? covers(before, -change) : hasRoomFor(before, change)
      return Result.fail(Result.isFailure(whole) ? whole.failure : fit.failure)
    }
    next = other
  }
  legs.splice(legs.indexOf(next), 1)
  const { side, amount } = next
  const version = account.version + 1
  const balance = account.balance + (side === "credit" ? amount : -amount)
  own.account = { ...account, version, balance }
  return Result.succeed({ account: account.id, version, side, amount })
}

/** What an asset's legs move from accounts to others; what an account gets and gives on is not in it. */
const moved = (changes: ReadonlyMap<string, bigint>): bigint =>
  [...changes.values()].reduce((sum, change) => (change > 0n ? sum + change : sum), 0n)

/** Holds what the legs move against one rate. */
const checkRate = (
  { base, quote, rate, rounding }: Exchange,
  all: ReadonlyArray<Exchange>,
  sums: Sums
): Result.Result<void, InvalidCommand | RateMismatch> => {
  const [given, got] = [sums.get(base), sums.get(quote)]
  if (base === quote) return Result.fail(InvalidCommand.at("fx", `exchanges ${base} for itself`))
  if (given === undefined || got === undefined)
    return Result.fail(InvalidCommand.at("fx", `no leg is in ${given === undefined ? base : quote}`))
  const isAmbiguous = all.some(
    (other) => (other.base === base) !== (other.quote === quote) // else it is this rate itself, or about other assets
  )
  if (isAmbiguous) {
    const message = `names ${base} or ${quote} in two rates: what was exchanged at which cannot be told from the legs`
    return Result.fail(InvalidCommand.at("fx", message))
  }
  const [amount, actual] = [moved(given), moved(got)]
  const expected = convert(amount, { base, quote, rate, rounding })
  return expected === actual
    ? Result.void
    : Result.fail(new RateMismatch({ base, quote, rate, rounding, amount, expected, actual }))
}

/**
 * What became of a hold that a command of a group does not find: a command before it closed it, or it had expired when the group
 * began, which only the state from before the first event of the account tells.
 */
const withinGroup = (
  refusal: HoldNotFound,
  before: StateOf,
  decided: ReadonlyArray<Decided>,
  at: Instant
): HoldNotFound | HoldExpired | HoldClosed => {
  const { hold } = refusal
  const account = refusal.account as AccountId // the command named it
  const last = decided.findLast(
    (one) => one.account === account && "hold" in one.event && one.event.hold === hold
  )?.event._tag
  if (last === "HoldReleased") return new HoldClosed({ account, hold, how: "released", at })
  const state = before(account)
  const late = state._tag === "Absent" ? undefined : state.holds.find(({ id }) => id === hold)
  return late?.expiresAt !== undefined && isExpired(late, at)
    ? new HoldExpired({ account, hold, expiredAt: late.expiresAt })
    : refusal
}

type Member = Of<"Group">["commands"][number]

/** Two holds of one account cannot both have the id of their group. */
const isSecondHold = (member: Member, decided: ReadonlyArray<Decided>): boolean =>
  member._tag === "PlaceHold" &&
  decided.some(({ account, event }) => account === member.account && event._tag === "HoldPlaced")
const secondHold = InvalidCommand.at(
  "account",
  "has a hold of this group already: the hold's id is the group's, so a group can place one on each account"
)

/** Decides each command on what those before it leave; the events of all of them are those of one command. */
const group = ({ commandId, commands }: Of<"Group">, stateOf: StateOf, at: Instant): Decision => {
  const states = new Map<AccountId, Account>()
  const current: StateOf = (id) => states.get(id) ?? stateOf(id)
  const decided: Array<Decided> = []
  const events: Array<{ readonly account: AccountId; readonly version: Version }> = []
  for (const [index, member] of commands.entries()) {
    const decision = isSecondHold(member, decided)
      ? Result.fail(secondHold)
      : decide({ ...member, commandId }, current, at)
    if (Result.isFailure(decision)) {
      const rejection = decision.failure
      // A group contains no group, so this cannot happen.
      if (rejection._tag === "GroupRejected") return Result.fail(rejection)
      const told =
        rejection._tag === "HoldNotFound" ? withinGroup(rejection, stateOf, decided, at) : rejection
      return Result.fail(new GroupRejected({ index, command: member._tag, rejection: told }))
    }
    const { effectiveAt } = member
    for (const { account, event } of decision.success) {
      const state = evolve(current(account), event, at)
      states.set(account, state)
      events.push({ account, version: state.version })
      decided.push({ account, event, ...(effectiveAt === undefined ? {} : { effectiveAt }) })
    }
  }
  const [head] = events
  if (head === undefined) return Result.fail(InvalidCommand.at("commands", "must not be empty"))
  const place = { head: head.account, headVersion: head.version }
  return Result.succeed(
    decided.map((one, ordinal) => ({
      ...one,
      event: { ...one.event, group: ordinal === 0 ? { ...place, events } : place }
    }))
  )
}

const update = (command: Of<"UpdateAccount">, account: Account): Decision => {
  const { owner, metadata, overdraftLimit, description } = command
  if (owner === undefined && metadata === undefined && overdraftLimit === undefined) {
    return Result.fail(
      InvalidCommand.at("command", "changes nothing: give owner, metadata or overdraftLimit")
    )
  }
  const asked = Result.flatMap(notClosed(account), (opened) => ofAsset(opened, command.asset))
  return Result.flatMap(asked, (opened) =>
    Result.flatMap(overdraftLimit === undefined ? Result.void : coversWith(opened, overdraftLimit), () =>
      one(command.account, {
        _tag: "AccountUpdated",
        ...(owner === undefined ? {} : { owner }),
        ...(metadata === undefined ? {} : { metadata }),
        ...(overdraftLimit === undefined ? {} : { overdraftLimit }),
        ...described(description)
      })
    )
  )
}

/** Also where the other side is frozen already; refused where that changes nothing. */
const freeze = (command: Of<"FreezeAccount">, account: Account): Decision => {
  const { side = "both", reason } = command
  return Result.flatMap(notClosed(account), (opened) =>
    opened.frozen === "both" || opened.frozen === side
      ? Result.fail(notActive(opened))
      : one(command.account, noted({ _tag: "AccountFrozen", side, ...reasoned(reason) }, command))
  )
}

const unfreeze = (command: Of<"UnfreezeAccount">, account: Account): Decision => {
  const { side = "both", reason } = command
  return Result.flatMap(notClosed(account), (opened) =>
    isFrozenFor(opened, side)
      ? one(command.account, noted({ _tag: "AccountUnfrozen", side, ...reasoned(reason) }, command))
      : Result.fail(notActive(opened))
  )
}

/** Also where it is frozen: nothing can move on an account of balance zero that is closed. */
const close = (command: Of<"CloseAccount">, account: Account): Decision =>
  Result.flatMap(notClosed(account), (opened) => {
    const { id, asset, held, holds } = opened
    if (holds.length > 0) return Result.fail(new OpenHolds({ account: id, asset, count: holds.length, held }))
    return opened.balance === 0n
      ? one(command.account, noted({ _tag: "AccountClosed", ...reasoned(command.reason) }, command))
      : Result.fail(
          InvalidCommand.at(
            "account",
            `holds ${formatMoney(opened.balance, opened.asset)}: only an account of balance zero can be closed`
          )
        )
  })
