/** Carries committed events from the relay to the projections: by partition, at least once, about in order. */
import { Context, Effect, Layer, type Result, Scope } from "effect"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import { makeBusMemory } from "./BusMemory.ts"
import type { BusMessage } from "./BusMessage.ts"
import { type BusNatsOptions, makeBusNats } from "./BusNats.ts"

/** A durable consumer: a subscription goes on where the last one of the same name stopped. */
export interface ConsumerName {
  readonly projection: string
  readonly partition: number
}

export interface Delivery {
  /** The bus's own number of the message, rising as it was published; begins again when the stream is replaced. */
  readonly position: number
  /** It was delivered before and not acknowledged. */
  readonly isRepeated: boolean
  /** The message, or why it cannot be read. */
  readonly message: Result.Result<BusMessage, string>
  /** Acknowledges, without waiting for an answer: an acknowledgement that is lost leads to a repetition. */
  readonly ackUnsafe: () => void
  /** Returns it: it is delivered again at once to the next subscription that takes, and not only after `ackWaitMs`. */
  readonly nakUnsafe: () => void
}

export interface Subscription {
  /**
   * Waits for deliveries, then takes those that are there, as long as `accept` says so (at least one). Fails when the
   * subscription broke: subscribe again. Deliveries that were sent ahead and not taken are returned when the scope ends.
   */
  readonly take: (
    accept: (delivery: Delivery) => boolean
  ) => Effect.Effect<ReadonlyArray<Delivery>, StoreUnavailable>
}

/**
 * A delivery cache, never a source of truth (design §8): it may lose, repeat and reorder everything, and the
 * projections come out the same. A bus that is away is a normal state: every method fails soon then.
 */
export class Bus extends Context.Service<
  Bus,
  {
    /** Sends all, pipelined, and ends when all are acknowledged. After a failure any of them may have been stored or not. */
    readonly publish: (messages: ReadonlyArray<BusMessage>) => Effect.Effect<void, StoreUnavailable>
    readonly subscribe: (consumer: ConsumerName) => Effect.Effect<Subscription, StoreUnavailable, Scope.Scope>
    readonly isConnectedUnsafe: () => boolean
  }
>()("chronicle/infra/Bus") {
  /** Over NATS JetStream. Built at once, whether the server is there or not; connects and reconnects for ever. */
  static readonly layer = (options: BusNatsOptions) => Layer.effect(Bus, makeBusNats(options))

  /** The same, but connects only once it is used. */
  static readonly layerLazy = (options: BusNatsOptions) =>
    Layer.effect(
      Bus,
      Effect.gen(function* () {
        const scope = yield* Effect.scope
        let isUp = () => false
        const connected = yield* makeBusNats(options).pipe(
          Scope.provide(scope),
          Effect.tap((bus) =>
            Effect.sync(() => {
              isUp = bus.isConnectedUnsafe
            })
          ),
          Effect.cached
        )
        return {
          publish: (messages) => Effect.flatMap(connected, (bus) => bus.publish(messages)),
          subscribe: (consumer) => Effect.flatMap(connected, (bus) => bus.subscribe(consumer)),
          isConnectedUnsafe: () => isUp()
        }
      })
    )

  /** In this process's memory, by the same contract; starts empty each time it is built. */
  static readonly layerMemory = Layer.effect(
    Bus,
    Effect.map(makeBusMemory(), ({ bus }) => bus)
  )
}
