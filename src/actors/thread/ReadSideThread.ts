/**
 * The commands' end of the two threads: keeps a thread alive that runs the read side, hands it the commits of this node,
 * and wakes the queries that wait for what it projects. The thread of the commands never waits for it: where it is away,
 * the feed of commits drops what does not fit, and the next life of the thread reads that from the log.
 */
import type * as WorkerThreads from "node:worker_threads"
import * as NodeWorker from "@effect/platform-node/NodeWorker"
import {
  Cause,
  Clock,
  Context,
  Data,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Latch,
  Layer,
  Option,
  Scope
} from "effect"
import * as Worker from "effect/workers/Worker"
import type { WorkerError } from "effect/workers/WorkerError"
import { encodeCommits } from "../../infra/bus/BusMessage.ts"
import { elapsedMsUnsafe } from "../../infra/config/Elapsed.ts"
import { forgetOldest } from "../../infra/config/ForgetOldest.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { ReadSideConfig } from "../../infra/config/ReadSideConfig.ts"
import type { Commit, WriterId } from "../../infra/eventstore/EventStore.ts"
import {
  makeHurriedPause,
  ProjectedSignal,
  ProjectionWaiters
} from "../../infra/readmodel/ProjectionWaiters.ts"
import { added, CommitFeed, nothing, type Size } from "../commit/CommitFeed.ts"
import { Completeness } from "../projections/Completeness.ts"
import { ProjectionRegistry } from "../projections/ProjectionRegistry.ts"
import { ReadSideThreadStatus, type ThreadStatus } from "../projections/ThreadStatus.ts"
import { Relay, type RelayStatus } from "../relay/Relay.ts"
import { type Singleton, Singletons } from "../relay/Singletons.ts"
import { reasonOf, supervise } from "../relay/Supervisor.ts"
import { lookMs, runawayReason, suspiciousBeats } from "./HeapWatch.ts"
import {
  beatMs,
  type FromReadSide,
  type ReadSideBeat,
  type ReadSideStatus,
  type ToReadSide,
  toldOfThrown
} from "./ThreadMessages.ts"

/** A thread that has given no sign of life for so long is said to hang, in milliseconds; well below two seconds. */
const silentMs = 1_500
/** After so long without a death, the next one is followed by a short pause again. */
const steadyMs = 10_000
/** A thread may take twice as long to start as the one before it that did not, so often: on a machine with much to do none would. */
const startDoublingsMax = 4
/** Writers whose last commit is remembered for the next life of the thread; older ones are fenced, and found as orphans. */
const writersMax = 100

class ThreadEnded extends Data.TaggedError("ThreadEnded")<{
  /** For all who may ask how the node is: not where a database or a file is. */
  readonly reason: string
  /** All that is known, for logs; the reason, where it is undefined. */
  readonly detail?: string
}> {
  override get message() {
    return this.detail ?? this.reason
  }
}

/** The reason that is told where only the log may say why the thread ended. */
const untold = "it failed, at what its log says"

const endedBy = ({ reason }: WorkerError): ThreadEnded => {
  const { cause } = reason
  return cause instanceof Error
    ? new ThreadEnded({ reason: toldOfThrown(cause) ?? untold, detail: cause.message })
    : new ThreadEnded({ reason: reason.message })
}

const noRelay: RelayStatus = {
  events: 0,
  eventsFromStore: 0,
  isOwned: false,
  isBusConnected: false,
  unpublished: 0,
  lastError: undefined,
  restarts: 0
}

/** What is known of the thread. */
const makeThreadState = Effect.gen(function* () {
  const clock = yield* Clock.Clock
  const nowMs = () => elapsedMsUnsafe(clock)
  let state: ThreadStatus["state"] = "starting"
  let heardAtMs = nowMs()
  let startedAtMs = heardAtMs
  let restarts = 0
  /** Threads in a row that ended before they had started. */
  let unstarted = 0
  let lastEnd: string | undefined
  let beat: ReadSideBeat | undefined
  let status: ReadSideStatus | undefined
  const silence = () => nowMs() - heardAtMs
  return {
    beatUnsafe: () => beat,
    /** As it said last; undefined before it did. */
    readSideUnsafe: () => status,
    beginUnsafe: (): void => {
      state = "starting"
      heardAtMs = nowMs()
      startedAtMs = heardAtMs
    },
    hearUnsafe: (one: ReadSideBeat): void => {
      beat = one
      // By the same program, from the same interface.
      if (one.status !== undefined) status = JSON.parse(one.status) as ReadSideStatus
      state = "up"
      unstarted = 0
      heardAtMs = nowMs()
    },
    endUnsafe: (reason: string): void => {
      if (state === "starting") unstarted++
      state = "down"
      lastEnd = reason
      restarts++
    },
    isUpUnsafe: () => state === "up",
    unstartedUnsafe: () => unstarted,
    /** It gives signs of life. */
    isHeardUnsafe: () => state === "up" && silence() <= silentMs,
    silenceUnsafe: silence,
    livedMsUnsafe: () => nowMs() - startedAtMs,
    statusUnsafe: (): ThreadStatus => {
      const silent = Math.round(silence())
      return {
        state: state === "up" && silent > silentMs ? "silent" : state,
        silentMs: silent,
        restarts,
        lastEnd,
        heapBytes: beat?.heapBytes ?? 0,
        cpuSeconds: beat?.cpuSeconds
      }
    }
  }
})

type ThreadState = Effect.Success<typeof makeThreadState>

/** What is to be posted, in order; the pump of the thread's present life posts all of one turn of the event loop at once. */
const makeOutbox = () => {
  const wake = Latch.makeUnsafe(false)
  let waiting: Array<ToReadSide> = []
  return {
    postUnsafe: (message: ToReadSide): void => {
      waiting.push(message)
      wake.openUnsafe()
    },
    clearUnsafe: (): void => {
      waiting = []
      wake.closeUnsafe()
    },
    take: Effect.map(wake.await, () => {
      const taken = waiting
      waiting = []
      wake.closeUnsafe()
      return taken
    })
  }
}

type Outbox = ReturnType<typeof makeOutbox>

/**
 * Waits, once there is something, for more to come with it: four fifths of the budget of lag, of which the projectors wait out the rest. A
 * message to the other thread, and one of the bus for each partition, cost about the same for one commit as for many.
 */
const makeGathering = Effect.gen(function* () {
  const feed = yield* CommitFeed
  const { lagBudgetMs } = yield* ReadSideConfig
  const { pause } = yield* makeHurriedPause(yield* ProjectedSignal)
  return Effect.andThen(feed.awaitSome, pause((lagBudgetMs * 4) / 5))
})

/**
 * What is handed over by one message, about: to make one of twenty thousand events, or of ten megabytes, takes this thread 40 ms, in which no
 * command is decided.
 */
const handedOverMax: Size = { events: 1_000, bytes: 1_000_000 }

const isFull = (size: Size, most: Size): boolean => size.events >= most.events || size.bytes >= most.bytes

/** The same commits, of these sizes, in the same order, in pieces of about that size. */
const piecesOf = (
  commits: ReadonlyArray<Commit>,
  sizes: ReadonlyArray<Size>
): ReadonlyArray<ReadonlyArray<Commit>> => {
  const pieces: Array<Array<Commit>> = []
  let piece = handedOverMax
  for (const [index, commit] of commits.entries()) {
    if (isFull(piece, handedOverMax)) {
      pieces.push([])
      piece = nothing
    }
    pieces.at(-1)?.push(commit)
    piece = added(piece, sizes[index] ?? nothing)
  }
  return pieces
}

/** Hands over the commits of this node: no more than a feed holds that the relay has not taken. */
const makeCommitPump = Effect.gen(function* () {
  const feed = yield* CommitFeed
  const { feedBytesMax, feedEventsMax } = yield* ReadSideConfig
  const most: Size = { events: feedEventsMax, bytes: feedBytesMax }
  const gather = yield* makeGathering
  const room = Latch.makeUnsafe(true)
  /** The last commit of each writer that was handed over, the longest unused first. */
  const handedOver = new Map<WriterId, number>()
  let outstanding = nothing

  const note = (writer: WriterId, seq: number): void => {
    const last = Math.max(seq, handedOver.get(writer) ?? 0)
    handedOver.delete(writer)
    handedOver.set(writer, last)
    forgetOldest(handedOver, writersMax)
  }
  /** Commits are noted before they are sent: if the thread ends meanwhile, its next life reads them from the log. */
  const sendAll = Effect.fnUntraced(function* <E>(send: (message: ToReadSide) => Effect.Effect<void, E>) {
    const { commits, sizes, dropped } = yield* feed.takeAll
    for (const commit of commits) note(commit.writerId, commit.seq)
    outstanding = sizes.reduce(added, outstanding)
    for (const [writer, seq] of dropped) note(writer, seq)
    if (isFull(outstanding, most)) room.closeUnsafe()
    for (const [index, piece] of piecesOf(commits, sizes).entries()) {
      if (index > 0) yield* Effect.yieldNow
      yield* send({ _tag: "Commits", commits: encodeCommits(piece), missed: [] })
    }
    // After them: what was dropped came later, but for a large commit before smaller ones that found room.
    if (dropped.size > 0) yield* send({ _tag: "Commits", commits: encodeCommits([]), missed: [...dropped] })
  })
  return {
    /** Waits until there is something, and room for it, and sends it. */
    handOver: <E>(send: (message: ToReadSide) => Effect.Effect<void, E>) =>
      Effect.andThen(Effect.andThen(room.await, gather), sendAll(send)),
    /** What there is now, at the end. */
    handOverRest: <E>(send: (message: ToReadSide) => Effect.Effect<void, E>) =>
      Effect.suspend(() => (feed.hasSomeUnsafe() ? sendAll(send) : Effect.void)),
    tookUnsafe: ({ events, bytes }: Size): void => {
      outstanding = { events: outstanding.events - events, bytes: outstanding.bytes - bytes }
      if (!isFull(outstanding, most)) room.openUnsafe()
    },
    /** A new life of the thread begins: what an earlier one was given, and may not have published, it reads from the log. */
    beginUnsafe: (): ToReadSide => {
      outstanding = nothing
      room.openUnsafe()
      return { _tag: "Commits", commits: encodeCommits([]), missed: [...handedOver] }
    }
  }
})

/** A status of a singleton that only passes through. */
const asText = (name: string): Singleton<string> => ({
  name,
  encode: (status) => status,
  decode: (text) => text
})

/** The singletons of the read side, which this node runs in the other thread while they are its own. */
const makeSingletonsThere = Effect.fnUntraced(function* (outbox: Outbox, scope: Scope.Scope) {
  const singletons = yield* Singletons
  const registered = new Set<string>()
  const owned = new Set<string>()
  /** Those that the present life of the thread has: none in one that is just being started. */
  const there = new Set<string>()
  /** Those that leave, each with those who wait for its end. */
  const leaving = new Map<string, Deferred.Deferred<void>>()
  let told: ReadonlyMap<string, string> = new Map()

  const end = (name: string): void => {
    const ended = leaving.get(name)
    leaving.delete(name)
    if (ended !== undefined) Deferred.doneUnsafe(ended, Exit.void)
  }
  const life = (name: string) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        owned.add(name)
        if (there.has(name)) outbox.postUnsafe({ _tag: "Own", name })
      }),
      () =>
        Effect.suspend(() => {
          owned.delete(name)
          if (!there.has(name)) return Effect.void
          const ended = Deferred.makeUnsafe<void>()
          leaving.set(name, ended)
          outbox.postUnsafe({ _tag: "Disown", name })
          return Deferred.await(ended)
        })
    ).pipe(Effect.andThen(Effect.never))

  return {
    /** The thread has such work; it runs once this node owns it. */
    register: (name: string) =>
      Effect.suspend(() => {
        there.add(name)
        singletons.setAwayUnsafe(name, false)
        if (owned.has(name)) outbox.postUnsafe({ _tag: "Own", name })
        if (registered.has(name)) return Effect.void
        registered.add(name)
        return Scope.provide(singletons.run(name, Effect.scoped(life(name))), scope)
      }),
    publishUnsafe: (name: string, status: string): void => singletons.publishUnsafe(asText(name), status),
    endUnsafe: end,
    beginUnsafe: (): void => {
      told = new Map()
    },
    /** The thread is no more, and with it all that it ran. */
    lostUnsafe: (): void => {
      for (const name of there) singletons.setAwayUnsafe(name, true)
      there.clear()
      for (const name of [...leaving.keys()]) end(name)
    },
    /** Tells what other nodes published since the last time. */
    tellUnsafe: (): void => {
      const statuses = new Map<string, string>()
      for (const name of registered) {
        const status = singletons.statusUnsafe(asText(name))
        if (status !== undefined) statuses.set(name, status)
      }
      const isSame =
        statuses.size === told.size && [...statuses].every(([name, one]) => told.get(name) === one)
      if (isSame) return
      told = statuses
      outbox.postUnsafe({ _tag: "Heard", statuses })
    }
  }
})

/**
 * The bytes in use of the thread's heap, garbage included, asked from this one: a thread that computes answers at once, without a turn of
 * its event loop; one that waits, or collects, not in time.
 */
const makeHeapLook = (thread: () => WorkerThreads.Worker | undefined) => {
  let asked: Promise<number | undefined> | undefined
  const ask = (): Promise<number | undefined> => {
    asked ??= thread()
      ?.getHeapStatistics()
      .then(
        ({ used_heap_size: used }) => used,
        () => undefined
      )
      .finally(() => {
        asked = undefined
      })
    return asked ?? Promise.resolve(undefined)
  }
  return Effect.map(Effect.timeoutOption(Effect.promise(ask), lookMs), Option.getOrUndefined)
}

/** Fails once the thread has given no sign of life for too long, or fills up its heap without one: it is ended, and started anew. */
const watch = Effect.fnUntraced(function* (
  state: ThreadState,
  look: Effect.Effect<number | undefined>,
  tell: () => void,
  alive: () => void
) {
  const { readSideHeapMib, readSideHungMs, readSideStartMs } = yield* ReadSideConfig
  const clock = yield* Clock.Clock
  const nowMs = () => elapsedMsUnsafe(clock)
  for (let lookedAtMs = nowMs(); ; lookedAtMs = nowMs()) {
    const nextMs = state.beatUnsafe()?.nextMs ?? beatMs
    const suspiciousMs = nextMs * suspiciousBeats
    const pauseMs = Math.min(nextMs, Math.max(lookMs, suspiciousMs - state.silenceUnsafe()))
    yield* Effect.sleep(pauseMs)
    tell()
    if (state.livedMsUnsafe() > steadyMs && state.isUpUnsafe()) alive()
    // This thread stood still itself: what the other one said meanwhile is still to be read.
    if (nowMs() - lookedAtMs > pauseMs + beatMs) continue
    const startMs = readSideStartMs * 2 ** Math.min(state.unstartedUnsafe(), startDoublingsMax)
    const patienceMs = state.isUpUnsafe() ? readSideHungMs : startMs
    const silence = state.silenceUnsafe()
    if (state.isUpUnsafe() && silence > suspiciousMs) {
      const usedBytes = yield* look
      const usedBeforeBytes = state.beatUnsafe()?.heapBytes ?? 0
      const heap = { silentMs: state.silenceUnsafe(), usedBytes: usedBytes ?? 0, usedBeforeBytes }
      const reason = runawayReason(readSideHeapMib, heap)
      if (reason !== undefined) return yield* new ThreadEnded({ reason })
    }
    if (silence <= patienceMs) continue
    const what = state.isUpUnsafe() ? "gave no sign of life" : "did not start"
    return yield* new ThreadEnded({ reason: `it ${what} within ${patienceMs} ms` })
  }
})

/** What the messages of the thread change here. */
const makeHandler = Effect.fnUntraced(function* (
  state: ThreadState,
  pump: Effect.Success<typeof makeCommitPump>,
  singletons: Effect.Success<ReturnType<typeof makeSingletonsThere>>,
  outbox: Outbox
) {
  const waiters = yield* ProjectionWaiters
  const hear = (beat: ReadSideBeat): void => {
    const wasHeard = state.isHeardUnsafe()
    state.hearUnsafe(beat)
    waiters.setStartingUnsafe(false)
    if (wasHeard) return
    const positions = waiters.positionsUnsafe()
    if (positions.length > 0) outbox.postUnsafe({ _tag: "Await", positions })
  }
  return (message: FromReadSide): Effect.Effect<void> => {
    switch (message._tag) {
      case "Beat":
        return Effect.sync(() => hear(message.beat))
      case "Took":
        return Effect.sync(() => pump.tookUnsafe(message.size))
      case "Reached":
        return Effect.sync(() => {
          for (const { account, version } of message.positions) waiters.reachedUnsafe(account, version)
        })
      case "ProjectedHere":
        return Effect.sync(() => waiters.setProjectedHereUnsafe(message.partition, message.isHere))
      case "Run":
        return singletons.register(message.name)
      case "Ended":
        return Effect.sync(() => singletons.endUnsafe(message.name))
      case "Publish":
        return Effect.sync(() => singletons.publishUnsafe(message.name, message.status))
      case "Log":
        return Effect.logWithLevel(message.level)(...message.message).pipe(
          Effect.annotateLogs(message.annotations)
        )
    }
  }
})

/** What one life of the thread is about, and what is there between two lives. */
const makeLinks = Effect.fnUntraced(function* (state: ThreadState) {
  const waiters = yield* ProjectionWaiters
  const { partitions } = yield* LedgerConfig
  const outbox = makeOutbox()
  const pump = yield* makeCommitPump
  // They end after the thread, which ends them all at once.
  const singletons = yield* makeSingletonsThere(outbox, yield* Scope.fork(yield* Effect.scope))
  return {
    outbox,
    pump,
    singletons,
    handle: yield* makeHandler(state, pump, singletons, outbox),
    beginUnsafe: (): void => {
      state.beginUnsafe()
      outbox.clearUnsafe()
      singletons.beginUnsafe()
      outbox.postUnsafe(pump.beginUnsafe())
    },
    lostUnsafe: (): void => {
      singletons.lostUnsafe()
      for (let partition = 0; partition < partitions; partition++) {
        waiters.setProjectedHereUnsafe(partition, false)
      }
    }
  }
})

/** One life of the thread: fails with the reason of its end. */
const makeLife = Effect.fnUntraced(function* (
  spawn: () => WorkerThreads.Worker,
  state: ThreadState,
  links: Effect.Success<ReturnType<typeof makeLinks>>
) {
  const platform = yield* Worker.WorkerPlatform
  const { outbox, pump, singletons } = links
  return Effect.fnUntraced(
    function* (alive: () => void) {
      let thread: WorkerThreads.Worker | undefined
      const worker = yield* platform.spawn<FromReadSide, ToReadSide>(0).pipe(
        Effect.provideService(Worker.Spawner, () => {
          thread = spawn()
          return thread
        })
      )
      links.beginUnsafe()
      const running = yield* Effect.forkScoped(worker.run(links.handle))
      yield* Effect.addFinalizer((exit) => {
        // One that hangs does not hear that it is to end.
        if (!Exit.hasInterrupts(exit)) return Effect.promise(() => thread?.terminate() ?? Promise.resolve(0))
        // The last commits as well, before it is told to end.
        return Effect.ignore(pump.handOverRest((commits) => worker.send(commits)))
      })
      const posting = Effect.flatMap(outbox.take, (messages) =>
        Effect.forEach(messages, (message) => worker.send(message), { discard: true })
      )
      yield* Effect.raceAllFirst([
        Fiber.join(running),
        Effect.forever(posting),
        Effect.forever(pump.handOver((commits) => worker.send(commits))),
        watch(
          state,
          makeHeapLook(() => thread),
          singletons.tellUnsafe,
          alive
        )
      ])
    },
    Effect.scoped,
    Effect.catchTag("WorkerError", (error) => Effect.fail(endedBy(error))),
    Effect.ensuring(Effect.sync(links.lostUnsafe))
  )
})

/** Keeps the thread alive, in the scope. */
const keepAlive = Effect.fnUntraced(function* (spawn: () => WorkerThreads.Worker, state: ThreadState) {
  const waiters = yield* ProjectionWaiters
  const links = yield* makeLinks(state)
  const life = yield* makeLife(spawn, state, links)
  waiters.setStartingUnsafe(true)
  yield* supervise(life, (cause) =>
    Effect.suspend(() => {
      const error = Cause.squash(cause)
      state.endUnsafe(error instanceof ThreadEnded ? error.reason : untold)
      // It was started as long as it may take: from now on queries are answered in their own time.
      waiters.setStartingUnsafe(false)
      return Effect.logWarning(`the thread of the read side is started anew: ${reasonOf(cause)}`)
    })
  ).pipe(Effect.forkScoped)
  // While it is not heard, questions that come and give up would pile up before it; those that still wait then, it is told with its
  // next sign of life.
  const leave = waiters.onJoinUnsafe((position) => {
    if (state.isHeardUnsafe()) links.outbox.postUnsafe({ _tag: "Await", positions: [position] })
  })
  yield* Effect.addFinalizer(() => Effect.sync(leave))
})

/**
 * The read side of a node in a thread of its own, which `spawn` starts; needs `CommitFeed` and `ProjectionWaiters`. What it
 * provides is what the rest of a node asks of a read side, as of the thread's last sign of life.
 */
export const layer = (spawn: () => WorkerThreads.Worker) =>
  Layer.effectContext(
    Effect.gen(function* () {
      const state = yield* makeThreadState
      const here = yield* Effect.provide(ProjectionRegistry, ProjectionRegistry.layer, { local: true })
      yield* keepAlive(spawn, state)
      const context = Context.make(ReadSideThreadStatus, state.statusUnsafe).pipe(
        Context.add(Relay, { statusUnsafe: () => state.readSideUnsafe()?.relay ?? noRelay }),
        Context.add(ProjectionRegistry, {
          registerUnsafe: here.registerUnsafe,
          statesUnsafe: () => [...(state.readSideUnsafe()?.projections ?? []), ...here.statesUnsafe()]
        }),
        Context.add(Completeness, {
          // What it said before it fell silent, or ended, may not be true any more: the read model may have lost rows since.
          completeToUnsafe: () => (state.isHeardUnsafe() ? (state.readSideUnsafe()?.completeTo ?? 0) : 0)
        })
      )
      return context
    })
  ).pipe(Layer.provide(NodeWorker.layerPlatform))
