/** Packed events enter and are acknowledged; each projection takes them by partition, at least once, about in order. */
import { Context, Effect, Layer, type Result, type Scope } from "effect"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { makeBusMemory } from "./BusMemory.ts"
import type { BusMessage } from "./BusMessage.ts"
import { type BusNatsOptions, makeBusNats } from "./BusNats.ts"

/** Who reads: it goes on where the last one of the same name stopped. */
export interface ConsumerName {
  readonly projection: string
  readonly partition: number
}

export interface Delivery {
  /** The bus's own number of the message, rising as it was published; begins again when the stream is replaced. */
  readonly position: number
  /** Delivered before, and not acknowledged. */
  readonly isRepeated: boolean
  /** The message, or why it cannot be read. */
  readonly message: Result.Result<BusMessage, string>
  /** Synchronous and without an answer: one that is lost leads to a repetition. */
  readonly ackUnsafe: () => void
  /** Not by me: it is delivered again at once, to whoever takes next, and not only after `ackWaitMs`. */
  readonly nakUnsafe: () => void
}

export interface Subscription {
  /**
   * Waits until something is there, then takes what is there, as long as `accept` says so (at least one). Fails
   * when the subscription broke: subscribe again. What was sent ahead and not taken goes back with the scope.
   */
  readonly take: (
    accept: (delivery: Delivery) => boolean
  ) => Effect.Effect<ReadonlyArray<Delivery>, StoreUnavailable>
}

/**
 * A delivery cache, never a source of truth (design §8): it may lose, repeat and reorder everything, and the
 * projections come out the same. Being away is normal; every method fails then, soon.
 */
export class Bus extends Context.Service<
  Bus,
  {
    /** Sends all, pipelined, and answers when all are acknowledged. On failure any of them may be there or not. */
    readonly publish: (messages: ReadonlyArray<BusMessage>) => Effect.Effect<void, StoreUnavailable>
    readonly subscribe: (consumer: ConsumerName) => Effect.Effect<Subscription, StoreUnavailable, Scope.Scope>
    readonly isConnectedUnsafe: () => boolean
  }
>()("chronicle/infra/Bus") {
  /** Over NATS JetStream. Is there at once, whether the server is or not; connects and reconnects for ever. */
  static readonly layer = (options: BusNatsOptions) => Layer.effect(Bus, makeBusNats(options))

  /** In this process's memory, by the same contract; starts empty each time it is built. */
  static readonly layerMemory = Layer.effect(
    Bus,
    Effect.map(makeBusMemory(), ({ bus }) => bus)
  )
}
