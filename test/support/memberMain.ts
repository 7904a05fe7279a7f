/** Run as a process: the write side of one node of a cluster, which sends commands and storms when it is told to. */
import { Cause, Effect, Layer, Logger, ManagedRuntime, Redacted, References, Result } from "effect"
import { Placement } from "../../src/actors/accounts/Placement.ts"
import * as ClusterMember from "../../src/actors/cluster/ClusterMember.ts"
import { PeerFormIdentity } from "../../src/actors/cluster/PeerCodec.ts"
import { Dispatcher } from "../../src/actors/commands/Dispatcher.ts"
import { fromJson } from "../../src/domain/Command.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import { PeerProtocol, type ProtocolVersions } from "../../src/infra/cluster/PeerHandshake.ts"
import {
  ClusterConfig,
  type ClusterLimits,
  defaultClusterLimits
} from "../../src/infra/config/ClusterConfig.ts"
import { ClusterSecurity } from "../../src/infra/config/ClusterSecurity.ts"
import { defaultLimits, LedgerConfig, type LedgerLimits } from "../../src/infra/config/LedgerConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { EventStoreClient } from "../../src/infra/eventstore/SqlClients.ts"
import { writeSide } from "../../src/LedgerNode.ts"
import type { Attempt } from "./invariants.ts"
import { deposit, toCommand, transfer } from "./ledgerWorld.ts"
import { Rng } from "./Rng.ts"

export interface MemberOptions {
  readonly eventStoreUrl: string
  readonly locksUrl: string
  readonly name: string
  readonly port: number
  readonly limits?: Partial<LedgerLimits>
  readonly cluster?: Partial<ClusterLimits>
  /** The versions of the nodes' protocol that it speaks, and the form of its messages: those of another program. */
  readonly protocol?: ProtocolVersions
  readonly form?: string
  /** The secret of the cluster. */
  readonly secret?: string
}

/** Transfers between accounts `prefix0` … for so long: to the next in a ring of five or back, or between any two. */
export interface Storm {
  readonly prefix: string
  /** Begins their command ids, where that is not `prefix`. */
  readonly ids?: string
  readonly accounts: number
  readonly shape: "rings" | "pairs"
  readonly seconds: number
  readonly concurrency: number
  readonly seed: number
  /** Ends it after so many commands of each client, in place of `seconds`. */
  readonly commandsEach?: number
  /** Only from accounts that the node owns, as callers that know the owner give them. */
  readonly ownedOnly?: boolean
}

/** Deposits, one a call, to these accounts in turn, for so long. */
export interface Deposits {
  readonly accounts: ReadonlyArray<string>
  readonly seconds: number
  readonly concurrency: number
}

export interface StormResult {
  /** `start` and `end` are nanoseconds of the machine's clock. */
  readonly attempts: ReadonlyArray<Attempt>
  /** Transfers of 1 that were refused for want of funds. */
  readonly refused: ReadonlyArray<{ readonly commandId: string; readonly from: string; readonly to: string }>
  readonly latenciesMs: ReadonlyArray<number>
}

export type Question =
  | { readonly _tag: "Send"; readonly commands: ReadonlyArray<Readonly<Record<string, unknown>>> }
  | { readonly _tag: "Storm"; readonly storm: Storm }
  | { readonly _tag: "Deposits"; readonly deposits: Deposits }
  | { readonly _tag: "Head"; readonly account: string }
  | { readonly _tag: "Owns"; readonly account: string }
  | { readonly _tag: "Nodes" }
  | { readonly _tag: "Stats" }

/** Accounts drawn for one that the node owns, at most: it may own none for a moment. */
const drawsMax = 200

/** One clock for all processes of the machine. */
const now = (): number => Number(process.hrtime.bigint())

const answerOf = (result: Result.Result<Attempt["answer"], { readonly _tag: string }>): Attempt["answer"] =>
  Result.isSuccess(result) ? result.success : result.failure._tag

const storm = (options: Storm) =>
  Effect.gen(function* () {
    const {
      prefix,
      ids = prefix,
      accounts,
      shape,
      seconds,
      concurrency,
      seed,
      commandsEach,
      ownedOnly
    } = options
    const dispatcher = yield* Dispatcher
    const { owns } = dispatcher.localNode
    const isSource = (from: number) => ownedOnly !== true || owns(`${prefix}${from}` as AccountId) // ids of tests are valid
    const attempts: Array<Attempt> = []
    const refused: Array<StormResult["refused"][number]> = []
    const latenciesMs: Array<number> = []
    const end = now() + seconds * 1e9
    const client = (index: number) =>
      Effect.gen(function* () {
        const rng = new Rng(seed * 1_000 + index)
        for (let nth = 0; commandsEach === undefined ? now() < end : nth < commandsEach; nth++) {
          let from = rng.below(accounts)
          for (let draws = 1; draws < drawsMax && !isSource(from); draws++) from = rng.below(accounts)
          const ring = Math.floor(from / 5) * 5
          const to =
            shape === "rings"
              ? ring + ((from - ring + (rng.chance(0.5) ? 1 : 4)) % 5)
              : (from + 1 + rng.below(accounts - 1)) % accounts
          const commandId = `${ids}-${seed}-${index}-${nth}`
          const command = toCommand(transfer(`${prefix}${from}`, `${prefix}${to}`, 1n, commandId))
          for (let sending = 0; sending < 10; sending++) {
            const start = now()
            const result = yield* Effect.result(dispatcher.dispatch(command))
            const finish = now()
            attempts.push({ commandId, start, end: finish, answer: answerOf(result) })
            if (Result.isFailure(result) && result.failure._tag === "InsufficientFunds")
              refused.push({ commandId, from: `${prefix}${from}`, to: `${prefix}${to}` })
            latenciesMs.push((finish - start) / 1e6)
            if (Result.isSuccess(result) || result.failure._tag === "InsufficientFunds") break
            yield* Effect.sleep(20)
          }
        }
      })
    yield* Effect.forEach(Array.from({ length: concurrency }), (_, index) => client(index), {
      concurrency: "unbounded"
    })
    return { attempts, refused, latenciesMs } satisfies StormResult
  })

const deposits = ({ accounts, seconds, concurrency }: Deposits) =>
  Effect.gen(function* () {
    const dispatcher = yield* Dispatcher
    const latenciesMs: Array<number> = []
    const begin = now()
    const end = begin + seconds * 1e9
    const client = (index: number) =>
      Effect.gen(function* () {
        for (let nth = index; now() < end; nth += concurrency) {
          const account = accounts[nth % accounts.length] ?? ""
          const command = toCommand(deposit(account, 1n, `${options.name}-${begin}-${index}-${nth}`))
          const start = now()
          yield* dispatcher.dispatch(command)
          latenciesMs.push((now() - start) / 1e6)
        }
      })
    yield* Effect.forEach(Array.from({ length: concurrency }), (_, index) => client(index), {
      concurrency: "unbounded"
    })
    return latenciesMs
  })

const options = JSON.parse(process.argv[2] ?? "{}") as MemberOptions // written by members.ts
const url = Redacted.make(options.eventStoreUrl)
const stores = Layer.mergeAll(EventStore.layer, Snapshots.layer).pipe(
  Layer.provide(EventStoreClient.layer(url))
)
/** The write side alone: what the read side does is the same in a cluster. */
const node = writeSide(options.name).pipe(Layer.provide(stores))
const runtime = ManagedRuntime.make(
  ClusterMember.member(options.name, {
    host: "127.0.0.1",
    port: options.port,
    locksUrl: Redacted.make(options.locksUrl)
  })(node).pipe(
    Layer.provide([
      Layer.succeed(LedgerConfig, { ...defaultLimits, ...options.limits }),
      Layer.succeed(ClusterConfig, { ...defaultClusterLimits, ...options.cluster }),
      options.protocol === undefined ? Layer.empty : Layer.succeed(PeerProtocol, options.protocol),
      options.secret === undefined
        ? Layer.empty
        : Layer.succeed(ClusterSecurity, { secret: Redacted.make(options.secret), tls: undefined }),
      options.form === undefined ? Layer.empty : Layer.succeed(PeerFormIdentity, options.form)
    ]),
    Layer.provideMerge(
      Layer.mergeAll(
        Layer.succeed(Logger.LogToStderr, true),
        Layer.succeed(References.MinimumLogLevel, process.env.MEMBER_LOG === undefined ? "Fatal" : "Debug")
      )
    )
  )
)

const answer = (question: Question) =>
  Effect.gen(function* () {
    const dispatcher = yield* Dispatcher
    switch (question._tag) {
      case "Send": {
        const commands = question.commands.map((command) => Result.getOrThrow(fromJson(command)))
        const start = now()
        const results = yield* dispatcher.dispatchMany(commands)
        const end = now()
        return results.map((result, nth) => ({
          commandId: commands[nth]?.commandId ?? "",
          start,
          end,
          answer: answerOf(result)
        }))
      }
      case "Storm":
        return yield* storm(question.storm)
      case "Deposits":
        return yield* deposits(question.deposits)
      case "Head": {
        const { account } = (yield* dispatcher.head(question.account as AccountId)).head // ids of tests are valid
        return { version: account.version, balance: String(account._tag === "Opened" ? account.balance : 0n) }
      }
      case "Owns":
        return dispatcher.localNode.owns(question.account as AccountId) // as above
      case "Nodes": {
        const placement = yield* Placement
        return { owned: placement.ownedShards().owned, others: placement.others() }
      }
      case "Stats": {
        const { user, system } = process.cpuUsage()
        return {
          ...dispatcher.stats(),
          ...dispatcher.localNode.leases(),
          cpuMs: (user + system) / 1_000,
          rssBytes: process.memoryUsage().rss,
          sockets: process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length
        }
      }
    }
  })

process.on("message", ({ id, question }: { readonly id: number; readonly question: Question }) => {
  runtime
    .runPromise(
      Effect.result(Effect.catchCause(answer(question), (cause) => Effect.fail(Cause.pretty(cause))))
    )
    .then(
      (result) => {
        process.send?.(
          Result.isSuccess(result) ? { id, value: result.success } : { id, error: String(result.failure) }
        )
      },
      // Interrupted by the end of this process, which would be a crash in the middle of it if nothing took the error.
      (error: unknown) => process.send?.({ id, error: String(error) })
    )
})

const stop = () => {
  void runtime.dispose().finally(() => process.exit(0))
}
process.on("SIGTERM", stop)
// A test that is killed leaves no process behind.
process.on("disconnect", () => process.exit(1))

runtime.runPromise(Dispatcher).then(
  () => process.send?.({ ready: true }),
  (error: unknown) => {
    console.error(error)
    process.exit(1)
  }
)
