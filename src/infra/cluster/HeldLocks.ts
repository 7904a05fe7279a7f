/**
 * Which locks of shards this node was confirmed, and until when it can be certain of them. A confirmation is worth as long as
 * the database keeps a session that is silent, unless it ends the session earlier, and all its locks with it: then others may
 * hold the shards at once.
 */
export class HeldLocks {
  readonly #certainty: { untilMs: number }
  readonly #expirationMs: number
  readonly #held = new Set<string>()
  /** The session ended: what is locked since then says nothing of the shards that this node had before. */
  #isBroken = false

  /** `expirationMs`: how long the database keeps a silent session. */
  constructor(certainty: { untilMs: number }, expirationMs: number) {
    this.#certainty = certainty
    this.#expirationMs = expirationMs
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

  letGo(shard: string): void {
    this.#held.delete(shard)
  }

  letGoOfAll(): void {
    this.#held.clear()
  }

  /** Locks are gone that this node was confirmed. Answers whether it was certain of them until now. */
  lose(): boolean {
    const wasCertain = !this.#isBroken && this.#certainty.untilMs > 0
    this.#isBroken = true
    this.#certainty.untilMs = 0
    return wasCertain
  }

  #confirm(sentAtMs: number): void {
    if (this.#held.size === 0 || this.#isBroken) return
    this.#certainty.untilMs = Math.max(this.#certainty.untilMs, sentAtMs + this.#expirationMs)
  }
}
