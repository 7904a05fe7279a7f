/** Why what a caller waited for did not come in time: the store where that failed, else what the caller waited for. */
import { Effect } from "effect"
import type { AccountId } from "../../domain/Ids.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { AccountRegistry } from "../accounts/AccountRegistry.ts"
import { LeaseClient } from "../accounts/LeaseClient.ts"
import type { PendingCommand } from "../accounts/Lifecycle.ts"
import { Placement } from "../accounts/Placement.ts"
import { CommitPipeline } from "../commit/CommitPipeline.ts"
import { Deduplication } from "./Deduplication.ts"
import { unavailable } from "./InFlightCommands.ts"

export const makeWhyLate = Effect.gen(function* () {
  const { commandDeadlineMs, queryDeadlineMs } = yield* LedgerConfig
  const placement = yield* Placement
  const registry = yield* AccountRegistry
  const leases = yield* LeaseClient
  const deduplication = yield* Deduplication
  const { stats } = yield* CommitPipeline

  const trouble = (): string | undefined => registry.trouble() ?? deduplication.trouble()

  /** Of what only the log could tell. */
  const ofLog = () => unavailable("event store", trouble() ?? "no answer")

  const unlessTrouble = (reason: string | undefined, what: string, otherwise: string) =>
    reason === undefined ? unavailable(what, otherwise) : unavailable("event store", reason)

  const ofAccounts = (what: string, withinMs: number) =>
    unlessTrouble(trouble(), what, `not at hand within ${withinMs} ms: being loaded, or held by another node`)

  const ofLeased = (account: AccountId) => {
    const what = `account ${account}`
    if (leases.isAsked(account)) {
      const node = placement.nodeOf(placement.shardOf(account)) ?? "that has it"
      return unavailable(what, `the node ${node} did not lend it within ${commandDeadlineMs} ms`)
    }
    const reason = `this node has it for other commands, which were not done within ${commandDeadlineMs} ms`
    return unlessTrouble(stats.trouble, what, reason)
  }

  /** Of a command that was not decided. */
  const ofCommand = (command: PendingCommand) => {
    if (command.isLookedUp) return ofLog()
    if (command.order?.before(command) !== undefined) {
      const reason = `a command before it was not decided within ${commandDeadlineMs} ms`
      return unlessTrouble(trouble(), "this batch", reason)
    }
    const next = command.lockOrder[command.locks.length]
    return next === undefined || placement.owns(next) || leases.inFlight(next) === 0
      ? ofAccounts("the accounts of this command", commandDeadlineMs)
      : ofLeased(next)
  }

  return {
    ofLog,
    ofCommand,
    ofHead: (account: AccountId) => ofAccounts(`account ${account}`, queryDeadlineMs)
  }
})
