/** Run as a process: a node without commands that follows the log, or a rebuild of the books; lines on stdout tell how it goes. */
import { writeSync } from "node:fs"
import { Effect, Layer, ManagedRuntime, Redacted, References } from "effect"
import { ProjectionHealth } from "../../src/actors/projections/ProjectionHealth.ts"
import { rebuild } from "../../src/actors/projections/Rebuild.ts"
import { Bus } from "../../src/infra/bus/Bus.ts"
import { books } from "../../src/infra/readmodel/BooksProjection.ts"
import * as LedgerNode from "../../src/LedgerNode.ts"
import { limitsOf, type TestLimits } from "./readSides.ts"

interface Stores {
  readonly eventStoreUrl: string
  readonly readModelUrl: string
  readonly limits: TestLimits
}

export type ReadSideOptions =
  | (Stores & {
      readonly what: "follow"
      readonly natsUrl: string
      readonly stream: string
      readonly subject: string
      /** Reads by consumers of its own: every message comes to it, as if no other process had the partitions. */
      readonly own: string
    })
  | (Stores & {
      readonly what: "rebuild"
      /** Stops, for good, inside of this step of its reading of the log. */
      readonly holdAt?: number
    })

/** At once, however soon the process is killed. */
const say = (line: object): void => {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

const options = JSON.parse(process.argv[2] ?? "{}") as ReadSideOptions // written by readSideProcesses.ts
const services = {
  eventStoreUrl: Redacted.make(options.eventStoreUrl),
  readModelUrl: Redacted.make(options.readModelUrl)
}
const quiet = Layer.succeed(References.MinimumLogLevel, "None")

const follow = (own: string, bus: Parameters<typeof Bus.layer>[0]) => {
  const ownBus = Layer.effect(
    Bus,
    Effect.map(Bus, (real) => ({
      ...real,
      subscribe: ({ projection, partition }: Parameters<typeof real.subscribe>[0]) =>
        real.subscribe({ projection: `${projection}-${own}`, partition })
    }))
  ).pipe(Layer.provide(Bus.layer(bus)))
  const node = LedgerNode.over(own, Layer.merge(ownBus, LedgerNode.stores(services)))
  const told = Effect.gen(function* () {
    const health = yield* ProjectionHealth
    const handled = health.partitionsUnsafe().reduce((sum, one) => sum + one.events + one.repeats, 0)
    say({ handled })
  })
  return told.pipe(
    Effect.delay("50 millis"),
    Effect.forever,
    Effect.provide(node.pipe(Layer.provide(limitsOf(options.limits)), Layer.provideMerge(quiet)))
  )
}

const rebuildOnce = (holdAt: number | undefined) =>
  Effect.gen(function* () {
    let steps = 0
    const report = yield* rebuild(books, {
      onStep: ({ phase, events }) => {
        say({ phase, events })
        if (++steps !== holdAt) return
        say({ held: true })
        // The thread itself stops: no promise, timer or answer of a database goes on.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
      }
    })
    say({ report })
  }).pipe(
    Effect.provide(
      LedgerNode.stores(services).pipe(
        Layer.provideMerge(limitsOf(options.limits)),
        Layer.provideMerge(quiet)
      )
    )
  )

const { runPromise } = ManagedRuntime.make(Layer.empty)
const main =
  options.what === "follow"
    ? follow(options.own, { url: options.natsUrl, stream: options.stream, subject: options.subject })
    : rebuildOnce(options.holdAt)
runPromise(main).then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error)
    process.exit(1)
  }
)
