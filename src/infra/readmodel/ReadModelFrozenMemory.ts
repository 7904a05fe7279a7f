/** The tables of the read model in memory enter; a copy of them that nobody changes, page by page, leaves. */
import { Effect } from "effect"
import type { StatementLine } from "../../domain/Books.ts"
import type { EventKey } from "../eventstore/EventStoreTypes.ts"
import type { BalanceRow, FrozenBooks, PageAfter } from "./ReadModelFrozen.ts"
import type { Tables } from "./ReadModelMemory.ts"

/** Copies in one step, so it costs as much memory again: for tests and simulations. */
export const freezeTables = (tables: Tables): FrozenBooks => {
  const balances: ReadonlyArray<BalanceRow> = [...tables.heads.values()]
    .map(({ account, recordedAt, hash }) => ({
      account: account.id,
      version: account.version,
      status: account.status,
      asset: account.asset,
      owner: account.owner,
      overdraftLimit: account.overdraftLimit,
      balance: account.balance,
      metadata: JSON.stringify(account.metadata),
      recordedAt,
      hash
    }))
    .toSorted(byText((row) => row.account))
  const lines: ReadonlyArray<StatementLine> = [...tables.lines.entries()]
    .toSorted(byText(([account]) => account))
    .flatMap(([, of]) => of)
  const transfers = [...tables.transfers.values()].toSorted(byText((row) => row.id))
  const contras = [...tables.contras.values()].toSorted(byText((row) => `${row.contra} ${row.asset}`))
  const parked = [...tables.parked.values()].toSorted(byText((row) => row.account))
  const versions = new Map(balances.map((row) => [row.account, row.version]))
  const wanted = new Map(tables.transfers)
  return {
    balances: (page) => Effect.sync(() => pageOf(balances, (row) => isAfter(row, page.after), page)),
    lines: (page) => Effect.sync(() => pageOf(lines, (row) => isAfter(row, page.after), page)),
    transfers: (page) => Effect.sync(() => pageOf(transfers, (row) => row.id > page.after, page)),
    transfersOf: (ids) => Effect.sync(() => ids.flatMap((id) => wanted.get(id) ?? [])),
    countTransfers: Effect.sync(() => transfers.length),
    contras: (page) =>
      Effect.sync(() =>
        pageOf(
          contras,
          (row) => `${row.contra} ${row.asset}` > `${page.after.contra} ${page.after.asset}`,
          page
        )
      ),
    versions: (accounts) =>
      Effect.sync(() => new Map(accounts.map((account) => [account, versions.get(account) ?? 0]))),
    parked: (page) => Effect.sync(() => pageOf(parked, (row) => row.account > page.after, page))
  }
}

const byText =
  <A>(textOf: (value: A) => string) =>
  (a: A, b: A): number =>
    textOf(a) < textOf(b) ? -1 : 1

const isAfter = (row: EventKey, key: EventKey): boolean =>
  row.account === key.account ? row.version > key.version : row.account > key.account

const pageOf = <A>(rows: ReadonlyArray<A>, isIn: (row: A) => boolean, { limit }: PageAfter<unknown>) => {
  const start = rows.findIndex(isIn)
  return start === -1 ? [] : rows.slice(start, start + limit)
}
