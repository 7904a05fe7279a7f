/** What an event does to a balance. Needs nothing of effect, so that a browser counts as the ledger does. */
import type { Event } from "./Event.ts"

/** What the event adds to the balance of its account, in minor units; 0 where no money moves. */
export const amountOf = (event: Event): bigint => {
  switch (event._tag) {
    case "Deposited":
    case "TransferReceived":
      return event.amount
    case "Withdrawn":
    case "TransferSent":
    case "HoldCaptured":
      return -event.amount
    case "JournalPosted": {
      const own = event.legs[0]
      return own === undefined ? 0n : own.side === "credit" ? own.amount : -own.amount
    }
    case "JournalLegPosted":
      return event.side === "credit" ? event.amount : -event.amount
    default:
      return 0n
  }
}
