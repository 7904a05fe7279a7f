/**
 * How a demo and a node in the foreground end on Ctrl-C or SIGTERM: soon, with their data whole and no process of theirs
 * running on.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { dayFile, type Ended, jsonOf, printed, type Running, run, start } from "../support/chronicle.ts"
import { freshDataDir, preparedDataDir, processesOf } from "../support/devStacks.ts"
import { freePorts } from "../support/ports.ts"

/** Longer than PostgreSQL and nats-server take on a busy machine, shorter than a person would wait. */
const soon = "60 seconds"

const ended = (running: Running): Effect.Effect<Ended> =>
  running.ended.pipe(
    Effect.timeoutOrElse({
      duration: soon,
      orElse: () => Effect.die(`has not ended in ${soon}:\n${running.stderr()}`)
    })
  )

layer(NodeServices.layer, { excludeTestServices: true })("Ctrl-C and SIGTERM", (it) => {
  it.effect(
    "end a demo in its middle with exit code 130, and the demo can be resumed",
    () =>
      Effect.gen(function* () {
        const dataDir = yield* preparedDataDir
        for (const name of ["SIGINT", "SIGTERM"] as const) {
          const demo = yield* start(["demo", "--data", dataDir, "--rate", "400"])
          yield* printed(demo, /^played /m)
          yield* demo.signal(name)
          const { code, stdout } = yield* ended(demo)
          assert.strictEqual(code, 130, name)
          assert.notInclude(stdout, "Verdicts")
          assert.deepEqual(processesOf(dataDir), [], "every service ended before the demo did")
        }
        const whole = yield* run(["demo", "--data", dataDir, "--json"])
        assert.strictEqual(whole.code, 0, whole.stderr)
        const { ok, replayed, accepted } = jsonOf(whole)
        assert.isTrue(ok)
        assert.isAbove(Number(replayed), 33)
        // Accepted, and sent twice by the day itself: demo.test.ts has the two.
        assert.strictEqual(Number(replayed) + Number(accepted), 2_481 + 33)
      }),
    420_000
  )

  it.effect(
    "are not what a closed pipe is: a demo whose progress nobody reads plays to its end",
    () =>
      Effect.gen(function* () {
        const file = yield* dayFile(
          Array.from({ length: 5 }, (_, nth) => `,open-${nth},open,a-${nth},,USD,,,Ada,,`)
        )
        const args = ["demo", "--data", yield* preparedDataDir, "--file", file, "--rate", "2", "--json"]
        const whole = yield* run(args, { isUnread: true })
        assert.strictEqual(whole.code, 0)
        assert.deepInclude(jsonOf(whole), { ok: true, accepted: 5 })
      }),
    420_000
  )

  it.effect(
    "end a node in the foreground with its data whole",
    () =>
      Effect.gen(function* () {
        const dataDir = yield* preparedDataDir
        for (const name of ["SIGINT", "SIGTERM"] as const) {
          const dev = yield* start(["dev", "--data", dataDir], { env: yield* freePorts })
          yield* printed(dev, /Ctrl-C ends it/)
          yield* dev.signal(name)
          assert.strictEqual((yield* ended(dev)).code, 0, "that is how a node ends")
          assert.deepEqual(processesOf(dataDir), [])
        }
        const verified = yield* run(["verify", "--data", dataDir, "--json"])
        assert.strictEqual(verified.code, 0, verified.stderr)
        assert.deepInclude(jsonOf(verified), { accounts: 0, ok: true })
      }),
    420_000
  )

  it.effect("end a demo that stayed up, whose console and API had the day's data", () =>
    Effect.gen(function* () {
      const dataDir = yield* preparedDataDir
      const file = yield* dayFile([
        "2026-03-02T09:00:00Z,k-1,open,kept:alice,,USD,,,Alice,,",
        "2026-03-02T09:00:00Z,k-2,deposit,kept:alice,,USD,1.00,,,,"
      ])
      const env = yield* freePorts
      const demo = yield* start(["demo", "--keep", "--data", dataDir, "--file", file], { env })
      yield* printed(demo, /Ctrl-C ends it/)
      const [console = ""] = /http:\S+\/console/.exec(demo.stdout()) ?? []
      const [page, account] = yield* Effect.promise(() =>
        Promise.all([fetch(console), fetch(new URL("/v1/accounts/kept:alice", console))])
      )
      assert.deepEqual([page.status, account.status], [200, 200])
      assert.include(yield* Effect.promise(() => account.text()), '"balance":"100"')
      const [rpcUrl = ""] = /(?<=CHRONICLE_RPC_URL=)\S+/.exec(demo.stdout()) ?? []
      const asked = yield* run(["balance", "kept:alice"], { env: { CHRONICLE_RPC_URL: rpcUrl } })
      assert.deepInclude(asked, { code: 0 }, asked.stderr)
      yield* demo.signal("SIGTERM")
      assert.strictEqual((yield* ended(demo)).code, 0)
      assert.deepEqual(processesOf(dataDir), [])
    })
  )

  it.effect("end a demo that is still starting its services", () =>
    Effect.gen(function* () {
      const dataDir = yield* freshDataDir
      const demo = yield* start(["demo", "--data", dataDir])
      yield* printed(demo, /^Starting /m)
      yield* demo.signal("SIGINT")
      assert.strictEqual((yield* ended(demo)).code, 130)
      assert.deepEqual(processesOf(dataDir), [])
    })
  )
})
