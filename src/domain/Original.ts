/** What a reversal is about: the command that it gives back, as the log has it. */
import type { Command } from "./Command.ts"
import { type AccountId, type AccountOrContra, type CommandId, isContra } from "./Ids.ts"
import type { Asset } from "./Money.ts"

type Reverse = Extract<Command, { readonly _tag: "Reverse" }>

/** What one account, or one contra in one asset, got from the original command, in minor units: negative where it paid. */
export interface OriginalLeg {
  readonly account: AccountOrContra
  readonly asset: Asset
  readonly net: bigint
  /** How much of it earlier reversals gave back; never above the amount of `net`. */
  readonly reversed: bigint
}

/** The original of a reversal, as the log has it. */
export interface Original {
  /**
   * In the order of its events, those on contras among them; one entry an account, and one a contra and asset. What ended as it
   * began is left out, so that money which only passed through an account is not asked for there.
   */
  readonly legs: ReadonlyArray<OriginalLeg>
  /** Whether reversal n - 1 is in the log, where n is above 1. */
  readonly isNext: boolean
}

/** A reversal whose original was looked up. The original is no part of the command that a caller sent, nor of its hash. */
export type ResolvedReverse = Reverse & { readonly found?: Original }

/** The id under which the n-th reversal of a command lands, whichever caller asks for it: the command key lets it land once. */
export const reversalIdOf = (original: CommandId, n: number): CommandId => `~r${n}~${original}` as CommandId // ids of this form are the ledger's own

/** The accounts whose streams it may append to. */
export const accountsOfReversal = ({ found, shortfall }: ResolvedReverse): ReadonlyArray<AccountId> => {
  const accounts = (found?.legs ?? []).flatMap(({ account }) => (isContra(account) ? [] : [account]))
  return shortfall === undefined || accounts.includes(shortfall) ? accounts : [...accounts, shortfall]
}
