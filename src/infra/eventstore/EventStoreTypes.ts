/** The values that the event store takes and answers, apart from the store, so that the bus and the read model can use them. */
import { Data } from "effect"
import type { AccountId, CommandId, Instant, Version } from "../../domain/Ids.ts"
import type { StoredEvent } from "../../domain/StoredEvent.ts"

/** One commit lane of one life of a process; it numbers its commits 1, 2, 3 … without a gap. */
export type WriterId = string

/** What one INSERT writes: all of it lands or none. At least one event. */
export interface Commit {
  readonly writerId: WriterId
  /** The writer's next number. */
  readonly seq: number
  /** In the order in which they were decided; whole commands only. */
  readonly events: ReadonlyArray<StoredEvent>
}

/** The row of table `commits` that lands with the events: a writer's tail is these rows in order of `seq`. */
export interface CommitRow {
  readonly writerId: WriterId
  readonly seq: number
  /** The latest `recordedAt` of its events. */
  readonly recordedAt: Instant
  /** Number of events; 0 in the fence row that ends a dead writer's tail. */
  readonly rows: number
  /** Which versions of which accounts it wrote: `[account, first, last]`, in no particular order. */
  readonly keys: ReadonlyArray<readonly [AccountId, Version, Version]>
}

/** Why a store did not do what it was asked for. */
interface Trouble {
  /** For callers: not where the store is, nor its own words. */
  readonly reason: string
  /** All that is known, for logs; the reason, where it is undefined. */
  readonly detail?: string | undefined
}

/** How the sending of a commit ended. Only `Committed` means that something is in the log. */
export type CommitOutcome = Data.TaggedEnum<{
  /** All of it is in the log, by this sending or an earlier one of the identical commit. */
  Committed: {}
  /**
   * Nothing was written: some keys are taken. `versions` are those of this commit that exist already (another
   * writer owned the account), `commands` the ids that were accepted before (repeats). Both may be empty when
   * the row in the way was gone again at the second look: then the commit may be sent again as it is.
   */
  Conflict: {
    readonly versions: ReadonlyArray<{ readonly account: AccountId; readonly version: Version }>
    readonly commands: ReadonlyArray<CommandId>
  }
  /** Nothing was written: this writer's tail was ended by a fence. Go on as a new writer, and decide again. */
  Fenced: {}
  /** Nothing was written (serialization failure, or no connection could be had): send the identical commit again. */
  NotWritten: Trouble
  /** It may be in the log or not (connection lost, 40003, timeout): send the identical commit again to learn it. */
  Unknown: Trouble
}>
export const CommitOutcome = Data.taggedEnum<CommitOutcome>()

/** A read could not be answered: by which store, and why. */
export class StoreUnavailable extends Data.TaggedError("StoreUnavailable")<
  Trouble & {
    readonly store: "event store" | "read model" | "bus"
    /** SQLSTATE of the event store's server, where it refused a statement of the reads. */
    readonly state?: string | undefined
  }
> {
  override get message() {
    return `${this.store}: ${this.detail ?? this.reason}`
  }

  /** The message as callers may know it. */
  get told() {
    return `${this.store}: ${this.reason}`
  }
}

/** Where a stream is read from: events with a version above `after`. */
export interface StreamFrom {
  readonly account: AccountId
  readonly after: Version
}

/** A place in the order of all rows; the account may be any text, as a bound. */
export interface EventKey {
  readonly account: string
  readonly version: Version
}

/** The state of a writer as the store knows it. */
export interface WriterRow {
  readonly writerId: WriterId
  readonly node: string
  /** The number of its last commit, 0 before the first. */
  readonly lastSeq: number
  /** True once a fence row ended its tail. */
  readonly fenced: boolean
  /** Nothing of this writer will ever commit at or before this instant. */
  readonly closedAt: Instant
  /** The store's clock when the writer last reported. */
  readonly heartbeatAt: Instant
}

/** A writer that will never commit again, and whose tail is published. */
export interface FinishedWriter {
  /** Finished writers are numbered from 1, without a gap, in the order in which they were found to be finished. */
  readonly ordinal: number
  readonly writerId: WriterId
  /** The number of the fence row that ends its tail. */
  readonly lastSeq: number
  /** The store's clock when the writer registered: none of its commits is older. */
  readonly startedAt: Instant
}
