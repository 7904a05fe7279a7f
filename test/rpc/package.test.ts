/** The packed package in an empty folder enters; peers in TypeScript and in plain JavaScript that move money leave. */
import { execFile } from "node:child_process"
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { promisify } from "node:util"
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger, openTcp, token } from "../support/rpcWorld.ts"

const run = promisify(execFile)

/**
 * The package as npm would unpack it, beside links to the packages that it says it depends on, and to no others: as an
 * installation, without asking a registry for what is here already.
 */
const install = async (folder: string): Promise<string> => {
  await run("npm", ["pack", "--pack-destination", folder], { cwd: resolve(".") })
  const [packed] = readdirSync(folder).filter((name) => name.endsWith(".tgz"))
  await run("tar", ["-xzf", packed ?? ""], { cwd: folder })
  const { dependencies, name }: { readonly name: string; readonly dependencies: object } = JSON.parse(
    readFileSync(join(folder, "package", "package.json"), "utf8")
  )
  const peer = join(folder, "peer")
  const modules = join(peer, "node_modules")
  mkdirSync(modules, { recursive: true })
  writeFileSync(join(peer, "package.json"), JSON.stringify({ private: true, type: "module" }))
  renameSync(join(folder, "package"), join(modules, name))
  for (const dependency of Object.keys(dependencies)) {
    mkdirSync(dirname(join(modules, dependency)), { recursive: true })
    symlinkSync(resolve("node_modules", dependency), join(modules, dependency))
  }
  return peer
}

layer(memoryLedger, { excludeTestServices: true })("the packed package", (it) => {
  it.effect(
    "lets a peer with Effect and one without it move money and read it back",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const folder = yield* Effect.acquireRelease(
            Effect.sync(() => mkdtempSync(join(tmpdir(), "chronicle-package-"))),
            (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
          )
          const peer = yield* Effect.promise(() => install(folder))
          const { url } = yield* openTcp({ tokens: [token("peer", ["read", "command"], ["peer:"])] })
          const env = { ...process.env, CHRONICLE_RPC_URL: url, CHRONICLE_RPC_TOKEN: "secret-peer" }
          const said: Array<string> = []
          for (const example of ["peer-effect.mts", "peer-plain.mjs"]) {
            copyFileSync(join("examples", example), join(peer, example))
            const { stdout } = yield* Effect.promise(() =>
              run(process.execPath, [example], { cwd: peer, env })
            )
            said.push(stdout.trim())
          }
          assert.deepEqual(said, [
            "peer:bob has 2500 after version 2",
            "done, done, InsufficientFunds\npeer:dan has 2500 after version 2"
          ])
          const ledger = yield* Ledger
          assert.strictEqual((yield* ledger.strongBalance("peer:ada")).balance, 75_00n)
        })
      ),
    300_000
  )
})
