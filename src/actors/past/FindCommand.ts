/** A command by its id, straight from the log: what it did on which accounts, what gave it back, what it gives back. */
import { Effect, Option } from "effect"
import { Unavailable } from "../../domain/Errors.ts"
import { type CommandId, commandOfTransfer } from "../../domain/Ids.ts"
import type { CommandView } from "../../domain/Views.ts"
import type { EventStore } from "../../infra/eventstore/EventStore.ts"
import { readCommand, readReversals } from "../commands/Originals.ts"

type Events = Effect.Success<ReturnType<typeof readCommand>>

/** Whether one of a group's events is a transfer of that id; other commands have none with an ordinal behind theirs. */
const hasTransfer = (events: Events, id: CommandId): boolean =>
  events.some(
    ({ event, row }) =>
      event._tag === "TransferSent" && event.group !== undefined && id === `${row.commandId}~${row.ordinal}`
  )

/** None where no command of that id was accepted. By the id of a transfer in a group, the group. */
export const findCommand = Effect.fn("Ledger.find")(
  function* (store: EventStore["Service"], id: CommandId) {
    const commandId = commandOfTransfer(id)
    const events = yield* readCommand(store, commandId)
    const [first] = events
    if (first === undefined || (id !== commandId && !hasTransfer(events, id)))
      return Option.none<CommandView>()
    const { event, row } = first
    const effectiveAtOf = (own: typeof row) => own.effectiveAt ?? own.recordedAt
    const effectiveAt = effectiveAtOf(row)
    const reverses = "reverses" in event ? event.reverses : undefined
    // A reversal cannot be reversed.
    const reversals = reverses === undefined ? yield* readReversals(store, commandId) : []
    return Option.some<CommandView>({
      commandId,
      recordedAt: row.recordedAt,
      effectiveAt,
      legs: events.map((leg) => ({
        account: leg.row.accountId,
        version: leg.row.version,
        event: leg.event,
        hash: leg.row.hash,
        ...(effectiveAtOf(leg.row) === effectiveAt ? {} : { effectiveAt: effectiveAtOf(leg.row) })
      })),
      reversals: reversals.map((reversal) => reversal.row.commandId),
      ...(reverses === undefined ? {} : { reverses: { original: reverses.original, n: reverses.n } })
    })
  },
  Effect.catchTag("StoreUnavailable", ({ reason, store: what }) =>
    Effect.fail(new Unavailable({ what, reason }))
  )
)
