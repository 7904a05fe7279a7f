/**
 * A bus, a read model and a log that kill the calling fiber at one chosen call: a crash at every await can be tried in turn.
 */
import { Effect } from "effect"
import type { Bus } from "../../src/infra/bus/Bus.ts"
import type { CommitPart } from "../../src/infra/bus/BusMessage.ts"
import type { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import type { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"

/** Everything that a projector waits for, and the acknowledgement, which it does not wait for. */
export const calls = [
  "checkpoints",
  "subscribe",
  "take",
  "look",
  "apply",
  "ack",
  "listWriters",
  "readStreams"
] as const

export interface FaultPoint {
  readonly call: (typeof calls)[number]
  /** Counts down at each call; the fiber dies when it gets to 0. */
  left: number
  readonly when: "before" | "after"
}

const killed = "killed at a fault point"

export class FaultPoints {
  /** Those that are to come; each kills once. */
  armed: Array<FaultPoint> = []
  /** How many fibers were killed. */
  deaths = 0
  /** What of messages the bus acknowledges and never brings. */
  loses: (part: CommitPart) => boolean = () => false

  #isDue(call: FaultPoint["call"], when: FaultPoint["when"]): boolean {
    const due = this.armed.filter((point) => point.call === call && point.when === when && --point.left <= 0)
    if (due.length === 0) return false
    this.armed = this.armed.filter((point) => !due.includes(point))
    this.deaths += due.length
    return true
  }

  at(call: FaultPoint["call"]) {
    return <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.suspend(() => {
        if (this.#isDue(call, "before")) return Effect.die(killed)
        return Effect.tap(self, () => (this.#isDue(call, "after") ? Effect.die(killed) : Effect.void))
      })
  }

  bus(real: Bus["Service"]): Bus["Service"] {
    return {
      ...real,
      publish: (messages) =>
        real.publish(
          messages.flatMap(({ partition, parts }) => {
            const kept = parts.filter((part) => !this.loses(part))
            return kept.length === 0 ? [] : [{ partition, parts: kept }]
          })
        ),
      subscribe: (consumer) =>
        real.subscribe(consumer).pipe(
          this.at("subscribe"),
          Effect.map((subscription) => ({
            take: (accept) =>
              this.at("take")(subscription.take(accept)).pipe(
                Effect.map((deliveries) =>
                  deliveries.map((delivery) => ({
                    ...delivery,
                    ackUnsafe: () => {
                      if (this.#isDue("ack", "before")) throw new Error(killed)
                      delivery.ackUnsafe()
                      if (this.#isDue("ack", "after")) throw new Error(killed)
                    }
                  }))
                )
              )
          }))
        )
    }
  }

  readModel(real: ReadModel["Service"]): ReadModel["Service"] {
    return {
      ...real,
      checkpoints: this.at("checkpoints")(real.checkpoints),
      look: (accounts) => this.at("look")(real.look(accounts)),
      apply: (batch) => this.at("apply")(real.apply(batch))
    }
  }

  log(real: EventStore["Service"]): EventStore["Service"] {
    return {
      ...real,
      listWriters: this.at("listWriters")(real.listWriters),
      readStreams: (from, limit) => this.at("readStreams")(real.readStreams(from, limit))
    }
  }
}
