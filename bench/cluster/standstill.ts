/**
 * What is lost from the memory of owners when the log stands still: nothing must be. Two nodes as processes, and every
 * way in which accounts change hands, with standstills of several lengths: `node bench/cluster/standstill.ts [millis …]`.
 */
import { Effect, Redacted } from "effect"
import { accountsTakenOver, leasesOutlasted } from "../../test/support/standstill.ts"
import { run, startStores } from "./Script.ts"

const given = process.argv.slice(2).map(Number)
const stalls = given.length > 0 ? given : [500, 2_000, 5_000, 10_000]

const program = Effect.gen(function* () {
  for (const stallMs of stalls) {
    for (const [what, scenario] of [
      ["leases outlasted", leasesOutlasted],
      [
        "a node ended",
        (services: Parameters<typeof leasesOutlasted>[0], ms: number) =>
          accountsTakenOver(services, ms, "SIGTERM")
      ],
      [
        "a node killed",
        (services: Parameters<typeof leasesOutlasted>[0], ms: number) =>
          accountsTakenOver(services, ms, "SIGKILL")
      ]
    ] as const) {
      const found = yield* Effect.gen(function* () {
        const stack = yield* startStores()
        const urls = {
          eventStoreUrl: Redacted.value(stack.eventStoreUrl),
          locksUrl: Redacted.value(stack.readModelUrl)
        }
        return yield* scenario(urls, stallMs)
      }).pipe(Effect.scoped)
      console.log(JSON.stringify({ what, stallMs, ...found }))
      if (found.faults.length > 0) process.exitCode = 1
    }
  }
})

run(program)
