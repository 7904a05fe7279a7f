/** A store that fails, delays, repeats and lies, by a script or by hand. */
import { Effect, Latch } from "effect"
import { genesis, link } from "../../src/domain/HashChain.ts"
import { CommandId } from "../../src/domain/Ids.ts"
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { type Commit, CommitOutcome, StoreUnavailable } from "../../src/infra/eventstore/EventStore.ts"
import type { Store } from "./ledgerWorld.ts"

/** Faults of a commit. */
export const commitFaults = [
  /** Nothing is sent. */
  "notWritten",
  /** It lands, and the answer is lost. */
  "landedUnknown",
  /** It is lost, and no caller learns of it. */
  "lostUnknown",
  /** The answer is lost at once, and it lands some time later, after the next sending maybe. */
  "landsLate",
  /** Takes a while, and nothing is written. */
  "slowNotWritten",
  /** Takes a while before it is sent. */
  "slow",
  /** Takes a while after it has landed. */
  "slowAnswer",
  /** Hangs until released (by hand, or by the clock of the script), then is sent. */
  "hangs",
  /** Another writer appends to its first account just before. */
  "overtaken",
  /** A conflict in which nothing is named: the row in the way is gone again. */
  "unnamedConflict",
  /** Its writer is fenced just before. */
  "fenced",
  /** A defect before anything is sent. */
  "dies",
  /** A defect after it has landed. */
  "diesLanded"
] as const
export type CommitFault = (typeof commitFaults)[number]

/** Faults of any other call. */
export const readFaults = ["unavailable", "slowRead"] as const
export type ReadFault = (typeof readFaults)[number]
export type Fault = CommitFault | ReadFault

export type Method = Exclude<keyof Store, "product" | "scan">

/** One call of the store; `index` counts all calls from 0, `nth` those of the method. */
export interface Call {
  readonly method: Method
  readonly index: number
  readonly nth: number
}
export type Script = (call: Call) => Fault | undefined

const slowMs = 40
const lateMs = 25

const unavailable = new StoreUnavailable({ store: "event store", reason: "a fault of the test" })

export class FaultyStore {
  readonly store: Store
  /** How often each method was called, and each fault injected. */
  readonly calls = new Map<Method, number>()
  readonly injected = new Map<Fault, number>()
  script: Script = () => undefined
  /** How long each commit is on its way, in milliseconds. */
  commitMs = 0
  /** An interruption of a commit waits for the answer, as the contract has it; not where a test ends while one hangs. */
  isUninterruptible = false
  /** Commits that were sent behind one that was still on its way. */
  behind = 0
  /** Events that streams gave. */
  rowsRead = 0
  readonly #inner: Store
  readonly #gates = new Map<Method, Latch.Latch>()
  readonly #answerGates = new Map<Method, Latch.Latch>()
  #held = 0
  #index = 0
  #foreign = 0

  static over(inner: Store, script?: Script): FaultyStore {
    return new FaultyStore(inner, script)
  }

  private constructor(inner: Store, script?: Script) {
    this.#inner = inner
    if (script !== undefined) this.script = script
    this.store = {
      ...inner,
      commit: (commit, mayCommit) => this.#commit(commit, mayCommit),
      readStream: (from) => this.#other("readStream", this.#counted(inner.readStream(from))),
      readStreams: (from, limit) => this.#other("readStreams", this.#counted(inner.readStreams(from, limit))),
      readEvents: (keys) => this.#other("readEvents", inner.readEvents(keys)),
      readHold: (from) => this.#other("readHold", this.#counted(inner.readHold(from))),
      findCommands: (commands) => this.#other("findCommands", inner.findCommands(commands)),
      registerWriter: (writer) => this.#other("registerWriter", inner.registerWriter(writer)),
      heartbeat: (writers) => this.#other("heartbeat", inner.heartbeat(writers)),
      listWriters: this.#other("listWriters", inner.listWriters),
      fenceWriter: (writer) => this.#other("fenceWriter", inner.fenceWriter(writer)),
      readTail: (from) => this.#other("readTail", inner.readTail(from)),
      relayCursors: this.#other("relayCursors", inner.relayCursors),
      moveRelayCursors: (cursors) => this.#other("moveRelayCursors", inner.moveRelayCursors(cursors))
    }
  }

  /** From here on every call of the method waits, until `release`. */
  hold(method: Method): void {
    this.#gates.set(method, Latch.makeUnsafe(false))
  }

  /** From here on every call of the method is made at once, and its answer waits, until `release`. */
  holdAnswers(method: Method): void {
    this.#answerGates.set(method, Latch.makeUnsafe(false))
  }

  /** Lets calls of the method (or all) go on that are held, and holds no more. */
  release(method?: Method): void {
    for (const gates of [this.#gates, this.#answerGates]) {
      for (const [held, gate] of [...gates]) {
        if (method !== undefined && held !== method) continue
        gates.delete(held)
        gate.openUnsafe()
      }
    }
  }

  /** Calls that are being held. */
  held(): number {
    return this.#held
  }

  callsOf(method: Method): number {
    return this.calls.get(method) ?? 0
  }

  #next(method: Method): Fault | undefined {
    const nth = this.callsOf(method)
    this.calls.set(method, nth + 1)
    const fault = this.script({ method, index: this.#index++, nth })
    if (fault !== undefined) this.injected.set(fault, (this.injected.get(fault) ?? 0) + 1)
    return fault
  }

  #counted<A extends ReadonlyArray<unknown>, E>(read: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return Effect.tap(read, (rows) => Effect.sync(() => (this.rowsRead += rows.length)))
  }

  #gate(method: Method, gates = this.#gates): Effect.Effect<void> {
    const gate = gates.get(method)
    if (gate === undefined) return Effect.void
    this.#held++
    return gate.await.pipe(Effect.ensuring(Effect.sync(() => this.#held--)))
  }

  #other<A>(method: Method, call: Effect.Effect<A, StoreUnavailable>): Effect.Effect<A, StoreUnavailable> {
    return Effect.suspend(() => {
      const fault = this.#next(method)
      const sent = Effect.andThen(this.#gate(method), call).pipe(
        Effect.tap(() => this.#gate(method, this.#answerGates))
      )
      if (fault === "unavailable") return Effect.andThen(this.#gate(method), Effect.fail(unavailable))
      return fault === "slowRead" ? Effect.delay(sent, slowMs) : sent
    })
  }

  #commit(commit: Commit, mayCommit: Effect.Effect<boolean> | undefined): Effect.Effect<CommitOutcome> {
    return Effect.suspend(() => {
      const fault = this.#next("commit")
      if (mayCommit !== undefined) this.behind++
      const faulty = Effect.andThen(this.#gate("commit"), this.#meet(fault, commit, mayCommit)).pipe(
        Effect.tap(() => this.#gate("commit", this.#answerGates))
      )
      const sent = this.commitMs === 0 ? faulty : Effect.delay(faulty, this.commitMs)
      return this.isUninterruptible ? Effect.uninterruptible(sent) : sent
    })
  }

  #meet(
    fault: Fault | undefined,
    commit: Commit,
    mayCommit: Effect.Effect<boolean> | undefined
  ): Effect.Effect<CommitOutcome> {
    const send = this.#inner.commit(commit, mayCommit)
    const unknown = CommitOutcome.Unknown({ reason: "a fault of the test" })
    switch (fault) {
      case "notWritten":
        return Effect.succeed(CommitOutcome.NotWritten({ reason: "a fault of the test" }))
      case "landedUnknown":
        return Effect.as(send, unknown)
      case "lostUnknown":
        return Effect.succeed(unknown)
      case "landsLate":
        // It may break a rule when it comes so late that its number was used again: nothing is written then.
        return send.pipe(
          Effect.delay(lateMs),
          Effect.catchDefect(() => Effect.void),
          Effect.forkDetach,
          Effect.as(unknown)
        )
      case "slowNotWritten":
        return Effect.delay(
          Effect.succeed(CommitOutcome.NotWritten({ reason: "a fault of the test" })),
          slowMs
        )
      case "slow":
        return Effect.delay(send, slowMs)
      case "slowAnswer":
        return Effect.tap(send, () => Effect.sleep(slowMs))
      case "hangs":
        return Effect.delay(send, slowMs * 20)
      case "overtaken":
        if (mayCommit === undefined) return Effect.andThen(this.#overtake(commit), send)
        // What it builds upon is there only when it may land itself.
        return this.#inner.commit(
          commit,
          Effect.tap(mayCommit, (may) => (may ? this.#overtake(commit) : Effect.void))
        )
      case "unnamedConflict":
        return Effect.succeed(CommitOutcome.Conflict({ versions: [], commands: [] }))
      case "fenced":
        return Effect.andThen(Effect.orDie(this.#inner.fenceWriter(commit.writerId)), send)
      case "dies":
        return Effect.die(new Error("a defect of the test"))
      case "diesLanded":
        return Effect.andThen(send, Effect.die(new Error("a defect of the test")))
      default:
        return send
    }
  }

  /** Another writer, which believes to own the account, deposits 1 where the commit's first row is to stand. */
  #overtake(commit: Commit): Effect.Effect<void> {
    const first = commit.events.find((event) => event.version > 1)
    if (first === undefined) return Effect.void
    const before = { account: first.accountId, after: first.version - 2, limit: 1 }
    return Effect.gen({ self: this }, function* () {
      const [previous] = yield* Effect.orDie(this.#inner.readStream(before))
      if (previous === undefined || previous.version !== first.version - 1) return
      const id = `foreign-${++this.#foreign}-${commit.writerId.replaceAll(/[^A-Za-z0-9]/g, "-").slice(-40)}`
      const unlinked: Omit<StoredEvent, "hash"> = {
        accountId: first.accountId,
        version: first.version,
        type: "Deposited",
        schemaVersion: 1,
        payload: `{"amount":"1","contra":"external:foreign"}`,
        commandId: CommandId.make(id),
        ordinal: 0,
        commandHash: "foreign",
        recordedAt: previous.recordedAt,
        effectiveAt: null,
        context: null
      }
      const event = { ...unlinked, hash: link(previous.hash ?? genesis, unlinked) }
      yield* Effect.orDie(this.#inner.registerWriter({ writerId: id, node: "foreign", closedAt: 0 }))
      yield* this.#inner.commit({ writerId: id, seq: 1, events: [event] })
    })
  }
}
