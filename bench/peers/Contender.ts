/** What is measured of every contender, in turn on one PostgreSQL. */
import type { Effect, Scope } from "effect"

/** Transfers between two random accounts (uniform), or all with one account (hot). */
export const kinds = ["uniform", "hot"] as const
export type Kind = (typeof kinds)[number]

export interface Figure {
  readonly perSecond: number
  /** Milliseconds; undefined where single commands cannot be timed. */
  readonly p99Ms: number | undefined
  readonly maxMs: number | undefined
}

export interface Contender {
  readonly name: string
  /** What the contender does less or more than the others, for the foot of the table. */
  readonly note: string
  readonly kinds: ReadonlyArray<Kind>
  readonly run: (kind: Kind, seconds: number) => Effect.Effect<Figure>
}

export interface Setting {
  /** An empty database, dropped with the scope. */
  readonly database: Effect.Effect<string, never, Scope.Scope>
  /** The same on the server that holds the events of the ledger and of the naive client. */
  readonly eventDatabase: Effect.Effect<string, never, Scope.Scope>
  readonly accounts: number
}
