/**
 * Ends servers whose program was killed. A guard process ends them at once, and the next start ends those that even the
 * guard missed: a server without its program would keep the data directory for ever.
 */
import { Effect, FileSystem, Path, Schedule } from "effect"
import { ChildProcess, ChildProcessSpawner } from "effect/process"

/** How long an orphan may take to end in order before it is killed, in milliseconds. */
const graceMs = 10_000

/**
 * Its standard input is a pipe of ours: the end of it means that we are gone, by whatever signal. Each
 * process that is still noted then is asked to end, and killed 10 seconds later.
 */
const guardScript = `while read -r line; do :; done
alive() {
  kill -0 "$1" 2>/dev/null || return 1
  # In a container the dead may not be collected: then they keep their ids.
  [ -r "/proc/$1/stat" ] && read -r stat <"/proc/$1/stat" || return 0
  case $stat in *") Z "*) return 1 ;; esac
}
pids=$(cat "$1"/*.pid 2>/dev/null)
[ -n "$pids" ] && kill -INT $pids 2>/dev/null
tries=0
for pid in $pids; do
  while alive $pid && [ $tries -lt ${graceMs / 100} ]; do tries=$((tries + 1)); sleep 0.1; done
  alive $pid && kill -KILL $pid 2>/dev/null
done
rm -rf "$1"`

/** Ends with the scope, without ending anybody: then every server is stopped by its own scope. */
export const guardOrphans = Effect.fn("OrphanGuard.start")(function* (pidDirectory: string) {
  yield* ChildProcess.make("/bin/sh", ["-c", guardScript, "sh", pidDirectory], {
    stdout: "ignore",
    stderr: "ignore",
    killSignal: "SIGKILL"
  })
})

/** Signals one process; false when it is gone. Signal 0 only asks. */
const signal = (pid: number, name: NodeJS.Signals | 0) =>
  Effect.try(() => process.kill(pid, name)).pipe(
    // EPERM says that it lives and is not ours to end, so it is none of our servers.
    Effect.orElseSucceed(() => false)
  )

/** A process id is soon given to another process, so the command line decides whose it is. */
const commandLine = Effect.fnUntraced(function* (pid: number) {
  const fs = yield* FileSystem.FileSystem
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  return yield* fs.readFileString(`/proc/${pid}/cmdline`).pipe(
    Effect.catch(() => spawner.string(ChildProcess.make("ps", ["-ww", "-o", "command=", "-p", `${pid}`]))),
    Effect.orElseSucceed(() => "")
  )
})

const endOrphan = Effect.fnUntraced(function* (pid: number, dataDir: string) {
  const isOurs = Effect.map(commandLine(pid), (line) => line.includes(`${dataDir}/`))
  if (!(yield* isOurs)) return
  yield* Effect.logInfo(`ending process ${pid}, left behind by a killed run on ${dataDir}`)
  yield* signal(pid, "SIGINT")
  const gone = isOurs.pipe(Effect.repeat({ schedule: Schedule.spaced("50 millis"), until: (ours) => !ours }))
  yield* gone.pipe(
    Effect.timeoutOrElse({
      duration: graceMs,
      orElse: () => Effect.andThen(signal(pid, "SIGKILL"), Effect.timeoutOption(gone, graceMs))
    })
  )
})

/** Call it while holding the lock of `dataDir`: what is noted below `runDirectory` belongs to no process that lives. */
export const endOrphans = Effect.fn("OrphanGuard.endOrphans")(function* (
  runDirectory: string,
  dataDir: string
) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const entries = yield* fs
    .readDirectory(runDirectory, { recursive: true })
    .pipe(Effect.orElseSucceed(() => []))
  const pidFiles = entries.filter((entry) => entry.endsWith(".pid"))
  yield* Effect.forEach(
    pidFiles,
    Effect.fnUntraced(function* (file) {
      const text = yield* fs
        .readFileString(path.join(runDirectory, file))
        .pipe(Effect.orElseSucceed(() => ""))
      const pid = Number.parseInt(text, 10)
      if (pid > 1) yield* endOrphan(pid, dataDir)
    }),
    { concurrency: "unbounded", discard: true }
  )
  yield* Effect.ignore(fs.remove(runDirectory, { recursive: true, force: true }))
})
