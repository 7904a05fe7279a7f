/** A command by its id, straight from the log: what it did on which accounts, what gave it back, what it gives back. */
import { Effect, Option } from "effect"
import { Unavailable } from "../../domain/Errors.ts"
import { type CommandId, commandOfTransfer } from "../../domain/Ids.ts"
import type { CommandView } from "../../domain/Views.ts"
import type { EventStore } from "../../infra/eventstore/EventStore.ts"
import { readCommand, readReversals } from "../commands/Originals.ts"

/** None where no command of that id was accepted. By the id of a transfer in a group, the group. */
export const findCommand = Effect.fn("Ledger.find")(
  function* (store: EventStore["Service"], id: CommandId) {
    const commandId = commandOfTransfer(id)
    const events = yield* readCommand(store, commandId)
    const [first] = events
    if (first === undefined) return Option.none<CommandView>()
    const { event, row } = first
    const reverses = "reverses" in event ? event.reverses : undefined
    // A reversal cannot be reversed.
    const reversals = reverses === undefined ? yield* readReversals(store, commandId) : []
    return Option.some<CommandView>({
      commandId,
      recordedAt: row.recordedAt,
      effectiveAt: row.effectiveAt ?? row.recordedAt,
      legs: events.map((leg) => ({
        account: leg.row.accountId,
        version: leg.row.version,
        event: leg.event,
        hash: leg.row.hash
      })),
      reversals: reversals.map((reversal) => reversal.row.commandId),
      ...(reverses === undefined ? {} : { reverses: { original: reverses.original, n: reverses.n } })
    })
  },
  Effect.catchTag("StoreUnavailable", ({ reason, store: what }) =>
    Effect.fail(new Unavailable({ what, reason }))
  )
)
