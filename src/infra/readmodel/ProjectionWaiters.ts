/**
 * The queries of this process that wait until the read model has reached the version in their read token. A projector of
 * the same process wakes them; for accounts that other processes project, `Queries` looks into the read model.
 */
import { Context, Effect, Latch, Layer, Option } from "effect"
import type { AccountId, Version } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { Position } from "../../domain/Receipt.ts"
import { LedgerConfig } from "../config/LedgerConfig.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"

interface Waiter {
  readonly version: Version
  readonly wake: () => void
}

/** Those who want to know what is waited for from now on. */
export const makeJoins = () => {
  const listeners = new Set<(position: Position) => void>()
  return {
    tell: (position: Position): void => {
      for (const listener of listeners) listener(position)
    },
    onJoinUnsafe: (listener: (position: Position) => void) => {
      listeners.add(listener)
      return () => {
        listeners.delete(listener)
      }
    }
  }
}

/** Whether what projects here is being started, and what waits for it meanwhile. */
const makeStart = (): Pick<ProjectionWaiters["Service"], "setStartingUnsafe" | "inTime"> => {
  const started = Latch.makeUnsafe(true)
  return {
    setStartingUnsafe: (isStarting) => {
      if (isStarting) started.closeUnsafe()
      else started.openUnsafe()
    },
    inTime: (effect, ms) =>
      Effect.raceFirst(
        Effect.asSome(effect),
        started.await.pipe(Effect.andThen(Effect.sleep(ms)), Effect.as(Option.none()))
      )
  }
}

/** What those who write the read model say to the queries that wait for it, and what they hear of them. */
export class ProjectedSignal extends Context.Service<
  ProjectedSignal,
  {
    /** The read model has reached `version` of the account: wakes the waiters for it. One map look-up where none waits. */
    readonly reachedUnsafe: (account: AccountId, version: Version) => void
    /** Says whether a projector of this process projects the partition, and so calls `reachedUnsafe` for its accounts. */
    readonly setProjectedHereUnsafe: (partition: number, isHere: boolean) => void
    /** Whether any query waits. */
    readonly isAwaitedUnsafe: () => boolean
    /** Calls the listener with each position that is waited for from now on; answers what ends that. */
    readonly onJoinUnsafe: (listener: (position: Position) => void) => () => void
  }
>()("chronicle/infra/ProjectedSignal") {
  /** Of tables that no query with a read token waits for. */
  static readonly unheard = ProjectedSignal.of({
    reachedUnsafe: () => {},
    setProjectedHereUnsafe: () => {},
    isAwaitedUnsafe: () => false,
    onJoinUnsafe: () => () => {}
  })
}

/**
 * Pauses in which more may come that costs no more to do with what is there: none while a query waits for it. In the scope.
 */
export const makeHurriedPause = Effect.fnUntraced(function* ({
  isAwaitedUnsafe,
  onJoinUnsafe
}: Pick<ProjectedSignal["Service"], "isAwaitedUnsafe" | "onJoinUnsafe">) {
  const hurry = Latch.makeUnsafe(false)
  const leave = onJoinUnsafe(() => {
    hurry.openUnsafe()
  })
  yield* Effect.addFinalizer(() => Effect.sync(leave))
  return {
    /** Ends after so long, once a query begins to wait, or with `orElse`; at once where a query waits already. */
    pause: (ms: number, orElse: Effect.Effect<void> = Effect.never): Effect.Effect<void> =>
      Effect.suspend(() => {
        hurry.closeUnsafe()
        if (isAwaitedUnsafe()) return Effect.void
        return Effect.raceAllFirst([Effect.sleep(ms), hurry.await, orElse])
      })
  }
})

export class ProjectionWaiters extends Context.Service<
  ProjectionWaiters,
  ProjectedSignal["Service"] & {
    /** Completes once the position is reached; `None` at once where `tokenWaitersMax` are waiting already. */
    readonly await: (position: Position) => Effect.Effect<Option.Option<void>>
    /** The accounts that are waited for and that this process projects, or others do. */
    readonly awaitedUnsafe: (projected: "here" | "elsewhere") => ReadonlyArray<AccountId>
    /** Completes once a waiter for an account that others project has joined since this completed last. */
    readonly joinedElsewhere: Effect.Effect<void>
    readonly hasJoinedElsewhereUnsafe: () => boolean
    /** The positions that are waited for. */
    readonly positionsUnsafe: () => ReadonlyArray<Position>
    /** Says whether what projects for this process is being started; it is not, until this is called. */
    readonly setStartingUnsafe: (isStarting: boolean) => void
    /**
     * None where the effect has not ended within so many milliseconds. What passes while that which projects is being started,
     * which has a limit of its own (`readSideStartMs`), does not count: a node that was just opened would answer that nothing is
     * visible yet, where its machine has much to do.
     */
    readonly inTime: <A, E, R>(
      effect: Effect.Effect<A, E, R>,
      ms: number
    ) => Effect.Effect<Option.Option<A>, E, R>
  }
>()("chronicle/infra/ProjectionWaiters") {
  /** Those who write the read model have the same as `ProjectedSignal`. */
  static readonly layer = Layer.effectContext(
    Effect.gen(function* () {
      const { tokenWaitersMax } = yield* ReadSideConfig
      const { partitions } = yield* LedgerConfig
      const waiters = new Map<AccountId, Set<Waiter>>()
      const here = new Set<number>()
      const joined = Latch.makeUnsafe(false)
      const joins = makeJoins()
      let waiting = 0
      const isElsewhere = (account: AccountId) => !here.has(partitionOf(account, partitions))

      const leave = (account: AccountId, waiter: Waiter): void => {
        const group = waiters.get(account)
        if (group?.delete(waiter) !== true) return
        waiting--
        if (group.size === 0) waiters.delete(account)
      }

      const service: ProjectionWaiters["Service"] = {
        reachedUnsafe: (account, version) => {
          const group = waiters.get(account)
          if (group === undefined) return
          for (const waiter of [...group]) {
            if (waiter.version > version) continue
            leave(account, waiter)
            waiter.wake()
          }
        },
        setProjectedHereUnsafe: (partition, isHere) => {
          if (isHere) here.add(partition)
          else here.delete(partition)
          // From now on its waiters are woken only by looking into the read model.
          if (!isHere && waiting > 0) joined.openUnsafe()
        },
        await: ({ account, version }) =>
          Effect.callback<Option.Option<void>>((resume) => {
            if (waiting >= tokenWaitersMax) {
              resume(Effect.succeedNone)
              return
            }
            const waiter: Waiter = { version, wake: () => resume(Effect.succeed(Option.some(undefined))) }
            const group = waiters.get(account)
            if (group === undefined) waiters.set(account, new Set([waiter]))
            else group.add(waiter)
            waiting++
            if (isElsewhere(account)) joined.openUnsafe()
            joins.tell({ account, version })
            return Effect.sync(() => leave(account, waiter))
          }),
        awaitedUnsafe: (projected) =>
          [...waiters.keys()].filter((account) => isElsewhere(account) === (projected === "elsewhere")),
        isAwaitedUnsafe: () => waiting > 0,
        joinedElsewhere: Effect.andThen(
          joined.await,
          Effect.sync(() => joined.closeUnsafe())
        ),
        hasJoinedElsewhereUnsafe: () => joined.isOpen(),
        onJoinUnsafe: joins.onJoinUnsafe,
        positionsUnsafe: () =>
          [...waiters].flatMap(([account, group]) => [...group].map(({ version }) => ({ account, version }))),
        ...makeStart()
      }
      return Context.make(ProjectionWaiters, service).pipe(Context.add(ProjectedSignal, service))
    })
  )
}
