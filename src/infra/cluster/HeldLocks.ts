/**
 * Which locks of shards this node was confirmed, and what follows from what the database says of them: for how long they are
 * certain (LockCertainty.ts).
 */
import { after, firstOf, type LockCertainty, laterOf, type Moment, never } from "./LockCertainty.ts"

/** For how long an answer of the database makes this node certain, in milliseconds from when it was asked. */
interface LockTimes {
  /** How long the database keeps a session that is silent. */
  readonly expirationMs: number
  /** How long a node may go on without having seen its session. No longer than the node that takes an unclean shard waits. */
  readonly unseenMs: number
}

/**
 * Which locks of shards this node was confirmed, and until when it can be certain of them. A confirmation is worth as long as
 * the database keeps a session that is silent, unless it ends the session earlier, and all its locks with it: then others may
 * hold the shards at once. It does so where a connection is reset on its side, when it starts again, or when it is told to; a
 * node that is cut off from it hears of none of these. So the node must have seen its session a moment ago, too.
 */
export class HeldLocks {
  readonly #certainty: LockCertainty["Service"]
  readonly #times: LockTimes
  /** Each with the time elapsed when the question was sent that took it. */
  readonly #held = new Map<string, number>()
  /** Those that the database has not any more, until what runs on them here has ended, which letting go of them says. */
  readonly #lost = new Set<string>()
  /** Those that no question has named since they were taken: effect may not have learnt of them. */
  readonly #unnamed = new Set<string>()
  /** Those that the database may have given without that it was heard, each with the time elapsed by then. */
  readonly #doubtful = new Map<string, number>()
  #confirmedUntil = never
  #seenUntil = never
  /** The session ended: what is locked since then says nothing of the shards that this node had before. */
  #isBroken = false
  /** Time elapsed when that was noticed: what was asked before is answered of the session that is gone. */
  #brokenAtMs = Number.NEGATIVE_INFINITY

  constructor(certainty: LockCertainty["Service"], times: LockTimes) {
    this.#certainty = certainty
    this.#times = times
  }

  get shards(): ReadonlyArray<string> {
    return [...this.#held.keys()]
  }

  /** How many of these are still held. */
  countOf(shards: ReadonlyArray<string>): number {
    return shards.filter((shard) => this.#held.has(shard)).length
  }

  /**
   * Locks were taken, by a question that was sent then. They confirm none that were held before and are not among them: the session may
   * be another one, after the database ended the one that had those.
   */
  acquired(shards: ReadonlyArray<string>, sentAt: Moment): void {
    const areAll = this.#areAll(shards, sentAt)
    for (const shard of shards) {
      if (!this.#held.has(shard)) this.#unnamed.add(shard)
      this.#doubtful.delete(shard)
      this.#held.set(shard, sentAt.elapsedMs)
    }
    if (areAll) this.#confirm(sentAt)
  }

  /** The database is about to be asked of these. */
  asked(shards: ReadonlyArray<string>): void {
    for (const shard of shards) {
      this.#unnamed.delete(shard)
      this.#doubtful.delete(shard)
    }
  }

  /** A question that takes these failed or was interrupted: the database may have given them all the same, and effect did not learn of it. */
  interrupted(shards: ReadonlyArray<string>, at: Moment): void {
    for (const shard of shards) {
      this.letGo(shard)
      this.#doubtful.set(shard, at.elapsedMs)
    }
  }

  /**
   * Locks that were taken, or may have been, by a question whose asker did not learn of them, as it was interrupted, so that
   * nothing runs on them here, and no question ever names them. A question of others tells them, once they are so old that any
   * lock that is known would have been named. A question of none tells nothing: so effect asks while its locks are in doubt.
   */
  strays(asked: ReadonlyArray<string>, sentAt: Moment): ReadonlyArray<string> {
    const isOld = (atMs = Number.POSITIVE_INFINITY) => atMs + this.#times.expirationMs <= sentAt.elapsedMs
    return asked.length === 0
      ? []
      : [
          ...[...this.#unnamed].filter((shard) => isOld(this.#held.get(shard))),
          ...[...this.#doubtful.keys()].filter((shard) => isOld(this.#doubtful.get(shard)))
        ]
  }

  /**
   * The database was asked which of the locks this node has. False where some are missing: those are given up after this, and
   * until that is done the node must not decide on them, nor on others, which are not told apart. An answer confirms all locks or
   * none: effect also asks for single ones, and for none at all where it only wants to know whether the database answers.
   */
  refreshed(asked: ReadonlyArray<string>, found: ReadonlySet<string>, sentAt: Moment): boolean {
    // Not those that were let go of meanwhile.
    const missing = asked.filter(
      (shard) => (this.#held.has(shard) || this.#lost.has(shard)) && !found.has(shard)
    )
    for (const shard of missing) {
      this.#held.delete(shard)
      this.#lost.add(shard)
    }
    if (missing.length > 0) return false
    if (sentAt.elapsedMs < this.#brokenAtMs || !this.#areAll(asked, sentAt)) return true
    this.#isBroken = false
    this.#confirm(sentAt)
    return true
  }

  /** Whether these are all the locks that this node had at that moment, those among them on which something still runs. */
  #areAll(shards: ReadonlyArray<string>, at: Moment): boolean {
    const asked = new Set(shards)
    const isUnasked = (shard: string) => !asked.has(shard)
    return (
      ![...this.#lost].some(isUnasked) &&
      ![...this.#held].some(([shard, takenAtMs]) => isUnasked(shard) && takenAtMs < at.elapsedMs)
    )
  }

  /** The session was there, with locks, when a question was answered that was sent then. */
  seen(sentAt: Moment): void {
    this.#seenUntil = laterOf(this.#seenUntil, after(sentAt, this.#times.unseenMs))
    this.#tell()
  }

  letGo(shard: string): void {
    this.#unnamed.delete(shard)
    this.#doubtful.delete(shard)
    this.#held.delete(shard)
    this.#lost.delete(shard)
  }

  letGoOfAll(): void {
    this.#unnamed.clear()
    this.#doubtful.clear()
    this.#held.clear()
    this.#lost.clear()
  }

  /** Locks are gone that this node was confirmed. Answers whether it was certain of them until now. */
  lose(): boolean {
    const wasConfirmed = !this.#isBroken && this.#confirmedUntil !== never
    this.#isBroken = true
    this.#brokenAtMs = this.#certainty.now().elapsedMs
    this.#confirmedUntil = never
    this.#tell()
    return wasConfirmed
  }

  #confirm(sentAt: Moment): void {
    if (this.#held.size === 0 || this.#isBroken) return
    this.#confirmedUntil = laterOf(this.#confirmedUntil, after(sentAt, this.#times.expirationMs))
    this.seen(sentAt)
  }

  #tell(): void {
    this.#certainty.until = firstOf(this.#confirmedUntil, this.#seenUntil)
  }
}
