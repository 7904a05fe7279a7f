/**
 * Leaves one event out of a projection for ever, because a person says so: the way on for an account whose event can
 * neither be projected nor waited for. The decision is recorded beside the rows, and survives a rebuild.
 */
import { Clock, Data, Effect, Result } from "effect"
import { type HoldChange, type OpenedHead, tryPost } from "../../domain/Books.ts"
import { emptyHead, type Head } from "../../domain/Head.ts"
import type { AccountId, Version } from "../../domain/Ids.ts"
import { boundBy, type StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventStore, StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import type { Parked, ProjectionModel } from "../../infra/readmodel/ReadModel.ts"
import { divergedReason, isTriedAgain } from "./Parking.ts"
import { sumsOf } from "./ProjectionBatch.ts"

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

export const makeSkipParked = (
  store: EventStore["Service"],
  readModel: ProjectionModel,
  engine: {
    readonly retryOnContention: <A, E>(
      attempt: Effect.Effect<A | undefined, E>
    ) => Effect.Effect<A, E | StoreUnavailable>
    readonly release: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<void, StoreUnavailable>
  },
  partitions: number
) => {
  const skipStep = Effect.fnUntraced(function* (account: AccountId, version: Version, reason: string) {
    const { heads, generation, sumPrefixes } = yield* readModel.look([account])
    const head: Head = heads.get(account) ?? emptyHead(account)
    const [row] = yield* store.readStream({ account, after: version - 1, limit: 1 })
    const next = row === undefined ? undefined : stepOver(head, row)
    if (head.account.version !== version - 1 || next === undefined) {
      return yield* new SkipRefused({ account, version, reason: "there is no balance to go on from" })
    }
    const moves = [{ from: version - 1, head: next.head }]
    const skipped = { account, version, reason, since: yield* Clock.currentTimeMillis }
    const rows = { lines: [], transfers: [], contras: [], holds: [], checkpoints: [] }
    const { asset, balance } = next.head.account
    const before = head.account._tag === "Opened" ? head.account.balance : 0n
    const change = { account, asset, amount: balance - before, isOpening: head.account._tag === "Absent" }
    const sums = sumsOf(sumPrefixes, [change], partitions)
    const batch = { moves, ...rows, ...sums, generation, skipped }
    // A hold is a part of the state, as the balance is: left as it was, it would be told as expired though it had been captured.
    const written = readModel.apply({ ...batch, holds: next.holds })
    return (yield* next.holds.length === 0
      ? written
      : Effect.catchTag(written, "RowsRefused", () => readModel.apply(batch)))
      ? true
      : undefined
  })

  return Effect.fn("ProjectionEngine.skipParked")(function* (account: AccountId, version: Version) {
    const [found] = yield* readModel.parkedAmong([account])
    if (found?.version !== version) {
      const reason = found === undefined ? "it is not parked" : `it is parked at version ${found.version}`
      return yield* new SkipRefused({ account, version, reason })
    }
    if (isTriedAgain(found.reason)) {
      const orRebuild = found.reason.startsWith(divergedReason)
        ? '; where the projection cannot reload one account, "chronicle rebuild" mends it'
        : ""
      const reason = `it may be good, for ${found.reason}. Its account is tried again by itself, and at once by "chronicle parked retry"${orRebuild}`
      return yield* new SkipRefused({ account, version, reason })
    }
    yield* engine
      .retryOnContention(skipStep(account, version, found.reason))
      .pipe(
        Effect.catchTag("RowsRefused", ({ reason }) =>
          Effect.fail(new SkipRefused({ account, version, reason: `its balance cannot be kept: ${reason}` }))
        )
      )
    yield* engine.release([account])
  })
}

/** Skips once more what a person had skipped, where a rebuilt or reloaded account is parked at it again. */
export const skipAgain = Effect.fnUntraced(function* (
  readModel: Pick<ProjectionModel, "parkedAmong">,
  skipParked: (account: AccountId, version: Version) => Effect.Effect<void, SkipRefused | StoreUnavailable>,
  skipped: ReadonlyArray<Parked>
) {
  const left = new Set(skipped.map(({ account, version }) => `${account}@${version}`))
  const accounts = [...new Set(skipped.map(({ account }) => account))]
  while (left.size > 0) {
    const parked = (yield* readModel.parkedAmong(accounts)).filter(({ account, version }) =>
      left.has(`${account}@${version}`)
    )
    if (parked.length === 0) return
    for (const { account, version } of parked) {
      yield* skipParked(account, version).pipe(
        Effect.catchTag("SkipRefused", (refused) => Effect.logWarning(refused.message))
      )
      left.delete(`${account}@${version}`)
    }
  }
})

/**
 * The head after the event, and what the event made of a hold; where it cannot be read, the head before it, moved to its place in
 * the chain.
 */
const stepOver = (
  head: Head,
  row: StoredEvent
): { readonly head: OpenedHead; readonly holds: ReadonlyArray<HoldChange> } | undefined => {
  const posted = tryPost(head, row)
  if (Result.isSuccess(posted)) {
    const { hold } = posted.success
    return { head: posted.success.head, holds: hold === undefined ? [] : [hold] }
  }
  const { account } = head
  if (account._tag !== "Opened") return undefined
  // What the event did cannot be read, but what it came to: later events are held against it.
  const balance = boundBy(row)?.balance ?? account.balance
  const moved = {
    account: { ...account, version: row.version, balance },
    hash: row.hash,
    recordedAt: row.recordedAt
  }
  return { head: moved, holds: [] }
}
