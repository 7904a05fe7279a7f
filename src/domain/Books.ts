/**
 * The reducer of the `books` projection: what each event adds to the read model, and what rows of the log, in any order, add to the accounts
 * as the tables hold them. Pure, so that a rebuild repeats it.
 */
import { Result } from "effect"
import type { OpenedAccount } from "./Account.ts"
import { amountOf, contraOf, counterLegOf, type Event, type EventType } from "./Event.ts"
import { BrokenLog, emptyHead, type Head, type Step, step } from "./Head.ts"
import type { Hold } from "./Holds.ts"
import type { AccountId, AccountOrContra, CommandId, ContraId, Instant, Version } from "./Ids.ts"
import type { Asset } from "./Money.ts"
import type { StoredEvent } from "./StoredEvent.ts"

/** The head of an account that has at least one event: what a row of the balances holds. */
export interface OpenedHead extends Head {
  readonly account: OpenedAccount
}

/** One line of an account's statement; amounts in minor units, `amount` signed, `balance` after the line. */
export interface StatementLine {
  readonly account: AccountId
  readonly version: Version
  readonly type: EventType
  readonly amount: bigint
  readonly balance: bigint
  readonly asset: Asset
  /**
   * The account or contra on the other side. A journal's first leg names the other one of two, and none of several;
   * its further legs name the first.
   */
  readonly counterparty: string | null
  readonly description: string | null
  /** What a journal adds to contra accounts, on the line of its first leg; null where it has no leg on one. */
  readonly contras: ReadonlyArray<ContraEntry> | null
  readonly commandId: CommandId
  readonly recordedAt: Instant
  readonly effectiveAt: Instant
}

/** A transfer, written with its sender's leg alone, so that no two partitions write one row. */
export interface TransferRow {
  readonly id: CommandId
  readonly from: AccountId
  readonly fromVersion: Version
  readonly to: AccountId
  readonly toVersion: Version
  readonly asset: Asset
  readonly amount: bigint
  readonly description: string | null
  readonly recordedAt: Instant
  readonly effectiveAt: Instant
}

/** What an event adds to a contra account; of a deposit or withdrawal the opposite of what it adds to its own account. */
export interface ContraEntry {
  readonly contra: ContraId
  readonly asset: Asset
  readonly amount: bigint
}

/**
 * A hold, from its placing until it is captured or released to its end, or the notice of its expiry is written: the read model
 * keeps it beyond its expiry, which the state of the account does not, for as long as that is to be told.
 */
export interface HoldRow {
  readonly account: AccountId
  readonly hold: CommandId
  readonly asset: Asset
  readonly amount: bigint
  readonly captured: bigint
  readonly remaining: bigint
  readonly captures: number
  /** Null where it does not expire. */
  readonly expiresAt: Instant | null
  /** Null where each capture says where it goes. */
  readonly to: AccountOrContra | null
}

/** What an event makes of a hold: its row, or none any more. */
export interface HoldChange {
  readonly account: AccountId
  readonly hold: CommandId
  readonly row: HoldRow | undefined
}

/** Everything one event adds to the read model. */
export interface Posted {
  readonly event: Event
  readonly head: OpenedHead
  readonly line: StatementLine
  readonly transfer: TransferRow | undefined
  readonly contras: ReadonlyArray<ContraEntry>
  readonly hold: HoldChange | undefined
}

/** The reducer. A row that does not follow the head, or cannot be read, is a `BrokenLog`. */
export const post = (head: Head, row: StoredEvent): Result.Result<Posted, BrokenLog> =>
  Result.map(step(head, row), (followed) => postedOf(row, followed))

/** What a row adds that was already checked against its head. */
export const postedOf = (row: StoredEvent, { head: next, event }: Step): Posted => {
  const { account } = next
  if (account._tag === "Absent") throw new Error(`account ${account.id} has an event and is absent`)
  const times = { recordedAt: row.recordedAt, effectiveAt: row.effectiveAt ?? row.recordedAt }
  const contras = contrasOf(event, account.asset)
  return {
    event,
    head: { ...next, account },
    line: {
      account: account.id,
      version: account.version,
      type: event._tag,
      amount: amountOf(event),
      balance: account.balance,
      asset: account.asset,
      counterparty: counterpartyOf(event),
      description: describe(event),
      contras: event._tag === "JournalPosted" && contras.length > 0 ? contras : null,
      commandId: row.commandId,
      ...times
    },
    transfer: transferOf(event, transferIdOf(row, event), account, times),
    contras,
    hold: holdChangeOf(event, account)
  }
}

/** `account` is as it is after the event. */
const holdChangeOf = (event: Event, { id: account, asset, holds }: OpenedAccount): HoldChange | undefined => {
  switch (event._tag) {
    case "HoldPlaced":
    case "HoldCaptured":
    case "HoldAdjusted":
    case "HoldReleased": {
      const { hold } = event
      const open = holds.find(({ id }) => id === hold)
      return { account, hold, row: open === undefined ? undefined : holdRowOf(account, asset, open) }
    }
    case "HoldExpired":
      return { account, hold: event.hold, row: undefined }
    default:
      return undefined
  }
}

const holdRowOf = (account: AccountId, asset: Asset, { id, expiresAt, to, ...amounts }: Hold): HoldRow => ({
  account,
  hold: id,
  asset,
  ...amounts,
  expiresAt: expiresAt ?? null,
  to: to ?? null
})

/** The hold that a row stands for. */
export const holdOf = ({
  hold: id,
  amount,
  captured,
  remaining,
  captures,
  expiresAt,
  to
}: HoldRow): Hold => ({
  id,
  amount,
  captured,
  remaining,
  captures,
  ...(expiresAt === null ? {} : { expiresAt }),
  ...(to === null ? {} : { to })
})

/** A capture to an account is a transfer too, by the id of its own command. */
const transferOf = (
  event: Event,
  id: CommandId,
  { id: from, version: fromVersion, asset }: OpenedAccount,
  times: Pick<TransferRow, "recordedAt" | "effectiveAt">
): TransferRow | undefined => {
  const counter = counterLegOf(event)
  if (event._tag !== "TransferSent" && event._tag !== "HoldCaptured") return undefined
  if (counter === undefined) return undefined
  const { amount } = event
  const { account: to, version: toVersion } = counter
  return { id, from, fromVersion, to, toVersion, asset, amount, description: describe(event), ...times }
}

/**
 * The id of the command, which has one transfer; in a group, which may have several, with the ordinal after it. No command
 * of a caller has such an id: `~` is not in its alphabet.
 */
const transferIdOf = ({ commandId, ordinal }: StoredEvent, { group }: Event): CommandId =>
  group === undefined ? commandId : (`${commandId}~${ordinal}` as CommandId) // one of the forms of AnyCommandId

/** The id of the transfer that the event of a row makes; undefined where it makes none. */
export const transferMadeBy = (row: StoredEvent, event: Event): CommandId | undefined =>
  counterLegOf(event) === undefined ? undefined : transferIdOf(row, event)

const none: ReadonlyArray<ContraEntry> = []

/** What an event adds to contra accounts. `asset` is that of the event's account. */
export const contrasOf = (event: Event, asset: Asset): ReadonlyArray<ContraEntry> => {
  const contra = contraOf(event)
  if (contra !== undefined) return [{ contra, asset, amount: -amountOf(event) }]
  if (event._tag !== "JournalPosted" || event.contras === undefined) return none
  return event.contras.map(({ contra, asset, side, amount }) => ({
    contra,
    asset,
    amount: side === "credit" ? amount : -amount
  }))
}

const counterpartyOf = (event: Event): string | null => {
  switch (event._tag) {
    case "Deposited":
    case "Withdrawn":
      return event.contra
    case "TransferSent":
    case "HoldCaptured":
      return event.to
    case "HoldPlaced":
      return event.to ?? null
    case "TransferReceived":
      return event.from
    case "JournalPosted":
      return onlyOther([
        ...event.legs.slice(1).map((leg) => leg.account),
        ...(event.contras ?? []).map((leg) => leg.contra)
      ])
    case "JournalLegPosted":
      return event.head
    default:
      return null
  }
}

const onlyOther = ([only, ...others]: ReadonlyArray<string>): string | null =>
  others.length === 0 ? (only ?? null) : null

const describe = (event: Event): string | null => {
  if ("description" in event) return event.description ?? null
  if ("reason" in event) return event.reason ?? null
  return null
}

/**
 * Rows of the log, folded onto the heads of their accounts: what can be posted now, what is missing before it, and what contradicts the
 * rows that were posted before.
 */
export interface Folded {
  /** In order of account and version, each following the one before or the account's head. */
  readonly posted: ReadonlyArray<Posted>
  /**
   * Accounts with rows beyond their next version, or with a row that does not follow: their rows must be read from
   * the log.
   */
  readonly gaps: ReadonlyArray<AccountId>
  /** Why rows did not follow; each account is in `gaps` too. */
  readonly broken: ReadonlyArray<BrokenLog>
  /** Number of rows that were projected before, or were delivered twice. */
  readonly repeats: number
  /** Accounts with a row of the head's version and another hash: one of the two is not in the log (I8). */
  readonly diverged: ReadonlyArray<AccountId>
  /** Accounts with a row below the head's version, of which the head cannot say whether it was posted. */
  readonly older: ReadonlyArray<AccountId>
}

/** Accepts the next version, skips lower ones, reports higher ones. */
export const fold = (heads: ReadonlyMap<AccountId, OpenedHead>, rows: ReadonlyArray<StoredEvent>): Folded => {
  const posted: Array<Posted> = []
  const gaps = new Set<AccountId>()
  const broken: Array<BrokenLog> = []
  const diverged = new Set<AccountId>()
  const older = new Set<AccountId>()
  let repeats = 0
  let head: Head | undefined
  for (const row of rows.toSorted(byAccountAndVersion)) {
    const { accountId, version } = row
    if (gaps.has(accountId)) continue
    if (head?.account.id !== accountId) head = heads.get(accountId) ?? emptyHead(accountId)
    if (version <= head.account.version) {
      if (version < head.account.version) older.add(accountId)
      else if (row.hash !== head.hash) diverged.add(accountId)
      repeats++
      continue
    }
    if (version > head.account.version + 1) {
      gaps.add(accountId)
      continue
    }
    const followed = tryPost(head, row)
    if (Result.isSuccess(followed)) {
      posted.push(followed.success)
      head = followed.success.head
    } else {
      gaps.add(accountId)
      broken.push(followed.failure)
    }
  }
  return { posted, gaps: [...gaps], broken, repeats, diverged: [...diverged], older: [...older] }
}

/** A reducer that throws on a row is a reason to park one account, not to stop its partition. */
export const tryPost = (head: Head, row: StoredEvent): Result.Result<Posted, BrokenLog> => {
  const followed = Result.try({
    try: () => post(head, row),
    catch: (cause) => {
      const reason = cause instanceof Error ? cause.message : String(cause)
      return new BrokenLog({ invariant: "form", account: row.accountId, version: row.version, reason })
    }
  })
  return Result.isSuccess(followed) ? followed.success : Result.fail(followed.failure)
}

const byAccountAndVersion = (a: StoredEvent, b: StoredEvent): number =>
  a.accountId === b.accountId ? a.version - b.version : a.accountId < b.accountId ? -1 : 1
