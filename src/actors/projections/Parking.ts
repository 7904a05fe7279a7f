/**
 * Which accounts of a projection are parked: held at a version, because the next event cannot be projected. A poison
 * event holds up its account and no other. The rows of parked accounts are dropped when they arrive from the bus: they
 * are read from the log when the account is released.
 */
import { Clock, Effect } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { Parked, ProjectionModel } from "../../infra/readmodel/ReadModel.ts"

/** `forgetUnsafe` drops what is remembered of the rows of accounts: they may change behind its back. */
export const makeParking = (
  readModel: Pick<ProjectionModel, "parked" | "park" | "unpark" | "versions">,
  forgetUnsafe: (accounts: ReadonlyArray<AccountId>) => void
) => {
  let parked = new Set<AccountId>()
  /** Parked by this process since it last released them, whatever it took over from others meanwhile. */
  const parkedHere = new Set<AccountId>()
  return {
    isParked: (account: AccountId): boolean => parked.has(account),
    listUnsafe: (): ReadonlyArray<AccountId> => [...parked],
    park: Effect.fnUntraced(function* ({ account, version, reason }: Omit<Parked, "since">) {
      forgetUnsafe([account])
      if (!parked.has(account)) {
        yield* Effect.logError(`projection: account ${account} is parked at version ${version}: ${reason}`)
      }
      yield* readModel.park([{ account, version, reason, since: yield* Clock.currentTimeMillis }])
      parked.add(account)
      parkedHere.add(account)
    }),
    /** Until they are parked again, these accounts are projected. */
    tryAgainUnsafe: (accounts: ReadonlyArray<AccountId>): void => {
      for (const account of accounts) {
        parked.delete(account)
        parkedHere.delete(account)
      }
    },
    /** Unparks those that were not parked again; answers them. */
    release: Effect.fnUntraced(function* (accounts: ReadonlyArray<AccountId>) {
      const free = accounts.filter((account) => !parkedHere.has(account))
      yield* readModel.unpark(free)
      forgetUnsafe(free)
      for (const account of free) parked.delete(account)
      return free
    }),
    /** Takes over what others parked; answers accounts that got past their event, by a newer program perhaps. */
    refresh: Effect.gen(function* () {
      const rows = yield* readModel.parked
      const accounts = rows.map((row) => row.account)
      const versions =
        accounts.length === 0 ? new Map<AccountId, number>() : yield* readModel.versions(accounts)
      parked = new Set(rows.map((row) => row.account))
      return rows.filter((row) => (versions.get(row.account) ?? 0) >= row.version).map((row) => row.account)
    })
  }
}

export type Parking = ReturnType<typeof makeParking>
