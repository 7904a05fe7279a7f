/**
 * Tells the endpoints of webhooks what happened: each from its own place in the log, one event a request, the next one only once the
 * endpoint took the one before. So the events of an endpoint come in order, those of each account in the order of their versions, at
 * least once; an event that the endpoint does not take holds back all that are behind it, at that endpoint alone.
 *
 * A singleton of the cluster runs a fiber for each active endpoint, which holds no more than what one step of its subscription read.
 * How far it came is written down behind what was delivered, so the node that takes over tells the last events once more, and
 * skips none. Pauses between attempts are kept in the same row, and outlast the node as well.
 */
import { Clock, Data, Effect, FiberMap, Layer, Random, Redacted, Schema, Semaphore, Stream } from "effect"
import type { Instant } from "../../domain/Ids.ts"
import { headersOf, isTold, toldMessage, type WebhookMessage } from "../../domain/Webhook.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { WebhookConfig, type WebhookLimits } from "../../infra/config/WebhookConfig.ts"
import type { StoreUnavailable } from "../../infra/eventstore/EventStore.ts"
import { makeAttemptClock } from "../../infra/eventstore/StoreClock.ts"
import { type Attempt, WebhookSender } from "../../infra/webhooks/WebhookSender.ts"
import { type WebhookProgress, type WebhookRow, WebhookStore } from "../../infra/webhooks/WebhookStore.ts"
import { makeSingleton, Singletons } from "../relay/Singletons.ts"
import { reasonOf, supervise } from "../relay/Supervisor.ts"
import type { LogStep } from "../subscriptions/LogFollower.ts"
import type { CommittedEvent } from "../subscriptions/SharedEvent.ts"
import { Subscriptions } from "../subscriptions/Subscriptions.ts"

const singleton = makeSingleton("webhooks", Schema.fromJsonString(Schema.Struct({})))

/** Needs `Subscriptions`, `WebhookStore`, `WebhookSender` and the event store's clock. */
export const layer = Layer.effectDiscard(
  Effect.gen(function* () {
    const singletons = yield* Singletons
    const life = yield* makeLife
    const forEver = supervise(life, (cause) => Effect.logError(`webhooks: ${reasonOf(cause)}`))
    yield* singletons.run(singleton.name, forEver)
  })
)

/** A delivery that has told nothing for longer looks whether it is still the one that delivers, before it tells more, in milliseconds. */
const uncheckedMs = 2_000
/**
 * A process whose looks are so much later than they should be, in milliseconds, stood still, and another node may deliver by now. Then it
 * begins no delivery for the time in which this node learns that.
 */
const standstillMs = 2_000
const learnMs = 5_000

/** How long ago something was: by the clock that says more, since one may be set, and the other stands still while a machine is suspended. */
const makeAge = (clock: Clock.Clock) => {
  const read = () => ({ wallMs: clock.currentTimeMillisUnsafe(), elapsedMs: elapsedMsUnsafe(clock) })
  let at = read()
  return {
    msUnsafe: (): number => {
      const { wallMs, elapsedMs } = read()
      return Math.max(wallMs - at.wallMs, elapsedMs - at.elapsedMs)
    },
    renewUnsafe: (): void => {
      at = read()
    }
  }
}

/** Looks regularly which endpoints there are, and keeps a delivery for each active one. */
const makeLife = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const store = yield* WebhookStore
  const { pollMs } = yield* WebhookConfig
  const { deliver, keep } = yield* makeDeliver

  return Effect.fnUntraced(function* (alive: () => void) {
    const deliveries = yield* FiberMap.make<string>()
    /** The revision that each delivery has begun. */
    const begun = new Map<string, number>()
    const sinceLook = makeAge(clock)
    /** Of a process that stood still. */
    let beginsFromMs: number | undefined

    const start = Effect.fnUntraced(function* (id: string, revision: number) {
      const row = yield* store.begin(id, revision)
      if (row === undefined) return
      begun.set(id, row.revision)
      yield* FiberMap.run(
        deliveries,
        id,
        deliver(row).pipe(
          // The next look begins again, from what was written down.
          Effect.catch((error) => Effect.logDebug(`webhook ${id}: ${error.message}`)),
          Effect.catchCause((cause) => Effect.logError(`webhook ${id}: ${reasonOf(cause)}`))
        )
      )
    })
    const look = Effect.gen(function* () {
      const nowMs = elapsedMsUnsafe(clock)
      // Where all its looks are late it waits as long again, and again, and begins in between.
      if (beginsFromMs !== undefined && nowMs >= beginsFromMs) beginsFromMs = undefined
      else if (sinceLook.msUnsafe() > pollMs + standstillMs) beginsFromMs ??= nowMs + learnMs
      const rows = yield* store.states
      const active = new Map(
        rows.flatMap(({ id, revision, state }) => (state === "active" ? [[id, revision]] : []))
      )
      for (const [id, revision] of begun) {
        if (active.get(id) === revision && FiberMap.hasUnsafe(deliveries, id)) continue
        yield* FiberMap.remove(deliveries, id)
        begun.delete(id)
      }
      keep(new Set(active.keys()))
      if (beginsFromMs === undefined)
        for (const [id, revision] of active) if (!begun.has(id)) yield* start(id, revision)
      alive()
    }).pipe(Effect.catch((error: StoreUnavailable) => Effect.logDebug(`webhooks: ${error.message}`)))
    // From its end: a look that a slow database draws out is no standstill.
    const paused = Effect.andThen(Effect.sync(sinceLook.renewUnsafe), Effect.sleep(pollMs))
    yield* look.pipe(Effect.andThen(paused), Effect.forever)
  }, Effect.scoped)
})

/** The pause after so many failed attempts: it doubles, within what the endpoint itself asks for and the limit. */
const pauseAfter = (
  attempts: number,
  { retryAfterMs = 0 }: Attempt,
  { pauseMs, pauseMsMax }: WebhookLimits,
  random: number
): number => {
  const doubled = pauseMs * 2 ** Math.min(attempts - 1, 40)
  // A tenth by chance, so that what failed together is not tried again together.
  return Math.min(pauseMsMax, Math.max(doubled, retryAfterMs) * (1 + random / 10))
}

/** Why no further attempt is made after this one. */
const endOf = (
  { status, reason }: Attempt,
  attempts: number,
  { triesMax }: WebhookLimits
): string | undefined => {
  if (status === 410) return "it answered 410: it wants no more"
  return attempts >= triesMax ? `it failed ${attempts} times at one event; at last: ${reason}` : undefined
}

/** The secrets by which a message is signed at an instant. */
export const secretsAt = (
  { secret, formerSecret, formerUntil }: Pick<WebhookRow, "secret" | "formerSecret" | "formerUntil">,
  at: Instant
): ReadonlyArray<string> =>
  (formerSecret !== null && formerUntil !== null && at < formerUntil ? [secret, formerSecret] : [secret]).map(
    Redacted.value
  )

/** The endpoint is at another revision, was deleted, or is disabled now: this delivery is over. */
class Over extends Data.TaggedError("Over") {}

/** One that fails now and then is not told of each time, in milliseconds. */
const warnedMs = 600_000

/** Says in the log when an endpoint begins to fail, once an outage, and when that is over. Neither its URL nor what it wrote: they may be secret. */
const makeOutages = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  /** When the outage of an endpoint was told of last, by time elapsed, and whether it lasts. */
  const told = new Map<string, { atMs: number; lasts: boolean }>()

  return {
    failed: ({ id, prefix }: WebhookRow, { reason }: Attempt, end: string | undefined) =>
      Effect.suspend(() => {
        const what = `webhook ${id}${prefix === "" ? "" : ` of ${prefix}`}`
        if (end !== undefined) {
          told.delete(id)
          return Effect.logWarning(
            `${what} is disabled: ${end}; \`chronicle webhooks resume ${id}\` tells it all since`
          )
        }
        const nowMs = elapsedMsUnsafe(clock)
        const last = told.get(id)
        if (last !== undefined && (last.lasts || nowMs - last.atMs < warnedMs)) return Effect.void
        told.set(id, { atMs: nowMs, lasts: true })
        return Effect.logWarning(
          `${what} did not take an event: ${reason}; it waits, with those behind it, and is tried again`
        )
      }),
    delivered: ({ id }: WebhookRow) =>
      Effect.suspend(() => {
        const last = told.get(id)
        if (last?.lasts !== true) return Effect.void
        last.lasts = false
        return Effect.logInfo(`webhook ${id} takes events again`)
      }),
    /** Forgets those that are no more. */
    keep: (ids: ReadonlySet<string>): void => {
      for (const id of told.keys()) if (!ids.has(id)) told.delete(id)
    }
  }
})

/** An endpoint that takes longer for an answer is a slow one, in milliseconds. */
const slowMs = 1_000

/**
 * Attempts at all endpoints, so many at once. Those at endpoints that failed last or were slow have half of the places at most: however
 * many hang, the others have places of their own.
 */
const makeAttempts = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const { attemptsMax } = yield* WebhookConfig
  const { send } = yield* WebhookSender
  // The pauses between them, too, are by this clock: they outlast the node, and another machine waits for their end.
  const attemptAt = yield* makeAttemptClock
  const all = Semaphore.makeUnsafe(attemptsMax)
  const slow = Semaphore.makeUnsafe(Math.max(1, Math.floor(attemptsMax / 2)))

  const attemptsOf = (row: WebhookRow) => {
    let isSlow = row.attempts > 0
    /** Once there is a place, for which it may have waited long, `check` says whether it may still be made. */
    return <E>(message: WebhookMessage, check: Effect.Effect<void, E>): Effect.Effect<Attempt, E> => {
      const once = all.withPermits(1)(
        Effect.gen(function* () {
          yield* check
          const at = yield* attemptAt
          const secrets = secretsAt(row, at)
          const begun = elapsedMsUnsafe(clock)
          const made = yield* send({ url: row.url, message, headers: headersOf(message, at, secrets), at })
          isSlow = !made.isDelivered || elapsedMsUnsafe(clock) - begun > slowMs
          return made
        })
      )
      return isSlow ? slow.withPermits(1)(once) : once
    }
  }
  return { attemptAt, attemptsOf }
})

const makeDeliver = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const outages = yield* makeOutages
  const { follow } = yield* Subscriptions
  const limits = yield* WebhookConfig
  const store = yield* WebhookStore
  const random = yield* Random.Random
  const { attemptAt, attemptsOf } = yield* makeAttempts

  const deliver = Effect.fnUntraced(function* (row: WebhookRow) {
    const place = makePlace(row, store, limits, clock)
    const attempt = attemptsOf(row)
    const checked = makeAge(clock)

    const check = Effect.suspend(() => {
      if (checked.msUnsafe() <= uncheckedMs) return Effect.void
      checked.renewUnsafe()
      return Effect.flatMap(store.find(row.id), (found) =>
        found?.revision === row.revision ? Effect.void : Effect.fail(new Over())
      )
    })

    /** Until the endpoint has taken it. */
    const tell = Effect.fnUntraced(function* (event: CommittedEvent) {
      const message = toldMessage({ ...event, event: event.event ?? null })
      for (;;) {
        const before = yield* attemptAt
        const pauseLeftMs = place.nextAttemptAtUnsafe() - before
        // No pause is longer; more may be left of one by a clock that was ahead of this one, or before this one was set back.
        if (pauseLeftMs > 0) yield* Effect.sleep(Math.min(pauseLeftMs, limits.pauseMsMax))
        const made = yield* attempt(message, check)
        const now = yield* attemptAt
        if (made.isDelivered) {
          place.deliveredUnsafe(now)
          return yield* outages.delivered(row)
        }
        const pause = pauseAfter(place.attemptsUnsafe() + 1, made, limits, random.nextDoubleUnsafe())
        place.failedUnsafe(message.id, made, event.recordedAt, now, pause)
        yield* outages.failed(row, made, place.endUnsafe())
        yield* place.save
      }
    })

    /** Until it came again, or all that the log had; null where none is to come. */
    let resumedAt = row.lastEvent
    const take = Effect.fnUntraced(function* ({ events, startOf, cursor, isAtEnd }: LogStep) {
      const passed = resumedAt === null ? -1 : events.findIndex((event) => placeOf(event) === resumedAt)
      const first = passed === -1 ? 0 : startOf(passed)
      if (passed !== -1 || isAtEnd) resumedAt = null
      for (const [index, event] of events.entries()) {
        if (first <= index && index <= passed) continue
        if (isTold(row.types, event.event)) yield* tell(event)
        place.passUnsafe(event)
        if (place.isDueUnsafe()) yield* place.save
      }
      place.moveUnsafe(cursor, isAtEnd ? null : (events.at(-1)?.recordedAt ?? null))
      // The next step may be a day away: what is written down must not say that an event waits which does not.
      if (place.isDueUnsafe() || (isAtEnd && (events.length > 0 || place.isSavedWaitingUnsafe())))
        yield* place.save
      if (isAtEnd) yield* Effect.sleep(limits.idleMs)
    })

    yield* follow({ after: row.cursor, accountPrefix: row.prefix }).pipe(
      Stream.runForEach(take),
      Effect.catchTag("Over", () => Effect.void)
    )
  })
  return { deliver, keep: outages.keep }
})

/** With its hash: after a restoration of the log to an earlier state, another event may have the same version. */
const placeOf = ({ account, version, hash }: CommittedEvent): string => `${account}@${version} ${hash}`

const progressOf = (row: WebhookRow): WebhookProgress => ({
  state: row.state,
  reason: row.reason,
  cursor: row.cursor,
  lastEvent: row.lastEvent,
  delivered: row.delivered,
  deliveredAt: row.deliveredAt,
  attempts: row.attempts,
  nextAttemptAt: row.nextAttemptAt,
  waitingSince: row.waitingSince,
  failures: row.failures
})

/** How far one delivery is: what changes with each event and attempt, and when it is written down. */
const makePlace = (
  row: WebhookRow,
  { save }: WebhookStore["Service"],
  limits: WebhookLimits,
  clock: Clock.Clock
) => {
  let progress = progressOf(row)
  let counts = { delivered: 0, failed: 0 }
  let saved = progress
  /** By time elapsed: the clock may be set back for as long as a backlog takes. */
  let savedAtMs = Number.NEGATIVE_INFINITY
  return {
    attemptsUnsafe: () => progress.attempts,
    /** Why it is disabled. */
    endUnsafe: () => (progress.state === "disabled" ? (progress.reason ?? undefined) : undefined),
    nextAttemptAtUnsafe: () => progress.nextAttemptAt ?? 0,
    deliveredUnsafe: (now: Instant): void => {
      progress = {
        ...progress,
        delivered: progress.delivered + 1,
        deliveredAt: now,
        attempts: 0,
        nextAttemptAt: null
      }
      counts.delivered++
    },
    failedUnsafe: (
      message: string,
      made: Attempt,
      recordedAt: Instant,
      now: Instant,
      pauseMs: number
    ): void => {
      const { status, reason } = made
      const attempts = progress.attempts + 1
      const end = endOf(made, attempts, limits)
      const failure = { at: now, message, reason, ...(status === undefined ? {} : { status }) }
      progress = {
        ...progress,
        attempts,
        nextAttemptAt: end === undefined ? Math.round(now + pauseMs) : null,
        waitingSince: recordedAt,
        failures: [failure, ...progress.failures].slice(0, limits.failuresMax),
        state: end === undefined ? "active" : "disabled",
        reason: end ?? null
      }
      counts.failed++
    },
    passUnsafe: (event: CommittedEvent): void => {
      const { cursor, recordedAt: waitingSince } = event
      progress = { ...progress, cursor, waitingSince, lastEvent: placeOf(event) }
    },
    moveUnsafe: (cursor: string, waitingSince: Instant | null): void => {
      if (cursor !== progress.cursor || waitingSince !== progress.waitingSince)
        progress = { ...progress, cursor, waitingSince }
    },
    isSavedWaitingUnsafe: (): boolean => saved.waitingSince !== null,
    isDueUnsafe: (): boolean => progress !== saved && elapsedMsUnsafe(clock) - savedAtMs >= limits.saveMs,
    save: Effect.gen(function* (): Effect.fn.Return<void, StoreUnavailable | Over> {
      const isOwn = yield* save(row, progress, counts)
      if (!isOwn || progress.state === "disabled") return yield* new Over()
      saved = progress
      savedAtMs = elapsedMsUnsafe(clock)
      counts = { delivered: 0, failed: 0 }
    })
  }
}
