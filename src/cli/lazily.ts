/**
 * The handler of a command whose code is loaded when the command runs. A file right in `src/cli` says how a command is
 * called; what the command does stands in `src/cli/run`, and is imported here alone. So `--help`, `--version` and wrong
 * usage load neither a database driver nor a node, and each command loads its own part of the program and no other.
 */
import { Data, Effect } from "effect"

/** An optional package is not installed. */
class PackageMissing extends Data.TaggedError("PackageMissing")<{ readonly name: string }> {
  override get message() {
    return `this command needs the package ${this.name}, which is optional and not installed: npm install ${this.name}`
  }
}

/** `Cannot find package 'hdr-histogram-js' imported from …`; everything else that goes wrong in loading is a defect. */
const missingPackage = (cause: unknown): PackageMissing | undefined => {
  const name = cause instanceof Error ? /^Cannot find package '([^']+)'/.exec(cause.message)?.[1] : undefined
  return name === undefined ? undefined : new PackageMissing({ name })
}

/**
 * `lazily(() => import("./run/open.ts").then(({ open }) => open))`, in place of the handler itself. Whatever it fails with
 * is reported by `program.ts`, so the description of a command need not know the types of its failures.
 */
export const lazily =
  <Input, R>(load: () => Promise<(input: Input) => Effect.Effect<unknown, unknown, R>>) =>
  (input: Input): Effect.Effect<unknown, unknown, R> =>
    Effect.tryPromise({ try: load, catch: (cause) => cause }).pipe(
      Effect.catch((cause) => {
        const missing = missingPackage(cause)
        return missing === undefined ? Effect.die(cause) : Effect.fail(missing)
      }),
      Effect.flatMap((handler) => handler(input))
    )
