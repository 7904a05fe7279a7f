/** Versions that reached the read model enter; those who wait for them in this process are woken. */
import { Context, Effect, Layer, Option } from "effect"
import type { AccountId, Version } from "../domain/Ids.ts"
import type { Position } from "../domain/Receipt.ts"
import { ReadSideConfig } from "./ReadSideConfig.ts"

interface Waiter {
  readonly version: Version
  readonly wake: () => void
}

export class Arrivals extends Context.Service<
  Arrivals,
  {
    /** The read model holds the account at `version`. Wakes whom that satisfies; costs a map look-up otherwise. */
    readonly arrivedUnsafe: (account: AccountId, version: Version) => void
    /** Completes at an arrival that satisfies the position; `None` at once when too many wait already. */
    readonly await: (position: Position) => Effect.Effect<Option.Option<void>>
    /** The accounts that are waited for, for the one poll that serves all who wait. */
    readonly awaitedUnsafe: () => ReadonlyArray<AccountId>
  }
>()("chronicle/infra/Arrivals") {
  static readonly layer = Layer.effect(
    Arrivals,
    Effect.gen(function* () {
      const { tokenWaitersMax } = yield* ReadSideConfig
      const waiters = new Map<AccountId, Set<Waiter>>()
      let waiting = 0

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
            return Effect.sync(() => leave(account, waiter))
          }),
        awaitedUnsafe: () => [...waiters.keys()]
      }
    })
  )
}
