/** `migrate`, `serve` and `dev`: the services enter; databases at the current schema, or a running node, leave. */
import { Effect, Layer, Redacted } from "effect"
import { Command, Flag } from "effect/cli"
import * as Health from "../http/Health.ts"
import { DevStack } from "../infra/dev/DevStack.ts"
import { limitsFromEnvironment, type Services } from "../infra/Environment.ts"
import { placeOf } from "../infra/Migrations.ts"
import * as LedgerNode from "../LedgerNode.ts"
import { makeStory, printJson } from "./Terminal.ts"
import { dataFlag, environmentServices, jsonFlag, resolveServices } from "./Where.ts"

export const migrate = Command.make(
  "migrate",
  { data: dataFlag, json: jsonFlag },
  Effect.fnUntraced(function* ({ data, json }) {
    const story = makeStory(json)
    const services = yield* resolveServices(data)
    const applied = yield* LedgerNode.migrate(services)
    const said = (ids: ReadonlyArray<number>) =>
      ids.length === 0 ? "is at the current schema" : `was brought to schema ${ids.at(-1)}`
    yield* story.line(`The event store at ${placeOf(services.eventStoreUrl)} ${said(applied.eventStore)}.`)
    yield* story.line(`The read model at ${placeOf(services.readModelUrl)} ${said(applied.readModel)}.`)
    if (json) yield* printJson(applied)
  }, Effect.scoped)
).pipe(
  Command.withDescription(
    "Bring both databases to the current schema; safe to run twice and by two nodes at once"
  )
)

const urlsOf = (services: Services): ReadonlyArray<readonly [string, string]> => [
  ["CHRONICLE_EVENT_STORE_URL", Redacted.value(services.eventStoreUrl)],
  ["CHRONICLE_READ_MODEL_URL", Redacted.value(services.readModelUrl)],
  ["CHRONICLE_NATS_URL", services.natsUrl]
]

/** A node until it is told to stop; then what was accepted is answered first. */
const runNode = (services: Services) =>
  Layer.launch(
    Health.layer.pipe(Layer.provide(LedgerNode.layer(services)), Layer.provide(limitsFromEnvironment))
  )

export const serve = Command.make(
  "serve",
  {},
  Effect.fnUntraced(function* () {
    const services = yield* environmentServices
    yield* Effect.logInfo(
      `node ${services.nodeName}: event store ${placeOf(services.eventStoreUrl)}, read model ${placeOf(services.readModelUrl)}`
    )
    return yield* runNode(services)
  })
).pipe(Command.withDescription("Run one node against the services of the environment, in the foreground"))

export const dev = Command.make(
  "dev",
  {
    data: Flag.Path("data").pipe(Flag.withDescription("Where the data live"), Flag.withDefault(".chronicle"))
  },
  Effect.fnUntraced(function* ({ data }) {
    const story = makeStory(false)
    yield* story.line(`Starting PostgreSQL, JetStream and the event store in ${data} …`)
    const node = Effect.gen(function* () {
      const stack = yield* DevStack
      yield* LedgerNode.migrate(stack)
      for (const note of stack.notes) yield* story.line(`  ${note}`)
      yield* story.line()
      for (const [variable, url] of urlsOf({ ...stack, nodeName: "dev" }))
        yield* story.line(`export ${variable}=${url}`)
      yield* story.line()
      yield* story.line("Ctrl-C ends it; the data stay.")
      return yield* runNode({ ...stack, nodeName: "dev" })
    })
    return yield* node.pipe(Effect.provide(DevStack.layer({ dataDir: data })))
  })
).pipe(Command.withDescription("Run an embedded stack and one node in the foreground, and print the URLs"))
