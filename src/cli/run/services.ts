/**
 * Where the services of a command are: those that the environment names, or an
 * embedded stack that is started for as long as the command takes.
 */
import type * as NodeServices from "@effect/platform-node/NodeServices"
import { Config, Effect, Option, type Scope } from "effect"
import { type Services, servicesConfig, storesConfig } from "../../infra/config/Environment.ts"
import { startDevStack } from "../../infra/dev/DevStack.ts"
import type { DevStackError } from "../../infra/dev/DevStackErrors.ts"
import { describeConfigError, ServicesUnknown } from "../failures.ts"

/** What a command needs of the services: everything, or the two databases. */
type Stores = Pick<Services, "eventStoreUrl" | "readModelUrl">

/** Names the variables that are not set, or describes a wrong one. */
const named = <A>(config: Config.Config<A>, variables: ReadonlyArray<string>, orData: string) =>
  Effect.catch(config, (error: Config.ConfigError) =>
    Effect.gen(function* () {
      const missing: Array<string> = []
      for (const variable of variables) {
        if (Option.isNone(yield* Config.option(Config.String(variable)))) missing.push(variable)
      }
      const reason =
        missing.length === 0
          ? describeConfigError(error)
          : `${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} not set: set ${
              missing.length === 1 ? "it" : "them"
            } to where the services are${orData}`
      return yield* new ServicesUnknown({ reason })
    })
  ).pipe(
    Effect.catchTag("ConfigError", (error) => new ServicesUnknown({ reason: describeConfigError(error) }))
  )

const stores = ["CHRONICLE_EVENT_STORE_URL", "CHRONICLE_READ_MODEL_URL"]

/** The environment's services. */
export const environmentServices: Effect.Effect<Services, ServicesUnknown> = named(
  servicesConfig,
  [...stores, "CHRONICLE_NATS_URL"],
  " (`chronicle dev` starts some and prints their URLs)"
)

/** The databases of `--data` if it is given, else those of the environment. */
export const resolveStores = (
  data: Option.Option<string>
): Effect.Effect<Stores, ServicesUnknown | DevStackError, Scope.Scope | NodeServices.NodeServices> =>
  Option.match(data, {
    onNone: (): Effect.Effect<Stores, ServicesUnknown> =>
      named(storesConfig, stores, ", or give --data with the directory of an embedded stack"),
    onSome: (dataDir) => startDevStack({ dataDir })
  })
