/** Turns folded events into the batches that a projection writes, and writes them. */
import { Effect } from "effect"
import type { Posted } from "../../domain/Books.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { Asset } from "../../domain/Money.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import type {
  BooksBatch,
  Checkpoint,
  Looked,
  ProjectionModel,
  SumChange
} from "../../infra/readmodel/ReadModel.ts"
import type { Parking } from "./Parking.ts"

/**
 * Writes a run of postings. A batch that the database refuses is halved until the guilty row is alone, and the account
 * of that row is parked. Answers false when another projector moved an account of the batch.
 */
export const makeBatchWriter = (readModel: ProjectionModel, parking: Parking, partitions: number) => {
  const write = (
    posted: ReadonlyArray<Posted>,
    checkpoints: ReadonlyArray<Checkpoint>,
    looked: Tables
  ): Effect.Effect<boolean, StoreUnavailable> => {
    const batch = toBatch(posted, checkpoints, partitions, looked)
    return Effect.catchTag(readModel.apply(batch), "RowsRefused", (refused) => {
      const [only] = posted
      if (only === undefined) return Effect.die(refused)
      if (posted.length === 1) {
        const { id: account, version } = only.head.account
        return Effect.as(parking.park({ account, version, reason: refused.reason }), true)
      }
      const middle = Math.floor(posted.length / 2)
      const secondHalf = Effect.suspend(() => {
        const rest = posted.slice(middle).filter(({ head }) => !parking.isParked(head.account.id))
        return write(rest, checkpoints, looked)
      })
      return Effect.flatMap(write(posted.slice(0, middle), [], looked), (written) =>
        written ? secondHalf : Effect.succeed(false)
      )
    })
  }
  return write
}

/** What a batch has to know of the tables that it is written to. */
type Tables = Pick<Looked, "generation" | "sumPrefixes">

/** The rows of a run of postings, in order of account and version, as one batch. */
export const toBatch = (
  posted: ReadonlyArray<Posted>,
  checkpoints: ReadonlyArray<Checkpoint>,
  partitions: number,
  { generation, sumPrefixes }: Tables
): BooksBatch => {
  const moves = new Map<AccountId, BooksBatch["moves"][number]>()
  const contras: Array<BooksBatch["contras"][number]> = []
  /** By account and hold: only what the last event made of it is written. */
  const holds = new Map<string, BooksBatch["holds"][number]>()
  for (const { head, contras: entries, hold } of posted) {
    const { id, version } = head.account
    moves.set(id, { from: moves.get(id)?.from ?? version - 1, head })
    if (hold !== undefined) holds.set(`${id} ${hold.hold}`, hold)
    for (const entry of entries) contras.push({ ...entry, partition: partitionOf(id, partitions) })
  }
  return {
    moves: [...moves.values()],
    lines: posted.map(({ line }) => line),
    transfers: posted.flatMap(({ transfer }) => (transfer === undefined ? [] : [transfer])),
    contras,
    holds: [...holds.values()],
    ...sumsOf(
      sumPrefixes,
      posted.map(({ line }) => ({ ...line, isOpening: line.type === "AccountOpened" })),
      partitions
    ),
    checkpoints,
    generation
  }
}

/** How an event changes what its account adds to a sum. */
interface BalanceChange {
  readonly account: AccountId
  readonly asset: Asset
  readonly amount: bigint
  readonly isOpening: boolean
}

/** What the changes add to the sums of declared prefixes, in the order in which every batch takes those. */
export const sumsOf = (
  prefixes: ReadonlyArray<string>,
  changes: ReadonlyArray<BalanceChange>,
  partitions: number
): { readonly sums?: ReadonlyArray<SumChange> } => {
  if (prefixes.length === 0) return {}
  const sums = new Map<string, SumChange>()
  for (const { account, asset, amount, isOpening } of changes) {
    if (amount === 0n && !isOpening) continue
    for (const prefix of prefixes) {
      if (!account.startsWith(prefix)) continue
      const partition = partitionOf(account, partitions)
      const key = `${prefix} ${asset} ${partition}`
      const { balance, accounts } = sums.get(key) ?? { balance: 0n, accounts: 0 }
      const opened = isOpening ? 1 : 0
      sums.set(key, { prefix, asset, partition, balance: balance + amount, accounts: accounts + opened })
    }
  }
  const moved = [...sums].filter(([, { balance, accounts }]) => balance !== 0n || accounts !== 0)
  return moved.length === 0
    ? {}
    : { sums: moved.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, change]) => change) }
}
