/** Commands whose answer is not taken: by a pipe that is closed, and by a file that takes nothing. */
import { closeSync, openSync } from "node:fs"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { run } from "../support/chronicle.ts"

/** `--help` writes once, `token` several times. */
const commands: ReadonlyArray<ReadonlyArray<string>> = [
  ["token", "till", "--scope", "read"],
  ["token", "till", "--scope", "read", "--json"],
  ["--help"],
  []
]

it.live.each(commands)("%s ends in silence where its reader has gone", (args) =>
  Effect.gen(function* () {
    assert.deepInclude(yield* run(args, { stdout: "closed" }), { code: 0, stderr: "" })
  })
)

it.live.each(commands)("%s says that its answer is lost, with exit code 1", (args) =>
  Effect.gen(function* () {
    // Open for reading alone, a file refuses to be written to as a full disk does.
    const file = openSync("package.json", "r")
    const ended = yield* run(args, { stdout: file }).pipe(Effect.ensuring(Effect.sync(() => closeSync(file))))
    assert.strictEqual(ended.code, 1)
    assert.match(
      ended.stderr,
      /^chronicle: what was done is not all told, because stdout cannot be written to: EBADF: .*\n$/
    )
  })
)
