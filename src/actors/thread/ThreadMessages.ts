/**
 * What the thread of the commands and the thread of the read side tell each other. Values that can be copied between
 * threads, and nothing that either has to wait for.
 */
import { Cause, Predicate } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import type { Position } from "../../domain/Receipt.ts"
import type { WriterId } from "../../infra/eventstore/EventStore.ts"
import type { Size } from "../commit/CommitFeed.ts"
import type { ProjectionState } from "../projections/ProjectionRegistry.ts"
import type { RelayStatus } from "../relay/Relay.ts"
import { reasonOf } from "../relay/Supervisor.ts"

/** From the thread of the commands. */
export type ToReadSide =
  /** Commits that are durable, in order, and writers whose tails are to be read from the store up to a number. */
  | {
      readonly _tag: "Commits"
      /** The text of `encodeCommits`. */
      readonly commits: string
      readonly missed: ReadonlyArray<readonly [WriterId, number]>
    }
  /** Queries wait for these. */
  | { readonly _tag: "Await"; readonly positions: ReadonlyArray<Position> }
  /** A singleton came to this node, or leaves it. */
  | { readonly _tag: "Own"; readonly name: string }
  | { readonly _tag: "Disown"; readonly name: string }
  /** The statuses that the owners of singletons published last, by the name of the singleton. */
  | { readonly _tag: "Heard"; readonly statuses: ReadonlyMap<string, string> }

/** What the read side says of itself. */
export interface ReadSideStatus {
  readonly relay: RelayStatus
  readonly projections: ReadonlyArray<ProjectionState>
  /** Everything recorded before then is in the books, except for parked accounts; 0: not known. */
  readonly completeTo: Instant
}

/** A sign of life. */
export interface ReadSideBeat {
  /** The status as JSON, where it is another one than last time; undefined where it is the same. To copy and compare texts is far cheaper. */
  readonly status: string | undefined
  /** Bytes of the objects in the thread's own heap. */
  readonly heapBytes: number
  /** Processor time of the thread since its start, in seconds; undefined where Node.js does not tell. */
  readonly cpuSeconds: number | undefined
  /** In how many milliseconds the next one is to come. */
  readonly nextMs: number
}

/** From the thread of the read side. */
export type FromReadSide =
  | { readonly _tag: "Beat"; readonly beat: ReadSideBeat }
  /** The relay took so many of the events that were sent. */
  | { readonly _tag: "Took"; readonly size: Size }
  /** The read model has reached these, which queries wait for. */
  | { readonly _tag: "Reached"; readonly positions: ReadonlyArray<Position> }
  | { readonly _tag: "ProjectedHere"; readonly partition: number; readonly isHere: boolean }
  /** There is work that one node of the cluster should do. */
  | { readonly _tag: "Run"; readonly name: string }
  /** The work of a singleton that left has ended. */
  | { readonly _tag: "Ended"; readonly name: string }
  | { readonly _tag: "Publish"; readonly name: string; readonly status: string }
  | {
      readonly _tag: "Log"
      readonly level: "Fatal" | "Error" | "Warn" | "Info" | "Debug" | "Trace"
      readonly message: ReadonlyArray<string>
      readonly annotations: Readonly<Record<string, unknown>>
    }

/** How often the read side gives a sign of life, in milliseconds. */
export const beatMs = 250
/** The same while nothing happens. A thread that freezes then is still told to be silent within two seconds. */
export const idleBeatMs = 500

/** The code of Node's error where the heap of a thread was full. */
const outOfMemory = "ERR_WORKER_OUT_OF_MEMORY"

/** A failure of the thread as it throws it: errors of effect come to the other thread without their message, and without what may be told of them. */
export const toThrow = (cause: Cause.Cause<unknown>): Error => {
  const error = Cause.squash(cause)
  const told = Predicate.hasProperty(error, "told") ? error.told : undefined
  return Object.assign(new Error(reasonOf(cause)), { told })
}

/** What all may be told of what the thread threw; undefined where that is not known of it. */
export const toldOfThrown = (error: Error): string | undefined => {
  if (Predicate.hasProperty(error, "told") && typeof error.told === "string") return error.told
  return Predicate.hasProperty(error, "code") && error.code === outOfMemory ? error.message : undefined
}
