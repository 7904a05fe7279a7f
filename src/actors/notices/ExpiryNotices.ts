/**
 * Writes the notices of holds that have expired (`HoldExpired`), for subscribers: decisions and answers do not wait for them, for they
 * disregard an expired hold by themselves (design §3). A singleton of the cluster, which finds the holds by the read model's index of
 * their expiry and sends an ordinary command for each, under an id made of the hold's: two nodes that do so at once write it once.
 *
 * A notice is in the log for ever, so it must be true. From its expiry on, a hold cannot be captured, adjusted or released. So once
 * the instant of expiry is closed (no writer can still commit at or before it) and the read model has all that was recorded
 * until then, a hold that still has its row has expired: except on an account that is parked as the row is read, or of whose holds an
 * event was skipped.
 *
 * However many expire at one instant, `noticesMax` are written every `noticeMs`, as one batch among those of callers.
 */
import { Effect, Layer, Result, Schema } from "effect"
import type { HoldRow } from "../../domain/Books.ts"
import type { Command } from "../../domain/Command.ts"
import type { CommandError } from "../../domain/Errors.ts"
import { noticeIdOf } from "../../domain/Holds.ts"
import type { AccountId } from "../../domain/Ids.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import { EventStore } from "../../infra/eventstore/EventStore.ts"
import { AnswerClock } from "../../infra/readmodel/AnswerClock.ts"
import { type ExpiringHold, type ExpiryPlace, ReadModel } from "../../infra/readmodel/ReadModel.ts"
import { Dispatcher } from "../commands/Dispatcher.ts"
import { makeAskKnown } from "../past/AwaitKnown.ts"
import { makeSingleton, Singletons } from "../relay/Singletons.ts"
import { reasonOf, supervise } from "../relay/Supervisor.ts"

/** Stands in the events as who caused them. No token can have such a name. */
const caller = "~ledger"

const singleton = makeSingleton("expiry-notices", Schema.fromJsonString(Schema.Struct({})))

/** Before all holds. */
const beginning: ExpiryPlace = { expiresAt: 0, account: "", hold: "" }

export const layer = Layer.effectDiscard(
  Effect.gen(function* () {
    const singletons = yield* Singletons
    const { noticeMs } = yield* ReadSideConfig
    const round = yield* makeRound
    const regularly = supervise(
      (alive) =>
        round.pipe(
          Effect.tap(Effect.sync(alive)),
          Effect.catch((error) => Effect.logDebug(`notices of expired holds: ${error.message}`)),
          Effect.andThen(Effect.sleep(noticeMs)),
          Effect.forever
        ),
      (cause) => Effect.logError(`notices of expired holds: ${reasonOf(cause)}`)
    )
    yield* singletons.run(singleton.name, regularly, "commands")
  })
)

const makeRound = Effect.gen(function* () {
  const { noticesMax: limit } = yield* ReadSideConfig
  const readModel = yield* ReadModel
  const store = yield* EventStore
  const dispatcher = yield* Dispatcher
  const askKnown = yield* makeAskKnown
  const answerNow = yield* AnswerClock
  /** Where the next round goes on: what was refused is come back to once the others are done. */
  let place = beginning

  /** Those of the accounts with a skipped event about a hold: its row may say what it was before that event, for ever. */
  const doubtfulOf = Effect.fnUntraced(function* (rows: ReadonlyArray<ExpiringHold>) {
    const versions = new Map(rows.map(({ account, skipped }) => [account, skipped]))
    const skipped = [...versions].flatMap(([account, of]) => of.map((version) => ({ account, version })))
    if (skipped.length === 0) return new Set<AccountId>()
    const events = yield* store.readEvents(skipped)
    return new Set(events.filter(({ type }) => type.startsWith("Hold")).map(({ accountId }) => accountId))
  })

  /** The holds that are known to have expired, after a place; none where there are none. */
  const expired = Effect.fnUntraced(function* (after: ExpiryPlace) {
    // Not the machine's clock: by one that is ahead, the instants of holds that are open would be waited for, round after round, in vain.
    const now = yield* answerNow
    const due = yield* readModel.holdsByExpiry({ after, before: now + 1, limit })
    const last = due.at(-1)?.expiresAt ?? null
    if (last === null) return { rows: [], isEnd: true }
    const { found } = yield* askKnown(last, () => readModel.expiringHolds({ after, before: last + 1, limit }))
    const end = found.at(-1)
    if (end !== undefined) place = placeOf(end)
    // What the rows of a parked account say may be older: it may be read anew from its first event.
    const believed = found.filter(({ isParked }) => !isParked)
    const doubtful = yield* doubtfulOf(believed)
    return {
      rows: believed.filter(({ account }) => !doubtful.has(account)),
      isEnd: found.length < limit
    }
  })

  return Effect.gen(function* () {
    const { rows, isEnd } = yield* expired(place)
    if (isEnd) place = beginning
    if (rows.length === 0) return
    for (const result of yield* dispatcher.dispatchMany(rows.map(noticeOf)))
      if (Result.isFailure(result) && !isPassing(result.failure))
        yield* Effect.logWarning(`the notice of an expired hold was refused: ${result.failure.message}`)
  })
})

const placeOf = ({ account, expiresAt, hold }: HoldRow): ExpiryPlace => ({
  expiresAt: expiresAt ?? 0,
  account,
  hold
})

const noticeOf = ({ account, hold, remaining, expiresAt }: HoldRow): Command => ({
  _tag: "NoteExpiry",
  commandId: noticeIdOf(account, hold),
  account,
  hold,
  amount: remaining,
  expiredAt: expiresAt ?? 0,
  context: { caller }
})

/** The next round sends it again. */
const isPassing = ({ _tag }: CommandError): boolean =>
  _tag === "Overloaded" || _tag === "Unavailable" || _tag === "Indeterminate"
