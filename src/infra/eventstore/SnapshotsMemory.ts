/** Snapshots in this process's memory, for tests and simulation: the same rows as in the database, believed by the same rule. */
import { Effect } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import { believe, decode, isAltered, type SnapshotRow, toRow, wrongMax } from "./SnapshotRows.ts"
import type { Snapshots } from "./Snapshots.ts"

/** `given` are the rows of each account in order of version, which a test may change; else each service has its own. */
export const makeMemory = (given?: Map<string, ReadonlyArray<SnapshotRow>>) =>
  Effect.sync((): Snapshots["Service"] => {
    const rows = given ?? new Map<string, ReadonlyArray<SnapshotRow>>()
    const rowsOf = (account: string): ReadonlyArray<SnapshotRow> => rows.get(account) ?? []
    const without = (account: string, version: number) =>
      rowsOf(account).filter((row) => row.version !== version)

    /** The last one that is whole, of these. */
    const lastOf = Effect.fnUntraced(function* (found: ReadonlyArray<SnapshotRow>) {
      for (const row of found.toReversed().slice(0, wrongMax)) {
        const head = yield* believe(row)
        if (head !== undefined) return head
      }
      return undefined
    })

    return {
      latest: (accounts) =>
        Effect.map(
          Effect.forEach(accounts, (account) => lastOf(rowsOf(account))),
          (heads) => heads.filter((head) => head !== undefined)
        ),
      before: (account, { version = Number.MAX_SAFE_INTEGER, recordedAt = Number.MAX_SAFE_INTEGER }) =>
        Effect.suspend(() =>
          lastOf(rowsOf(account).filter((row) => row.version <= version && row.recordedAt <= recordedAt))
        ),
      list: ({ after, limit }) =>
        Effect.sync(() =>
          [...rows.values()]
            .flat()
            .filter(
              ({ accountId, version }) =>
                accountId > after.account || (accountId === after.account && version > after.version)
            )
            .toSorted((a, b) =>
              a.accountId === b.accountId ? a.version - b.version : a.accountId < b.accountId ? -1 : 1
            )
            .slice(0, limit)
            .map((row) => ({
              account: row.accountId as AccountId,
              version: row.version,
              head: decode(row),
              isAltered: isAltered(row)
            }))
        ),
      drop: (heads) =>
        Effect.sync(() => {
          for (const { account } of heads) rows.set(account.id, without(account.id, account.version))
        }),
      save: (heads) =>
        Effect.sync(() => {
          for (const head of heads) {
            const row = toRow(head)
            const all = [...without(row.accountId, row.version), row]
            rows.set(
              row.accountId,
              all.toSorted((a, b) => a.version - b.version)
            )
          }
        })
    }
  })
