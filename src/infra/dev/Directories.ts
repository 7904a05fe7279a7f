/**
 * Makes a directory at a path that a user gives, and those above it. Each is made once: Node's own way tries again for ever where the system
 * says of a directory that what is above it is not there, though it is, as Linux says of each name below /proc.
 */
import { Effect, FileSystem, Path, type PlatformError } from "effect"

/** Whether there is a directory, at the end of symbolic links. What cannot be looked at is none: to make it says why. */
const isDirectory = (path: string) =>
  FileSystem.FileSystem.use((fs) => fs.stat(path)).pipe(
    Effect.map(({ type }) => type === "Directory"),
    Effect.orElseSucceed(() => false)
  )

/** The directory, and all above it that lack, with this mode; nothing where it is there. */
export const makeDirectories = (
  directory: string,
  mode?: number
): Effect.Effect<void, PlatformError.PlatformError, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function* () {
    if (yield* isDirectory(directory)) return
    const fs = yield* FileSystem.FileSystem
    const { dirname } = yield* Path.Path
    const above = dirname(directory)
    if (above !== directory) yield* makeDirectories(above, mode)
    yield* fs.makeDirectory(directory, mode === undefined ? {} : { mode }).pipe(
      // Another process may have been faster.
      Effect.catchIf(
        ({ reason }) => reason._tag === "AlreadyExists",
        (error) =>
          Effect.flatMap(isDirectory(directory), (isMade) => (isMade ? Effect.void : Effect.fail(error)))
      )
    )
  })
