/** How `chronicle webhooks` and its subcommands are called. */
import { Argument, Command, Flag } from "effect/cli"
import { AccountPrefix } from "../domain/Ids.ts"
import { eventTypes, WebhookId } from "../domain/Webhook.ts"
import { jsonFlag } from "./flags.ts"
import { lazily } from "./lazily.ts"

const id = Argument.String("webhook").pipe(
  Argument.withDescription("Its id, wh_…"),
  Argument.withSchema(WebhookId)
)

const createFlags = {
  url: Argument.String("url").pipe(Argument.withDescription("Where it is told: an https: URL")),
  prefix: Flag.String("prefix").pipe(
    Flag.withDescription("Tell it of accounts whose ids begin with this; of all, when absent"),
    Flag.withSchema(AccountPrefix),
    Flag.optional
  ),
  type: Flag.Literals("type", eventTypes).pipe(
    Flag.withDescription("Tell it of events of this type, once for each type; of all types, when absent"),
    Flag.atLeast(0)
  ),
  description: Flag.String("description").pipe(Flag.withDescription("What it is for"), Flag.optional),
  from: Flag.Literals("from", ["now", "start"]).pipe(
    Flag.withDescription("now: what is committed from now on; start: everything that the log has"),
    Flag.withDefault("now" as const)
  ),
  json: jsonFlag
}
export type CreateFlags = Command.Command.Config.Infer<typeof createFlags>

const listFlags = { json: jsonFlag }
export type ListFlags = Command.Command.Config.Infer<typeof listFlags>

const oneFlags = { webhook: id, json: jsonFlag }
export type OneFlags = Command.Command.Config.Infer<typeof oneFlags>

const create = Command.make(
  "create",
  createFlags,
  lazily(() => import("./run/webhooks.ts").then(({ create }) => create))
).pipe(Command.withDescription("Make an endpoint that is told of events, and print its secret this once"))

const list = Command.make(
  "list",
  listFlags,
  lazily(() => import("./run/webhooks.ts").then(({ list }) => list))
).pipe(Command.withDescription("List the endpoints, how far each was told, and its state"))

const failures = Command.make(
  "failures",
  oneFlags,
  lazily(() => import("./run/webhooks.ts").then(({ failures }) => failures))
).pipe(Command.withDescription("Show the last failed attempts at an endpoint, the latest first"))

const test = Command.make(
  "test",
  oneFlags,
  lazily(() => import("./run/webhooks.ts").then(({ test }) => test))
).pipe(Command.withDescription("Send an endpoint a message of the type ping, and tell how that went"))

const pause = Command.make(
  "pause",
  oneFlags,
  lazily(() => import("./run/webhooks.ts").then(({ pause }) => pause))
).pipe(Command.withDescription("Tell an endpoint nothing until it is resumed"))

const resume = Command.make(
  "resume",
  oneFlags,
  lazily(() => import("./run/webhooks.ts").then(({ resume }) => resume))
).pipe(Command.withDescription("Go on where an endpoint was paused or disabled, at once"))

const rotate = Command.make(
  "rotate",
  oneFlags,
  lazily(() => import("./run/webhooks.ts").then(({ rotate }) => rotate))
).pipe(
  Command.withDescription("Make a new secret and print it this once; the former one signs too for a day")
)

const remove = Command.make(
  "delete",
  oneFlags,
  lazily(() => import("./run/webhooks.ts").then(({ remove }) => remove))
).pipe(Command.withDescription("Delete an endpoint"))

export const webhooks = Command.make("webhooks").pipe(
  Command.withDescription(
    "Make, list, try, pause and delete the endpoints that are told of events (scope admin)"
  ),
  Command.withSubcommands([create, list, failures, test, pause, resume, rotate, remove])
)
