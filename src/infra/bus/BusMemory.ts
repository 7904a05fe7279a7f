/** The bus in this process's memory, by JetStream's contract; loses, repeats, reorders and fails as a test asks for. */
import { Clock, Effect, Latch, Random, Result } from "effect"
import { ReadSideConfig } from "../config/ReadSideConfig.ts"
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

export const makeBusMemory = Effect.fnUntraced(function* (weather: BusWeather = fairWeather) {
  const { unackedMax, ackWaitMs } = yield* ReadSideConfig
  const logs = new Map<number, Log>()
  const cursors = new Map<string, Cursor>()
  const wake = Latch.makeUnsafe(false)
  let position = 0
  let life = 0

  const away = new StoreUnavailable({ store: "bus", reason: "the bus is away" })
  const chance = (probability: number) =>
    probability === 0 ? Effect.succeed(false) : Effect.map(Random.next, (drawn) => drawn < probability)

  const logOf = (partition: number): Log => {
    const log = logs.get(partition) ?? { kept: [], ids: new Set<string>() }
    logs.set(partition, log)
    return log
  }

  const keep = (message: BusMessage): void => {
    const log = logOf(message.partition)
    const id = messageIdOf(message)
    if (log.ids.has(id)) return
    log.ids.add(id)
    log.kept.push({ position: ++position, message })
    const oldest = log.kept.length > keptMax ? log.kept.shift() : undefined
    if (oldest !== undefined) log.ids.delete(messageIdOf(oldest.message))
  }

  const publish = Effect.fnUntraced(function* (messages: ReadonlyArray<BusMessage>) {
    if (weather.isAway()) return yield* away
    for (const message of messages) if (!(yield* chance(weather.loses))) keep(message)
    wake.openUnsafe()
    wake.closeUnsafe()
  })

  const deliver = (cursor: Cursor, kept: Kept, now: number): Delivery => {
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
        wake.openUnsafe()
        wake.closeUnsafe()
      }
    }
  }

  const due = ({ partition }: ConsumerName, cursor: Cursor, now: number): ReadonlyArray<Kept> => {
    const room = unackedMax - cursor.pending.size
    const isDue = ({ position }: Kept) => {
      const since = cursor.pending.get(position)
      return since === undefined ? position > cursor.last : since + ackWaitMs <= now
    }
    const found = logOf(partition).kept.filter(isDue)
    const repeated = found.filter(({ position }) => cursor.pending.has(position))
    return repeated.concat(found.filter(({ position }) => !cursor.pending.has(position)).slice(0, room))
  }

  const takeSome = Effect.fnUntraced(function* (
    consumer: ConsumerName,
    cursor: Cursor,
    accept: (delivery: Delivery) => boolean
  ) {
    const now = yield* Clock.currentTimeMillis
    let offered = due(consumer, cursor, now)
    if (offered.length > 1 && (yield* chance(weather.shuffles))) offered = yield* Random.shuffle(offered)
    const taken: Array<Delivery> = []
    for (const kept of offered) {
      const peeked = { position: kept.position, isRepeated: false, message: Result.succeed(kept.message) }
      if (!accept({ ...peeked, ackUnsafe: () => {}, nakUnsafe: () => {} }) && taken.length > 0) break
      taken.push(deliver(cursor, kept, now))
      if (yield* chance(weather.repeats)) taken.push(deliver(cursor, kept, now))
    }
    return taken
  })

  const subscribe = (consumer: ConsumerName) =>
    Effect.gen(function* () {
      if (weather.isAway()) return yield* away
      const name = `${consumer.projection}-${consumer.partition}`
      const cursor = cursors.get(name) ?? { last: 0, pending: new Map<number, number>() }
      cursors.set(name, cursor)
      const born = life
      const take: Subscription["take"] = Effect.fnUntraced(function* (accept) {
        while (true) {
          if (weather.isAway() || born !== life) return yield* away
          const taken = yield* takeSome(consumer, cursor, accept)
          if (taken.length > 0) return taken
          yield* Effect.timeoutOption(wake.await, ackWaitMs)
        }
      })
      return { take }
    })

  const bus: Bus["Service"] = { publish, subscribe, isConnectedUnsafe: () => !weather.isAway() }
  return {
    bus,
    /** The stream is deleted with all its consumers, and begins again at position 1. */
    wipeUnsafe: (): void => {
      logs.clear()
      cursors.clear()
      position = 0
      life++
      wake.openUnsafe()
      wake.closeUnsafe()
    }
  }
})
