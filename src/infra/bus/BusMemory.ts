/** The bus in this process's memory, by JetStream's contract; loses, repeats, reorders and fails as a test asks for. */
import { Clock, Effect, Latch, Random, Result } from "effect"
import { elapsedMsUnsafe } from "../config/Elapsed.ts"
import { ReadSideConfig, type ReadSideLimits } from "../config/ReadSideConfig.ts"
import { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import type { Bus, ConsumerName, Delivery, Subscription } from "./Bus.ts"
import { type BusMessage, messageIdOf } from "./BusMessage.ts"

/** The faults of the bus, asked for each time anew; chances are 0 … 1, drawn from the `Random` service. */
interface BusWeather {
  /** Nothing can be published or taken. */
  readonly isAway: () => boolean
  /** Chance that a message is acknowledged and lost. */
  readonly loses: number
  /** Chance that a delivery is repeated. */
  readonly repeats: number
  /** Chance that deliveries that are taken together come in any order. */
  readonly shuffles: number
}

export const fairWeather: BusWeather = { isAway: () => false, loses: 0, repeats: 0, shuffles: 0 }

/** Messages kept a partition; the oldest are discarded, as by the limits of a stream. */
const keptMax = 10_000

interface Kept {
  readonly position: number
  readonly message: BusMessage
}

interface Log {
  kept: Array<Kept>
  readonly ids: Set<string>
}

interface Cursor {
  /** The last position that was delivered. */
  last: number
  /** Delivered and not acknowledged: since when, in order of delivery. */
  readonly pending: Map<number, number>
}

/** What a stream keeps, and how far each consumer has come. */
class MemoryStream {
  #position = 0
  readonly #logs = new Map<number, Log>()
  readonly #cursors = new Map<string, Cursor>()
  /** Rises each time the stream is deleted: subscriptions to an earlier one are broken. */
  life = 0

  keep(message: BusMessage): void {
    const log = this.#logOf(message.partition)
    const id = messageIdOf(message)
    if (log.ids.has(id)) return
    log.ids.add(id)
    log.kept.push({ position: ++this.#position, message })
    const oldest = log.kept.length > keptMax ? log.kept.shift() : undefined
    if (oldest !== undefined) log.ids.delete(messageIdOf(oldest.message))
  }

  cursorOf({ projection, partition }: ConsumerName): Cursor {
    const name = `${projection}-${partition}`
    const cursor = this.#cursors.get(name) ?? { last: 0, pending: new Map<number, number>() }
    this.#cursors.set(name, cursor)
    return cursor
  }

  /** What may be delivered now: first what was not acknowledged in time. */
  due(
    partition: number,
    cursor: Cursor,
    now: number,
    { unackedMax, ackWaitMs }: Pick<ReadSideLimits, "unackedMax" | "ackWaitMs">
  ): ReadonlyArray<Kept> {
    const room = unackedMax - cursor.pending.size
    const isDue = ({ position }: Kept) => {
      const since = cursor.pending.get(position)
      return since === undefined ? position > cursor.last : since + ackWaitMs <= now
    }
    const found = this.#logOf(partition).kept.filter(isDue)
    const repeated = found.filter(({ position }) => cursor.pending.has(position))
    return repeated.concat(found.filter(({ position }) => !cursor.pending.has(position)).slice(0, room))
  }

  wipe(): void {
    this.#logs.clear()
    this.#cursors.clear()
    this.#position = 0
    this.life++
  }

  #logOf(partition: number): Log {
    const log = this.#logs.get(partition) ?? { kept: [], ids: new Set<string>() }
    this.#logs.set(partition, log)
    return log
  }
}

const away = new StoreUnavailable({ store: "bus", reason: "the bus is away" })
const chance = (probability: number) =>
  probability === 0 ? Effect.succeed(false) : Effect.map(Random.next, (drawn) => drawn < probability)

const deliver = (cursor: Cursor, kept: Kept, now: number, wakeUnsafe: () => void): Delivery => {
  const isRepeated = cursor.pending.delete(kept.position)
  cursor.pending.set(kept.position, now)
  cursor.last = Math.max(cursor.last, kept.position)
  return {
    position: kept.position,
    isRepeated,
    message: Result.succeed(kept.message),
    ackUnsafe: () => {
      cursor.pending.delete(kept.position)
    },
    nakUnsafe: () => {
      if (!cursor.pending.has(kept.position)) return
      cursor.pending.set(kept.position, Number.NEGATIVE_INFINITY)
      wakeUnsafe()
    }
  }
}

export const makeBusMemory = Effect.fnUntraced(function* (weather: BusWeather = fairWeather) {
  const limits = yield* ReadSideConfig
  const clock = yield* Clock.Clock
  const stream = new MemoryStream()
  const wake = Latch.makeUnsafe(false)
  const wakeUnsafe = () => {
    wake.openUnsafe()
    wake.closeUnsafe()
  }

  const publish = Effect.fnUntraced(function* (messages: ReadonlyArray<BusMessage>) {
    if (weather.isAway()) return yield* away
    for (const message of messages) if (!(yield* chance(weather.loses))) stream.keep(message)
    wakeUnsafe()
  })

  const takeSome = Effect.fnUntraced(function* (
    partition: number,
    cursor: Cursor,
    accept: (delivery: Delivery) => boolean
  ) {
    const now = elapsedMsUnsafe(clock)
    let offered = stream.due(partition, cursor, now, limits)
    if (offered.length > 1 && (yield* chance(weather.shuffles))) offered = yield* Random.shuffle(offered)
    const taken: Array<Delivery> = []
    for (const kept of offered) {
      const peeked = { position: kept.position, isRepeated: false, message: Result.succeed(kept.message) }
      if (!accept({ ...peeked, ackUnsafe: () => {}, nakUnsafe: () => {} }) && taken.length > 0) break
      taken.push(deliver(cursor, kept, now, wakeUnsafe))
      if (yield* chance(weather.repeats)) taken.push(deliver(cursor, kept, now, wakeUnsafe))
    }
    return taken
  })

  const subscribe = (consumer: ConsumerName) =>
    Effect.gen(function* () {
      if (weather.isAway()) return yield* away
      const cursor = stream.cursorOf(consumer)
      const born = stream.life
      const take: Subscription["take"] = Effect.fnUntraced(function* (accept) {
        while (true) {
          if (weather.isAway() || born !== stream.life) return yield* away
          const taken = yield* takeSome(consumer.partition, cursor, accept)
          if (taken.length > 0) return taken
          yield* Effect.timeoutOption(wake.await, limits.ackWaitMs)
        }
      })
      return { take }
    })

  const bus: Bus["Service"] = { publish, subscribe, isConnectedUnsafe: () => !weather.isAway() }
  return {
    bus,
    /** The stream is deleted with all its consumers, and begins again at position 1. */
    wipeUnsafe: (): void => {
      stream.wipe()
      wakeUnsafe()
    }
  }
})
