/** Snapshots in this process's memory, for tests and simulation. */
import { Effect } from "effect"
import type { Head } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { Snapshots } from "./Snapshots.ts"

export const makeMemory = Effect.sync((): Snapshots["Service"] => {
  const saved = new Map<AccountId, Array<Head>>()
  return {
    latest: (accounts) => Effect.sync(() => accounts.flatMap((account) => saved.get(account)?.at(-1) ?? [])),
    before: (account, { version = Number.MAX_SAFE_INTEGER, recordedAt = Number.MAX_SAFE_INTEGER }) =>
      Effect.sync(() =>
        saved
          .get(account)
          ?.findLast((head) => head.account.version <= version && head.recordedAt <= recordedAt)
      ),
    list: ({ after, limit }) =>
      Effect.sync(() =>
        [...saved.values()]
          .flat()
          .map((head) => ({ account: head.account.id, version: head.account.version, head }))
          .filter(
            ({ account, version }) =>
              account > after.account || (account === after.account && version > after.version)
          )
          .toSorted((a, b) =>
            a.account === b.account ? a.version - b.version : a.account < b.account ? -1 : 1
          )
          .slice(0, limit)
      ),
    drop: (heads) =>
      Effect.sync(() => {
        for (const { account } of heads) {
          const others = (saved.get(account.id) ?? []).filter(
            (one) => one.account.version !== account.version
          )
          saved.set(account.id, others)
        }
      }),
    save: (heads) =>
      Effect.sync(() => {
        for (const head of heads) {
          const others = (saved.get(head.account.id) ?? []).filter(
            (one) => one.account.version !== head.account.version
          )
          saved.set(
            head.account.id,
            [...others, head].toSorted((a, b) => a.account.version - b.account.version)
          )
        }
      })
  }
})
