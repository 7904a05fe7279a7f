/** Why what a caller waited for did not come in time: the store where that failed, else what the caller waited for. */
import { Effect } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { AccountRegistry } from "../accounts/AccountRegistry.ts"
import { LeaseClient } from "../accounts/LeaseClient.ts"
import type { PendingCommand } from "../accounts/Lifecycle.ts"
import { Placement } from "../accounts/Placement.ts"
import { Deduplication } from "./Deduplication.ts"
import { unavailable } from "./InFlightCommands.ts"

export const makeWhyLate = Effect.gen(function* () {
  const { commandDeadlineMs, queryDeadlineMs } = yield* LedgerConfig
  const placement = yield* Placement
  const registry = yield* AccountRegistry
  const leases = yield* LeaseClient
  const deduplication = yield* Deduplication

  const trouble = (): string | undefined => registry.trouble() ?? deduplication.trouble()

  /** Of what only the log could tell. */
  const ofLog = () => unavailable("event store", trouble() ?? "no answer")

  const ofAccounts = (what: string, withinMs: number) => {
    const reason = trouble()
    return reason === undefined
      ? unavailable(what, `not at hand within ${withinMs} ms: being loaded, or held by another node`)
      : unavailable("event store", reason)
  }

  /** Of a command that was not decided. */
  const ofCommand = ({ rejection, lockOrder, locks }: PendingCommand) => {
    // Its id is looked up once more.
    if (rejection !== undefined) return ofLog()
    const next = lockOrder[locks.length]
    if (next === undefined || placement.owns(next) || leases.inFlight(next) === 0)
      return ofAccounts("the accounts of this command", commandDeadlineMs)
    const node = placement.nodeOf(placement.groupOf(next)) ?? "that has it"
    return unavailable(`account ${next}`, `the node ${node} did not lend it within ${commandDeadlineMs} ms`)
  }

  return {
    ofLog,
    ofCommand,
    ofHead: (account: AccountId) => ofAccounts(`account ${account}`, queryDeadlineMs)
  }
})
