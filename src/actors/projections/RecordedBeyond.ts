/**
 * What a projection lacks of a tail was recorded after which instant. The row of a commit has the latest instant of its events, and they
 * may have been decided long before it: in a node that stood still, say. What a listing of the writers said is exact: what a
 * writer has committed since is younger than the instant at which it was closed then.
 */
import type { Instant } from "../../domain/Ids.ts"
import type { WriterId, WriterRow } from "../../infra/eventstore/EventStore.ts"

type Listed = Pick<WriterRow, "writerId" | "lastSeq" | "closedAt">

/** Listings that are kept of one writer: of a tail that stays behind for longer, older ones stand for newer ones. */
const listingsMax = 256

/** The listings of one process; nothing is known of what was committed before its first. */
export class RecordedBeyond {
  /** Of each writer in order: one listing for each length of its tail, the latest. */
  readonly #listings = new Map<WriterId, Array<Listed>>()

  /** Notes a listing of all writers that are not finished, and forgets the others, and what lies before the cursors of the projection. */
  note(writers: ReadonlyArray<Listed>, swept: ReadonlyMap<WriterId, number>): void {
    const listed = new Set(writers.map(({ writerId }) => writerId))
    for (const writerId of this.#listings.keys()) if (!listed.has(writerId)) this.#listings.delete(writerId)
    for (const writer of writers) {
      // A store that lost commits gives their numbers to others.
      const listings = (this.#listings.get(writer.writerId) ?? []).filter(
        (one) => one.lastSeq <= writer.lastSeq && one.closedAt <= writer.closedAt
      )
      if (listings.at(-1)?.lastSeq === writer.lastSeq) listings.pop()
      if (listings.length < listingsMax) listings.push(writer)
      const needed = indexUpTo(listings, swept.get(writer.writerId) ?? 0)
      this.#listings.set(writer.writerId, listings.slice(Math.max(0, needed)))
    }
  }

  /** Every event of the writer beyond its commit `seq` was recorded then or later; 0 where that is not known. */
  of(writerId: WriterId, seq: number): Instant {
    const listings = this.#listings.get(writerId) ?? []
    const listing = listings[indexUpTo(listings, seq)]
    return listing === undefined ? 0 : listing.closedAt + 1
  }
}

/** The last listing at which the tail was no longer than this, or -1. */
const indexUpTo = (listings: ReadonlyArray<Listed>, seq: number): number =>
  listings.findLastIndex(({ lastSeq }) => lastSeq <= seq)
