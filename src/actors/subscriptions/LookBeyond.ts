/**
 * Looks through the keys of commits beyond those that are read ahead, without keeping the commits: a tail may have an earlier
 * version of an account deeper than it is read ahead.
 */
import { Effect } from "effect"
import type { AccountId, Instant } from "../../domain/Ids.ts"
import type { ReadSideLimits } from "../../infra/config/ReadSideConfig.ts"
import type { CommitRow, EventStore, WriterId } from "../../infra/eventstore/EventStore.ts"
import type { AccountOrder } from "./AccountOrder.ts"

/** Tails that are read from the store at once. */
export const concurrentReads = 4

/** A tail of a cut, and how far it was read ahead and looked through. */
export interface LookedThrough {
  readonly writerId: WriterId
  /** The last commit of the cut. */
  readonly lastSeq: number
  /** Read ahead, not delivered. */
  readonly ahead: Array<CommitRow>
  /** The last commit that was read ahead. */
  readTo: number
  /** The last commit whose keys were looked at, which is read ahead or beyond that, and when it was recorded. */
  lookedTo: number
  lookedTime: Instant
}

/** The tails of a cut that are not at their end. */
interface OpenTails {
  readonly fronts: ReadonlyArray<LookedThrough>
  readonly dry: ReadonlySet<LookedThrough>
}

/** Commits of one look at what lies beyond, and of how many accounts it is noted at once, a multiple of `subscribeKeysMax`. */
const lookedCommits = 100
const beyondFactor = 4

export const noteLooked = (tail: LookedThrough, row: CommitRow): void => {
  tail.lookedTo = row.seq
  tail.lookedTime = Math.max(tail.lookedTime, row.recordedAt)
}

const openOf = ({ fronts, dry }: OpenTails): ReadonlyArray<LookedThrough> => [...fronts, ...dry]

/** As if nothing beyond what is read ahead had been looked at. Answers when the latest of that was recorded. */
const beginAnew = (tails: ReadonlyArray<LookedThrough>): Instant => {
  let latest = 0
  for (const tail of tails) {
    tail.lookedTo = tail.readTo
    tail.lookedTime = tail.ahead.reduce((time, { recordedAt }) => Math.max(time, recordedAt), 0)
    latest = Math.max(latest, tail.lookedTime)
  }
  return latest
}

export const makeLookBeyond = (
  store: EventStore["Service"],
  limits: Pick<ReadSideLimits, "subscribeKeysMax">,
  order: AccountOrder,
  disorderMs: number
) => {
  const accountsMax = beyondFactor * limits.subscribeKeysMax
  /** Where too many accounts wait to note all of them: the ones that are looked for, and up to which instant. */
  let wanted: { readonly accounts: ReadonlySet<AccountId>; readonly time: Instant } | undefined

  const lookInto = Effect.fnUntraced(function* (tail: LookedThrough, time: Instant) {
    const hasRoom = () => wanted !== undefined || order.beyondSize <= accountsMax
    while (tail.lookedTo < tail.lastSeq && tail.lookedTime <= time && hasRoom()) {
      const rows = yield* store.readTail({
        writerId: tail.writerId,
        after: tail.lookedTo,
        limit: lookedCommits
      })
      for (const row of rows) {
        if (row.seq > tail.lastSeq) break
        order.noteBeyond(row, wanted?.accounts)
        noteLooked(tail, row)
      }
      // Where the log is broken, a tail may have nothing though its last commit has a higher number.
      if (rows.length === 0) tail.lookedTo = tail.lastSeq
      yield* Effect.yieldNow
    }
  })

  const lookIntoAll = (now: OpenTails, time: Instant) =>
    Effect.forEach(openOf(now), (tail) => lookInto(tail, time), {
      concurrency: concurrentReads,
      discard: true
    })

  /** For all accounts at once of which something is read ahead, since it looks through everything anew. */
  const lookForAwaited = (now: OpenTails) =>
    Effect.suspend(() => {
      order.forgetBeyond()
      const time = beginAnew(openOf(now)) + disorderMs
      wanted = { accounts: order.awaitedUnknown(), time }
      return lookIntoAll(now, time)
    })

  return {
    /** Afterwards it is known whether an unread part of the cut has an earlier version of an account of the commit. */
    before: (now: OpenTails, row: CommitRow) =>
      Effect.suspend(() => {
        const time = row.recordedAt + disorderMs
        if (wanted === undefined)
          return Effect.andThen(
            lookIntoAll(now, time),
            Effect.suspend(() => (order.beyondSize > accountsMax ? lookForAwaited(now) : Effect.void))
          )
        const { accounts } = wanted
        const isCovered =
          time <= wanted.time && order.unknownOf(row).every((account) => accounts.has(account))
        return isCovered ? Effect.void : lookForAwaited(now)
      }),
    /** A new cut begins. */
    beginUnsafe: (): void => {
      wanted = undefined
      order.forgetBeyond()
    }
  }
}
