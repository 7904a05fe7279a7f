/** Starts a server as a user that it accepts, because PostgreSQL refuses to run as root. */
import { Effect, Option } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"
import { ProgramMissing } from "./DevStackErrors.ts"
import { Programs } from "./Programs.ts"

export interface ServerUser {
  /** Stands before the program's own command line. */
  readonly prefix: ReadonlyArray<string>
  /** Whose the server's files must be; none where they are the caller's anyway. */
  readonly owner: Option.Option<{ readonly uid: number; readonly gid: number }>
  /** Whether these files are reachable by that user without any privilege. */
  readonly reaches: (
    ...files: ReadonlyArray<string>
  ) => Effect.Effect<boolean, never, ChildProcessSpawner.ChildProcessSpawner>
}

const idOf = Effect.fnUntraced(function* (name: string, flag: "-u" | "-g") {
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const text = yield* spawner.string(ChildProcess.make("id", [flag, name]))
  return Number.parseInt(text, 10)
})

/** `postgres` where there is one; a development stack adds no user to the machine. */
const findOwner = Effect.gen(function* () {
  for (const name of ["postgres", "nobody"]) {
    const ids = yield* Effect.all({ uid: idOf(name, "-u"), gid: idOf(name, "-g") }).pipe(Effect.option)
    if (Option.isSome(ids) && ids.value.uid > 0 && ids.value.gid > 0) return ids
  }
  return Option.none<{ readonly uid: number; readonly gid: number }>()
})

const asRoot = new ProgramMissing({
  program: "setpriv",
  advice:
    "PostgreSQL refuses to run as root. Run this as an ordinary user, or install util-linux, whose setpriv lets root start it as another user."
})

const caller: ServerUser = { prefix: [], owner: Option.none(), reaches: () => Effect.succeed(true) }

/** Asks a shell that runs as another user, since only the kernel knows which files that user can reach. */
const reachesAs =
  (prefix: ReadonlyArray<string>): ServerUser["reaches"] =>
  (...files) =>
    Effect.gen(function* () {
      const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
      const [program = "", ...args] = [
        ...prefix,
        "/bin/sh",
        "-c",
        'for p; do test -x "$p" || exit 1; done',
        "sh"
      ]
      return (yield* spawner.exitCode(ChildProcess.make(program, [...args, ...files]))) === 0
    }).pipe(Effect.orElseSucceed(() => false))

/** A user that may run the server and can reach the directory of its files. */
export const findServerUser = Effect.fn("ServerUser.find")(function* (directory: string) {
  if (process.getuid?.() !== 0) return caller
  const { find } = yield* Programs
  const setpriv = yield* find("setpriv")
  const owner = yield* findOwner
  if (Option.isNone(setpriv) || Option.isNone(owner)) return yield* asRoot
  const { gid, uid } = owner.value
  const plain = [setpriv.value, `--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"]
  const reaches = reachesAs(plain)
  if (yield* reaches(directory)) return { prefix: plain, owner, reaches } satisfies ServerUser
  // Below a private directory such as root's home the other user needs the one privilege to pass through.
  const passing = [...plain, "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
  if (yield* reachesAs(passing)(directory)) return { prefix: passing, owner, reaches } satisfies ServerUser
  return yield* asRoot
})
