/**
 * What `--help`, `--version` and wrong usage load: how commands are called, and nothing of what they do. Counted, not
 * timed, because a time says little on a busy machine.
 */
import { readdirSync } from "node:fs"
import { assert, it } from "@effect/vitest"
import { importGraph } from "../support/importGraph.ts"

const { files, packages } = importGraph("src/cli/program.ts")

it("loads no part of the program beyond how its commands are called", () => {
  const heavy = files.filter((path) =>
    /^src\/(actors|http|rpc\/(client|server)|cli\/(run|remote))\//.test(path)
  )
  assert.deepEqual(heavy, [])
  // The only setting that is read before a command runs is how the log looks.
  assert.deepEqual(
    files.filter((path) => path.startsWith("src/infra/")),
    ["src/infra/telemetry/Logs.ts"]
  )
  assert.isAtMost(files.length, 45)
})

it("loads no package but effect's core, its command line and the platform's basic services", () => {
  assert.deepEqual(
    packages.filter((name) => !name.startsWith("node:")),
    [
      "@effect/platform-node/NodeRuntime",
      "@effect/platform-node/NodeServices",
      "effect",
      "effect/cli",
      "effect/schema/SchemaJITCompiler"
    ]
  )
})

it("finds what a command does when it runs", () => {
  const handlers = ["run", "remote"].flatMap((folder) =>
    readdirSync(`src/cli/${folder}`).map((name) => `src/cli/${folder}/${name}`)
  )
  assert.include(handlers, "src/cli/run/nodes.ts")
  assert.include(importGraph("src/cli/run/nodes.ts").packages, "nats")
})
