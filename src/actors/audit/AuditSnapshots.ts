/**
 * Lists the snapshots for an audit, also where some cannot be read, as where a page of their disk is bad. Nodes read past those and fold
 * the account from its first event; an audit names the account, and checks all else.
 */
import { Effect, Option } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import type { EventStore } from "../../infra/eventstore/EventStore.ts"
import type { EventKey, StoreUnavailable } from "../../infra/eventstore/EventStoreTypes.ts"
import type { Saved, Snapshots } from "../../infra/eventstore/Snapshots.ts"
import { isOfRows } from "../../infra/postgres/SqlState.ts"
import { keyMax } from "./AuditCursors.ts"
import type { Run } from "./AuditRun.ts"

interface Page {
  readonly after: EventKey
  readonly limit: number
}

/** So many accounts are named in one walk, for each is looked for in the log: with the word that those behind are not, as many findings as are kept. */
const namedMax = 19

/** As `snapshots.list`, without the accounts of which one cannot be read; `only`: the account that alone is asked for. */
export const makeSnapshotList = (
  store: EventStore["Service"],
  snapshots: Snapshots["Service"],
  { findings, limits }: Pick<Run, "findings" | "limits">,
  only: AccountId | undefined
) => {
  let named = 0

  /** What it lists; none where the database cannot read what stands there. */
  const listIfGood = (page: Page) =>
    Effect.catch(Effect.asSome(snapshots.list(page)), (error) =>
      isOfRows(error.state) ? Effect.succeedNone : Effect.fail(error)
    )

  const report = (account: AccountId | undefined, after: EventKey): void => {
    const found = { invariant: "I8", where: "snapshots" } as const
    if (account === undefined)
      findings.add({
        ...found,
        reason: `one behind ${after.account}@${after.version} cannot be read, and none from there on was checked`
      })
    else findings.add({ ...found, account, reason: "snapshot: the database refuses to read it" })
  }

  /** One row after another. */
  const listSingly = Effect.fnUntraced(function* ({ after: from, limit }: Page) {
    const rows: Array<Saved> = []
    let after = from
    while (rows.length < limit) {
      const found = yield* listIfGood({ after, limit: 1 })
      if (Option.isNone(found)) {
        const account =
          named < namedMax ? yield* accountBehind(store, snapshots, limits.pageRows, after) : undefined
        if (only !== undefined && account !== only) break
        report(account, after)
        if (account === undefined) break
        named++
        after = { account, version: keyMax.version }
        continue
      }
      const [row] = found.value
      if (row === undefined) break
      rows.push(row)
      after = { account: row.account, version: row.version }
    }
    return rows
  })

  return (page: Page): Effect.Effect<ReadonlyArray<Saved>, StoreUnavailable> =>
    Effect.flatMap(listIfGood(page), (found) =>
      Option.isNone(found) ? listSingly(page) : Effect.succeed(found.value)
    )
}

/**
 * Whose the first snapshot behind a key is, which cannot be read and so does not say it: the first account of the log that has one there,
 * or whose last one cannot be read. Undefined where the log has no such account.
 */
const accountBehind = Effect.fnUntraced(function* (
  store: EventStore["Service"],
  snapshots: Snapshots["Service"],
  pageRows: number,
  key: EventKey
) {
  const hasSome = (accounts: ReadonlyArray<AccountId>) =>
    snapshots.latest(accounts).pipe(
      Effect.map((heads) =>
        heads.some(({ account }) => account.id !== key.account || account.version > key.version)
      ),
      Effect.catch((error) => (isOfRows(error.state) ? Effect.succeed(true) : Effect.fail(error)))
    )
  for (let after = key; ; ) {
    const rows = yield* store.scan({ after, limit: pageRows })
    const accounts = [...new Set(rows.map((row) => row.accountId))]
    if (accounts.length > 0 && (yield* hasSome(accounts)))
      for (const account of accounts) if (yield* hasSome([account])) return account
    const last = accounts.at(-1)
    if (last === undefined || rows.length < pageRows) return undefined
    after = { account: last, version: keyMax.version }
  }
})
