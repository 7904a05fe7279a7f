/** The read model in this process's memory: the same contract as over PostgreSQL, for simulations and tests. */
import { Clock, Effect } from "effect"
import type { OpenedHead, StatementLine, TransferRow } from "../../domain/Books.ts"
import type { AccountId, CommandId } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import type { WriterId } from "../eventstore/EventStore.ts"
import type { EventKey } from "../eventstore/EventStoreTypes.ts"
import { ProjectionWaiters } from "./ProjectionWaiters.ts"
import type { BooksBatch, CheckpointAt, Parked, ReadModel } from "./ReadModel.ts"
import type { BalanceRow, FrozenBooks, PageAfter } from "./ReadModelFrozen.ts"

interface Tables {
  readonly heads: Map<AccountId, OpenedHead>
  /** Lines of an account in order of version. */
  readonly lines: Map<AccountId, Array<StatementLine>>
  readonly transfers: Map<CommandId, TransferRow>
  readonly contras: Map<string, { contra: string; asset: Asset; balance: bigint }>
  readonly checkpoints: Map<number, CheckpointAt>
  readonly swept: Map<WriterId, number>
  readonly parked: Map<AccountId, Parked>
  readonly skipped: Map<string, Parked>
}

export const makeReadModelMemory = Effect.gen(function* () {
  const arrivals = yield* ProjectionWaiters
  const tables: Tables = {
    heads: new Map(),
    lines: new Map(),
    transfers: new Map(),
    contras: new Map(),
    checkpoints: new Map(),
    swept: new Map(),
    parked: new Map(),
    skipped: new Map()
  }
  const { heads, swept, parked } = tables
  const versionOf = (account: AccountId) => heads.get(account)?.account.version ?? 0

  return {
    look: (accounts) => Effect.sync(() => ({ generation: 0, heads: pick(heads, accounts) })),
    heads: (accounts) => Effect.sync(() => pick(heads, accounts)),
    apply: (batch) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        if (batch.moves.some((move) => versionOf(move.head.account.id) !== move.from)) return false
        write(tables, batch, now)
        for (const { head } of batch.moves) arrivals.arrivedUnsafe(head.account.id, head.account.version)
        return true
      }),
    reload: (held, _partition, batch) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const head = heads.get(held.account)
        if (head?.account.version !== held.version || head.hash !== held.hash) return false
        erase(tables, held.account)
        write(tables, batch, now)
        for (const { head } of batch.moves) arrivals.arrivedUnsafe(head.account.id, head.account.version)
        return true
      }),
    heldHeads: ({ after, limit }) =>
      Effect.sync(() =>
        [...heads.values()]
          .filter(({ account }) => account.id > after)
          .toSorted((a, b) => (a.account.id < b.account.id ? -1 : 1))
          .slice(0, limit)
          .map(({ account: { id, version }, hash }) => ({ account: id, version, hash }))
      ),
    frozen: Effect.sync(() => freezeTables(tables)),
    checkpoints: Effect.sync(() => new Map(tables.checkpoints)),
    behind: (positions) =>
      Effect.sync(() =>
        positions
          .map((position) => ({ ...position, reached: versionOf(position.account) }))
          .filter((position) => position.reached < position.version && !parked.has(position.account))
      ),
    swept: Effect.sync(() => new Map(swept)),
    moveSwept: (writerId, from, to) =>
      Effect.sync(() => {
        if ((swept.get(writerId) ?? 0) === from) swept.set(writerId, to)
      }),
    forgetSwept: (writers) =>
      Effect.sync(() => {
        for (const writer of writers) swept.delete(writer)
      }),
    parked: Effect.sync(() => [...parked.values()].toSorted((a, b) => (a.account < b.account ? -1 : 1))),
    park: (list) =>
      Effect.sync(() => {
        for (const one of list) {
          if (versionOf(one.account) >= one.version) continue
          parked.set(one.account, { ...one, since: parked.get(one.account)?.since ?? one.since })
        }
      }),
    unpark: (accounts) =>
      Effect.sync(() => {
        for (const account of accounts) parked.delete(account)
      }),
    skipped: Effect.sync(() => [...tables.skipped.values()]),
    versions: (accounts) =>
      Effect.sync(() => {
        const found = [...pick(heads, accounts)]
        return new Map(found.map(([account, head]) => [account, head.account.version]))
      }),
    accounts: ({ after, limit }) =>
      Effect.sync(() =>
        [...heads.values()]
          .filter((head) => head.account.id > after)
          .toSorted((a, b) => (a.account.id < b.account.id ? -1 : 1))
          .slice(0, limit)
      ),
    lines: ({
      account,
      after,
      limit,
      from = Number.NEGATIVE_INFINITY,
      to = Number.POSITIVE_INFINITY,
      types,
      axis
    }) =>
      Effect.sync(() =>
        (tables.lines.get(account) ?? [])
          .filter((line) => {
            const at = axis === "effective" ? line.effectiveAt : line.recordedAt
            return line.version > after && at >= from && at < to
          })
          .filter((line) => types === undefined || types.includes(line.type))
          .slice(0, limit)
      ),
    transfer: (id) => Effect.sync(() => tables.transfers.get(id)),
    contras: Effect.sync(() =>
      [...tables.contras.values()].toSorted((a, b) =>
        `${a.contra} ${a.asset}` < `${b.contra} ${b.asset}` ? -1 : 1
      )
    ),
    trialBalance: Effect.sync(() => trialBalance(tables, Number.POSITIVE_INFINITY)),
    trialBalanceAt: (instant) => Effect.sync(() => trialBalance(tables, instant))
  } satisfies ReadModel["Service"]
})

const pick = <K, V>(from: ReadonlyMap<K, V>, keys: ReadonlyArray<K>): ReadonlyMap<K, V> => {
  const found = new Map<K, V>()
  for (const key of keys) {
    const value = from.get(key)
    if (value !== undefined) found.set(key, value)
  }
  return found
}

const write = (tables: Tables, batch: BooksBatch, now: number): void => {
  for (const { head } of batch.moves) tables.heads.set(head.account.id, head)
  for (const line of batch.lines) {
    const lines = tables.lines.get(line.account) ?? []
    if ((lines.at(-1)?.version ?? 0) >= line.version)
      throw new Error(`line ${line.account}@${line.version} is out of order`)
    lines.push(line)
    tables.lines.set(line.account, lines)
  }
  for (const transfer of batch.transfers) tables.transfers.set(transfer.id, transfer)
  for (const { contra, asset, amount } of batch.contras) {
    const balance = (tables.contras.get(`${contra} ${asset}`)?.balance ?? 0n) + amount
    tables.contras.set(`${contra} ${asset}`, { contra, asset, balance })
  }
  const { checkpoints, skipped } = batch
  if (skipped !== undefined) tables.skipped.set(`${skipped.account}@${skipped.version}`, skipped)
  for (const checkpoint of checkpoints) {
    const recordedAt = Math.max(
      checkpoint.recordedAt,
      tables.checkpoints.get(checkpoint.partition)?.recordedAt ?? 0
    )
    tables.checkpoints.set(checkpoint.partition, { ...checkpoint, recordedAt, updatedAt: now })
  }
}

const erase = (tables: Tables, account: AccountId): void => {
  for (const { type, counterparty, asset, amount } of tables.lines.get(account) ?? []) {
    const contra = tables.contras.get(`${counterparty} ${asset}`)
    if ((type !== "Deposited" && type !== "Withdrawn") || contra === undefined) continue
    tables.contras.set(`${counterparty} ${asset}`, { ...contra, balance: contra.balance + amount })
  }
  for (const { id, from } of tables.transfers.values()) if (from === account) tables.transfers.delete(id)
  tables.lines.delete(account)
  tables.heads.delete(account)
}

const trialBalance = ({ heads, contras, lines }: Tables, instant: number) => {
  const sums = new Map<Asset, { accounts: bigint; contras: bigint }>()
  const add = (asset: Asset, accounts: bigint, outside: bigint) => {
    const sum = sums.get(asset) ?? { accounts: 0n, contras: 0n }
    sums.set(asset, { accounts: sum.accounts + accounts, contras: sum.contras + outside })
  }
  for (const { account } of heads.values()) add(account.asset, account.balance, 0n)
  for (const { asset, balance } of contras.values()) add(asset, 0n, balance)
  for (const { asset, amount, type } of [...lines.values()]
    .flat()
    .filter((line) => line.recordedAt > instant)) {
    add(asset, -amount, type === "Deposited" || type === "Withdrawn" ? amount : 0n)
  }
  return [...sums]
    .map(([asset, sum]) => ({ asset, ...sum, total: sum.accounts + sum.contras }))
    .toSorted((a, b) => (a.asset < b.asset ? -1 : 1))
}

/** Copies in one step, so it costs as much memory again: for tests and simulations. */
const freezeTables = (tables: Tables): FrozenBooks => {
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
