/** Three nodes of `chronicle serve`, load on all: one is killed, one frozen beyond its locks' life. `npm run bench:chaos` does more. */
import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { startDevStack } from "../../src/infra/dev/DevStack.ts"
import { runChaos } from "../support/chaos/chaos.ts"
import { disruptionsOf, type Kind } from "../support/chaos/disruptions.ts"
import { preparedDataDir, withoutCockroach } from "../support/devStacks.ts"

const kinds: ReadonlyArray<Kind> = ["kill", "zombie"]

it.live(
  "a node killed and a node frozen under load cost no acknowledged command, no invariant and no uncounted conflict",
  () =>
    Effect.gen(function* () {
      const fs = yield* FileSystem.FileSystem
      const logDir = yield* fs.makeTempDirectoryScoped({ prefix: "chronicle-chaos-" })
      const stack = yield* Effect.flatMap(preparedDataDir, (prepared) =>
        startDevStack({ dataDir: prepared, durable: false })
      ).pipe(withoutCockroach)
      const { outages, attempts, verdict } = yield* runChaos(stack, {
        seed: 5,
        roles: ["all", "all", "all"],
        seconds: 0,
        accounts: 120,
        customers: 4,
        thinkMs: 30,
        watched: 9,
        watchMs: 100,
        // The defaults: with shorter times a slow machine is taken for a dead one.
        cluster: {},
        disruptions: disruptionsOf(kinds),
        logDir,
        onOutage: () => {}
      })
      assert.deepStrictEqual(verdict.faults, [])
      assert.deepStrictEqual(
        Object.entries(verdict.invariants).filter(([, holds]) => !holds),
        []
      )
      assert.sameMembers(
        outages.map(({ kind }) => kind),
        [...kinds]
      )
      // It was no test if no command was accepted meanwhile.
      const accepted = attempts.filter(({ answer }) => typeof answer !== "string")
      assert.isAbove(accepted.length, 2 * 120)
      assert.isAtLeast(verdict.events, accepted.length)
    }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
  900_000
)
