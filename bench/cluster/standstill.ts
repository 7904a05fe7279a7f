/**
 * What is lost from the memory of owners when the log stands still: nothing must be. Nodes as processes, every way in which
 * accounts change hands, standstills of several lengths at every place of a commit:
 * `node bench/cluster/standstill.ts [millis,millis …] [begin,middle,end] [part of a scenario's name]`. Each in turn takes
 * about 20 s and the standstill; a line of JSON each, exit code 1 if anything was untrue. With a `cockroach` on the PATH it is
 * CockroachDB that stands still.
 */
import { Cause, Effect, Redacted } from "effect"
import { freshDatabase, freshEventStore } from "../../test/support/databases.ts"
import { places, scenarios } from "../../test/support/standstill.ts"
import { run, startStores } from "./Script.ts"

const [lengths = "500,2000,5000,10000", where = places.join(), which = ""] = process.argv.slice(2)
const chosen = places.filter((place) => where.split(",").includes(place))

const program = Effect.gen(function* () {
  // Nothing here is lost with the machine, so nothing needs to be synced; databases of its own for each run.
  const { eventStoreUrl, readModelUrl } = yield* startStores(false)
  for (const [what, scenario] of Object.entries(scenarios).filter(([name]) => name.includes(which))) {
    for (const millis of lengths.split(",").map(Number)) {
      for (const place of chosen) {
        const found = yield* Effect.gen(function* () {
          const urls = {
            eventStoreUrl: yield* freshEventStore(Redacted.value(eventStoreUrl)),
            locksUrl: yield* freshDatabase(Redacted.value(readModelUrl))
          }
          return yield* scenario(urls, { millis, place })
        }).pipe(
          Effect.scoped,
          // Those that follow are to be tried, too.
          Effect.catchCause((cause) => Effect.succeed({ accepted: 0, faults: [Cause.pretty(cause)] }))
        )
        console.log(JSON.stringify({ what, millis, place, ...found }))
        // Nothing accepted is nothing judged.
        if (found.faults.length > 0 || found.accepted === 0) process.exitCode = 1
      }
    }
  }
})

run(program)
