/**
 * The read model in this process's memory, by the same contract as over PostgreSQL: for simulations, tests and nodes
 * that are tried out without a database. Starts empty each time it is made.
 */
import { Clock, Effect } from "effect"
import type { HoldRow, OpenedHead, StatementLine, TransferRow } from "../../domain/Books.ts"
import {
  type AccountId,
  type AccountOrContra,
  type CommandId,
  type Instant,
  isContra,
  type Version
} from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
import type { WriterId } from "../eventstore/EventStore.ts"
import type { EventKey } from "../eventstore/EventStoreTypes.ts"
import { isNotEmpty } from "./PrefixSums.ts"
import { ProjectedSignal } from "./ProjectionWaiters.ts"
import type {
  AccountHoldsQuery,
  AssetSum,
  BooksBatch,
  Checkpoint,
  ContraBalance,
  ExpiryPlace,
  ExpiryQuery,
  LinesQuery,
  Parked,
  ParkedNow,
  ReadModel,
  ReadModelReads,
  ReadModelWrites,
  StatementRows,
  SumQuery
} from "./ReadModel.ts"
import type { FrozenBooks, PageAfter } from "./ReadModelFrozen.ts"
import { balanceRowOf } from "./ReadModelRows.ts"

interface Tables {
  readonly heads: Map<AccountId, OpenedHead>
  /** Lines of an account in order of version. */
  readonly lines: Map<AccountId, Array<StatementLine>>
  readonly transfers: Map<CommandId, TransferRow>
  /** By contra and asset. */
  readonly contras: Map<string, ContraBalance>
  /** Of an account by id. */
  readonly holds: Map<AccountId, Map<CommandId, HoldRow>>
  /** The declared prefixes, and whether their sums are filled. */
  readonly sumPrefixes: Map<string, boolean>
  /** By prefix and asset. */
  readonly sums: Map<string, PrefixSum>
  readonly checkpoints: Map<number, WrittenCheckpoint>
  readonly swept: Map<WriterId, number>
  readonly parked: Map<AccountId, Parked>
  /** By account and version. */
  readonly skipped: Map<string, Parked>
  /** Raised where other prefixes are declared. */
  generation: number
}

interface WrittenCheckpoint extends Checkpoint {
  /** By the time elapsed of the process that has the tables, whichever clock a caller has. */
  readonly writtenMs: number
}

interface PrefixSum extends AssetSum {
  readonly prefix: string
}

export const makeReadModelMemory = Effect.gen(function* () {
  const tables: Tables = {
    heads: new Map(),
    lines: new Map(),
    transfers: new Map(),
    contras: new Map(),
    holds: new Map(),
    sumPrefixes: new Map(),
    sums: new Map(),
    checkpoints: new Map(),
    swept: new Map(),
    parked: new Map(),
    skipped: new Map(),
    generation: 0
  }
  const clock = yield* Clock.Clock
  const nowMs = () => elapsedMsUnsafe(clock)
  return {
    ...makeReads(tables),
    ...makeSums(tables),
    ...makeBatches(tables, yield* ProjectedSignal, nowMs),
    ...makePositions(tables, nowMs),
    ...makeParking(tables),
    frozen: Effect.sync(() => freezeTables(tables))
  } satisfies ReadModel["Service"]
})

const versionOf = ({ heads }: Tables, account: AccountId): Version => heads.get(account)?.account.version ?? 0

/** Heads in order of account, above `after`. */
const headsAfter = (
  { heads }: Tables,
  after: string,
  limit: number,
  prefix = ""
): ReadonlyArray<OpenedHead> =>
  [...heads.values()]
    .filter((head) => head.account.id > after && head.account.id.startsWith(prefix))
    .toSorted(byText((head) => head.account.id))
    .slice(0, limit)

const makeReads = (tables: Tables): ReadModelReads => ({
  heads: (accounts) =>
    Effect.sync(() => {
      const found = [...pick(tables.heads, accounts)]
      return new Map(
        found.map(([account, head]) => [account, { ...head, isParked: tables.parked.has(account) }])
      )
    }),
  versions: (accounts) =>
    Effect.sync(() => {
      const found = [...pick(tables.heads, accounts)]
      return new Map(found.map(([account, head]) => [account, head.account.version]))
    }),
  accounts: ({ prefix, after, limit }) => Effect.sync(() => headsAfter(tables, after, limit, prefix)),
  sum: (query) =>
    Effect.map(ReadSideConfig, ({ sumAccountsMax }) => {
      const sums = sumOf(tables, query, sumAccountsMax)
      return sums === undefined ? undefined : { sums, parked: parkedIn(tables, query.prefix) }
    }),
  statement: (query) => Effect.sync(() => statementOf(tables, query)),
  transfer: (id) => Effect.sync(() => tables.transfers.get(id)),
  holds: (query) => Effect.sync(() => accountHolds(tables, query)),
  holdsByExpiry: (query) => Effect.sync(() => holdsByExpiry(tables, query)),
  expiringHolds: (query) =>
    Effect.sync(() =>
      holdsByExpiry(tables, query).map((row) => ({
        ...row,
        isParked: tables.parked.has(row.account),
        skipped: [...tables.skipped.values()]
          .filter(({ account }) => account === row.account)
          .map(({ version }) => version)
      }))
    ),
  contras: Effect.sync(() => [...tables.contras.values()].toSorted(byText(contraKey))),
  trialBalance: Effect.sync(() => trialBalance(tables)),
  trialBalanceAt: (instant) =>
    Effect.sync(() => ({ sums: trialBalance(tables, instant), parked: parkedIn(tables, "") }))
})

const parkedIn = ({ parked }: Tables, prefix: string): number =>
  [...parked.keys()].filter((account) => account.startsWith(prefix)).length

const makeBatches = (
  tables: Tables,
  { reachedUnsafe }: ProjectedSignal["Service"],
  nowMs: () => number
): Pick<ReadModelWrites, "look" | "apply" | "reload" | "heldHeads"> => {
  const written = (batch: BooksBatch): true => {
    write(tables, batch, nowMs())
    for (const { head } of batch.moves) reachedUnsafe(head.account.id, head.account.version)
    return true
  }
  return {
    look: (accounts) =>
      Effect.sync(() => ({
        generation: tables.generation,
        sumPrefixes: [...tables.sumPrefixes.keys()].toSorted(),
        heads: pick(tables.heads, accounts)
      })),
    apply: (batch) =>
      Effect.sync(
        () =>
          isOfNow(tables, batch) &&
          batch.moves.every((move) => versionOf(tables, move.head.account.id) === move.from) &&
          written(batch)
      ),
    reload: ({ account, version, hash }, _partition, batch) =>
      Effect.sync(() => {
        const head = tables.heads.get(account)
        if (head?.account.version !== version || head.hash !== hash || !isOfNow(tables, batch)) return false
        erase(tables, account)
        return written(batch)
      }),
    heldHeads: ({ after, limit }) =>
      Effect.sync(() =>
        headsAfter(tables, after, limit).map(({ account: { id, version }, hash }) => ({
          account: id,
          version,
          hash
        }))
      )
  }
}

/** Checkpoints alone are written whatever is declared. */
const isOfNow = (tables: Tables, { generation, moves }: BooksBatch): boolean =>
  generation === undefined || generation === tables.generation || moves.length === 0

/** The same as `DeclaredSums.ts`. */
const makeSums = (
  tables: Tables
): Pick<ReadModel["Service"], "declaredSums" | "declareSums" | "settleSum"> => ({
  declaredSums: Effect.sync(() =>
    [...tables.sumPrefixes]
      .map(([prefix, isFilled]) => ({ prefix, isFilled }))
      .toSorted(byText(({ prefix }) => prefix))
  ),
  declareSums: (prefixes) =>
    Effect.sync(() => {
      const former = new Map(tables.sumPrefixes)
      tables.sumPrefixes.clear()
      for (const prefix of prefixes) tables.sumPrefixes.set(prefix, former.get(prefix) ?? false)
      for (const [key, { prefix }] of tables.sums)
        if (!tables.sumPrefixes.has(prefix)) tables.sums.delete(key)
      tables.generation++
    }),
  settleSum: (prefix) =>
    Effect.sync(() => {
      if (!tables.sumPrefixes.has(prefix)) return []
      const lack = lackOf(tables, prefix)
      for (const sum of lack) addTo(tables.sums, { ...sum, prefix })
      tables.sumPrefixes.set(prefix, true)
      return lack
    })
})

const sumKey = ({ prefix, asset }: Pick<PrefixSum, "prefix" | "asset">): string => `${prefix} ${asset}`

const addTo = (sums: Map<string, PrefixSum>, { prefix, asset, balance, accounts }: PrefixSum): void => {
  const key = sumKey({ prefix, asset })
  const before = sums.get(key) ?? { balance: 0n, accounts: 0 }
  sums.set(key, {
    prefix,
    asset,
    balance: before.balance + balance,
    accounts: before.accounts + accounts
  })
}

/** What the accounts of a prefix have that its sum lacks. */
const lackOf = ({ heads, sums }: Tables, prefix: string): ReadonlyArray<AssetSum> => {
  const lack = new Map<string, PrefixSum>()
  for (const { account } of heads.values())
    if (account.id.startsWith(prefix))
      addTo(lack, { prefix, asset: account.asset, balance: account.balance, accounts: 1 })
  for (const sum of sums.values())
    if (sum.prefix === prefix) addTo(lack, { ...sum, balance: -sum.balance, accounts: -sum.accounts })
  return [...lack.values()]
    .filter(({ balance, accounts }) => balance !== 0n || accounts !== 0)
    .map(({ asset, balance, accounts }) => ({ asset, balance, accounts }))
    .toSorted(byText(({ asset }) => asset))
}

const makePositions = (
  tables: Tables,
  nowMs: () => number
): Pick<ReadModelWrites, "checkpoints" | "behind" | "swept" | "moveSwept" | "forgetSwept"> => ({
  checkpoints: Effect.sync(
    () =>
      new Map(
        [...tables.checkpoints].map(([partition, { writtenMs, ...checkpoint }]) => [
          partition,
          { ...checkpoint, quietMs: Math.floor(nowMs() - writtenMs) }
        ])
      )
  ),
  behind: (positions) =>
    Effect.sync(() =>
      positions
        .map((position) => ({ ...position, reached: versionOf(tables, position.account) }))
        .filter(
          ({ account, version, reached }) =>
            reached < version && (tables.parked.get(account)?.version ?? 0) <= reached
        )
    ),
  swept: Effect.sync(() => new Map(tables.swept)),
  moveSwept: (writerId, from, to, generation = tables.generation) =>
    Effect.sync(() => {
      if (generation !== tables.generation) return
      if ((tables.swept.get(writerId) ?? 0) === from) tables.swept.set(writerId, to)
    }),
  forgetSwept: (writers, generation = tables.generation) =>
    Effect.sync(() => {
      if (generation !== tables.generation) return
      for (const writer of writers) tables.swept.delete(writer)
    })
})

const makeParking = (
  tables: Tables
): Pick<
  ReadModelWrites,
  "parked" | "firstParked" | "parkedAmong" | "parkedNow" | "park" | "beginRelease" | "unpark" | "skipped"
> => ({
  parked: Effect.sync(() => allParked(tables)),
  firstParked: (limit, beginning = "") =>
    Effect.sync(() =>
      allParked(tables)
        .filter(({ reason }) => reason.startsWith(beginning))
        .slice(0, limit)
    ),
  parkedAmong: (accounts) =>
    Effect.sync(() => allParked(tables).filter(({ account }) => accounts.includes(account))),
  parkedNow: (known) =>
    Effect.sync((): ParkedNow => {
      const rows = allParked(tables)
      const accounts = rows.map(({ account }) => account)
      const digest = JSON.stringify(accounts)
      const past = rows.filter(({ account, version }) => version <= versionOf(tables, account))
      return {
        digest,
        accounts: digest === known ? undefined : accounts,
        past: past.map(({ account }) => account)
      }
    }),
  park: (list) =>
    Effect.sync(() => {
      for (const one of list) {
        if (versionOf(tables, one.account) >= one.version) continue
        tables.parked.set(one.account, { ...one, since: tables.parked.get(one.account)?.since ?? one.since })
      }
    }),
  beginRelease: (accounts) =>
    Effect.sync(() => {
      for (const account of accounts) {
        const row = tables.parked.get(account)
        const version = versionOf(tables, account)
        if (row !== undefined && row.version > version) tables.parked.set(account, { ...row, version })
      }
    }),
  unpark: (accounts) =>
    Effect.sync(() => {
      for (const account of accounts) {
        const row = tables.parked.get(account)
        if (row !== undefined && row.version <= versionOf(tables, account)) tables.parked.delete(account)
      }
    }),
  skipped: Effect.sync(() => [...tables.skipped.values()])
})

const allParked = ({ parked }: Tables): ReadonlyArray<Parked> =>
  [...parked.values()].toSorted(byText((row) => row.account))

const pick = <K, V>(from: ReadonlyMap<K, V>, keys: ReadonlyArray<K>): ReadonlyMap<K, V> => {
  const found = new Map<K, V>()
  for (const key of keys) {
    const value = from.get(key)
    if (value !== undefined) found.set(key, value)
  }
  return found
}

const contraKey = ({ contra, asset }: { readonly contra: string; readonly asset: string }): string =>
  `${contra} ${asset}`

const accountHolds = (
  { holds }: Tables,
  { account, openAt, before, after = "", limit }: AccountHoldsQuery
): ReadonlyArray<HoldRow> =>
  [...(holds.get(account)?.values() ?? [])]
    .filter(({ hold, expiresAt }) => hold > after && (expiresAt === null || expiresAt > openAt))
    .filter(({ expiresAt }) => before === undefined || (expiresAt !== null && expiresAt < before))
    .toSorted(byText(({ hold }) => hold))
    .slice(0, limit)

const holdsByExpiry = (
  { holds }: Tables,
  { after, before, prefix = "", limit }: ExpiryQuery
): ReadonlyArray<HoldRow> => {
  const expiring = [...holds.values()]
    .flatMap((own) => [...own.values()])
    .flatMap((row) => (row.expiresAt === null ? [] : [{ ...row, expiresAt: row.expiresAt }]))
  return expiring
    .filter((row) => row.expiresAt < before && row.account.startsWith(prefix) && isLater(row, after))
    .toSorted((a, b) => (isLater(a, b) ? 1 : -1))
    .slice(0, limit)
}

const isLater = (a: ExpiryPlace, b: ExpiryPlace): boolean => {
  if (a.expiresAt !== b.expiresAt) return a.expiresAt > b.expiresAt
  return a.account === b.account ? a.hold > b.hold : a.account > b.account
}

const write = (tables: Tables, batch: BooksBatch, nowMs: number): void => {
  for (const { head } of batch.moves) tables.heads.set(head.account.id, head)
  for (const line of batch.lines) {
    const lines = tables.lines.get(line.account) ?? []
    if ((lines.at(-1)?.version ?? 0) >= line.version)
      throw new Error(`line ${line.account}@${line.version} is out of order`)
    lines.push(line)
    tables.lines.set(line.account, lines)
  }
  for (const transfer of batch.transfers) tables.transfers.set(transfer.id, transfer)
  for (const entry of batch.contras) {
    const { contra, asset, amount } = entry
    const balance = (tables.contras.get(contraKey(entry))?.balance ?? 0n) + amount
    tables.contras.set(contraKey(entry), { contra, asset, balance })
  }
  for (const { account, hold, row } of batch.holds) {
    const own = tables.holds.get(account) ?? new Map<CommandId, HoldRow>()
    if (row === undefined) own.delete(hold)
    else own.set(hold, row)
    tables.holds.set(account, own)
  }
  for (const sum of batch.sums ?? []) addTo(tables.sums, sum)
  const { checkpoints, skipped } = batch
  if (skipped !== undefined) tables.skipped.set(`${skipped.account}@${skipped.version}`, skipped)
  for (const checkpoint of checkpoints) {
    const recordedAt = Math.max(
      checkpoint.recordedAt,
      tables.checkpoints.get(checkpoint.partition)?.recordedAt ?? 0
    )
    tables.checkpoints.set(checkpoint.partition, { ...checkpoint, recordedAt, writtenMs: nowMs })
  }
}

/** What the event of a line has added to contra accounts. */
const entriesOf = ({ type, counterparty, asset, amount, contras }: StatementLine) =>
  counterparty !== null &&
  (type === "Deposited" ||
    type === "Withdrawn" ||
    (type === "HoldCaptured" && isContra(counterparty as AccountOrContra)))
    ? [{ contra: counterparty, asset, amount: -amount }]
    : (contras ?? [])

/** Takes back all that the events of an account wrote. */
const erase = (tables: Tables, account: AccountId): void => {
  for (const line of tables.lines.get(account) ?? []) {
    for (const entry of entriesOf(line)) {
      const contra = tables.contras.get(contraKey(entry))
      if (contra === undefined) continue
      tables.contras.set(contraKey(entry), { ...contra, balance: contra.balance - entry.amount })
    }
  }
  for (const { id, from } of tables.transfers.values()) if (from === account) tables.transfers.delete(id)
  const own = tables.heads.get(account)?.account
  if (own !== undefined) {
    const { asset, balance } = own
    for (const prefix of tables.sumPrefixes.keys())
      if (account.startsWith(prefix)) addTo(tables.sums, { prefix, asset, balance: -balance, accounts: -1 })
  }
  tables.lines.delete(account)
  tables.holds.delete(account)
  tables.heads.delete(account)
}

/** A point of time along an account: of two events at the same instant, the one with the higher version is later. */
interface Point {
  readonly at: number
  readonly version: Version
}

const isUpTo = (a: Point, b: Point): boolean => a.at < b.at || (a.at === b.at && a.version <= b.version)

const recorded = ({ recordedAt, version }: StatementLine): Point => ({ at: recordedAt, version })
const effective = ({ effectiveAt, version }: StatementLine): Point => ({ at: effectiveAt, version })

/** The same as the SQL of `AccountStatement.ts`, read off the lines themselves. */
const statementOf = (tables: Tables, query: LinesQuery): StatementRows | undefined => {
  const head = tables.heads.get(query.account)
  if (head === undefined) return undefined
  const upTo = Math.min(head.account.version, query.upTo ?? Number.POSITIVE_INFINITY)
  const known = (tables.lines.get(query.account) ?? []).filter(({ version }) => version <= upTo)
  const isEffective = query.axis === "effective"
  const pointOf = isEffective ? effective : recorded

  /** Stored at a point of recorded time, moved by the lines that count for another instant. */
  const balanceAt = (point: Point): bigint => {
    const last = known.findLast((line) => isUpTo(recorded(line), point))
    // What a skipped event did counts from the next line on, and at the end of all for no instant yet.
    const isEnd = point.at === Number.POSITIVE_INFINITY && upTo === head.account.version
    const stored = isEnd ? head.account.balance : (last?.balance ?? 0n)
    if (!isEffective) return stored
    return known.reduce((sum, line) => {
      const counts = Number(isUpTo(effective(line), point)) - Number(isUpTo(recorded(line), point))
      return sum + BigInt(counts) * line.amount
    }, stored)
  }

  const { from = Number.NEGATIVE_INFINITY, to = Number.POSITIVE_INFINITY, after, types, counterparty } = query
  const first: Point =
    after === undefined
      ? { at: Number.NEGATIVE_INFINITY, version: 0 }
      : { at: isEffective ? after.effectiveAt : Number.NEGATIVE_INFINITY, version: after.version }
  const lines = known
    .filter((line) => pointOf(line).at >= from && pointOf(line).at < to)
    .filter((line) => (isEffective ? !isUpTo(effective(line), first) : line.version > first.version))
    .filter(({ type }) => types === undefined || types.includes(type))
    .filter((line) => counterparty === undefined || line.counterparty === counterparty)
    .toSorted((a, b) => (isUpTo(pointOf(a), pointOf(b)) ? -1 : 1))
    .slice(0, query.limit)
  return {
    asset: head.account.asset,
    version: upTo,
    opening: from === Number.NEGATIVE_INFINITY ? 0n : balanceAt({ at: from, version: 0 }),
    closing: balanceAt({ at: to, version: 0 }),
    lines: isEffective ? lines.map((line) => ({ ...line, balance: balanceAt(effective(line)) })) : lines
  }
}

/** The same as `SkippedChanges.ts`. */
const skippedChanges = ({ heads, lines, skipped }: Tables, prefix: string) => {
  const changes = new Map<string, { asset: Asset; amount: bigint; countedFrom: Instant }>()
  for (const { account, version } of skipped.values()) {
    const head = heads.get(account)
    if (head === undefined || !account.startsWith(prefix)) continue
    const own = lines.get(account) ?? []
    const last = own.findLast((line) => line.version <= version)?.balance ?? 0n
    const next = own.find((line) => line.version > version)
    const amount = (next === undefined ? head.account.balance : next.balance - next.amount) - last
    const countedFrom = next?.recordedAt ?? Number.POSITIVE_INFINITY
    changes.set(`${account} ${next?.version ?? 0}`, { asset: head.account.asset, amount, countedFrom })
  }
  return changes.values()
}

/** Of every asset, or of those that accounts had by an instant, as in SQL. */
const trialBalance = (tables: Tables, instant?: Instant) => {
  const { heads, contras, lines } = tables
  const sums = new Map<Asset, { accounts: bigint; contras: bigint; opened: number }>()
  const add = (asset: Asset, accounts: bigint, outside: bigint, opened = 0) => {
    const sum = sums.get(asset) ?? { accounts: 0n, contras: 0n, opened: 0 }
    sums.set(asset, {
      accounts: sum.accounts + accounts,
      contras: sum.contras + outside,
      opened: sum.opened + opened
    })
  }
  for (const { account } of heads.values()) add(account.asset, account.balance, 0n, 1)
  for (const { asset, balance } of contras.values()) add(asset, 0n, balance)
  const isLater = ({ recordedAt }: StatementLine) => instant !== undefined && recordedAt > instant
  for (const line of [...lines.values()].flat().filter(isLater)) {
    add(line.asset, -line.amount, 0n, line.type === "AccountOpened" ? -1 : 0)
    for (const entry of entriesOf(line)) add(entry.asset, 0n, -entry.amount)
  }
  for (const { asset, amount, countedFrom } of skippedChanges(tables, ""))
    if (instant !== undefined && countedFrom > instant) add(asset, -amount, 0n)
  return [...sums]
    .filter(
      ([, { accounts, contras, opened }]) =>
        instant === undefined || opened > 0 || accounts !== 0n || contras !== 0n
    )
    .map(([asset, { accounts, contras }]) => ({ asset, accounts, contras, total: accounts + contras }))
    .toSorted(byText((line) => line.asset))
}

/** The same as the SQL of `PrefixSums.ts`, read off the lines themselves. */
const sumOf = (
  tables: Tables,
  { prefix, knownAt, effectiveAt = Number.POSITIVE_INFINITY }: SumQuery,
  accountsMax: number
): ReadonlyArray<AssetSum> | undefined => {
  const { heads, lines, sumPrefixes, sums: kept } = tables
  const own = [...heads.values()].filter(({ account }) => account.id.startsWith(prefix))
  const isKept = sumPrefixes.get(prefix) === true
  if (!isKept && own.length > accountsMax) return undefined
  const sums = new Map<Asset, AssetSum>()
  const add = (asset: Asset, amount: bigint, opened: number) => {
    const { balance, accounts } = sums.get(asset) ?? { balance: 0n, accounts: 0 }
    sums.set(asset, { asset, balance: balance + amount, accounts: accounts + opened })
  }
  if (isKept)
    for (const sum of kept.values()) if (sum.prefix === prefix) add(sum.asset, sum.balance, sum.accounts)
  for (const { account } of own) {
    if (!isKept) add(account.asset, account.balance, 1)
    for (const line of lines.get(account.id) ?? []) {
      if (line.recordedAt <= knownAt && line.effectiveAt <= effectiveAt) continue
      add(line.asset, -line.amount, line.type === "AccountOpened" ? -1 : 0)
    }
  }
  for (const { asset, amount, countedFrom } of skippedChanges(tables, prefix))
    if (countedFrom > Math.min(knownAt, effectiveAt)) add(asset, -amount, 0)
  return [...sums.values()].filter(isNotEmpty).toSorted(byText(({ asset }) => asset))
}

/** Copies the tables in one step, so it costs as much memory again: for tests and simulations. */
const freezeTables = (tables: Tables): FrozenBooks => {
  const balances = [...tables.heads.values()].map(balanceRowOf).toSorted(byText((row) => row.account))
  const lines: ReadonlyArray<StatementLine> = [...tables.lines.entries()]
    .toSorted(byText(([account]) => account))
    .flatMap(([, of]) => of)
  const transfers = [...tables.transfers.values()].toSorted(byText((row) => row.id))
  const contras = [...tables.contras.values()].toSorted(byText(contraKey))
  const holds = [...tables.holds.values()]
    .flatMap((own) => [...own.values()])
    .toSorted(byText(({ account, hold }) => `${account} ${hold}`))
  const parked = [...tables.parked.values()].toSorted(byText((row) => row.account))
  const versions = new Map(balances.map((row) => [row.account, row.version]))
  const wanted = new Map(tables.transfers)
  const filled = [...tables.sumPrefixes].flatMap(([prefix, isFilled]) => (isFilled ? [prefix] : []))
  const lacking = filled.flatMap((prefix) => lackOf(tables, prefix).map((sum) => ({ prefix, ...sum })))
  return {
    balances: (page) => Effect.sync(() => pageOf(balances, (row) => isAfter(row, page.after), page)),
    lines: (page) => Effect.sync(() => pageOf(lines, (row) => isAfter(row, page.after), page)),
    transfers: (page) => Effect.sync(() => pageOf(transfers, (row) => row.id > page.after, page)),
    transfersOf: (ids) => Effect.sync(() => ids.flatMap((id) => wanted.get(id) ?? [])),
    countTransfers: Effect.sync(() => transfers.length),
    holds: (page) =>
      Effect.sync(() =>
        pageOf(
          holds,
          ({ account, hold }) =>
            account > page.after.account || (account === page.after.account && hold > page.after.hold),
          page
        )
      ),
    contras: (page) =>
      Effect.sync(() => pageOf(contras, (row) => contraKey(row) > contraKey(page.after), page)),
    versions: (accounts) =>
      Effect.sync(() => new Map(accounts.map((account) => [account, versions.get(account) ?? 0]))),
    lackOfSums: Effect.sync(() => lacking),
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
