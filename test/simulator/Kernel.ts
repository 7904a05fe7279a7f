/**
 * Runs many processes in one, under one seed: it decides which ready fiber goes on, when time passes, and when a message
 * between two processes arrives. Everything runs in one synchronous loop, so that the same seed always takes the same steps.
 */
import {
  Cause,
  Clock,
  Context,
  Duration,
  Effect,
  Exit,
  type Fiber,
  Random,
  References,
  Scheduler
} from "effect"
import { Rng } from "../support/Rng.ts"

/** The wall clock at the beginning of a world; any instant that looks like one in production will do. */
export const epochMs = 1_700_000_000_000
const nanosPerMs = 1_000_000

/** Among ready tasks: the oldest, any, or mostly the newest. Each finds other interleavings. */
export type Order = "oldest" | "any" | "newest"

interface Task {
  readonly domain: Domain
  readonly run: () => void
}

interface Timer {
  readonly at: number
  readonly fire: () => void
  isCancelled: boolean
}

export class Kernel {
  readonly rng: Rng
  /** Milliseconds of true time since the beginning. */
  now = 0
  /** Steps taken; also the one clock by which all that happened is ordered. */
  steps = 0
  #hash = 0
  #order: Order
  #ready: Array<Task> = []
  /** By time, the latest first. */
  readonly #timers: Array<Timer> = []
  /** One step in so many takes a millisecond, so that time also passes while there is work; 0: none. */
  readonly #busyOneIn: number

  constructor(seed: number, order: Order, busyOneIn: number) {
    this.rng = new Rng(seed)
    this.#order = order
    this.#busyOneIn = busyOneIn
  }

  /** What has happened so far, in one number: equal for equal runs. */
  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, "0")
  }

  note(what: string): void {
    let hash = Math.imul(this.#hash ^ this.steps, 0x01000193) ^ Math.floor(this.now)
    for (let index = 0; index < what.length; index++) {
      hash = Math.imul(hash ^ what.charCodeAt(index), 0x01000193)
    }
    this.#hash = hash ^ (hash >>> 15)
  }

  schedule(domain: Domain, run: () => void): void {
    this.#ready.push({ domain, run })
  }

  after(ms: number, fire: () => void): () => void {
    const timer: Timer = { at: this.now + Math.max(0, Math.ceil(ms)), fire, isCancelled: false }
    let low = 0
    let high = this.#timers.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#timers[middle]?.at ?? 0) > timer.at) low = middle + 1
      else high = middle
    }
    this.#timers.splice(low, 0, timer)
    return () => {
      timer.isCancelled = true
    }
  }

  /** Runs until `isOver`, or until nothing can ever happen again, or so many steps were taken; says which. */
  run(isOver: () => boolean, stepsMax: number): "over" | "still" | "endless" {
    while (!isOver()) {
      if (this.steps > stepsMax) return "endless"
      if (this.#ready.length === 0) {
        if (!this.#passTime()) return "still"
        continue
      }
      this.#step()
      if (this.#busyOneIn > 0 && this.steps % this.#busyOneIn === 0) {
        this.now++
        this.#fireDue()
      }
    }
    return "over"
  }

  #step(): void {
    const { length } = this.#ready
    const index = length === 1 ? 0 : this.#indexOfNext(length)
    const [task] = this.#ready.splice(index, 1)
    this.steps++
    task?.domain.take(task.run)
  }

  #indexOfNext(length: number): number {
    if (this.#order === "oldest") return 0
    if (this.#order === "any") return this.rng.below(length)
    return this.rng.chance(0.8) ? length - 1 : this.rng.below(length)
  }

  #passTime(): boolean {
    let next = this.#timers.at(-1)
    while (next?.isCancelled === true) {
      this.#timers.pop()
      next = this.#timers.at(-1)
    }
    if (next === undefined) return false
    this.now = Math.max(this.now, next.at)
    this.#fireDue()
    return true
  }

  #fireDue(): void {
    for (;;) {
      const next = this.#timers.at(-1)
      if (next === undefined || (!next.isCancelled && next.at > this.now)) return
      this.#timers.pop()
      if (!next.isCancelled) next.fire()
    }
  }
}

/**
 * One process of the world, or one service that outlives them all: its fibers, its clock, its random numbers. What is not
 * alive takes no further step and runs no finalizer, as after a power cut; what is frozen takes its steps later.
 */
export class Domain implements Scheduler.Scheduler {
  readonly executionMode = "async"
  readonly name: string
  readonly context: Context.Context<never>
  /** The process's clock is so far off, and gains so much a millisecond. */
  offsetMs = 0
  readonly rate: number
  isAlive = true
  isFrozen = false
  readonly #kernel: Kernel
  #held: Array<() => void> = []
  /** Callers elsewhere that wait for an answer of this process. */
  readonly #asked = new Set<() => void>()

  constructor(
    kernel: Kernel,
    name: string,
    seed: number,
    options: { offsetMs?: number; rate?: number } = {}
  ) {
    this.#kernel = kernel
    this.name = name
    this.offsetMs = options.offsetMs ?? 0
    this.rate = options.rate ?? 1
    const rng = new Rng(seed)
    this.context = Context.empty().pipe(
      Context.add(Scheduler.Scheduler, this),
      Context.add(Clock.Clock, this.#clock()),
      Context.add(Random.Random, {
        nextIntUnsafe: () => Math.floor(rng.next() * 2 ** 53) * (rng.chance(0.5) ? 1 : -1),
        nextDoubleUnsafe: () => rng.next()
      }),
      Context.add(References.MinimumLogLevel, "None"),
      // Nothing looks at the spans of a world, and each costs an object, ids and two clocks.
      Context.add(References.TracerEnabled, false)
    )
  }

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return {
      scheduleTask: (task) => this.post(task),
      flush: () => {
        throw new Error("a dispatcher of the simulator is flushed by its kernel alone")
      }
    }
  }

  /** Hands a task to the process, which it takes in some later step. */
  post(task: () => void): void {
    if (!this.isAlive) return
    if (this.isFrozen) this.#held.push(task)
    else this.#kernel.schedule(this, task)
  }

  /** A step of the kernel: the process may have died, or been frozen, since the task was posted. */
  take(task: () => void): void {
    if (!this.isAlive) return
    if (this.isFrozen) this.#held.push(task)
    else task()
  }

  freeze(): void {
    this.isFrozen = true
  }

  thaw(): void {
    if (!this.isFrozen) return
    this.isFrozen = false
    const held = this.#held
    this.#held = []
    for (const task of held) this.post(task)
  }

  /** Ends the process at once. Those that wait for its answers learn that their connection is cut. */
  crash(): void {
    this.isAlive = false
    this.#held = []
    const asked = [...this.#asked]
    this.#asked.clear()
    for (const cut of asked) cut()
  }

  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.context)(effect)
  }

  wall(): number {
    return Math.floor(epochMs + this.#kernel.now * this.rate + this.offsetMs)
  }

  /**
   * Runs an effect in another process and waits for what comes of it: `outMs` on the way there, `backMs` on the way back. Ends with
   * `cut` where that process ends first, and with `late` after `giveUpMs`; then the effect goes on, and its answer is lost. An
   * interruption follows the question, and does not wait.
   */
  ask<A, E, C>(
    to: Domain,
    effect: Effect.Effect<A, E>,
    way: {
      readonly outMs: number
      readonly backMs: number
      readonly cut: Effect.Effect<A, C>
      readonly giveUpMs?: number
      readonly late?: Effect.Effect<A, C>
    }
  ): Effect.Effect<A, E | C> {
    return Effect.callback<A, E | C>((resume) => {
      let isOver = false
      let isInterrupted = false
      let fiber: Fiber.Fiber<A, E> | undefined
      const answer = (exit: Effect.Effect<A, E | C>): void => {
        if (isOver) return
        isOver = true
        to.#asked.delete(cut)
        this.#kernel.after(way.backMs, () => this.post(() => resume(exit)))
      }
      const cut = (): void => answer(way.cut)
      if (!to.isAlive) cut()
      else {
        to.#asked.add(cut)
        this.#kernel.after(way.outMs, () =>
          to.post(() => {
            // One that gave up has sent it all the same.
            if (isInterrupted) return
            fiber = to.fork(effect)
            fiber.addObserver((exit) => answer(exit))
          })
        )
      }
      if (way.giveUpMs !== undefined && way.late !== undefined) {
        const { late } = way
        this.#kernel.after(way.giveUpMs, () => answer(late))
      }
      return Effect.sync(() => {
        isOver = true
        isInterrupted = true
        to.#asked.delete(cut)
        this.#kernel.after(way.outMs, () => to.post(() => fiber?.interruptUnsafe()))
      })
    })
  }

  #clock(): Clock.Clock {
    const kernel = this.#kernel
    const millis = () => this.wall()
    const nanos = () => BigInt(this.wall()) * BigInt(nanosPerMs)
    const monotonic = () => BigInt(Math.floor(kernel.now * this.rate * nanosPerMs))
    return {
      currentTimeMillisUnsafe: millis,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: monotonic,
      monotonicTimeNanos: Effect.sync(monotonic),
      sleep: (duration) => {
        const ms = Duration.toMillis(duration)
        if (ms <= 0) return Effect.yieldNow
        if (!Number.isFinite(ms)) return Effect.never
        return Effect.callback<void>((resume) => {
          const cancel = kernel.after(ms / this.rate, () => this.post(() => resume(Effect.void)))
          return Effect.sync(cancel)
        })
      }
    }
  }
}

/** What a fiber ended with, in words, where it ended badly. */
export const badEndOf = (exit: Exit.Exit<unknown, unknown>): string | undefined =>
  Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause) ? Cause.pretty(exit.cause) : undefined

const forbidden = (what: string) => () => {
  throw new Error(`${what} was used in a simulated world: take it from effect's services`)
}

/** Runs a function while the machine's clock, timers and chance throw, so that nothing escapes the seed. */
export const trapped = <A>(run: () => A): A => {
  const undo: Array<() => void> = []
  const trap = <O extends object, K extends keyof O>(object: O, key: K, value: O[K]): void => {
    const before = object[key]
    object[key] = value
    undo.push(() => {
      object[key] = before
    })
  }
  // Most errors of a world are outcomes; their stack traces would cost half of its time.
  trap(Error, "stackTraceLimit", 0)
  trap(Date, "now", forbidden("Date.now"))
  trap(Math, "random", forbidden("Math.random"))
  trap(performance, "now", forbidden("performance.now"))
  trap(crypto, "randomUUID", forbidden("crypto.randomUUID"))
  trap(crypto, "getRandomValues", forbidden("crypto.getRandomValues"))
  // Their other properties are for promises, which a world has none of.
  trap(globalThis, "setTimeout", Object.assign(forbidden("setTimeout"), setTimeout))
  trap(globalThis, "setInterval", Object.assign(forbidden("setInterval"), setInterval))
  trap(globalThis, "setImmediate", Object.assign(forbidden("setImmediate"), setImmediate))
  trap(globalThis, "queueMicrotask", forbidden("queueMicrotask"))
  try {
    return run()
  } finally {
    for (const restore of undo.reverse()) restore()
  }
}
