/** The links among the libraries of the embedded PostgreSQL. */
import { Effect, FileSystem, Path, Schema } from "effect"

/** Links that npm packages cannot carry, told by the package with paths that begin with `native/`. */
const Links = Schema.fromJsonString(
  Schema.Array(Schema.Struct({ source: Schema.String, target: Schema.String }))
)

/**
 * Makes the links among PostgreSQL's libraries, which the package makes by an install script: npm runs none with
 * `--ignore-scripts`, and its later releases only those that the user has approved.
 */
export const linkLibraries = Effect.fn("PostgresLinks.linkLibraries")(function* (native: string) {
  const fs = yield* FileSystem.FileSystem
  const { dirname, join, relative } = yield* Path.Path
  const list = join(native, "pg-symlinks.json")
  if (!(yield* fs.exists(list))) return
  const links = yield* Schema.decodeEffect(Links)(yield* fs.readFileString(list))
  for (const { source, target } of links) {
    const link = join(dirname(native), target)
    if (yield* fs.exists(link)) continue
    // Another process may make the same at this moment.
    yield* Effect.catchReason(
      fs.symlink(relative(dirname(target), source), link),
      "PlatformError",
      "AlreadyExists",
      () => Effect.void
    )
  }
})
