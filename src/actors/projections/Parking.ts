/**
 * Which accounts of a projection are parked: held at a version, because the next event cannot be projected. A poison
 * event holds up its account and no other. The rows of parked accounts are dropped when they arrive from the bus: they
 * are read from the log when the account is released.
 */
import { Clock, Effect, Exit } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { forgetOldest } from "../../infra/config/ForgetOldest.ts"
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

/** The accounts that this process takes for parked, which it changes itself, and holds against the read model. */
const makeParked = () => {
  let parked = new Set<AccountId>()
  /** Of the accounts in the read model that they were taken from; "" where they were changed since. */
  let learnt = ""
  let changes = 0
  const change = (accounts: Iterable<AccountId>, how: "add" | "delete"): void => {
    for (const account of accounts) parked[how](account)
    learnt = ""
    changes++
  }
  return {
    has: (account: AccountId): boolean => parked.has(account),
    count: (): number => parked.size,
    add: (accounts: Iterable<AccountId>): void => change(accounts, "add"),
    delete: (accounts: Iterable<AccountId>): void => change(accounts, "delete"),
    /** Takes over those of the read model that pass; answers accounts that got past their event. */
    learn: Effect.fnUntraced(function* (
      readModel: Pick<ProjectionModel, "parkedNow">,
      passes: (account: AccountId) => boolean
    ) {
      const before = changes
      const { digest, accounts, past } = yield* readModel.parkedNow(learnt)
      if (accounts === undefined) return past
      parked = new Set(accounts.filter(passes))
      learnt = changes === before ? digest : ""
      return past
    })
  }
}

/** How the reason begins for which an account is parked whose rows are not of the log. */
export const divergedReason = "its rows stand for version"
/** The same of one whose log cannot be read. */
const unreadableReason = "the log cannot be read"

/** Accounts that are tried again by themselves: for other reasons it takes a person, or a newer program. */
interface Again {
  /** How the reason begins for which they are parked. */
  readonly beginning: string
  /** How long after they were seen parked, or tried last, in milliseconds. */
  readonly pauseMs: number
}

/** The process that reloaded an account may have ended before it was released, and a log may be mended. */
const again: ReadonlyArray<Again> = [
  { beginning: divergedReason, pauseMs: 10_000 },
  { beginning: unreadableReason, pauseMs: 60_000 }
]
/** The event at which an account is parked for this may be good: what cannot be read, or is not of the log, may stand before it. */
export const isTriedAgain = (reason: string): boolean =>
  again.some(({ beginning }) => reason.startsWith(beginning))

/** So many of each reason at once: the round waits for them. */
const againMax = 20
/** How often they are looked for, in milliseconds, and how many of each reason; the walk comes to others. */
const lookMs = 5_000
const lookedMax = 1_000

/** Accounts of one reason that are to be tried again, each when it is due by time elapsed. */
const makeDueFor = (
  readModel: Pick<ProjectionModel, "firstParked">,
  isTried: (account: AccountId) => boolean,
  { beginning, pauseMs }: Again
) => {
  const dueMs = new Map<AccountId, number>()
  let lookedMs = Number.NEGATIVE_INFINITY
  return Effect.gen(function* () {
    const nowMs = elapsedMsUnsafe(yield* Clock.Clock)
    if (nowMs - lookedMs < lookMs) return []
    lookedMs = nowMs
    const listed = yield* readModel.firstParked(lookedMax, beginning)
    const before = new Map(dueMs)
    dueMs.clear()
    for (const { account } of listed)
      if (!isTried(account)) dueMs.set(account, before.get(account) ?? nowMs + pauseMs)
    const due = [...dueMs]
      .filter(([, at]) => at <= nowMs)
      .toSorted(([, a], [, b]) => a - b)
      .slice(0, againMax)
      .map(([account]) => account)
    // Counted anew from now on, whatever comes of it.
    for (const account of due) dueMs.delete(account)
    return due
  })
}

/** Those of all reasons, each apart from the others, of which there may be any number. */
const makeDue = (readModel: Pick<ProjectionModel, "firstParked">, isTried: (account: AccountId) => boolean) =>
  Effect.map(
    Effect.all(again.map((one) => makeDueFor(readModel, isTried, one))),
    // An account that is parked for another reason in between is in both.
    (lists) => [...new Set(lists.flat())]
  )

const makePark = (
  readModel: Pick<ProjectionModel, "park" | "versions">,
  forgetUnsafe: (accounts: ReadonlyArray<AccountId>) => void,
  parked: { readonly has: (account: AccountId) => boolean; readonly add: (account: AccountId) => void }
) => {
  /** What was told of accounts that are tried again by themselves, the longest known first: they may be parked again for the same. */
  const told = new Map<AccountId, string>()
  const isNews = ({ account, reason }: Pick<Parked, "account" | "reason">): boolean => {
    if (parked.has(account) || told.get(account) === reason) return false
    if (reason.startsWith(unreadableReason)) told.set(account, reason)
    forgetOldest(told, lookedMax)
    return true
  }
  const park = Effect.fnUntraced(function* ({ account, version, reason }: Omit<Parked, "since">) {
    forgetUnsafe([account])
    if (isNews({ account, reason })) {
      yield* Effect.logError(`projection: account ${account} is parked at version ${version}: ${reason}`)
    }
    yield* readModel.park([{ account, version, reason, since: yield* Clock.currentTimeMillis }])
    parked.add(account)
  })
  return {
    park,
    /** Parks an account where it is, because the log has no more of it that can be read. */
    parkUnreadable: (account: AccountId, why: string) =>
      Effect.flatMap(readModel.versions([account]), (versions) =>
        park({ account, version: (versions.get(account) ?? 0) + 1, reason: `${unreadableReason}: ${why}` })
      )
  }
}

/** `forgetUnsafe` drops what is remembered of the rows of accounts: they may change behind its back. */
export const makeParking = (
  readModel: Pick<
    ProjectionModel,
    "parkedNow" | "parkedAmong" | "firstParked" | "park" | "beginRelease" | "unpark" | "versions"
  >,
  forgetUnsafe: (accounts: ReadonlyArray<AccountId>) => void
) => {
  const parked = makeParked()
  /** Parked by this process since it last released them, whatever it took over from others meanwhile. */
  const parkedHere = new Set<AccountId>()
  const tried = makeTried()
  const due = makeDue(readModel, tried.has)
  const { park, parkUnreadable } = makePark(readModel, forgetUnsafe, {
    has: parked.has,
    add: (account) => {
      parked.add([account])
      parkedHere.add(account)
    }
  })
  return {
    isParked: parked.has,
    /** Those that are tried again included. */
    countUnsafe: (): number =>
      tried.listUnsafe().reduce((count, account) => count + (parked.has(account) ? 0 : 1), parked.count()),
    /** Until the scope ends, the accounts are tried again; where it ends by a failure they are parked as before, as far as is known. */
    whileTried: (accounts: ReadonlyArray<AccountId>) =>
      Effect.acquireRelease(tried.count(accounts, 1), (_, exit) => {
        if (Exit.isFailure(exit)) parked.add(accounts)
        return tried.count(accounts, -1)
      }),
    park,
    parkUnreadable,
    /** Until they are parked again, these accounts are projected. */
    tryAgainUnsafe: (accounts: ReadonlyArray<AccountId>): void => {
      parked.delete(accounts)
      for (const account of accounts) parkedHere.delete(account)
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
      const left = new Set((yield* readModel.parkedAmong(past)).map(({ account }) => account))
      parked.delete(past)
      parked.add(left)
    }),
    /**
     * Takes over what others parked; answers accounts that got past their event, by a newer program perhaps. There may be as many parked
     * ones as accounts, so their list is read where it is another than it was.
     */
    refresh: parked.learn(
      readModel,
      // What is tried here is projected until it is parked here again, though its row is still there.
      (account) => !tried.has(account) || parkedHere.has(account)
    ),
    /** Accounts for which it is time to be tried again by themselves. */
    due: Effect.suspend(() => (parked.count() === 0 ? Effect.succeed([]) : due))
  }
}

export type Parking = ReturnType<typeof makeParking>
