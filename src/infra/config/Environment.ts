/** Reads from the environment (design §11) where the services and this node are, and the limits in force. */
import { hostname } from "node:os"
import { Config, Effect, Layer, Option, Random, type Redacted, Schema } from "effect"
import { ClusterConfig, clusterLimits } from "./ClusterConfig.ts"
import { type ClusterSecurityInvalid, clusterSecurityFromEnvironment } from "./ClusterSecurity.ts"
import { LedgerConfig, ledgerLimits } from "./LedgerConfig.ts"
import { Limit, limitsOf } from "./Limits.ts"
import { ReadSideConfig, readSideLimits } from "./ReadSideConfig.ts"
import { sumPrefixesFromEnvironment } from "./SumPrefixes.ts"
import { webhooksFromEnvironment } from "./WebhookConfig.ts"

/** The services one node works with, and its name among the others. */
export interface Services {
  /** CockroachDB, or PostgreSQL: `postgresql://user@host:port/database`. */
  readonly eventStoreUrl: Redacted.Redacted
  /** PostgreSQL. */
  readonly readModelUrl: Redacted.Redacted
  /** `nats://host:port`, several separated by commas. */
  readonly natsUrl: string
  /** Servers that keep each message of the bus; 1 by default, 3 where there are three. */
  readonly natsReplicas?: number
  /** The stream of this ledger on the bus, and what stands before the partition in its subjects: where several ledgers share it. */
  readonly natsStream?: string
  readonly natsSubject?: string
  /** Names this process among the nodes: letters, digits, `-` and `_`. */
  readonly nodeName: string
}

/** Of this process alone: two nodes of one name would take each other's writers for their own, left behind at a restart. */
export const uniqueNodeName: Effect.Effect<string> = Effect.gen(function* () {
  const host = hostname().replaceAll(/[^A-Za-z0-9_-]/g, "-")
  const nonce = yield* Random.nextIntBetween(0, 2 ** 32, { halfOpen: true })
  return `${host.slice(0, 30)}-${nonce.toString(16).padStart(8, "0")}`
})

/** `CHRONICLE_EVENT_STORE_URL`, `CHRONICLE_READ_MODEL_URL`, `CHRONICLE_NATS_URL`, `CHRONICLE_NATS_REPLICAS`, `CHRONICLE_NODE_NAME`. */
export const servicesConfig: Config.Config<Services> = Config.all({
  eventStoreUrl: Config.Redacted("CHRONICLE_EVENT_STORE_URL"),
  readModelUrl: Config.Redacted("CHRONICLE_READ_MODEL_URL"),
  natsUrl: Config.String("CHRONICLE_NATS_URL"),
  natsReplicas: Config.schema(Limit, "CHRONICLE_NATS_REPLICAS").pipe(Config.withDefault(1)),
  nodeName: Config.option(Config.String("CHRONICLE_NODE_NAME")).pipe(
    Config.mapEffect((name) => (Option.isSome(name) ? Effect.succeed(name.value) : uniqueNodeName))
  )
})

/** Where the other nodes of a cluster reach this one, and where it listens if that is another address. */
export interface ClusterAddress {
  readonly host: string
  readonly port: number
  readonly listenHost?: string
  readonly listenPort?: number
}

const Port = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65_535 }))
const isPort = Schema.is(Port)
const isLimit = Schema.is(Limit)

const portOf = (variable: string) => Config.option(Config.schema(Port, variable))

/** What is wrong with numbers that a host gives in code; undefined where nothing is. The environment is refused before. */
export const numbersFault = (
  { natsReplicas = 1 }: Pick<Services, "natsReplicas">,
  { port, listenPort }: Partial<ClusterAddress> = {}
): string | undefined => {
  if (!isLimit(natsReplicas)) return "natsReplicas must be a whole number of 1 or more"
  const wrong = Object.entries({ port, listenPort }).find(([, one]) => one !== undefined && !isPort(one))
  return wrong === undefined ? undefined : `the ${wrong[0]} of a node must be a whole number of 1 to 65,535`
}

/**
 * `CHRONICLE_CLUSTER_PORT`, `CHRONICLE_CLUSTER_HOST`, and where it listens on another address, as behind a mapped
 * port: `CHRONICLE_CLUSTER_LISTEN`, `CHRONICLE_CLUSTER_LISTEN_PORT`. Undefined for a node alone.
 */
export const clusterConfig: Config.Config<ClusterAddress | undefined> = Config.all({
  port: portOf("CHRONICLE_CLUSTER_PORT"),
  host: Config.String("CHRONICLE_CLUSTER_HOST").pipe(Config.withDefault("127.0.0.1")),
  listenHost: Config.option(Config.String("CHRONICLE_CLUSTER_LISTEN")),
  listenPort: portOf("CHRONICLE_CLUSTER_LISTEN_PORT")
}).pipe(
  Config.map(({ port, host, listenHost, listenPort }) =>
    port._tag === "None"
      ? undefined
      : {
          host,
          port: port.value,
          ...(listenHost._tag === "None" ? {} : { listenHost: listenHost.value }),
          ...(listenPort._tag === "None" ? {} : { listenPort: listenPort.value })
        }
  )
)

/** `CHRONICLE_EVENT_STORE_URL` and `CHRONICLE_READ_MODEL_URL`: all that questions and migrations need. */
export const storesConfig: Config.Config<Pick<Services, "eventStoreUrl" | "readModelUrl">> = Config.all({
  eventStoreUrl: Config.Redacted("CHRONICLE_EVENT_STORE_URL"),
  readModelUrl: Config.Redacted("CHRONICLE_READ_MODEL_URL")
})

/**
 * Every limit of the write path, the read side and the cluster has a variable of its own; a whole number of 1 or more, unless the limit
 * says otherwise.
 * With them comes who may speak on the nodes' port, which all that speak to nodes need as they need the limits.
 */
export const limitsFromEnvironment: Layer.Layer<never, Config.ConfigError | ClusterSecurityInvalid> =
  Layer.unwrap(
    Effect.gen(function* () {
      return Layer.mergeAll(
        Layer.succeed(LedgerConfig, yield* limitsOf(ledgerLimits)),
        Layer.succeed(ReadSideConfig, yield* limitsOf(readSideLimits)),
        Layer.succeed(ClusterConfig, yield* limitsOf(clusterLimits)),
        clusterSecurityFromEnvironment,
        webhooksFromEnvironment,
        sumPrefixesFromEnvironment
      )
    })
  )
