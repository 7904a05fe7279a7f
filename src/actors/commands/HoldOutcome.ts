/**
 * Looks up in the log how and when a closed hold came to its end. The state of an account keeps open holds alone, so a command that names
 * a closed one is refused as if it had never been, and what is told instead has to come from the log.
 */
import { Effect, Result } from "effect"
import {
  GroupRejected,
  HoldClosed,
  HoldExpired,
  type HoldNotFound,
  type Rejection,
  Unavailable
} from "../../domain/Errors.ts"
import { foldHold, type Hold, holding, isExpired } from "../../domain/Holds.ts"
import type { AccountId, CommandId, Instant } from "../../domain/Ids.ts"
import { decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventStore } from "../../infra/eventstore/EventStore.ts"
import { readCommand } from "./Originals.ts"

/**
 * Events of the account that the store looks through at once, behind the one that placed the hold: most holds end soon, so
 * the first part is small, and each further one is four times as large up to a bound that a statement has time for.
 */
const partFirst = 1_000
const partMax = 100_000

/** The part of a refusal that the log may know better: a hold that was not found, by a command or by one of a group. */
const notFoundIn = (rejection: Rejection | undefined): HoldNotFound | undefined => {
  const own = rejection?._tag === "GroupRejected" ? rejection.rejection : rejection
  return own?._tag === "HoldNotFound" ? own : undefined
}

/** Whether the log is to be asked before the refusal is told. */
export const isUnexplained = (rejection: Rejection | undefined): boolean =>
  notFoundIn(rejection) !== undefined

/**
 * The refusal of a command, recorded at `at`, as the log explains it. Where `isWanted` says false the search ends, and a hold
 * that was there once is told as closed without how and when.
 */
export const explained = (
  store: EventStore["Service"],
  rejection: Rejection,
  at: Instant,
  isWanted: () => boolean
): Effect.Effect<Rejection | Unavailable> => {
  const notFound = notFoundIn(rejection)
  if (notFound === undefined) return Effect.succeed(rejection)
  return outcomeOfHold(store, notFound, at, isWanted).pipe(
    Effect.map((found) =>
      rejection._tag === "GroupRejected"
        ? new GroupRejected({ index: rejection.index, command: rejection.command, rejection: found })
        : found
    ),
    Effect.catchTag("StoreUnavailable", ({ reason, store: what }) =>
      Effect.succeed(new Unavailable({ what, reason }))
    ),
    Effect.catchTag("Unavailable", Effect.succeed)
  )
}

/** The truth about a hold that a command of the account, recorded at `at`, did not find in its state. */
const outcomeOfHold = Effect.fnUntraced(function* (
  store: EventStore["Service"],
  refusal: HoldNotFound,
  at: Instant,
  isWanted: () => boolean
) {
  // The command named them, so they are ids.
  const [account, id] = [refusal.account as AccountId, refusal.hold as CommandId]
  const placed = yield* versionOfPlacing(store, account, id)
  if (placed === undefined) return refusal
  let hold: Hold | undefined
  let after = placed - 1
  for (let part = partFirst; isWanted(); part = Math.min(partMax, part * 4)) {
    const upTo = after + part
    for (const row of yield* store.readHold({ account, hold: id, after, upTo })) {
      if (hold !== undefined && isExpired(hold, row.recordedAt)) return expired(account, hold)
      const next = follow(hold, row, id)
      if (hold !== undefined && next === undefined) {
        const how = row.type === "HoldReleased" ? "released" : "captured"
        return new HoldClosed({ account, hold: id, how, at: row.recordedAt })
      }
      hold = next
    }
    // Versions are dense (I1): where there is none, the account has no further event.
    const [last] = yield* store.readEvents([{ account, version: upTo }])
    if (last === undefined) {
      // Placed after the command was refused, it is open: the refusal was true.
      return hold !== undefined && isExpired(hold, at) ? expired(account, hold) : refusal
    }
    after = upTo
  }
  return new HoldClosed({ account, hold: id })
})

/** Where the hold was placed, by a command of its own or by one of a group, whose id is the hold's. */
const versionOfPlacing = Effect.fnUntraced(function* (
  store: EventStore["Service"],
  account: AccountId,
  id: CommandId
) {
  const events = yield* readCommand(store, id)
  const placed = events.find(({ row, event }) => row.accountId === account && event._tag === "HoldPlaced")
  return placed?.row.version
})

const expired = (account: AccountId, { id, expiresAt = 0 }: Hold): HoldExpired =>
  new HoldExpired({ account, hold: id, expiredAt: expiresAt })

/** The hold after a row of its account; undefined where it is not open. What is not about it changes nothing. */
const follow = (hold: Hold | undefined, row: StoredEvent, id: CommandId): Hold | undefined => {
  const event = Result.getOrUndefined(decodeStored(row))
  switch (event?._tag) {
    case "HoldPlaced":
    case "HoldCaptured":
    case "HoldAdjusted":
    case "HoldReleased":
      return event.hold === id ? foldHold(holding(hold === undefined ? [] : [hold]), event).holds[0] : hold
    default:
      return hold
  }
}
