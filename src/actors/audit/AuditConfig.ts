/** The bounds of an audit's memory in one place (I10), each with its default. */
import { Context } from "effect"

export interface AuditLimits {
  /** Rows of one page of a walk. */
  readonly pageRows: number
  /** Accounts, about, whose versions are remembered at once; for more, the commits are read again. */
  readonly sliceAccounts: number
  /** Commit rows of one page; each names up to a batch of events. */
  readonly pageCommits: number
  /** Keys of one look-up. */
  readonly lookUpKeys: number
  /** Accounts whose asset is remembered. */
  readonly assets: number
  /** Contras whose sum is compared on its own. */
  readonly contras: number
}

export const defaultAuditLimits: AuditLimits = {
  pageRows: 2_000,
  sliceAccounts: 100_000,
  pageCommits: 100,
  lookUpKeys: 1_000,
  assets: 100_000,
  contras: 100_000
}

/** The limits in force; a reference, so that tests override only what they mean. */
export const AuditConfig = Context.Reference<AuditLimits>("chronicle/actors/AuditConfig", {
  defaultValue: () => defaultAuditLimits
})
