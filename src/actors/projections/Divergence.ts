/**
 * Finds accounts whose rows stand for an event that the log does not have, and reloads them from the log (I8).
 *
 * There are two ways to such a row: a forged message on the bus that continued the account's hash chain, and an event
 * store that lost its tail in a failover after the tail had been projected. Neither can be refused when it arrives, for
 * the chain is no secret and the log had the event then. So heads are compared with the log afterwards: when a row
 * arrives that contradicts the head, when a row of the log does not follow it, some time after the bus brought an
 * event, and on a slow walk over all accounts.
 */
import { Clock, Effect, Semaphore } from "effect"
import { fold, type OpenedHead, type Posted } from "../../domain/Books.ts"
import type { AccountId, Instant, Version } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import type { HeldHead, ProjectionModel } from "../../infra/readmodel/ReadModel.ts"
import type { Parking } from "./Parking.ts"
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
  /** Accounts that differ from the log and stay parked, because their projection cannot reload them. */
  readonly stuck: ReadonlyArray<AccountId>
}

export const makeDivergence = Effect.fnUntraced(function* (readModel: ProjectionModel, parking: Parking) {
  const store = yield* EventStore
  const { contendedMax, projectEventsMax } = yield* ReadSideConfig
  const reload = yield* makeReload(readModel)
  const alarms = makeAlarms(parking)
  const oneAtATime = yield* Semaphore.make(1)

  /** Those whose event is missing in the log, or has another hash there. */
  const divergedOf = Effect.fnUntraced(function* (held: ReadonlyArray<HeldHead>) {
    const events = held.length === 0 ? [] : yield* store.readEvents(held)
    const hashes = new Map(events.map((event) => [event.accountId, event.hash]))
    return held.filter(({ account, hash }) => hashes.get(account) !== hash)
  })

  const heldNow = (accounts: ReadonlyArray<AccountId>) =>
    Effect.map(readModel.look(accounts), ({ heads }) =>
      [...heads.values()].flatMap((head) => heldOf(head) ?? [])
    )

  const heal = Effect.fnUntraced(function* (account: AccountId) {
    for (let tries = 0; tries <= contendedMax; tries++) {
      // Looked at again each time: another fiber or process may have moved or reloaded the account meanwhile.
      const [held] = yield* divergedOf(yield* heldNow([account]))
      if (held !== undefined) {
        yield* alarms.raise(held)
        if (!(yield* reload(held))) continue
      }
      alarms.clearUnsafe(account)
      return true
    }
    // It stays parked, and is looked at again by the next check.
    return yield* contended(account, contendedMax + 1)
  }, oneAtATime.withPermit)

  /**
   * Accounts that are parked because they had diverged. Their rows may be right by now: the projector that reloaded one may have
   * ended, or lost its connection to the read model, before it released the account.
   */
  const parkedOf = Effect.fnUntraced(function* (held: ReadonlyArray<HeldHead>) {
    const parked = new Set(held.map(({ account }) => account).filter(parking.isParked))
    if (parked.size === 0) return []
    return (yield* readModel.parked).filter(
      ({ account, reason }) => parked.has(account) && reason.startsWith(divergedReason)
    )
  })

  const checkHeld = Effect.fnUntraced(function* (held: ReadonlyArray<HeldHead>) {
    const reloaded: Array<AccountId> = []
    const stuck: Array<AccountId> = []
    const suspects = [...(yield* divergedOf(held)), ...(yield* parkedOf(held))]
    for (const account of new Set(suspects.map((one) => one.account))) {
      const isHealed = yield* heal(account).pipe(
        Effect.catchTag("ReloadUnsupported", ({ message }) => alarms.stuck(account, message))
      )
      if (isHealed) reloaded.push(account)
      else stuck.push(account)
    }
    return { reloaded, stuck } satisfies Checked
  })

  return {
    checkHeld,
    check: inBatches((accounts) => Effect.flatMap(heldNow(accounts), checkHeld), projectEventsMax),
    disbelieve: alarms.disbelieve,
    countsUnsafe: alarms.countsUnsafe
  }
})

/** However many accounts there are, one statement looks at no more than one batch may have. */
const inBatches = (
  check: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<Checked, StoreUnavailable>,
  accountsMax: number
) =>
  Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
    const reloaded: Array<AccountId> = []
    const stuck: Array<AccountId> = []
    for (let from = 0; from < accounts.length; from += accountsMax) {
      const checked = yield* check(accounts.slice(from, from + accountsMax))
      reloaded.push(...checked.reloaded)
      stuck.push(...checked.stuck)
    }
    return { reloaded, stuck } satisfies Checked
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

/** Replaces an account's rows by what the log has, from its first event, as far as one batch goes. */
const makeReload = Effect.fnUntraced(function* (readModel: ProjectionModel) {
  const store = yield* EventStore
  const { partitions } = yield* LedgerConfig
  const { projectEventsMax } = yield* ReadSideConfig
  return Effect.fnUntraced(function* (held: HeldHead) {
    const rows = yield* store.readStreams([{ account: held.account, after: 0 }], projectEventsMax)
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

/** How the reason begins for which such an account is parked. */
const divergedReason = "its rows stand for version"

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
