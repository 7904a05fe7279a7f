/**
 * The services outside of the nodes: event store, snapshots, bus and read model in memory, each a process of its own, and the faulty
 * ways from a node to them. It also keeps what only an all-seeing judge can know: when each event landed in the log.
 */
import { Effect, Exit, Layer } from "effect"
import { genesis, link } from "../../src/domain/HashChain.ts"
import { CommandId } from "../../src/domain/Ids.ts"
import { partitionOf } from "../../src/domain/Partition.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { Bus, type Delivery } from "../../src/infra/bus/Bus.ts"
import { makeBusMemory } from "../../src/infra/bus/BusMemory.ts"
import {
  type Commit,
  CommitOutcome,
  EventStore,
  StoreUnavailable
} from "../../src/infra/eventstore/EventStore.ts"
import type { SnapshotRow } from "../../src/infra/eventstore/SnapshotRows.ts"
import { Snapshots } from "../../src/infra/eventstore/Snapshots.ts"
import { makeMemory as makeSnapshots } from "../../src/infra/eventstore/SnapshotsMemory.ts"
import { ProjectedSignal, ProjectionWaiters } from "../../src/infra/readmodel/ProjectionWaiters.ts"
import { ReadModel } from "../../src/infra/readmodel/ReadModel.ts"
import { Domain, type Kernel } from "./Kernel.ts"
import { ledgerLimits, limitsLayer } from "./limits.ts"
import type { Noise, Plan } from "./Plan.ts"

/** What a call may take on its way, as a part of the plan's latency. */
const slowMs = 60
/** A commit that lands late does so within this time more. */
const lateMs = 240
/** A node gives a call up after so long, as the drivers of the real stores do. */
const giveUpMs = 120

const reason = "a fault of the simulation"

/** Counts of what happened, by name: the report of what was reached. */
export class Counts {
  readonly all = new Map<string, number>()

  add(what: string, times = 1): void {
    this.all.set(what, (this.all.get(what) ?? 0) + times)
  }
}

/** An event as it stands in the log, and the step of the world in which it came there. */
export interface Landed {
  readonly row: StoredEvent
  readonly step: number
  /** True time then, as a perfect clock would show it. */
  readonly wallMs: number
}

/** Draws whether a message meets a fault, and counts it. */
export class Weather {
  isFair = false
  readonly #kernel: Kernel
  readonly #noise: Plan["noise"]
  readonly #counts: Counts
  readonly #latencyMs: number

  constructor(kernel: Kernel, plan: Plan, counts: Counts) {
    this.#kernel = kernel
    this.#noise = plan.noise
    this.#counts = counts
    this.#latencyMs = plan.latencyMs
  }

  strikes(noise: Noise): boolean {
    const chance = this.#noise[noise]
    if (chance === undefined || this.isFair || !this.#kernel.rng.chance(chance)) return false
    this.#counts.add(`fault ${noise}`)
    return true
  }

  chanceOf(noise: Noise): number {
    return this.isFair ? 0 : (this.#noise[noise] ?? 0)
  }

  latency(): number {
    return this.#kernel.rng.below(this.#latencyMs)
  }
}

export class Outside {
  readonly landed: Array<Landed> = []
  /** Events of which messages were forged, in the read model's accounts, and the step of the first. */
  readonly forged = new Map<string, number>()
  /** Two nodes held one shard for a while: the log stays right, and memory does not (design §7). */
  isSplit = false
  /** Gateways of which some answers are heard only then, and not earlier. */
  readonly answersLateUntil = new Map<Domain, number>()
  /** Rules of the store that a node broke, though its callers may not notice, in words. */
  readonly defects: Array<string> = []
  readonly bus: Domain
  readonly readModel: Domain
  readonly weather: Weather
  readonly store: EventStore["Service"]
  readonly books: ReadModel["Service"]
  readonly #snapshots: Snapshots["Service"]
  readonly #snapshotRows = new Map<string, ReadonlyArray<SnapshotRow>>()
  readonly #messages: Effect.Success<ReturnType<typeof makeBusMemory>>
  readonly #kernel: Kernel
  readonly #counts: Counts
  readonly #hashes = new Map<string, string>()
  #forged = 0
  #lastWriter = ""

  constructor(kernel: Kernel, plan: Plan, counts: Counts) {
    this.#kernel = kernel
    this.#counts = counts
    this.weather = new Weather(kernel, plan, counts)
    this.bus = new Domain(kernel, "bus", plan.seed + 1)
    this.readModel = new Domain(kernel, "read model", plan.seed + 2)
    const built = buildNow(
      Effect.gen(function* () {
        return { store: yield* EventStore, snapshots: yield* Snapshots, books: yield* ReadModel }
      }).pipe(
        Effect.provide(
          Layer.mergeAll(
            EventStore.layerMemory,
            Layer.effect(Snapshots, makeSnapshots(this.#snapshotRows)),
            ReadModel.layerMemory
          ).pipe(Layer.provideMerge(ProjectionWaiters.layer))
        ),
        Effect.provide(limitsLayer),
        Effect.scoped
      ),
      this.readModel
    )
    // The bus draws these itself.
    for (const noise of ["busLoses", "busRepeats", "busShuffles"] as const)
      if (plan.noise[noise] !== undefined) counts.add(`world with ${noise}`)
    this.store = this.#witnessed(built.store)
    this.#snapshots = built.snapshots
    this.books = built.books
    const { weather } = this
    this.#messages = buildNow(
      makeBusMemory({
        isAway: () => weather.strikes("busUnavailable"),
        get loses() {
          return weather.chanceOf("busLoses")
        },
        get repeats() {
          return weather.chanceOf("busRepeats")
        },
        get shuffles() {
          return weather.chanceOf("busShuffles")
        }
      }).pipe(Effect.provide(limitsLayer)),
      this.bus
    )
  }

  /** Wherever a commit lands, late or twice, the judge learns the step. */
  #witnessed(inner: EventStore["Service"]): EventStore["Service"] {
    const known = new Set<string>()
    return {
      ...inner,
      commit: (commit, mayCommit) =>
        inner.commit(commit, mayCommit).pipe(
          Effect.tap((outcome) =>
            Effect.sync(() => {
              this.#counts.add(`commit ${outcome._tag}`)
              if (outcome._tag !== "Committed") return
              this.#lastWriter = commit.writerId
              for (const row of commit.events) {
                if (known.has(row.hash)) continue
                known.add(row.hash)
                this.#hashes.set(`${row.accountId}@${row.version}`, row.hash)
                if (row.type === "HoldExpired") this.#counts.add("path notice of an expired hold")
                this.landed.push({ row, step: this.#kernel.steps, wallMs: this.bus.wall() })
                this.#kernel.note(row.hash)
              }
            })
          )
        )
    }
  }

  /** What a node of this domain sees; its calls reach the event store through a gateway of its own. */
  layerFor(node: Domain, gateway: Domain) {
    return Layer.mergeAll(
      Layer.succeed(EventStore, this.#storeFor(node, gateway)),
      Layer.succeed(Snapshots, this.#snapshotsFor(node, gateway)),
      Layer.succeed(Bus, this.#busFor(node)),
      Layer.effect(
        ReadModel,
        Effect.map(ProjectedSignal, (signal) => this.#readModelFor(node, signal))
      )
    ).pipe(Layer.provideMerge(ProjectionWaiters.layer))
  }

  #call<A>(
    node: Domain,
    to: Domain,
    store: StoreUnavailable["store"],
    noise: { readonly fails: Noise; readonly slow?: Noise | undefined },
    call: Effect.Effect<A, StoreUnavailable>
  ): Effect.Effect<A, StoreUnavailable> {
    const failed = Effect.fail(new StoreUnavailable({ store, reason }))
    return Effect.suspend(() => {
      if (this.weather.strikes(noise.fails)) return Effect.delay(failed, this.weather.latency())
      const extraMs = noise.slow !== undefined && this.weather.strikes(noise.slow) ? this.#slowMs() : 0
      // What is answered late was read before others wrote; what is asked late, afterwards.
      const isLateAnswer = extraMs > 0 && this.#kernel.rng.chance(0.5)
      return node.ask(to, call, {
        outMs: this.weather.latency() + (isLateAnswer ? 0 : extraMs),
        backMs: this.weather.latency() + (isLateAnswer ? extraMs : 0),
        cut: failed,
        giveUpMs,
        late: failed
      })
    })
  }

  /** A reading whose answer may be held back. */
  #heard<A>(
    node: Domain,
    gateway: Domain,
    read: Effect.Effect<A, StoreUnavailable>
  ): Effect.Effect<A, StoreUnavailable> {
    const usual = this.#call(
      node,
      gateway,
      "event store",
      { fails: "storeUnavailable", slow: "storeSlow" },
      read
    )
    const failed = Effect.fail(new StoreUnavailable({ store: "event store", reason }))
    return Effect.suspend(() => {
      const backMs = (this.answersLateUntil.get(gateway) ?? 0) - this.#kernel.now
      if (backMs <= 0 || this.weather.isFair || this.#kernel.rng.chance(0.2)) return usual
      return node.ask(gateway, read, { outMs: this.weather.latency(), backMs, cut: failed })
    })
  }

  #slowMs(): number {
    return slowMs + this.#kernel.rng.below(giveUpMs - slowMs)
  }

  #storeFor(node: Domain, gateway: Domain): EventStore["Service"] {
    const { store } = this
    const call = <A>(effect: Effect.Effect<A, StoreUnavailable>) =>
      this.#call(node, gateway, "event store", { fails: "storeUnavailable", slow: "storeSlow" }, effect)
    return {
      ...store,
      finishWriters: (writers) => call(store.finishWriters(writers)),
      lastFinished: call(store.lastFinished),
      finishedWriters: (page) => call(store.finishedWriters(page)),
      registeredWriters: (writers) => call(store.registeredWriters(writers)),
      commit: (commit, mayCommit) => Effect.uninterruptible(this.#commit(node, gateway, commit, mayCommit)),
      readStream: (from) => this.#heard(node, gateway, store.readStream(from)),
      readStreams: (from, limit) => this.#heard(node, gateway, store.readStreams(from, limit)),
      readEvents: (keys) => call(store.readEvents(keys)),
      readHold: (from) => call(store.readHold(from)),
      findCommands: (commands) => call(store.findCommands(commands)),
      scan: (page) => call(store.scan(page)),
      registerWriter: (writer) => call(store.registerWriter(writer)),
      heartbeat: (writers) => call(store.heartbeat(writers)),
      listWriters: call(store.listWriters),
      fenceWriter: (writer) =>
        Effect.tap(call(store.fenceWriter(writer)), () => Effect.sync(() => this.#counts.add("path fence"))),
      readTail: (from) => call(store.readTail(from)),
      relayCursors: call(store.relayCursors),
      moveRelayCursors: (cursors) => call(store.moveRelayCursors(cursors))
    }
  }

  #commit(
    node: Domain,
    gateway: Domain,
    commit: Commit,
    mayCommit: Effect.Effect<boolean> | undefined
  ): Effect.Effect<CommitOutcome> {
    const { weather } = this
    const unknown = CommitOutcome.Unknown({ reason })
    return Effect.suspend(() => {
      if (weather.strikes("commitNotWritten"))
        return Effect.delay(Effect.succeed(CommitOutcome.NotWritten({ reason })), weather.latency())
      if (weather.strikes("commitLostUnknown"))
        return Effect.delay(Effect.succeed(unknown), weather.latency())
      if (mayCommit !== undefined) this.#counts.add("path chained batch")
      // The transaction is open in the store, and the node says whether it may commit.
      const asked =
        mayCommit === undefined
          ? undefined
          : gateway.ask(node, mayCommit, {
              outMs: weather.latency(),
              backMs: weather.latency(),
              cut: Effect.succeed(false)
            })
      const sent = Effect.tap(this.store.commit(commit, asked), ({ _tag }) =>
        Effect.sync(() => {
          if (!node.isAlive) this.#counts.add(`path commit of a node that is gone: ${_tag}`)
        })
      )
      if (weather.strikes("commitLandsLate")) {
        this.#kernel.after(slowMs + this.#kernel.rng.below(lateMs), () =>
          gateway.post(() => gateway.fork(Effect.catchDefect(sent, () => Effect.void)))
        )
        return Effect.delay(Effect.succeed(unknown), weather.latency())
      }
      const way = {
        outMs: weather.latency() + (weather.strikes("commitSlow") ? slowMs : 0),
        backMs: weather.latency(),
        cut: Effect.succeed(unknown),
        giveUpMs,
        late: Effect.succeed(unknown)
      }
      // What the store says of a sending that its node has given up is heard by no one, and may come after the number was used.
      const answered = Effect.tapDefect(node.ask(gateway, sent, way), (defect) =>
        Effect.sync(() => this.defects.push(`the store answered a node with a defect: ${defect}`))
      )
      return weather.strikes("commitLandedUnknown") ? Effect.as(answered, unknown) : answered
    })
  }

  #snapshotsFor(node: Domain, gateway: Domain): Snapshots["Service"] {
    const inner = this.#snapshots
    const call = <A>(effect: Effect.Effect<A, StoreUnavailable>) =>
      this.#call(node, gateway, "event store", { fails: "snapshotUnavailable" }, effect)
    return {
      latest: (accounts) => call(inner.latest(accounts)),
      before: (account, bound) => call(inner.before(account, bound)),
      list: (page) => call(inner.list(page)),
      save: (heads) => call(inner.save(heads)),
      drop: (heads) => call(inner.drop(heads))
    }
  }

  #busFor(node: Domain): Bus["Service"] {
    const { bus } = this.#messages
    const call = <A>(effect: Effect.Effect<A, StoreUnavailable>) =>
      this.#call(node, this.bus, "bus", { fails: "busUnavailable" }, effect)
    const post = (act: () => void) => {
      if (this.weather.strikes("ackLost")) return
      this.#kernel.after(this.weather.latency(), () => this.bus.post(act))
    }
    const seenBy = (delivery: Delivery): Delivery => ({
      ...delivery,
      ackUnsafe: () => post(delivery.ackUnsafe),
      nakUnsafe: () => post(delivery.nakUnsafe)
    })
    return {
      publish: (messages) => call(bus.publish(messages)),
      subscribe: (consumer) =>
        Effect.map(call(Effect.scoped(bus.subscribe(consumer))), (subscription) => ({
          take: (accept) =>
            Effect.map(
              node.ask(this.bus, subscription.take(accept), {
                outMs: this.weather.latency(),
                backMs: this.weather.latency(),
                cut: Effect.fail(new StoreUnavailable({ store: "bus", reason }))
              }),
              (deliveries) => deliveries.map(seenBy)
            )
        })),
      isConnectedUnsafe: () => true
    }
  }

  #readModelFor(node: Domain, signal: ProjectedSignal["Service"]): ReadModel["Service"] {
    const { books } = this
    const call = <A, E>(effect: Effect.Effect<A, E | StoreUnavailable>) => {
      // What the read model refuses for a reason of its own comes back as a value, so that one call serves all.
      const asked = this.#call(
        node,
        this.readModel,
        "read model",
        { fails: "readModelUnavailable", slow: "readModelSlow" },
        Effect.exit(effect)
      )
      return Effect.flatMap(asked, (exit) => exit)
    }
    const written = <E>(
      effect: Effect.Effect<boolean, E | StoreUnavailable>,
      batch: Parameters<typeof books.apply>[0]
    ) =>
      Effect.flatMap(call(effect), (isWritten) => {
        if (isWritten && this.weather.strikes("readModelAppliedUnknown"))
          return Effect.fail(new StoreUnavailable({ store: "read model", reason }))
        if (isWritten) {
          for (const { head } of batch.moves) signal.reachedUnsafe(head.account.id, head.account.version)
        }
        return Effect.succeed(isWritten)
      })
    return {
      look: (accounts) => call(books.look(accounts)),
      apply: (batch) => written(books.apply(batch), batch),
      reload: (held, partition, batch) => {
        this.#counts.add("path reload of a diverged row")
        return written(books.reload(held, partition, batch), batch)
      },
      heldHeads: (page) => call(books.heldHeads(page)),
      checkpoints: call(books.checkpoints),
      behind: (positions) => call(books.behind(positions)),
      swept: call(books.swept),
      moveSwept: (writer, from, to, generation) => call(books.moveSwept(writer, from, to, generation)),
      forgetSwept: (writers, generation) => call(books.forgetSwept(writers, generation)),
      parked: call(books.parked),
      firstParked: (limit, beginning) => call(books.firstParked(limit, beginning)),
      parkedAmong: (accounts) => call(books.parkedAmong(accounts)),
      parkedNow: (known) => call(books.parkedNow(known)),
      park: (parked) => {
        this.#counts.add("path account parked")
        return call(books.park(parked))
      },
      beginRelease: (accounts) => call(books.beginRelease(accounts)),
      unpark: (accounts) => call(books.unpark(accounts)),
      skipped: call(books.skipped),
      heads: (accounts) => call(books.heads(accounts)),
      versions: (accounts) => call(books.versions(accounts)),
      accounts: (page) => call(books.accounts(page)),
      statement: (query) => call(books.statement(query)),
      transfer: (id) => call(books.transfer(id)),
      holds: (query) => call(books.holds(query)),
      holdsByExpiry: (query) => call(books.holdsByExpiry(query)),
      expiringHolds: (query) => call(books.expiringHolds(query)),
      sum: (query) => call(books.sum(query)),
      declaredSums: call(books.declaredSums),
      declareSums: (prefixes) => call(books.declareSums(prefixes)),
      settleSum: (prefix) => call(books.settleSum(prefix)),
      contras: call(books.contras),
      trialBalance: call(books.trialBalance),
      trialBalanceAt: (instant) => call(books.trialBalanceAt(instant)),
      frozen: books.frozen
    }
  }

  /** A message on the bus that no node has sent: an event that continues the account's chain, and is not in the log. */
  forge(account: string, isAhead: boolean): void {
    const rows = this.landed.filter(({ row }) => row.accountId === account).map(({ row }) => row)
    const upTo = isAhead ? rows.length : Math.max(1, rows.length - 1)
    const before = rows[upTo - 1]
    if (before === undefined) return
    if (!this.forged.has(account)) this.forged.set(account, this.#kernel.steps)
    const id = `forged-${++this.#forged}`
    const unlinked: Omit<StoredEvent, "hash"> = {
      accountId: before.accountId,
      version: before.version + 1,
      type: "Deposited",
      schemaVersion: 1,
      payload: '{"amount":"1000000","contra":"external:forged"}',
      commandId: CommandId.make(id),
      ordinal: 0,
      commandHash: "forged",
      recordedAt: before.recordedAt,
      effectiveAt: null,
      context: null
    }
    const event = { ...unlinked, hash: link(before.hash ?? genesis, unlinked) }
    const { bus } = this.#messages
    const message = {
      partition: partitionOf(before.accountId, partitions),
      // That of a writer which the log knows: others are ignored.
      parts: [{ writerId: this.#lastWriter, seq: 10_000 + this.#forged, part: 0, events: [event] }]
    }
    this.bus.post(() => this.bus.fork(Effect.ignore(bus.publish([message]))))
  }

  /** The version and hash at which each row of the balances stands, seen without any way in between. */
  rowsOfBooks(): ReadonlyMap<string, { readonly version: number; readonly hash: string }> {
    const rows = buildNow(this.books.accounts({ after: "", limit: 1_000 }), this.readModel)
    return new Map(rows.map(({ account, hash }) => [account.id, { version: account.version, hash }]))
  }

  /** The sums of declared prefixes that are not what their accounts come to. */
  wrongSums(): ReadonlyArray<string> {
    const lacking = Effect.scoped(Effect.flatMap(this.books.frozen, ({ lackOfSums }) => lackOfSums))
    return buildNow(lacking, this.readModel).map(
      ({ prefix, asset, balance, accounts }) =>
        `the sum of ${prefix} lacks ${balance} of ${asset}, of ${accounts} accounts`
    )
  }

  /** Up to which instants the writers that are not fenced say that they are closed. */
  closedInstants(): ReadonlyArray<number> {
    return buildNow(this.store.listWriters, this.readModel).flatMap(({ closedAt, fenced }) =>
      fenced ? [] : [closedAt]
    )
  }

  /** Accounts that the read model does not move any more, until they are healed. */
  parkedInBooks(): ReadonlyArray<string> {
    return buildNow(this.books.parked, this.readModel).map(({ account }) => account)
  }

  /** The hash of an event in the log; undefined where there is none. */
  hashAt(account: string, version: number): string | undefined {
    return this.#hashes.get(`${account}@${version}`)
  }

  /** Makes the latest snapshot of an account a richer one. */
  changeSnapshot(account: string): void {
    const rows = this.#snapshotRows.get(account)
    const last = rows?.at(-1)
    if (rows === undefined || last === undefined) return
    this.#counts.add("path snapshot changed")
    const state = last.state.replace(/"balance":"-?\d+"/, '"balance":"1000000"')
    this.#snapshotRows.set(account, [...rows.slice(0, -1), { ...last, state }])
  }

  wipeBus(): void {
    this.bus.post(() => this.#messages.wipeUnsafe())
  }
}

const { partitions } = ledgerLimits

/** What is built without waiting for anything. */
const buildNow = <A, E>(effect: Effect.Effect<A, E>, domain: Domain): A => {
  const exit = domain.fork(effect).pollUnsafe()
  if (exit === undefined || Exit.isFailure(exit)) throw new Error(`${domain.name} could not be built`)
  return exit.value
}
