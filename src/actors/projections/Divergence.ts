/**
 * Finds accounts whose rows stand for an event that the log does not have, and reloads them from the log (I8).
 *
 * There are two ways to such a row: a forged message on the bus that continued the account's hash chain, and an event
 * store that lost its tail in a failover after the tail had been projected. Neither can be refused when it arrives, for
 * the chain is no secret and the log had the event then. So heads are compared with the log afterwards: when a row
 * arrives that contradicts the head, when a row of the log does not follow it, some time after the bus brought an
 * event, and on a slow walk over all accounts.
 */
import { Clock, Effect, Result, Semaphore } from "effect"
import { fold, type OpenedHead, type Posted } from "../../domain/Books.ts"
import type { AccountId, Instant, Version } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import { forgetOldest } from "../../infra/config/ForgetOldest.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import type { HeldHead, ProjectionModel } from "../../infra/readmodel/ReadModel.ts"
import { readAround, readToBadRow } from "../relay/TailReader.ts"
import { divergedReason, type Parking } from "./Parking.ts"
import { toBatch } from "./ProjectionBatch.ts"

interface DivergedAt {
  readonly account: AccountId
  readonly version: Version
  readonly at: Instant
}

/** What this process found in one projection since its start. */
export interface DivergenceCounts {
  /** How often rows of an account stood for an event that is not in the log. */
  readonly accounts: number
  readonly last: DivergedAt | undefined
  /** How often the bus brought an event of a version that was there with another hash, and the log had ours. */
  readonly disbelieved: number
  readonly lastDisbelieved: DivergedAt | undefined
  /** Accounts that could not be reloaded, and stay parked. */
  readonly unhealed: ReadonlyArray<AccountId>
}

/** What a comparison with the log came to. */
interface Checked {
  /** Reloaded accounts, up to one batch of their events: they are parked until the caller has caught up the rest. */
  readonly reloaded: ReadonlyArray<AccountId>
  /** Accounts that differ from the log and stay parked, because their projection cannot reload them, or the log cannot be read. */
  readonly stuck: ReadonlyArray<AccountId>
  /** Accounts that were not compared, because the log has no event of theirs there that can be read. */
  readonly unread: ReadonlyArray<AccountId>
}

export const makeDivergence = Effect.fnUntraced(function* (readModel: ProjectionModel, parking: Parking) {
  const store = yield* EventStore
  const { contendedMax, projectEventsMax } = yield* ReadSideConfig
  const reload = yield* makeReload(readModel)
  const alarms = makeAlarms(parking)
  const compare = makeCompare(store)
  const parkedOf = makeParkedOf(readModel, parking)
  const oneAtATime = yield* Semaphore.make(1)

  const heldNow = (accounts: ReadonlyArray<AccountId>) =>
    Effect.map(readModel.look(accounts), ({ heads }) =>
      [...heads.values()].flatMap((head) => heldOf(head) ?? [])
    )

  /** It stays where it is, parked: what its rows stand for is not known, or nothing else can be read. */
  const stayUnread = (account: AccountId, why: string) =>
    Effect.as(parking.parkUnreadable(account, why), false)

  const heal = Effect.fnUntraced(function* (account: AccountId) {
    for (let tries = 0; tries <= contendedMax; tries++) {
      // Looked at again each time: another fiber or process may have moved or reloaded the account meanwhile.
      const { diverged, unread } = yield* compare(yield* heldNow([account]))
      const why = unread.get(account)
      if (why !== undefined) return yield* stayUnread(account, why)
      const [held] = diverged
      if (held !== undefined) {
        const read = yield* readToBadRow(
          (limit) => store.readStreams([{ account, after: 0 }], limit),
          projectEventsMax
        )
        if (Result.isFailure(read)) return yield* stayUnread(account, read.failure)
        yield* alarms.raise(held)
        if (!(yield* reload(held, read.success.rows))) continue
      }
      alarms.clearUnsafe(account)
      return true
    }
    // It stays parked, and is looked at again by the next check.
    return yield* contended(account, contendedMax + 1)
  }, oneAtATime.withPermit)

  const checkHeld = Effect.fnUntraced(function* (held: ReadonlyArray<HeldHead>) {
    const reloaded: Array<AccountId> = []
    const stuck: Array<AccountId> = []
    const { diverged, unread } = yield* compare(held)
    const suspects = [...diverged, ...(yield* parkedOf(held))]
    for (const account of new Set(suspects.map((one) => one.account))) {
      const isHealed = yield* heal(account).pipe(
        Effect.catchTag("ReloadUnsupported", ({ message }) => alarms.stuck(account, message))
      )
      if (isHealed) reloaded.push(account)
      else stuck.push(account)
    }
    return { reloaded, stuck, unread: [...unread.keys()] } satisfies Checked
  })

  return {
    checkHeld,
    check: inBatches((accounts) => Effect.flatMap(heldNow(accounts), checkHeld), projectEventsMax),
    disbelieve: alarms.disbelieve,
    isUnhealedUnsafe: alarms.isUnhealedUnsafe,
    countsUnsafe: alarms.countsUnsafe
  }
})

/** Answers the heads whose event is missing in the log, or has another hash there; and the accounts of which that cannot be read, with why. */
const makeCompare = (store: EventStore["Service"]) => {
  const tellUnread = makeUnread()
  return Effect.fnUntraced(function* (held: ReadonlyArray<HeldHead>) {
    const { rows, unreadable } = yield* readAround(held, store.readEvents)
    yield* tellUnread(held, unreadable)
    const hashes = new Map(rows.map((event) => [event.accountId, event.hash]))
    const unread = new Map(unreadable.map(({ key, reason }) => [key.account, reason]))
    const diverged = held.filter(({ account, hash }) => !unread.has(account) && hashes.get(account) !== hash)
    return { diverged, unread }
  })
}

/**
 * Accounts that are parked because they had diverged. Their rows may be right by now: the projector that reloaded one may have
 * ended, or lost its connection to the read model, before it released the account.
 */
const makeParkedOf = (readModel: Pick<ProjectionModel, "parked">, parking: Parking) =>
  Effect.fnUntraced(function* (held: ReadonlyArray<HeldHead>) {
    const parked = new Set(held.map(({ account }) => account).filter(parking.isParked))
    if (parked.size === 0) return []
    return (yield* readModel.parked).filter(
      ({ account, reason }) => parked.has(account) && reason.startsWith(divergedReason)
    )
  })

/** However many accounts there are, one statement looks at no more than one batch may have. */
const inBatches = (
  check: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<Checked, StoreUnavailable>,
  accountsMax: number
) =>
  Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
    const reloaded: Array<AccountId> = []
    const stuck: Array<AccountId> = []
    const unread: Array<AccountId> = []
    for (let from = 0; from < accounts.length; from += accountsMax) {
      const checked = yield* check(accounts.slice(from, from + accountsMax))
      reloaded.push(...checked.reloaded)
      stuck.push(...checked.stuck)
      unread.push(...checked.unread)
    }
    return { reloaded, stuck, unread } satisfies Checked
  })

const contended = (account: AccountId, tries: number) =>
  new StoreUnavailable({
    store: "read model",
    reason: `account ${account} was moved by other projectors each of ${tries} times it was reloaded`
  })

export const heldOf = (head: OpenedHead | undefined): HeldHead | undefined =>
  head === undefined
    ? undefined
    : { account: head.account.id, version: head.account.version, hash: head.hash }

export type Divergence = Effect.Success<ReturnType<typeof makeDivergence>>

/** Accounts that are told of once, until they can be read again. */
const unreadMax = 1_000
/** So many of those that are found together are named. */
const namedMax = 3

/** Tells of accounts that cannot be compared with the log, each once, and in one line a step: the walk comes to them again and again. */
const makeUnread = () => {
  const told = new Set<AccountId>()
  return Effect.fnUntraced(function* (
    held: ReadonlyArray<HeldHead>,
    unreadable: ReadonlyArray<{ readonly key: HeldHead; readonly reason: string }>
  ) {
    if (told.size === 0 && unreadable.length === 0) return
    const unread = new Set(unreadable.map(({ key }) => key.account))
    for (const { account } of held) if (!unread.has(account)) told.delete(account)
    const news = unreadable.filter(({ key }) => !told.has(key.account))
    const [first] = news
    if (first === undefined) return
    for (const { key } of news) told.add(key.account)
    forgetOldest(told, unreadMax)
    const named = news.slice(0, namedMax).map(({ key }) => `version ${key.version} of account ${key.account}`)
    const others = news.length > namedMax ? ` and ${news.length - namedMax} more` : ""
    yield* Effect.logError(
      `projection: ${named.join(", ")}${others} cannot be compared with the log, which cannot be read there: ${first.reason}`
    )
  })
}

/** Replaces an account's rows by what the log has, from its first event, as far as one batch goes. */
const makeReload = Effect.fnUntraced(function* (readModel: ProjectionModel) {
  const { partitions } = yield* LedgerConfig
  return Effect.fnUntraced(function* (held: HeldHead, rows: ReadonlyArray<StoredEvent>) {
    const partition = partitionOf(held.account, partitions)
    const looked = yield* readModel.look([])
    const batchOf = (posted: ReadonlyArray<Posted>) => toBatch(posted, [], partitions, looked)
    return yield* readModel.reload(held, partition, batchOf(fold(new Map(), rows).posted)).pipe(
      // The guilty event is found, and parked, when the account is caught up from nothing.
      Effect.catchTag("RowsRefused", () => readModel.reload(held, partition, batchOf([]))),
      Effect.catchTag("RowsRefused", Effect.die)
    )
  })
})

/** Log, counters and parking of accounts that differ from the log. */
const makeAlarms = (parking: Parking) => {
  const unhealed = new Set<AccountId>()
  let accounts = 0
  let last: DivergedAt | undefined
  let disbelieved = 0
  let lastDisbelieved: DivergedAt | undefined
  return {
    raise: Effect.fnUntraced(function* ({ account, version }: HeldHead) {
      const reason =
        `${divergedReason} ${version} as the log does not have it: a forged message on the bus, ` +
        "or an event store that lost commits"
      if (!unhealed.has(account)) {
        accounts++
        last = { account, version, at: yield* Clock.currentTimeMillis }
        yield* Effect.logError(
          `projection: account ${account} is reloaded from the log, for ${reason}. Check who may publish to NATS`
        )
      }
      yield* parking.park({ account, version: version + 1, reason })
    }),
    isUnhealedUnsafe: (account: AccountId): boolean => unhealed.has(account),
    clearUnsafe: (account: AccountId): void => {
      unhealed.delete(account)
    },
    stuck: (account: AccountId, reason: string) =>
      Effect.suspend(() => {
        const isNews = !unhealed.has(account)
        unhealed.add(account)
        return Effect.as(
          isNews ? Effect.logError(`projection: account ${account} stays parked: ${reason}`) : Effect.void,
          false
        )
      }),
    /** An event of the bus contradicted a row which is of the log: the event is forged, or of a log that was lost. */
    disbelieve: Effect.fnUntraced(function* ({ account, version }: HeldHead) {
      disbelieved++
      lastDisbelieved = { account, version, at: yield* Clock.currentTimeMillis }
      yield* Effect.logError(
        `projection: the bus brought version ${version} of account ${account} with another hash than the log has: ` +
          "it is not believed. Check who may publish to NATS"
      )
    }),
    countsUnsafe: (): DivergenceCounts => ({
      accounts,
      last,
      disbelieved,
      lastDisbelieved,
      unhealed: [...unhealed]
    })
  }
}
