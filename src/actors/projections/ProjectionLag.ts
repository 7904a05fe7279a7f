/**
 * How far a projection is behind the log, in events and milliseconds: compares the last version of each account in some
 * commits with the version that the projection holds.
 */
import { Effect, Schema } from "effect"
import type { AccountId, Instant, Version } from "../../domain/Ids.ts"
import { partitionOf } from "../../domain/Partition.ts"
import type { Position } from "../../domain/Receipt.ts"
import type { CommitRow, EventStore, WriterId, WriterRow } from "../../infra/eventstore/EventStore.ts"
import { type ProjectionModel, sweptFinished } from "../../infra/readmodel/ReadModel.ts"

export const Lag = Schema.Struct({
  events: Schema.Int,
  /** How long the oldest of them has been waiting, in milliseconds. */
  ms: Schema.Finite,
  /** False when only the oldest commits were counted, and the rest was estimated from them. */
  isExact: Schema.Boolean
})
export type Lag = typeof Lag.Type

/** An account that the projection has not brought to the last version that some commits hold. */
export interface Missing extends Position {
  readonly reached: Version
  /** When its first missing event was recorded, about: the latest instant of that event's commit. */
  readonly recordedAt: Instant
}

/** Positions of one query to the read model. */
const positionsMax = 5_000

export const missingIn = Effect.fnUntraced(function* (
  model: ProjectionModel,
  rows: ReadonlyArray<CommitRow>
) {
  const positions = latestOf(rows)
  const missing: Array<Missing> = []
  for (let start = 0; start < positions.length; start += positionsMax) {
    const found = yield* model.behind(positions.slice(start, start + positionsMax))
    if (found.length > 0) missing.push(...withTimes(found, rows))
  }
  return missing
})

/** The last version of each account in these commits. */
const latestOf = (rows: ReadonlyArray<CommitRow>): ReadonlyArray<Position> => {
  const latest = new Map<AccountId, Version>()
  for (const { keys } of rows) {
    for (const [account, , last] of keys) latest.set(account, Math.max(last, latest.get(account) ?? 0))
  }
  return [...latest].map(([account, version]) => ({ account, version }))
}

const withTimes = (
  found: ReadonlyArray<Position & { readonly reached: Version }>,
  rows: ReadonlyArray<CommitRow>
): ReadonlyArray<Missing> => {
  const reached = new Map(found.map((one) => [one.account, one.reached]))
  const times = new Map<AccountId, Instant>()
  for (const { keys, recordedAt } of rows) {
    for (const [account, , last] of keys) {
      const at = reached.get(account)
      if (at !== undefined && last > at && !times.has(account)) times.set(account, recordedAt)
    }
  }
  return found.map((one) => ({ ...one, recordedAt: times.get(one.account) ?? 0 }))
}

/** Finished writers that are looked at by one listing. */
export const finishedAtOnce = 500

/**
 * Visits the tails that a projection may lack: of writers that are not finished, and of finished ones above its mark, of which there are as
 * many as there ever were where it is being filled anew.
 */
export const eachUnsweptTail = Effect.fnUntraced(function* <E>(
  store: Pick<EventStore["Service"], "listWriters" | "lastFinished" | "finishedWriters">,
  swept: ReadonlyMap<WriterId, number>,
  visit: (end: Pick<WriterRow, "writerId" | "lastSeq">) => Effect.Effect<void, E>
) {
  const open = yield* store.listWriters
  const upTo = yield* store.lastFinished
  for (const end of open) yield* visit(end)
  let above = swept.get(sweptFinished) ?? 0
  while (above < upTo) {
    const page = yield* store.finishedWriters({ above, upTo, limit: finishedAtOnce })
    for (const end of page) yield* visit(end)
    above = page.length < finishedAtOnce ? upTo : (page.at(-1)?.ordinal ?? upTo)
  }
})

/** Sums up what is missing, by partition and in total. */
export const makeLag = (now: Instant, partitions: number) => {
  const parts = Array.from({ length: partitions }, () => ({ behindEvents: 0, behindMs: 0 }))
  let estimated = 0
  return {
    add: (missing: ReadonlyArray<Missing>): void => {
      for (const { account, version, reached, recordedAt } of missing) {
        const part = parts[partitionOf(account, partitions)]
        if (part === undefined) continue
        part.behindEvents += version - reached
        part.behindMs = Math.max(part.behindMs, now - recordedAt)
      }
    },
    estimate: (events: number): void => {
      estimated += Math.round(events)
    },
    of: (partition: number) => parts[partition] ?? { behindEvents: 0, behindMs: 0 },
    total: (): Lag => ({
      events: parts.reduce((sum, part) => sum + part.behindEvents, estimated),
      ms: parts.reduce((most, part) => Math.max(most, part.behindMs), 0),
      isExact: estimated === 0
    })
  }
}

export type LagSum = ReturnType<typeof makeLag>
