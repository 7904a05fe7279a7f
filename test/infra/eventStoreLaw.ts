/** The law that a database answers as the event store in memory does, for any operations. */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { TestDatabase, testClient } from "../support/databases.ts"
import { drawn } from "../support/drawn.ts"
import { accountId, commandId, storedEvent } from "../support/storedEvents.ts"

const small = (maximum: number) => Schema.Int.check(Schema.isBetween({ minimum: 0, maximum }))

/** Few accounts, versions, commands and writers, so that they get in each other's way. */
const Operation = Schema.TaggedUnion({
  Commit: {
    writer: small(2),
    events: Schema.Array(Schema.Struct({ account: small(2), version: small(3), command: small(5) })).check(
      Schema.isMinLength(1),
      Schema.isMaxLength(3)
    )
  },
  Fence: { writer: small(2) },
  Register: { writer: small(2), closedAt: small(9) },
  Move: { writer: small(2), seq: small(9) },
  ReadStreams: { after: small(3), limit: small(4) },
  ReadTail: { writer: small(2), after: small(3), limit: small(4) }
})
type Operation = typeof Operation.Type

/** Runs the operations under names of their own; everything a caller can see is the answer. */
const run = Effect.fnUntraced(function* (
  store: EventStore["Service"],
  operations: ReadonlyArray<Operation>,
  prefix: string
) {
  const account = (index: number) => accountId(`${prefix}-a${index}`)
  const writer = (index: number) => `${prefix}-w${index}`
  const answers: Array<unknown> = []
  const next = new Map<number, number>()
  for (const operation of operations) {
    switch (operation._tag) {
      case "Commit": {
        // As a lane does it: a number is used again only if nothing was written under it.
        const seq = (next.get(operation.writer) ?? 0) + 1
        const events = operation.events.map((words, index) =>
          storedEvent({
            account: account(words.account),
            version: words.version + 1,
            command: `${prefix}-c${words.command}`,
            payload: `{"at":${index}}`
          })
        )
        const exit = yield* Effect.exit(store.commit({ writerId: writer(operation.writer), seq, events }))
        if (exit._tag === "Failure") answers.push("died")
        else {
          answers.push(sorted(exit.value))
          if (exit.value._tag === "Committed") next.set(operation.writer, seq)
        }
        break
      }
      case "Fence":
        answers.push(yield* store.fenceWriter(writer(operation.writer)))
        break
      case "Register":
        yield* store.registerWriter({
          writerId: writer(operation.writer),
          node: "n",
          closedAt: operation.closedAt
        })
        yield* store.heartbeat([{ writerId: writer(operation.writer), closedAt: operation.closedAt + 1 }])
        break
      case "Move":
        yield* store.moveRelayCursors(new Map([[writer(operation.writer), operation.seq]]))
        break
      case "ReadStreams":
        answers.push(
          yield* store.readStreams(
            [2, 0, 1].map((index) => ({ account: account(index), after: operation.after })),
            operation.limit
          )
        )
        break
      case "ReadTail":
        answers.push(
          yield* store.readTail({
            writerId: writer(operation.writer),
            after: operation.after,
            limit: operation.limit
          })
        )
    }
  }
  const commands = [0, 1, 2, 3, 4, 5].map((index) => commandId(`${prefix}-c${index}`))
  answers.push(yield* store.findCommands(commands))
  const writers = (yield* store.listWriters).filter((row) => row.writerId.startsWith(`${prefix}-`))
  answers.push(writers.map(({ heartbeatAt: _, ...row }) => row))
  const cursors = yield* store.relayCursors
  answers.push([0, 1, 2].map((index) => cursors.get(writer(index))))
  return answers
})

/** A conflict names its keys in no particular order. */
const sorted = (outcome: unknown): unknown =>
  JSON.parse(JSON.stringify(outcome), (_, value) =>
    Array.isArray(value) ? value.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)) : value
  )

export const eventStoreLaw = (name: string, serverUrl: string, runs: number) => {
  const shared = EventStore.layer.pipe(
    Layer.provide(testClient),
    Layer.provide(TestDatabase.eventStore(serverUrl))
  )
  let runCount = 0
  layer(shared, { excludeTestServices: true, timeout: "4 minutes" })(`the law (${name})`, (it) => {
    it.effect.prop(
      "the database and the memory answer the same to the same operations",
      [Schema.Array(Operation).check(Schema.isMinLength(5), Schema.isMaxLength(25))],
      ([operations]) =>
        Effect.gen(function* () {
          const database = yield* EventStore
          const memory = yield* Effect.provide(EventStore, EventStore.layerMemory)
          const prefix = `law${runCount++}`
          assert.deepStrictEqual(
            yield* run(database, operations, prefix),
            yield* run(memory, operations, prefix)
          )
        }),
      { arbitrary: { ...drawn.arbitrary, runs } }
    )
  })
}
