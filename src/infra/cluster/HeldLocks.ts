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
  /** Those that the database has not any more, until what runs on them here has ended, which letting go of them says. */
  readonly #lost = new Set<string>()
  #confirmedUntilMs = 0
  #seenUntilMs = 0
  /** The session ended: what is locked since then says nothing of the shards that this node had before. */
  #isBroken = false

  constructor(certainty: { untilMs: number }, times: LockTimes) {
    this.#certainty = certainty
    this.#times = times
  }

  get shards(): ReadonlyArray<string> {
    return [...this.#held]
  }

  /** How many of these are still held. */
  countOf(shards: ReadonlyArray<string>): number {
    return shards.filter((shard) => this.#held.has(shard)).length
  }

  /** Locks were taken, by a question that was sent then. They confirm none that were held before, of which the node may have ceased to be certain. */
  acquired(shards: ReadonlyArray<string>, sentAtMs: number): void {
    const mayBeOld = this.#held.size > 0 && sentAtMs >= this.#certainty.untilMs
    for (const shard of shards) this.#held.add(shard)
    if (!mayBeOld) this.#confirm(sentAtMs)
  }

  /**
   * The database was asked which of the locks this node has. False where some are missing: those are given up after this, and
   * until that is done the node must not decide on them, nor on others, which are not told apart.
   */
  refreshed(asked: ReadonlyArray<string>, found: ReadonlySet<string>, sentAtMs: number): boolean {
    // Not those that were let go of meanwhile.
    const missing = asked.filter(
      (shard) => (this.#held.has(shard) || this.#lost.has(shard)) && !found.has(shard)
    )
    for (const shard of missing) {
      this.#held.delete(shard)
      this.#lost.add(shard)
    }
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
    this.#lost.delete(shard)
  }

  letGoOfAll(): void {
    this.#held.clear()
    this.#lost.clear()
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
