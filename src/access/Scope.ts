/** The scopes of tokens, how callers are named, and which accounts theirs are. In a file of its own, so that a client that names them loads nothing of a server. */
import { Schema } from "effect"

/**
 * `admin` includes the others, which do not include each other. `audit` allows the audit of the whole ledger alone, which
 * costs a node more than any question.
 */
export const Scope = Schema.Literals(["read", "command", "audit", "admin"])
export type Scope = typeof Scope.Type

/** Stands in every event this caller causes (`context.caller`) and in the log of refusals. */
export const CallerName = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9_.:@-]{1,64}$/, {
    message: "must be 1 to 64 characters of A-Z a-z 0-9 _ . : @ -"
  })
)

/** A caller of these may only name accounts that begin with one of them. */
export const CallerAccounts = Schema.String.check(
  Schema.isPattern(/^[A-Za-z0-9_:-]{1,64}$/, { message: "must be the beginning of an account id" })
)
