/**
 * Which accounts of a projection are parked: held at a version, because the next event cannot be projected. A poison
 * event holds up its account and no other. The rows of parked accounts are dropped when they arrive from the bus: they
 * are read from the log when the account is released.
 */
import { Clock, Effect, Exit } from "effect"
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
  /** Those that are tried again, each as often as that is under way: they are not at their end yet. */
  const tried = new Map<AccountId, number>()
  const count = (accounts: ReadonlyArray<AccountId>, change: 1 | -1) =>
    Effect.sync(() => {
      for (const account of accounts) {
        const times = (tried.get(account) ?? 0) + change
        if (times > 0) tried.set(account, times)
        else tried.delete(account)
      }
    })
  return {
    isParked: (account: AccountId): boolean => parked.has(account),
    isParkedOrTried: (account: AccountId): boolean => parked.has(account) || tried.has(account),
    /** Those that are tried again included. */
    listUnsafe: (): ReadonlyArray<AccountId> => [...new Set([...parked, ...tried.keys()])],
    /** Until the scope ends, the accounts are tried again; where it ends by a failure they are parked as before, as far as is known. */
    whileTried: (accounts: ReadonlyArray<AccountId>) =>
      Effect.acquireRelease(count(accounts, 1), (_, exit) => {
        if (Exit.isFailure(exit)) for (const account of accounts) parked.add(account)
        return count(accounts, -1)
      }),
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
