/**
 * The handler of a command whose code is loaded when the command runs. A file right in `src/cli` says how a command is
 * called; what the command does stands in `src/cli/run`, and is imported here alone. So `--help`, `--version` and wrong
 * usage load neither a database driver nor a node, and each command loads its own part of the program and no other.
 */
import { Effect } from "effect"

/**
 * `lazily(() => import("./run/open.ts").then(({ open }) => open))`, in place of the handler itself. Whatever it fails with
 * is reported by `program.ts`, so the description of a command need not know the types of its failures.
 */
export const lazily =
  <Input, R>(load: () => Promise<(input: Input) => Effect.Effect<unknown, unknown, R>>) =>
  (input: Input): Effect.Effect<unknown, unknown, R> =>
    Effect.flatMap(Effect.promise(load), (handler) => handler(input))
