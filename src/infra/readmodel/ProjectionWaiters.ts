/** Versions that reached the read model enter; those who wait for them in this process are woken. */
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

export class ProjectionWaiters extends Context.Service<
  ProjectionWaiters,
  {
    /** The read model holds the account at `version`. Wakes whom that satisfies; costs a map look-up otherwise. */
    readonly arrivedUnsafe: (account: AccountId, version: Version) => void
    /** Whether a projector of this process brings the partition, and so tells at once. */
    readonly bringUnsafe: (partition: number, isHere: boolean) => void
    /** Completes at an arrival that satisfies the position; `None` at once when too many wait already. */
    readonly await: (position: Position) => Effect.Effect<Option.Option<void>>
    /** The accounts that are waited for: all, or those that projectors of this process, or of others, bring. */
    readonly awaitedUnsafe: (brought?: "here" | "elsewhere") => ReadonlyArray<AccountId>
    /** Completes when somebody began to wait for one of those since this completed last. */
    readonly joinedElsewhere: Effect.Effect<void>
    readonly hasJoinedElsewhereUnsafe: () => boolean
  }
>()("chronicle/infra/ProjectionWaiters") {
  static readonly layer = Layer.effect(
    ProjectionWaiters,
    Effect.gen(function* () {
      const { tokenWaitersMax } = yield* ReadSideConfig
      const { partitions } = yield* LedgerConfig
      const waiters = new Map<AccountId, Set<Waiter>>()
      const here = new Set<number>()
      const joined = Latch.makeUnsafe(false)
      let waiting = 0
      const isElsewhere = (account: AccountId) => !here.has(partitionOf(account, partitions))

      const leave = (account: AccountId, waiter: Waiter): void => {
        const group = waiters.get(account)
        if (group?.delete(waiter) !== true) return
        waiting--
        if (group.size === 0) waiters.delete(account)
      }

      return {
        arrivedUnsafe: (account, version) => {
          const group = waiters.get(account)
          if (group === undefined) return
          for (const waiter of [...group]) {
            if (waiter.version > version) continue
            leave(account, waiter)
            waiter.wake()
          }
        },
        bringUnsafe: (partition, isHere) => {
          if (isHere) here.add(partition)
          else here.delete(partition)
          // Who waits for it must be looked for elsewhere from now on.
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
            return Effect.sync(() => leave(account, waiter))
          }),
        awaitedUnsafe: (brought) => {
          const accounts = [...waiters.keys()]
          return brought === undefined
            ? accounts
            : accounts.filter((account) => isElsewhere(account) === (brought === "elsewhere"))
        },
        joinedElsewhere: Effect.andThen(
          joined.await,
          Effect.sync(() => joined.closeUnsafe())
        ),
        hasJoinedElsewhereUnsafe: () => joined.isOpen()
      }
    })
  )
}
