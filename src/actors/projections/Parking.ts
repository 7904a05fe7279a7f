/**
 * Which accounts of a projection are parked: held at a version, because the next event cannot be projected. A poison
 * event holds up its account and no other. The rows of parked accounts are dropped when they arrive from the bus: they
 * are read from the log when the account is released.
 */
import { Clock, Effect, Exit } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import type { Parked, ProjectionModel } from "../../infra/readmodel/ReadModel.ts"

/** Accounts that are tried again, each as often as that is under way: they are not at their end yet. */
const makeTried = () => {
  const times = new Map<AccountId, number>()
  return {
    has: (account: AccountId): boolean => times.has(account),
    listUnsafe: (): ReadonlyArray<AccountId> => [...times.keys()],
    count: (accounts: ReadonlyArray<AccountId>, change: 1 | -1) =>
      Effect.sync(() => {
        for (const account of accounts) {
          const left = (times.get(account) ?? 0) + change
          if (left > 0) times.set(account, left)
          else times.delete(account)
        }
      })
  }
}

/** `forgetUnsafe` drops what is remembered of the rows of accounts: they may change behind its back. */
export const makeParking = (
  readModel: Pick<ProjectionModel, "parked" | "park" | "beginRelease" | "unpark" | "versions">,
  forgetUnsafe: (accounts: ReadonlyArray<AccountId>) => void
) => {
  let parked = new Set<AccountId>()
  /** Parked by this process since it last released them, whatever it took over from others meanwhile. */
  const parkedHere = new Set<AccountId>()
  const tried = makeTried()
  return {
    isParked: (account: AccountId): boolean => parked.has(account),
    /** Those that are tried again included. */
    countUnsafe: (): number => tried.listUnsafe().reduce((count, account) => count + (parked.has(account) ? 0 : 1), parked.size),
    /** Until the scope ends, the accounts are tried again; where it ends by a failure they are parked as before, as far as is known. */
    whileTried: (accounts: ReadonlyArray<AccountId>) =>
      Effect.acquireRelease(tried.count(accounts, 1), (_, exit) => {
        if (Exit.isFailure(exit)) for (const account of accounts) parked.add(account)
        return tried.count(accounts, -1)
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
    /**
     * Unparks accounts that are past their event, unless they were parked again. A reconciler that saw one parked may have passed over
     * what was committed meanwhile, so it is caught up once more before its row goes: wherever this ends, the row says that the
     * account is to be released, or the account has everything.
     */
    release: Effect.fnUntraced(function* (
      accounts: ReadonlyArray<AccountId>,
      catchUp: (accounts: ReadonlyArray<AccountId>) => Effect.Effect<unknown, StoreUnavailable>
    ) {
      const isFree = (account: AccountId) => !parkedHere.has(account)
      const past = accounts.filter(isFree)
      if (past.length === 0) return
      yield* readModel.beginRelease(past)
      yield* catchUp(past)
      yield* readModel.unpark(past.filter(isFree))
      forgetUnsafe(past)
      const left = new Set((yield* readModel.parked).map(({ account }) => account))
      for (const account of past) {
        if (left.has(account)) parked.add(account)
        else parked.delete(account)
      }
    }),
    /** Takes over what others parked; answers accounts that got past their event, by a newer program perhaps. */
    refresh: Effect.gen(function* () {
      const rows = yield* readModel.parked
      const accounts = rows.map((row) => row.account)
      const versions =
        accounts.length === 0 ? new Map<AccountId, number>() : yield* readModel.versions(accounts)
      // What is tried here is projected until it is parked here again, though its row is still there.
      parked = new Set(accounts.filter((account) => !tried.has(account) || parkedHere.has(account)))
      return rows.filter((row) => (versions.get(row.account) ?? 0) >= row.version).map((row) => row.account)
    })
  }
}

export type Parking = ReturnType<typeof makeParking>
