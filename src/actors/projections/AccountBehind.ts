/**
 * Which account comes behind another in the log, where its first event cannot be read: the rows of the commits name the accounts of all
 * events. All tails are read for it, so it is for what happens seldom.
 */
import { Effect } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { EventStore } from "../../infra/eventstore/EventStore.ts"
import { everyTail } from "../../infra/eventstore/EveryTail.ts"

/** Commit rows of one query, each of which may name a thousand accounts. */
const commitsMax = 100

/** Undefined behind the last one. */
export const accountBehind = Effect.fnUntraced(function* (store: EventStore["Service"], account: string) {
  let next: AccountId | undefined
  for (const { writerId, lastSeq } of yield* everyTail(store)) {
    for (let after = 0; after < lastSeq; ) {
      const rows = yield* store.readTail({ writerId, after, limit: commitsMax })
      for (const { keys } of rows)
        for (const [named] of keys) if (named > account && (next === undefined || named < next)) next = named
      after = rows.at(-1)?.seq ?? lastSeq
    }
  }
  return next
})
