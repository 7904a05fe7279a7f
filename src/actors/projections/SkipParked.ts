/** A parked account and its event enter; the event is left out for ever, on the record, and the account goes on. */
import { Clock, Data, Effect, Result } from "effect"
import type { OpenedHead } from "../../domain/Books.ts"
import { tryPost } from "../../domain/BooksFold.ts"
import { emptyHead, type Head } from "../../domain/Head.ts"
import type { AccountId, Version } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import type { ProjectionModel } from "../../infra/readmodel/ReadModel.ts"

/** An event cannot be left out. */
export class SkipRefused extends Data.TaggedError("SkipRefused")<{
  readonly account: string
  readonly version: number
  readonly reason: string
}> {
  override get message() {
    return `version ${this.version} of account ${this.account} cannot be skipped: ${this.reason}`
  }
}

interface Machine {
  readonly store: EventStore["Service"]
  readonly readModel: ProjectionModel
  /** Repeats a step that answers `undefined` when another projector was faster. */
  readonly settled: <A, E>(attempt: Effect.Effect<A | undefined, E>) => Effect.Effect<A, E | StoreUnavailable>
  readonly release: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<void, StoreUnavailable>
}

export const makeSkip = ({ store, readModel, settled, release }: Machine) => {
  const skipOnce = Effect.fnUntraced(function* (account: AccountId, version: Version, reason: string) {
    const { heads, generation } = yield* readModel.look([account])
    const head: Head = heads.get(account) ?? emptyHead(account)
    const [row] = yield* store.readStream({ account, after: version - 1, limit: 1 })
    const next = row === undefined ? undefined : headAfter(head, row)
    if (head.account.version !== version - 1 || next === undefined) {
      return yield* new SkipRefused({ account, version, reason: "there is no balance to go on from" })
    }
    const moves = [{ from: version - 1, head: next }]
    const skipped = { account, version, reason, since: yield* Clock.currentTimeMillis }
    const batch = { moves, lines: [], transfers: [], contras: [], checkpoints: [], generation, skipped }
    return (yield* readModel.apply(batch)) ? true : undefined
  })

  return Effect.fn("Bookkeeping.skipParked")(function* (account: AccountId, version: Version) {
    const found = (yield* readModel.parked).find((row) => row.account === account)
    if (found?.version !== version) {
      const reason = found === undefined ? "it is not parked" : `it is parked at version ${found.version}`
      return yield* new SkipRefused({ account, version, reason })
    }
    yield* settled(skipOnce(account, version, found.reason)).pipe(
      Effect.catchTag("RowsRefused", ({ reason }) =>
        Effect.fail(new SkipRefused({ account, version, reason: `its balance cannot be kept: ${reason}` }))
      )
    )
    yield* release([account])
  })
}

/** By the event if it can be read; else where it stands in the chain, with what was known before. */
const headAfter = (head: Head, row: StoredEvent): OpenedHead | undefined => {
  const posted = tryPost(head, row)
  if (Result.isSuccess(posted)) return posted.success.head
  const { account } = head
  return account._tag === "Opened"
    ? { account: { ...account, version: row.version }, hash: row.hash, recordedAt: row.recordedAt }
    : undefined
}
