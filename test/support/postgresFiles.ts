/** PostgreSQL's files, copied from those that the run of all tests made: a run of `initdb` takes a second of a core, a copy a tenth. */
import { Effect } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"

/** Whole, and with the owner of each file, for a server that does not run on either directory. */
export const copyPostgresFiles = Effect.fnUntraced(function* (from: string, to: string) {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const code = yield* spawner.exitCode(ChildProcess.make("cp", ["-Rp", from, to]))
  if (code !== 0) return yield* Effect.die(new Error(`cp ended with exit code ${code}`))
})
