/** Options and environment enter; where the services of a command are, started here if need be, leaves. */

import type { NodeServices } from "@effect/platform-node"
import { type Config, Data, Effect, FileSystem, Option, type Scope } from "effect"
import { Flag } from "effect/cli"
import { startDevStack } from "../infra/dev/DevStack.ts"
import type { DevStackError } from "../infra/dev/DevStackErrors.ts"
import { type Services, servicesConfig } from "../infra/Environment.ts"

/** `--data DIR` of every command that asks. */
export const dataFlag = Flag.Directory("data", { mustExist: true }).pipe(
  Flag.withDescription(
    "Ask the embedded stack of this data directory (as `demo` and `dev` leave it), started for as long as it takes"
  ),
  Flag.optional
)

/** `--json` of every command. */
export const jsonFlag = Flag.Boolean("json").pipe(
  Flag.withDescription("Print one JSON value as the last line on stdout"),
  Flag.withDefault(false)
)

/** Neither the environment nor an option says where the services are. */
export class ServicesUnknown extends Data.TaggedError("ServicesUnknown")<{ readonly reason: string }> {
  override get message() {
    return (
      `it is not said where the services are (${this.reason}): set CHRONICLE_EVENT_STORE_URL, ` +
      "CHRONICLE_READ_MODEL_URL and CHRONICLE_NATS_URL, or give --data with the directory of an embedded stack"
    )
  }
}

/** The environment's services. */
export const environmentServices: Effect.Effect<Services, ServicesUnknown> = Effect.suspend(() =>
  servicesConfig.pipe(
    Effect.mapError((error: Config.ConfigError) => new ServicesUnknown({ reason: error.message }))
  )
)

/** `--data` if it is given, else the environment. */
export const resolveServices = (
  data: Option.Option<string>
): Effect.Effect<Services, ServicesUnknown | DevStackError, Scope.Scope | NodeServices.NodeServices> =>
  Option.match(data, {
    onNone: () => environmentServices,
    onSome: (dataDir) =>
      Effect.map(startDevStack({ dataDir }), ({ eventStoreUrl, readModelUrl, natsUrl }) => ({
        eventStoreUrl,
        readModelUrl,
        natsUrl,
        nodeName: "cli"
      }))
  })

/** Fails when a file of the user's is not there, before anything is started for it. */
export const fileExists = Effect.fnUntraced(function* (path: string) {
  const files = yield* FileSystem.FileSystem
  return yield* files.exists(path)
})
