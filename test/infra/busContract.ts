/** The contract of the bus, which it must keep in memory and over JetStream alike. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result, type Scope } from "effect"
import type { Bus, Delivery, Subscription } from "../../src/infra/bus/Bus.ts"
import { type BusMessage, pack } from "../../src/infra/bus/BusMessage.ts"
import { deposit, EventWriter, openAccount } from "../support/eventWriter.ts"

export interface BusUnderTest {
  readonly bus: Bus["Service"]
  /** The stream is lost with all its consumers. */
  readonly wipe: Effect.Effect<void>
}

const messagesOf = (count: number): ReadonlyArray<BusMessage> => {
  const writer = new EventWriter()
  const first = writer.commit(openAccount("a"))
  const commits = [first]
  for (let index = 1; index < count; index++) commits.push(writer.commit(deposit("a", BigInt(index))))
  return commits.flatMap((commit) => pack([commit], { partitions: 1, bytesMax: 100_000 }))
}

const numbersOf = (deliveries: ReadonlyArray<Delivery>): ReadonlyArray<number> =>
  deliveries.flatMap((delivery) => Result.getOrThrow(delivery.message).parts.map(({ seq }) => seq))

/** Takes until `count` deliveries came; the test's own limit ends it when they never do. */
const takeCount = (subscription: Subscription, count: number) =>
  Effect.gen(function* () {
    const taken: Array<Delivery> = []
    while (taken.length < count) taken.push(...(yield* subscription.take(() => true)))
    return taken
  })

export const busContract = (
  name: string,
  buildWith: (limits: { readonly ackWaitMs: number }) => Effect.Effect<BusUnderTest, unknown, Scope.Scope>
) => {
  /** Nothing comes again by time while a test runs. */
  const build = buildWith({ ackWaitMs: 60_000 })
  const reader = { projection: "test", partition: 0 }

  // Each has a stream of its own, and waits for what comes again.
  describe(`the bus over ${name}`, { concurrent: true }, () => {
    it.live("delivers what was published, byte for byte and in order", () =>
      Effect.gen(function* () {
        const { bus } = yield* build
        const messages = messagesOf(20)
        yield* bus.publish(messages)
        const subscription = yield* bus.subscribe(reader)
        const taken = yield* takeCount(subscription, 20)
        assert.deepStrictEqual(
          taken.map((delivery) => Result.getOrThrow(delivery.message)),
          messages
        )
        assert.isFalse(taken.some((delivery) => delivery.isRepeated))
      })
    )

    it.live("delivers what is published after the subscription", () =>
      Effect.gen(function* () {
        const { bus } = yield* build
        const subscription = yield* bus.subscribe(reader)
        const waiting = yield* Effect.forkChild(takeCount(subscription, 3))
        yield* bus.publish(messagesOf(3))
        assert.deepStrictEqual(numbersOf(yield* Fiber.join(waiting)), [1, 2, 3])
      })
    )

    it.live("stores a message once that is published twice", () =>
      Effect.gen(function* () {
        const { bus } = yield* build
        const [first, second] = [messagesOf(2), messagesOf(3)]
        yield* bus.publish(first)
        yield* bus.publish(second)
        const subscription = yield* bus.subscribe(reader)
        assert.deepStrictEqual(numbersOf(yield* takeCount(subscription, 3)), [1, 2, 3])
      })
    )

    it.live("delivers again what was not acknowledged to the next subscription of the same name", () =>
      Effect.gen(function* () {
        const { bus } = yield* buildWith({ ackWaitMs: 2_000 })
        yield* bus.publish(messagesOf(4))
        yield* Effect.scoped(
          Effect.gen(function* () {
            const taken = yield* takeCount(yield* bus.subscribe(reader), 4)
            for (const delivery of taken.slice(0, 2)) delivery.ackUnsafe()
          })
        )
        const subscription = yield* bus.subscribe(reader)
        const again = new Set<number>()
        while (again.size < 2) {
          const taken = yield* subscription.take(() => true)
          assert.isTrue(taken.every((delivery) => delivery.isRepeated))
          for (const number of numbersOf(taken)) again.add(number)
        }
        assert.sameMembers([...again], [3, 4])
      })
    )

    it.live("delivers again what was returned to the next subscription", () =>
      Effect.gen(function* () {
        const { bus } = yield* buildWith({ ackWaitMs: 5_000 })
        yield* bus.publish(messagesOf(6))
        yield* Effect.scoped(
          Effect.gen(function* () {
            const held: Array<Delivery> = []
            // After the subscription has ended, or what is refused would come to it again.
            yield* Effect.addFinalizer(() =>
              Effect.sync(() => {
                for (const delivery of held) delivery.nakUnsafe()
              })
            )
            const subscription = yield* bus.subscribe(reader)
            held.push(...(yield* takeCount(subscription, 6)))
            // What was acknowledged stays so.
            held[0]?.ackUnsafe()
          })
        )
        // At least once: any of them may come twice.
        const subscription = yield* bus.subscribe(reader)
        const again = new Set<number>()
        while (again.size < 5) {
          for (const number of numbersOf(yield* subscription.take(() => true))) again.add(number)
        }
        assert.sameMembers([...again], [2, 3, 4, 5, 6])
      })
    )

    it.live("lets each projection and each partition read for itself", () =>
      Effect.gen(function* () {
        const { bus } = yield* build
        const message = messagesOf(1)
        yield* bus.publish(message)
        yield* bus.publish(
          message.map(({ parts }) => ({ partition: 1, parts: parts.map((part) => ({ ...part, seq: 7 })) }))
        )
        for (const [projection, partition, seq] of [
          ["test", 0, 1],
          ["other", 0, 1],
          ["test", 1, 7]
        ] as const) {
          const subscription = yield* bus.subscribe({ projection, partition })
          assert.deepStrictEqual(numbersOf(yield* takeCount(subscription, 1)), [seq])
        }
      })
    )

    it.live("takes as many deliveries as are accepted, and at least one", () =>
      Effect.gen(function* () {
        const { bus } = yield* build
        yield* bus.publish(messagesOf(3))
        const subscription = yield* bus.subscribe(reader)
        const first = yield* subscription.take(() => false)
        assert.deepStrictEqual(numbersOf(first), [1])
        assert.deepStrictEqual(numbersOf(yield* takeCount(subscription, 2)), [2, 3])
      })
    )

    it.live("breaks the subscription when the stream is lost, and begins again with the next", () =>
      Effect.gen(function* () {
        const { bus, wipe } = yield* build
        yield* bus.publish(messagesOf(2))
        const subscription = yield* bus.subscribe(reader)
        for (const delivery of yield* takeCount(subscription, 2)) delivery.ackUnsafe()
        yield* wipe
        const broken = yield* Effect.flip(takeCount(subscription, 1))
        assert.strictEqual(broken.store, "bus")
        // The first publication may be what finds that the stream is gone.
        yield* bus.publish(messagesOf(1)).pipe(Effect.retry({ times: 1 }))
        const again = yield* takeCount(yield* bus.subscribe(reader), 1)
        assert.deepStrictEqual(numbersOf(again), [1])
        assert.strictEqual(again[0]?.position, 1)
      })
    )
  })
}
