/**
 * The subscriptions of a node that are behind the end of the log and read it by themselves, bounded together. What each of them reads ahead
 * to put accounts in order is bounded, and there may be thousands: so many at most have a *turn*, in which they keep it, and the others
 * wait in the order in which they came. A turn ends, where others wait, once its reader has read some thousands of events, asked for or not, or does not
 * come back soon for more: one whose consumer takes nothing keeps none. What it had read ahead is read anew in its next turn.
 *
 * What was read for a consumer and not taken is bounded too: the more they are, the less each reads at once.
 */
import { Clock, Deferred, Effect, Latch, type Scope } from "effect"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import type { ReadSideLimits } from "../../infra/config/ReadSideConfig.ts"
import { goesOn } from "../../infra/telemetry/GoesOn.ts"

/** Events of one turn, about, where others wait. */
const turnEvents = 10_000
/** For how long a reader that was given something may be away before its turn may end, in milliseconds. */
const awayMs = 50

export interface LoneReader {
  /** Forgets what it has read ahead. Never called while it reads. */
  readonly forget: () => void
}

interface Turn {
  isReading: boolean
  /** When it read last. */
  readAt: number
  /** Events that it read, of accounts that it does not ask for too. */
  read: number
}

interface Waiting {
  readonly reader: LoneReader
  readonly hasTurn: Deferred.Deferred<void>
}

type Limits = Pick<ReadSideLimits, "subscribeEventsMax" | "subscribeAloneMax" | "subscribeUntakenEventsMax">

export class LoneReaders {
  readonly #limits: Limits
  readonly #nowMs: () => number
  readonly #readers = new Set<LoneReader>()
  readonly #turns = new Map<LoneReader, Turn>()
  /** In the order in which they came. */
  readonly #waiting = new Set<Waiting>()
  readonly #isWaitedFor = Latch.makeUnsafe(false)

  private constructor(limits: Limits, nowMs: () => number) {
    this.#limits = limits
    this.#nowMs = nowMs
  }

  static readonly make = Effect.fnUntraced(function* (
    limits: Limits
  ): Effect.fn.Return<LoneReaders, never, Scope.Scope> {
    const clock = yield* Clock.Clock
    const readers = new LoneReaders(limits, () => elapsedMsUnsafe(clock))
    yield* readers.#isWaitedFor.await.pipe(
      Effect.andThen(Effect.sleep(awayMs)),
      Effect.andThen(Effect.sync(() => readers.#endSome())),
      goesOn("a look for turns to read the log"),
      Effect.forever,
      Effect.forkScoped
    )
    return readers
  })

  /** Counts one that begins to read by itself. */
  join(reader: LoneReader): void {
    this.#readers.add(reader)
  }

  /** It has come to the end of the log, or is over. */
  leave(reader: LoneReader): void {
    this.#readers.delete(reader)
    if (this.#turns.delete(reader)) this.#giveTurns()
  }

  /** Events that each of them reads at once, about; one commit at least. */
  get eventsMax(): number {
    const { subscribeEventsMax, subscribeUntakenEventsMax } = this.#limits
    const share = Math.floor(subscribeUntakenEventsMax / Math.max(1, this.#readers.size))
    return Math.max(1, Math.min(subscribeEventsMax, share))
  }

  /** Runs one step of the reader once it has a turn. */
  inTurn<A extends { readonly read: number }, E>(
    reader: LoneReader,
    step: Effect.Effect<A, E>
  ): Effect.Effect<A, E> {
    return Effect.suspend(() =>
      this.#turns.has(reader) || this.#hasPlaceFor(reader)
        ? this.#run(reader, step)
        : Effect.andThen(this.#awaitTurn(reader), this.#run(reader, step))
    )
  }

  #run<A extends { readonly read: number }, E>(
    reader: LoneReader,
    step: Effect.Effect<A, E>
  ): Effect.Effect<A, E> {
    return Effect.suspend(() => {
      const turn = this.#turns.get(reader)
      if (turn !== undefined) turn.isReading = true
      const done = (read: number): void => {
        // It may have come to the end of the log meanwhile.
        if (turn === undefined || this.#turns.get(reader) !== turn) return
        turn.isReading = false
        turn.readAt = this.#nowMs()
        turn.read += read
        if (turn.read < turnEvents) return
        if (this.#waiting.size > 0) this.#end(reader)
        else turn.read = 0
      }
      return step.pipe(
        Effect.tap(({ read }) => Effect.sync(() => done(read))),
        Effect.onError(() => Effect.sync(() => done(0)))
      )
    })
  }

  #hasPlaceFor(reader: LoneReader): boolean {
    if (this.#waiting.size > 0) return false
    if (this.#turns.size >= this.#limits.subscribeAloneMax) {
      const away = this.#away().next().value
      if (away === undefined) return false
      this.#end(away)
    }
    this.#give(reader)
    return true
  }

  #awaitTurn(reader: LoneReader): Effect.Effect<void> {
    return Effect.suspend(() => {
      const waiting: Waiting = { reader, hasTurn: Deferred.makeUnsafe() }
      this.#waiting.add(waiting)
      this.#isWaitedFor.openUnsafe()
      return Effect.onInterrupt(Deferred.await(waiting.hasTurn), () =>
        Effect.sync(() => this.#waiting.delete(waiting))
      )
    })
  }

  *#away(): Generator<LoneReader, undefined> {
    const since = this.#nowMs() - awayMs
    for (const [reader, { isReading, readAt }] of this.#turns) if (!isReading && readAt <= since) yield reader
    return undefined
  }

  /** While others wait. */
  #endSome(): void {
    // Of readers that met a bug as they ended.
    this.#giveTurns()
    for (const reader of [...this.#away()]) {
      if (this.#waiting.size === 0) break
      this.#end(reader)
    }
    if (this.#waiting.size === 0) this.#isWaitedFor.closeUnsafe()
  }

  #end(reader: LoneReader): void {
    this.#turns.delete(reader)
    reader.forget()
    this.#giveTurns()
  }

  #giveTurns(): void {
    for (const waiting of this.#waiting) {
      if (this.#turns.size >= this.#limits.subscribeAloneMax) break
      this.#waiting.delete(waiting)
      this.#give(waiting.reader)
      Deferred.doneUnsafe(waiting.hasTurn, Effect.void)
    }
  }

  /** It counts as reading from here on, for it is about to. */
  #give(reader: LoneReader): void {
    this.#turns.set(reader, { isReading: true, readAt: 0, read: 0 })
  }
}
