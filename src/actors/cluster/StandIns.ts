/**
 * Runs the singletons of owners that do not: no node has reported them for `dutySilentMs`, because the thread of their owner's read side is
 * down, say. A member claims them in `SingletonTable` and runs them until their owner, or the node that has their shard
 * next, reports them again. For that moment two nodes run them, which does no harm.
 */
import { Effect, Fiber, type Scope } from "effect"
import { type NodeLife, SingletonTable } from "../../infra/cluster/SingletonTable.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"

/** The singletons that run here although their shards are elsewhere. */
const makeRuns = () => {
  const lives = new Map<string, Effect.Effect<Fiber.Fiber<void>>>()
  /** Each until it has ended. */
  const running = new Map<string, Fiber.Fiber<void>>()
  /** Those of them that are told to end. */
  const ending = new Set<string>()
  /** Those that this node has by the locks of their shards. */
  const locked = new Set<string>()

  const stop = (name: string): void => {
    const fiber = running.get(name)
    if (fiber === undefined) return
    ending.add(name)
    fiber.interruptUnsafe()
  }
  return {
    isRunning: (name: string) => running.has(name),
    /** Without those that are told to end. */
    names: () => [...running.keys()].filter((name) => !ending.has(name)),
    stop,
    /** How the singleton is run, in the scope of its registration. */
    register: <R>(name: string, life: Effect.Effect<void, never, R>) =>
      Effect.map(Effect.context<Exclude<R, Scope.Scope> | Scope.Scope>(), (context) => {
        lives.set(name, Effect.provideContext(Effect.forkScoped(Effect.scoped(life)), context))
      }),
    start: Effect.fnUntraced(function* (name: string) {
      const begin = lives.get(name)
      if (begin === undefined || running.has(name) || locked.has(name)) return
      const fiber = yield* begin
      running.set(name, fiber)
      fiber.addObserver(() => {
        running.delete(name)
        ending.delete(name)
      })
      // Its shard came just now.
      if (locked.has(name)) stop(name)
    }),
    /** In the scope: this node has it by the lock of its shard. Waits for the end of what runs here without. */
    lock: (name: string) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          locked.add(name)
          stop(name)
          const fiber = running.get(name)
          return fiber === undefined ? Effect.void : Effect.asVoid(Fiber.await(fiber))
        }),
        () => Effect.sync(() => locked.delete(name))
      )
  }
}

/** `canRun`: whether what would do the work of a singleton is here; `statusOf`: what this node publishes of one that it runs. */
export const makeStandIns = Effect.fnUntraced(function* (
  by: NodeLife,
  canRun: (name: string) => boolean,
  statusOf: (name: string) => string | undefined
) {
  const table = yield* SingletonTable
  const { dutySilentMs } = yield* ClusterConfig
  const { isRunning, lock, names, register, start, stop } = makeRuns()
  return {
    isRunning,
    register,
    lock,
    /** Reports what this node stands in for, and ends what another node has reported, or what nothing here does any more. */
    renew: Effect.gen(function* () {
      for (const name of names()) if (!canRun(name)) stop(name)
      const claimed = names()
      if (claimed.length === 0) return
      const still = yield* table.renew(by, new Map(claimed.map((name) => [name, statusOf(name)])))
      const taken = claimed.filter((name) => !still.has(name))
      for (const name of taken) stop(name)
      if (taken.length > 0)
        yield* Effect.logInfo(`another node runs, so this one does no longer: ${taken.join(", ")}`)
    }),
    /** Claims those that no node does, and starts what it got. */
    begin: Effect.fnUntraced(function* (unowned: ReadonlyArray<string>) {
      const wanted = unowned.filter((name) => canRun(name) && !isRunning(name))
      if (wanted.length === 0) return
      const got = yield* table.claim(by, wanted, dutySilentMs)
      yield* Effect.forEach(got, start, { discard: true })
      if (got.size > 0)
        yield* Effect.logWarning(`runs, in place of an owner that has not reported: ${[...got].join(", ")}`)
    })
  }
})
