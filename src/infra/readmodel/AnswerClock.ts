/**
 * The instant that an answer about "now" is of: holds that have expired by then are not in it. By the machine's clock where the
 * stores alone answer; a node puts the ledger's clock in its place (LedgerClock.ts), because the machine's may step ahead for a
 * moment, and holds that are open would be missing from a balance.
 */
import { Clock, Context, type Effect } from "effect"
import type { Instant } from "../../domain/Ids.ts"

export const AnswerClock = Context.Reference<Effect.Effect<Instant>>("chronicle/infra/AnswerClock", {
  defaultValue: () => Clock.currentTimeMillis
})
