/** Messages of one JetStream subscription enter as the server sends them; deliveries are taken, in batches. */
import { Effect, Latch } from "effect"
import type { JsMsg } from "nats"
import type { StoreUnavailable } from "../eventstore/EventStoreTypes.ts"
import type { Delivery, Subscription } from "./Bus.ts"
import { decodeMessage } from "./BusMessage.ts"

export interface Inbox {
  readonly receive: (message: JsMsg) => void
  readonly fail: (error: StoreUnavailable) => void
  /** Lets the server send what was not taken to the next who asks. */
  readonly giveBack: () => void
  readonly take: Subscription["take"]
}

/** What the server sent ahead; it sends no more than may be unacknowledged. */
export const makeInbox = (): Inbox => {
  const wake = Latch.makeUnsafe(false)
  let deliveries: Array<Delivery> = []
  let failure: StoreUnavailable | undefined
  return {
    receive: (message) => {
      deliveries.push(toDelivery(message))
      wake.openUnsafe()
    },
    fail: (error) => {
      failure = error
      wake.openUnsafe()
    },
    giveBack: () => {
      for (const delivery of deliveries) delivery.nakUnsafe()
      deliveries = []
    },
    take: (accept) =>
      Effect.flatMap(wake.await, () => {
        if (deliveries.length === 0 && failure !== undefined) return Effect.fail(failure)
        const refused = deliveries.findIndex((delivery, index) => !accept(delivery) && index > 0)
        const count = refused === -1 ? deliveries.length : refused
        const taken = deliveries.slice(0, count)
        deliveries = deliveries.slice(count)
        if (deliveries.length === 0 && failure === undefined) wake.closeUnsafe()
        return Effect.succeed(taken)
      })
  }
}

const toDelivery = (message: JsMsg): Delivery => ({
  position: message.seq,
  isRepeated: message.redelivered,
  message: decodeMessage(message.string()),
  ackUnsafe: () => message.ack(),
  nakUnsafe: () => message.nak()
})
