/** The files of servers that a test starts. */
import { Effect, FileSystem, Path } from "effect"
import { guardOrphans } from "../../src/infra/dev/OrphanGuard.ts"

/** Files of servers, by their names, in a temporary directory that goes with the scope. */
export const serverFiles = Effect.fnUntraced(function* (prefix: string) {
  const fs = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const directory = yield* fs.makeTempDirectoryScoped({ prefix })
  // PostgreSQL runs as another user when root runs the tests.
  yield* fs.chmod(directory, 0o711)
  const run = join(directory, "run")
  yield* fs.makeDirectory(run)
  yield* guardOrphans(run)
  return (name: string) => ({
    directory: join(directory, name),
    pidFile: join(run, `${name}.pid`),
    logFile: join(directory, `${name}.log`)
  })
})
