/**
 * Effect Cluster's sharding over PostgreSQL and the nodes' port: which nodes there are, which shards each has, and for how
 * long this node can be certain of its own.
 */
import { PgClient } from "@effect/sql-pg"
import {
  Data,
  Deferred,
  Duration,
  Effect,
  Fiber,
  Layer,
  Option,
  Random,
  type Redacted,
  Scope,
  Semaphore
} from "effect"
import {
  ClusterError,
  MessageStorage,
  type Runner,
  RunnerAddress,
  RunnerHealth,
  RunnerStorage,
  Runners,
  ShardId,
  ShardingConfig,
  SocketRunner,
  SqlRunnerStorage
} from "effect/cluster"
import { SecureRandom } from "effect/crypto"
import { RpcSerialization } from "effect/rpc"
import { SocketServer } from "effect/socket"
import { ClusterConfig, type ClusterLimits } from "../config/ClusterConfig.ts"
import { checkReach } from "../config/ClusterSecurity.ts"
import type { ClusterAddress } from "../config/Environment.ts"
import type { NodeRole } from "../config/NodeRole.ts"
import * as ClusterSocket from "./ClusterSocket.ts"
import { HeldLocks } from "./HeldLocks.ts"
import { LockCertainty, type Moment } from "./LockCertainty.ts"
import { answeredInTime, locksConnection, startedInTime } from "./LocksDatabase.ts"
import { memberOf, sessionName } from "./MemberSessions.ts"
import { ClusterMembers, PeerPort } from "./PeerPort.ts"
import { agreeOnPlacement } from "./PlacementAgreement.ts"
import { watchSessions } from "./SessionWatch.ts"

/** Begins the names of the tables in which the nodes find each other. */
const prefix = "chronicle_cluster"

/** Where this node is a member of which cluster: nodes over one read model are one cluster. */
export interface ClusterPlace extends ClusterAddress {
  /** Default `all`. */
  readonly role?: NodeRole
  /** PostgreSQL, whose advisory locks say who owns which shard (CockroachDB's are none). */
  readonly locksUrl: Redacted.Redacted
}

const listenAddress = ({ host, port, listenHost, listenPort }: ClusterPlace) =>
  RunnerAddress.make(listenHost ?? host, listenPort ?? port)

/** Shards of accounts, and those of what the read side does once in a cluster: a node has the shard groups of its role. */
const accountShards = "default"
export const readSideShards = "read-side"
const shardsOf = (role: NodeRole): ReadonlyArray<string> =>
  role === "all" ? [accountShards, readSideShards] : [role === "commands" ? accountShards : readSideShards]

/** The addresses of those that take commands: the others are asked nothing about accounts. */
const thoseOfCommands = (runners: ReadonlyArray<readonly [runner: Runner.Runner, isHealthy: boolean]>) =>
  runners.flatMap(([{ address, groups }]) => (groups.includes(accountShards) ? [address] : []))

const settings = (limits: ClusterLimits, place?: ClusterPlace) =>
  ShardingConfig.layer({
    runnerAddress:
      place === undefined ? Option.none() : Option.some(RunnerAddress.make(place.host, place.port)),
    runnerListenAddress: Option.map(Option.fromUndefinedOr(place), listenAddress),
    availableShardGroups: shardsOf("all"),
    assignedShardGroups: shardsOf(place?.role ?? "all"),
    shardsPerGroup: limits.shards,
    shardLockExpiration: limits.lockExpirationMs,
    shardLockRefreshInterval: limits.lockRefreshMs,
    refreshAssignmentsInterval: limits.membershipPollMs,
    runnerHealthCheckInterval: limits.healthCheckMs,
    sendRetryInterval: limits.retryMs,
    entityMailboxCapacity: limits.mailboxMax,
    // One entity a shard, so no limit is met; see docs/decisions.
    maxResidentEntities: "unbounded",
    entityTerminationTimeout: limits.drainMs,
    simulateRemoteSerialization: false
  })

const locksClient = (limits: ClusterLimits, url: Redacted.Redacted, session: string) =>
  PgClient.layer({
    ...locksConnection(limits, url, session),
    maxConnections: limits.connections
  })

/** Shards that are let go of at once. */
const releasesMax = 2

/** Takes locks, and tries those again for a while that are just being let go of. */
const makeAcquire = Effect.fnUntraced(function* (
  inner: RunnerStorage.RunnerStorage["Service"],
  held: HeldLocks,
  alone: Semaphore.Semaphore
) {
  const { acquireMs, retryMs } = yield* ClusterConfig
  const { now } = yield* LockCertainty
  return Effect.fnUntraced(function* (
    address: RunnerAddress.RunnerAddress,
    shards: Iterable<ShardId.ShardId>
  ) {
    const wanted = [...shards]
    const giveUpAtMs = now().elapsedMs + acquireMs
    const taken = Effect.gen(function* () {
      for (;;) {
        const sentAt = now()
        const acquired = yield* alone.withPermit(
          Effect.tap(inner.acquire(address, wanted), (taken) =>
            Effect.sync(() => held.acquired(taken.map(String), sentAt))
          )
        )
        const isLate = now().elapsedMs + retryMs >= giveUpAtMs
        if (acquired.length === wanted.length || isLate) return acquired
        yield* Effect.sleep(retryMs)
      }
    })
    // Effect does not learn of them where this fails, so nothing runs on them, and none of its questions names them.
    const forget = () => held.interrupted(wanted.map(String), now())
    return yield* Effect.onError(taken, () => Effect.sync(forget))
  })
})

/**
 * Asks which locks this node has, and lets go of those that effect has not learnt of (`HeldLocks.strays`): no other node could take their
 * shards, and this one would never be certain of its others.
 */
const makeRefresh = Effect.fnUntraced(function* (
  inner: RunnerStorage.RunnerStorage["Service"],
  held: HeldLocks,
  alone: Semaphore.Semaphore,
  lose: Effect.Effect<void>
) {
  const { now } = yield* LockCertainty
  const scope = yield* Effect.scope
  const letGoOfStrays = (
    address: RunnerAddress.RunnerAddress,
    asked: ReadonlyArray<string>,
    sentAt: Moment
  ) =>
    // Not beside a question that takes locks, which may just take them anew.
    alone.withPermit(
      Effect.suspend(() => {
        const strays = held.strays(asked, sentAt)
        for (const shard of strays) held.letGo(shard)
        return Effect.forEach(strays, (shard) => inner.release(address, ShardId.fromString(shard)), {
          discard: true
        })
      })
    )
  return Effect.fnUntraced(function* (
    address: RunnerAddress.RunnerAddress,
    shards: Iterable<ShardId.ShardId>
  ) {
    const sentAt = now()
    const asked = [...shards].map(String)
    held.asked(asked)
    const refreshed = yield* inner.refresh(address, shards)
    if (!held.refreshed(asked, new Set(refreshed.map(String)), sentAt)) yield* lose
    if (held.strays(asked, sentAt).length > 0)
      yield* Effect.forkIn(Effect.ignore(letGoOfStrays(address, asked, sentAt)), scope)
    return refreshed
  })
})

/** Effect bounds what it asks about locks, and not all that it asks about members: one such statement that hung ended its looks at their health. */
const makeInner = Effect.gen(function* () {
  const limits = yield* ClusterConfig
  const inner = yield* startedInTime(limits)(SqlRunnerStorage.make({ prefix }))
  const answered = answeredInTime(limits)
  const inTime = <A>(asked: Effect.Effect<A, ClusterError.PersistenceError>) =>
    Effect.catchTag(answered(asked), "LocksSilent", (cause) =>
      Effect.fail(new ClusterError.PersistenceError({ cause }))
    )
  return RunnerStorage.RunnerStorage.of({
    ...inner,
    getRunners: inTime(inner.getRunners),
    register: (runner, healthy) => inTime(inner.register(runner, healthy)),
    unregister: (address) => inTime(inner.unregister(address)),
    setRunnerHealth: (address, healthy) => inTime(inner.setRunnerHealth(address, healthy))
  })
})

/** The storage of effect, which tells how long locks are certain, is patient with shards that are just being let go of,
 * leaves out members that are gone, and lets go of all before the others learn that this node leaves. */
const storage = (session: string) =>
  Layer.effect(
    RunnerStorage.RunnerStorage,
    Effect.gen(function* () {
      const inner = yield* makeInner
      const limits = yield* ClusterConfig
      const certainty = yield* LockCertainty
      const members = yield* ClusterMembers
      const turn = Semaphore.makeUnsafe(releasesMax)
      const alone = Semaphore.makeUnsafe(1)
      const held = new HeldLocks(certainty, {
        expirationMs: limits.lockExpirationMs,
        unseenMs: limits.leaseMs
      })
      const { lose, isGone } = yield* watchSessions(session, held)
      return RunnerStorage.RunnerStorage.of({
        ...inner,
        getRunners: inner.getRunners.pipe(
          Effect.map((runners) => runners.filter(([{ address }]) => !isGone(address))),
          Effect.tap((runners) =>
            Effect.sync(() => {
              members.addresses = thoseOfCommands(runners)
            })
          )
        ),
        acquire: yield* makeAcquire(inner, held, alone),
        refresh: yield* makeRefresh(inner, held, alone, lose),
        // All locks are on one connection, and one operation on it that is late ends it with all of them: many shards
        // that leave at once, as when a node joins, must not wait there for each other.
        release: (address, shard) =>
          turn.withPermit(
            Effect.suspend(() => {
              held.letGo(String(shard))
              return inner.release(address, shard)
            })
          ),
        releaseAll: (address) =>
          Effect.suspend(() => {
            held.letGoOfAll()
            return inner.releaseAll(address)
          }),
        unregister: (address) =>
          Effect.suspend(() => {
            held.letGoOfAll()
            return Effect.andThen(Effect.ignore(inner.releaseAll(address)), inner.unregister(address))
          })
      })
    })
  )

/** A node that does not answer twice in time is taken for dead. */
const health = Layer.effect(
  RunnerHealth.RunnerHealth,
  Effect.gen(function* () {
    const runners = yield* Runners.Runners
    const { pingMs } = yield* ClusterConfig
    return {
      isAlive: (address) =>
        runners
          .ping(address)
          .pipe(Effect.timeout(Duration.millis(pingMs)), Effect.retry({ times: 1 }), Effect.isSuccess)
    }
  })
).pipe(Layer.provide(Runners.layerRpc), Layer.provide(ClusterSocket.layerClientProtocol))

/** Where the nodes find each other and lock their shards, and how they talk. */
export const common = (limits: ClusterLimits, locksUrl: Redacted.Redacted, place?: ClusterPlace) =>
  Layer.unwrap(
    Effect.gen(function* () {
      // Of this life alone, so that its locks can be told from those of others.
      const life = (yield* Random.nextIntBetween(0, 2 ** 48)).toString(36)
      const session = sessionName(place && memberOf(place), life)
      return Layer.mergeAll(
        storage(session),
        MessageStorage.layerNoop,
        RpcSerialization.layerSchemaBinary()
      ).pipe(
        Layer.provide(locksClient(limits, locksUrl, session)),
        Layer.provideMerge(settings(limits, place)),
        Layer.orDie
      )
    })
  )

/** Other nodes cannot reach this one there; mostly because another program listens. */
export class ClusterPortUnusable extends Data.TaggedError("ClusterPortUnusable")<{
  readonly host: string
  readonly port: number
  readonly reason: string
}> {
  override get message() {
    return `cannot listen on port ${this.port} of ${this.host} for the other nodes (${this.reason}): free it, or set CHRONICLE_CLUSTER_PORT to another`
  }
}

const listener = (place: ClusterPlace) =>
  ClusterSocket.layerServer(listenAddress(place)).pipe(
    Layer.catchTag("SocketServerError", ({ reason }) => {
      const { host, port } = listenAddress(place)
      const cause: unknown = reason.cause
      const words = cause instanceof Error ? cause.message : String(cause)
      return Layer.effect(SocketServer.SocketServer, new ClusterPortUnusable({ host, port, reason: words }))
    })
  )

/**
 * A member of the cluster that runs already does not speak with this node. As a member, this node would be given accounts
 * that the other could not reach.
 */
export class ClusterMemberIncompatible extends Data.TaggedError("ClusterMemberIncompatible")<{
  readonly address: string
  readonly reason: string
}> {
  override get message() {
    return `cannot join the cluster, because of its member at ${this.address}: ${this.reason}`
  }
}

/** How long a node that starts waits for a member to answer, in milliseconds; one that does not may be dead or frozen. */
const checkMs = 2_000

/** Fails where a member that answers would not speak with this one. */
const checkMembers = (own: RunnerAddress.RunnerAddress) => {
  const checkMember = Effect.fnUntraced(function* (address: RunnerAddress.RunnerAddress) {
    const port = yield* PeerPort
    yield* port.dial(address).pipe(
      Effect.scoped,
      Effect.timeoutOption(checkMs),
      Effect.catchTag("SocketError", () => Effect.void),
      Effect.catchTag("HandshakeRefused", ({ reason, message }) =>
        reason === "closed"
          ? Effect.void
          : Effect.fail(
              new ClusterMemberIncompatible({ address: `${address.host}:${address.port}`, reason: message })
            )
      )
    )
  })
  return Layer.effectDiscard(
    Effect.gen(function* () {
      const storage = yield* RunnerStorage.RunnerStorage
      const members = yield* Effect.orDie(storage.getRunners)
      const others = members.filter(
        ([{ address }, isHealthy]) => isHealthy && (address.host !== own.host || address.port !== own.port)
      )
      yield* Effect.forEach(others, ([{ address }]) => checkMember(address), { concurrency: "unbounded" })
    })
  ).pipe(Layer.provide(SecureRandom.layerWebCrypto))
}

/** `Sharding` of a member, and its port. Listens at its address, and dies where the locks cannot be reached. */
export const layer = (place: ClusterPlace) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const limits = yield* ClusterConfig
      yield* checkReach(listenAddress(place).host)
      yield* agreeOnPlacement(limits, place.locksUrl)
      const own = RunnerAddress.make(place.host, place.port)
      return withShutdownTimeout(
        SocketRunner.layer.pipe(
          Layer.provide([listener(place), ClusterSocket.layerClientProtocol, health]),
          Layer.provide(checkMembers(own)),
          Layer.provide(common(limits, place.locksUrl, place)),
          Layer.provideMerge(Layer.mergeAll(LockCertainty.layer, ClusterMembers.layer, PeerPort.layer(own)))
        ),
        // By then its locks have gone by themselves. Seen in a node that had been frozen: the connection of its locks
        // was being made anew when it was told to end, and effect waited for that one for ever.
        limits.drainMs + limits.lockExpirationMs,
        "this node's part in the cluster"
      )
    })
  )

/** `Sharding` of a program that only asks. */
export const layerClient = (locksUrl: Redacted.Redacted) =>
  Layer.unwrap(
    Effect.map(ClusterConfig, (limits) =>
      SocketRunner.layerClientOnly.pipe(
        Layer.provide(ClusterSocket.layerClientProtocol),
        Layer.provide(common(limits, locksUrl)),
        Layer.provide(Layer.mergeAll(LockCertainty.layer, ClusterMembers.layer))
      )
    )
  )

/**
 * Bounds the end of a layer: where its finalizers need longer than `endMs` they go on in the background, with a warning.
 * For a layer that only tidies up when it ends, and must not keep a process alive that was told to end.
 */
export const withShutdownTimeout = <A, E, R>(layer: Layer.Layer<A, E, R>, endMs: number, what: string) =>
  Layer.effectContext(
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Effect.addFinalizer((exit) =>
        Effect.gen(function* () {
          const hasEnded = yield* Deferred.make<boolean>()
          // A finalizer cannot be interrupted, so a timeout around it would wait as long as it does.
          yield* Effect.forkDetach(
            Effect.ensuring(Scope.close(scope, exit), Deferred.succeed(hasEnded, true)),
            { startImmediately: true }
          )
          const giveUp = yield* Effect.forkDetach(Effect.delay(Deferred.succeed(hasEnded, false), endMs))
          const isInTime = yield* Deferred.await(hasEnded)
          // Its timer would keep the process of a host alive for as long.
          yield* Fiber.interrupt(giveUp)
          if (!isInTime)
            yield* Effect.logWarning(`${what} did not end within ${endMs} ms; it ends in the background`)
        })
      )
      return yield* Layer.buildWithScope(layer, scope)
    })
  )
