/** What other nodes ask of this one enters; what it answers them leaves. */
import type { Effect } from "effect"
import type { Command } from "../../domain/Command.ts"
import type { Unavailable } from "../../domain/Errors.ts"
import type { Head } from "../../domain/Head.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { LeaseServer } from "../accounts/LeaseServer.ts"
import type { Answer, NotMine } from "../accounts/Placement.ts"

/** This node's side of the conversation between nodes. */
export interface LocalNode {
  readonly owns: (account: AccountId) => boolean
  readonly dispatch: (commands: ReadonlyArray<Command>) => Effect.Effect<ReadonlyArray<Answer>>
  readonly head: (account: AccountId) => Effect.Effect<Head, NotMine | Unavailable>
  readonly lend: LeaseServer["lend"]
  readonly takeBack: LeaseServer["release"]
  /** Groups of accounts are this node's from now on: what it remembers of them from before is old. */
  readonly enter: (isArriving: (group: number) => boolean) => void
  /** Groups are not this node's any more: waits, bounded, for what is under way on them, and forgets them. */
  readonly leave: (isForeign: (group: number) => boolean) => Effect.Effect<void>
  /**
   * `borrowed`: accounts of other nodes that this one decides on just now, or waits for; `lapsed`: accounts that
   * were lent and not given back in time, since the start.
   */
  readonly loans: () => { readonly borrowed: number; readonly lapsed: number }
  /** Takes no further command, and waits until all that was accepted is answered. */
  readonly close: Effect.Effect<void>
}
