/**
 * What became of a hold that is in no state any more. Closed holds leave the state of their account, so a command that names
 * one is refused as if it had never been; before that is told, the log is asked how and when the hold came to its end.
 */
import { Effect, Result } from "effect"
import { HoldClosed, HoldExpired, type HoldNotFound } from "../../domain/Errors.ts"
import { foldHold, type Hold, isExpired } from "../../domain/Holds.ts"
import type { AccountId, CommandId, Instant } from "../../domain/Ids.ts"
import { decodeStored, type StoredEvent } from "../../domain/StoredEvent.ts"
import type { EventStore } from "../../infra/eventstore/EventStore.ts"

/** Events of one page. */
const pageRows = 1_000
/** Pages that are read after the hold was placed; where it closed later than that, how is not told. */
const pagesMax = 20

/** The truth about a hold that a command of the account, recorded at `at`, did not find in its state. */
export const outcomeOfHold = Effect.fnUntraced(function* (
  store: EventStore["Service"],
  refusal: HoldNotFound,
  at: Instant
) {
  // The command named them, so they are ids.
  const [account, id] = [refusal.account as AccountId, refusal.hold as CommandId]
  const [placed] = yield* store.findCommands([id])
  if (placed?.accountId !== account || placed.type !== "HoldPlaced") return refusal
  let holds: ReadonlyArray<Hold> = []
  let after = placed.version - 1
  let isWhole = false
  for (let page = 0; page < pagesMax; page++) {
    const rows = yield* store.readStream({ account, after, limit: pageRows })
    for (const row of rows) {
      const [before] = holds
      if (before !== undefined && isExpired(before, row.recordedAt)) return expired(account, before)
      holds = follow(holds, row, id)
      if (before !== undefined && holds.length === 0) {
        const how = row.type === "HoldReleased" ? "released" : "captured"
        return new HoldClosed({ account, hold: id, how, at: row.recordedAt })
      }
    }
    const last = rows.at(-1)
    isWhole = last === undefined || rows.length < pageRows
    if (last === undefined || isWhole) break
    after = last.version
  }
  const [left] = holds
  if (left !== undefined && isExpired(left, at)) return expired(account, left)
  // It was placed after the command was refused: the refusal was true.
  return left !== undefined && isWhole ? refusal : new HoldClosed({ account, hold: id })
})

const expired = (account: AccountId, { id, expiresAt = 0 }: Hold): HoldExpired =>
  new HoldExpired({ account, hold: id, expiredAt: expiresAt })

/** The hold after a row of its account; what is not about it changes nothing. */
const follow = (holds: ReadonlyArray<Hold>, row: StoredEvent, id: CommandId): ReadonlyArray<Hold> => {
  if (!row.type.startsWith("Hold")) return holds
  const event = Result.getOrUndefined(decodeStored(row))
  switch (event?._tag) {
    case "HoldPlaced":
    case "HoldCaptured":
    case "HoldAdjusted":
    case "HoldReleased":
      return event.hold === id ? foldHold(holds, event).holds : holds
    default:
      return holds
  }
}
