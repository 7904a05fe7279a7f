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
  readonly #certainty: { untilMs: number }
  readonly #times: LockTimes
  readonly #held = new Set<string>()
  #confirmedUntilMs = 0
  #seenUntilMs = 0
  /** The session ended: what is locked since then says nothing of the shards that this node had before. */
  #isBroken = false

  constructor(certainty: { untilMs: number }, times: LockTimes) {
    this.#certainty = certainty
    this.#times = times
  }

  get size(): number {
    return this.#held.size
  }

  /** Locks were taken, by a question that was sent then. */
  acquired(shards: ReadonlyArray<string>, sentAtMs: number): void {
    for (const shard of shards) this.#held.add(shard)
    this.#confirm(sentAtMs)
  }

  /**
   * The database was asked which of the locks this node has. False where some are missing: those are given up after this, and
   * until the next time the node must not decide on them.
   */
  refreshed(asked: ReadonlyArray<string>, found: ReadonlySet<string>, sentAtMs: number): boolean {
    // Not those that were let go of meanwhile.
    const missing = asked.filter((shard) => this.#held.has(shard) && !found.has(shard))
    for (const shard of missing) this.#held.delete(shard)
    if (missing.length > 0) return false
    this.#isBroken = false
    this.#confirm(sentAtMs)
    return true
  }

  /** The session was there, with locks, when a question was answered that was sent then. */
  seen(sentAtMs: number): void {
    this.#seenUntilMs = Math.max(this.#seenUntilMs, sentAtMs + this.#times.unseenMs)
    this.#tell()
  }

  letGo(shard: string): void {
    this.#held.delete(shard)
  }

  letGoOfAll(): void {
    this.#held.clear()
  }

  /** Locks are gone that this node was confirmed. Answers whether it was certain of them until now. */
  lose(): boolean {
    const wasConfirmed = !this.#isBroken && this.#confirmedUntilMs > 0
    this.#isBroken = true
    this.#confirmedUntilMs = 0
    this.#tell()
    return wasConfirmed
  }

  #confirm(sentAtMs: number): void {
    if (this.#held.size === 0 || this.#isBroken) return
    this.#confirmedUntilMs = Math.max(this.#confirmedUntilMs, sentAtMs + this.#times.expirationMs)
    this.seen(sentAtMs)
  }

  #tell(): void {
    this.#certainty.untilMs = Math.min(this.#confirmedUntilMs, this.#seenUntilMs)
  }
}
