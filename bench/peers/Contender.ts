/** What every contender is asked to do, so that they can be measured in turn on one PostgreSQL. */
import type { Effect, Scope } from "effect"

/** Uniform: two accounts at random; hot: one account takes part in every transfer. */
export const kinds = ["uniform", "hot"] as const
export type Kind = (typeof kinds)[number]

export interface Figure {
  readonly perSecond: number
  /** Milliseconds; undefined where the contender has no single commands to time. */
  readonly p99Ms: number | undefined
  readonly maxMs: number | undefined
}

export interface Contender {
  readonly name: string
  /** What is weaker or stronger about it than the others; for the foot of the table. */
  readonly note: string
  readonly kinds: ReadonlyArray<Kind>
  readonly run: (kind: Kind, seconds: number) => Effect.Effect<Figure>
}

export interface Setting {
  /** An empty database of its own, dropped at the end. */
  readonly database: Effect.Effect<string, never, Scope.Scope>
  /** The same where the log of ours and of the naive client is. */
  readonly eventDatabase: Effect.Effect<string, never, Scope.Scope>
  readonly accounts: number
}
