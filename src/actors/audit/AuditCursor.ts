/** Pages of rows in order of account and version enter; they leave in step with another walk of that order. */
import { Effect } from "effect"
import type { EventKey, StoreUnavailable } from "../../infra/eventstore/EventStoreTypes.ts"

/** Above every account id and version. */
export const keyMax: EventKey = { account: "\uffff", version: Number.MAX_SAFE_INTEGER }

/** Ids compare as the stores do, by bytes: they are ASCII. */
export const isAfter = (a: EventKey, b: EventKey): boolean =>
  a.account === b.account ? a.version > b.version : a.account > b.account

export interface Cursor<A> {
  /** Hands over the next rows up to and including a key, a bounded number at a time. */
  readonly drain: (
    upTo: EventKey,
    visit: (rows: ReadonlyArray<A>) => Effect.Effect<void, StoreUnavailable>
  ) => Effect.Effect<void, StoreUnavailable>
}

/** Holds at most one page of `limit` rows. */
export const makeCursor = <A extends EventKey>(
  from: EventKey,
  limit: number,
  load: (page: {
    readonly after: EventKey
    readonly limit: number
  }) => Effect.Effect<ReadonlyArray<A>, StoreUnavailable>
): Cursor<A> => {
  let after = from
  let page: ReadonlyArray<A> = []
  let isAtEnd = false
  return {
    drain: Effect.fnUntraced(function* (upTo, visit) {
      for (;;) {
        const beyond = page.findIndex((row) => isAfter(row, upTo))
        const due = beyond === -1 ? page : page.slice(0, beyond)
        page = beyond === -1 ? [] : page.slice(beyond)
        if (due.length > 0) yield* visit(due)
        if (page.length > 0 || isAtEnd) return
        page = yield* load({ after, limit })
        const last = page.at(-1)
        if (last !== undefined) after = { account: last.account, version: last.version }
        isAtEnd = page.length < limit
      }
    })
  }
}
