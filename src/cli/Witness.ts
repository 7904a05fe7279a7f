/** Receipts of a play enter as they arrive; whether the log holds each of them (I4, I6), in order (I7), leaves. */
import { Effect, Schedule } from "effect"
import type { AccountId, Version } from "../domain/Ids.ts"
import type { Position, Receipt } from "../domain/Receipt.ts"
import { EventStore } from "../infra/eventstore/EventStore.ts"

/** The store may be away for a while in the middle of a day: the witness waits a minute. */
const patiently = <A, E>(read: Effect.Effect<A, E>): Effect.Effect<A> =>
  read.pipe(Effect.retry({ schedule: Schedule.spaced(500), times: 120 }), Effect.orDie)

/** Receipts that are looked up in the log at once. */
const batchMax = 500
const faultsMax = 20

export type WitnessFault = { readonly invariant: "I4" | "I6" | "I7"; readonly reason: string }

/**
 * A witness of everything that was acknowledged, in bounded memory: receipts are compared with the log in batches,
 * and per account only the highest acknowledged version is kept. The player sends commands that share an account
 * one after another, so on every account versions must rise from receipt to receipt.
 */
export const makeWitness = Effect.gen(function* () {
  const store = yield* EventStore
  const reached = new Map<AccountId, Version>()
  const faults: Array<WitnessFault> = []
  let pending: Array<Receipt> = []

  const blame = (invariant: WitnessFault["invariant"], reason: string): void => {
    if (faults.length < faultsMax) faults.push({ invariant, reason })
  }

  const compare = Effect.suspend(() => {
    const batch = pending
    pending = []
    const keys = batch.flatMap(({ postings }) => postings)
    return Effect.map(patiently(store.readEvents(keys)), (rows) => {
      const byKey = new Map(rows.map((row) => [`${row.accountId}@${row.version}`, row]))
      for (const { commandId, postings } of batch) {
        for (const { account, version, hash } of postings) {
          const row = byKey.get(`${account}@${version}`)
          if (row === undefined)
            blame("I6", `${commandId} was acknowledged, ${account}@${version} is not in the log`)
          else if (row.hash !== hash)
            blame("I6", `${account}@${version} is not the event that was acknowledged`)
          else if (row.commandId !== commandId)
            blame("I4", `${account}@${version} belongs to ${row.commandId}`)
        }
      }
    })
  })

  return {
    /** To be called with every receipt, in the order of their arrival. */
    accepted: (receipt: Receipt) => {
      for (const { account, version } of receipt.postings) {
        const last = reached.get(account) ?? 0
        if (!receipt.replayed && version <= last) {
          blame(
            "I7",
            `${receipt.commandId} is at ${account}@${version}, behind ${version} acknowledged before`
          )
        }
        if (version > last) reached.set(account, version)
      }
      pending.push(receipt)
      return pending.length >= batchMax ? compare : Effect.void
    },
    /** Compares what is left; answers what was found amiss. */
    conclude: Effect.map(compare, (): ReadonlyArray<WitnessFault> => faults),
    /** The highest acknowledged version of every account. */
    positions: (): ReadonlyArray<Position> => [...reached].map(([account, version]) => ({ account, version }))
  }
})
