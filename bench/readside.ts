/** `npm run bench:readside`: measures the read side against its targets, and prints which of them are met. */

import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Effect, Layer, Logger } from "effect"
import { Command, Flag } from "effect/cli"
import { ProjectionEngine } from "../src/actors/projections/ProjectionEngine.ts"
import type { DevStackService } from "../src/infra/dev/DevStack.ts"
import { EventStore } from "../src/infra/eventstore/EventStore.ts"
import { EventStoreClient } from "../src/infra/eventstore/SqlClients.ts"
import { ProjectionWaiters } from "../src/infra/readmodel/ProjectionWaiters.ts"
import { Queries } from "../src/infra/readmodel/Queries.ts"
import { ReadModel } from "../src/infra/readmodel/ReadModel.ts"
import { ReadModelSql } from "../src/infra/readmodel/ReadModelSql.ts"
import { tuneCollector } from "../src/infra/telemetry/Collector.ts"
import * as LedgerNode from "../src/LedgerNode.ts"
import { ownStack, stores } from "../src/loadtest/Services.ts"
import { measureBalances } from "./readside/Balances.ts"
import { measurePaging } from "./readside/Paging.ts"
import { measureRebuild } from "./readside/Rebuilding.ts"
import { printTargets, say, type Target } from "./readside/Targets.ts"
import { measureUnderLoad } from "./readside/UnderLoad.ts"
import { measureWrites } from "./readside/Writing.ts"

const parts = ["balances", "pages", "writes", "rebuild", "load"] as const
type Part = (typeof parts)[number]

interface Sizes {
  readonly events: number
  readonly lines: number
  readonly seconds: number
  readonly outage: number
}

/** The read side without bus and projectors, so that queries, projection and rebuild can be measured alone. */
const withoutRelay = (stack: DevStackService) =>
  Layer.mergeAll(Queries.layer, ProjectionEngine.layer).pipe(
    Layer.provideMerge(
      Layer.mergeAll(
        ReadModel.layer,
        EventStore.layer.pipe(Layer.provide(EventStoreClient.layer(stack.eventStoreUrl)))
      )
    ),
    Layer.provideMerge(Layer.mergeAll(ReadModelSql.layer(stack.readModelUrl), ProjectionWaiters.layer))
  )

/** Each part runs on a stack of its own, so that it does not find the data of another. */
const run = (part: Part, sizes: Sizes) =>
  Effect.gen(function* () {
    yield* say(part)
    const stack = yield* ownStack
    yield* LedgerNode.migrate(stack)
    switch (part) {
      case "balances":
        return yield* Effect.provide(measureBalances(stack.readModelUrl, 2), withoutRelay(stack))
      case "pages":
        return yield* Effect.provide(measurePaging(sizes.lines), withoutRelay(stack))
      case "writes":
        return yield* Effect.provide(measureWrites(stack.readModelUrl), withoutRelay(stack))
      case "rebuild":
        return yield* Effect.provide(measureRebuild(sizes.events), withoutRelay(stack))
      case "load":
        return yield* Effect.provide(
          measureUnderLoad(stack, { seconds: sizes.seconds, outageSeconds: sizes.outage }),
          stores(stack)
        )
    }
  }).pipe(Effect.scoped)

const command = Command.make(
  "bench:readside",
  {
    only: Flag.Literals("only", parts).pipe(Flag.optional),
    events: Flag.Int("events").pipe(Flag.withDefault(1_000_000)),
    lines: Flag.Int("lines").pipe(Flag.withDefault(1_000_000)),
    seconds: Flag.Int("seconds").pipe(Flag.withDefault(10)),
    outage: Flag.Int("outage").pipe(Flag.withDefault(60))
  },
  ({ only, ...sizes }) =>
    Effect.gen(function* () {
      const targets: Array<Target> = []
      const wanted = only._tag === "Some" ? [only.value] : parts
      for (const part of wanted) targets.push(...(yield* run(part, sizes)))
      if (targets.length > 0) yield* printTargets(targets)
    })
)

tuneCollector()
NodeRuntime.runMain(
  Command.run(command, { version: "0.1.0" }).pipe(
    Effect.provide(Layer.mergeAll(NodeServices.layer, Layer.succeed(Logger.LogToStderr, true)))
  )
)
