/** What a thread did since its start, by what it was; `counting.ts` counts it. */
export interface Counts {
  /** Timers by their milliseconds, `each` before those that repeat themselves. */
  readonly set: Record<string, number>
  readonly fired: Record<string, number>
  /** By their text. */
  readonly statements: Record<string, number>
  /** To other sockets than those of PostgreSQL, by how they begin. */
  readonly writes: Record<string, number>
}
