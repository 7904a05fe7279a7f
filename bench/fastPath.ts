/** Commands through a whole node over a store that keeps nothing, which measures the processor time of the program itself. */
import { Clock, Context, Effect, Layer, Result } from "effect"
import { Dispatcher } from "../src/actors/commands/Dispatcher.ts"
import { type Command, fromHost } from "../src/domain/Command.ts"
import { CommitOutcome, EventStore } from "../src/infra/eventstore/EventStore.ts"
import { Snapshots } from "../src/infra/eventstore/Snapshots.ts"
import { writeSide } from "../src/LedgerNode.ts"
import { makeRng } from "../src/loadtest/Rng.ts"
import { makeRunIds } from "../src/loadtest/RunIds.ts"
import { makeScenario } from "../src/loadtest/Scenario.ts"
import type { ScenarioName } from "../src/loadtest/Settings.ts"

export interface FastPath {
  readonly name: string
  readonly cpuUsPerCommand: number
  readonly perSecond: number
  readonly meanRows: number
}

export interface FastPathOptions {
  readonly scenario: ScenarioName
  readonly commands: number
  readonly concurrency: number
  /** Commands of one call of `dispatchMany`; 1 calls `dispatch`. */
  readonly batch: number
}

const accounts = 10_000
const rounds = 3

/** Answers "committed" at the next turn of the event loop, so that commands are batched as with a database. */
const storeThatKeepsNothing = Layer.effect(
  EventStore,
  Effect.map(EventStore, (store) => ({
    ...store,
    commit: () =>
      Effect.callback<CommitOutcome>((resume) => {
        setImmediate(() => resume(Effect.succeed(CommitOutcome.Committed())))
      })
  }))
).pipe(Layer.provide(EventStore.layerMemory))

const node = writeSide("bench").pipe(
  Layer.provide(Layer.mergeAll(storeThatKeepsNothing, Snapshots.layerMemory))
)

/** The best of some rounds, because what the others cost on top was caused by the machine. */
export const measureFastPath = Effect.fnUntraced(function* (options: FastPathOptions) {
  const dispatcher = Context.get(yield* Layer.build(node), Dispatcher)
  const clock = yield* Clock.Clock
  const ids = makeRunIds("bench", false)
  const rng = yield* makeRng(1)
  const pace = { _tag: "Closed", concurrency: options.concurrency } as const
  const settings = {
    accounts,
    pace,
    seconds: 0,
    seed: 1,
    repeats: 0,
    intruder: 0,
    readSide: false,
    patienceSeconds: 300
  }
  const scenario = makeScenario({ ...settings, scenario: options.scenario }, ids, rng)
  const prepared = Array.from({ length: accounts }, (_, index) => scenario.prepare(index)).flat()
  for (let start = 0; start < prepared.length; start += 5_000) {
    const results = yield* dispatcher.dispatchMany(prepared.slice(start, start + 5_000))
    for (const result of results) Result.getOrThrow(result)
  }
  const send =
    options.batch === 1
      ? (commands: ReadonlyArray<Command>) =>
          Effect.forEach(commands, (command) => checked(dispatcher, command), { discard: true })
      : (commands: ReadonlyArray<Command>) =>
          Effect.map(dispatcher.dispatchMany(commands), (results) => {
            for (const result of results) Result.getOrThrow(result)
          })
  let best: FastPath | undefined
  for (let round = 0; round <= rounds; round++) {
    const commands = Array.from({ length: options.commands }, scenario.next)
    const share = Math.ceil(commands.length / options.concurrency)
    const clients = Array.from({ length: options.concurrency }, (_, index) =>
      commands.slice(index * share, (index + 1) * share)
    )
    const before = { ...dispatcher.stats() }
    const cpu = process.cpuUsage()
    const start = clock.monotonicTimeNanosUnsafe()
    yield* Effect.forEach(
      clients,
      (own) =>
        Effect.forEach(
          Array.from({ length: Math.ceil(own.length / options.batch) }, (_, index) => index),
          (index) => send(own.slice(index * options.batch, (index + 1) * options.batch))
        ),
      { concurrency: "unbounded", discard: true }
    )
    const seconds = Number(clock.monotonicTimeNanosUnsafe() - start) / 1e9
    const used = process.cpuUsage(cpu)
    const after = dispatcher.stats()
    const result: FastPath = {
      name: `${options.scenario}, ${options.concurrency} clients${options.batch === 1 ? "" : `, dispatchMany of ${options.batch}`}`,
      cpuUsPerCommand: (used.user + used.system) / options.commands,
      perSecond: options.commands / seconds,
      meanRows: (after.rows - before.rows) / Math.max(1, after.batches - before.batches)
    }
    // The first round warms up and does not count.
    if (round > 0 && result.cpuUsPerCommand < (best?.cpuUsPerCommand ?? Number.POSITIVE_INFINITY))
      best = result
  }
  return best
}, Effect.scoped)

const checked = (dispatcher: Dispatcher["Service"], command: Command) =>
  Result.match(fromHost(command), { onFailure: Effect.fail, onSuccess: dispatcher.dispatch })
