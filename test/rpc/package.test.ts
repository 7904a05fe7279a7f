/**
 * The packed package, installed in an empty folder as a user does: peers in TypeScript and in plain JavaScript move money with it, and its
 * command plays the demo.
 */
import { execFile } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { promisify } from "node:util"
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger, openTcp, token } from "../support/rpcWorld.ts"
import { tellingThreads } from "../support/threadEntries.ts"

const run = promisify(execFile)
const bin = (name: string) => resolve("node_modules", ".bin", name)

const pack = async (folder: string): Promise<string> => {
  await run("npm", ["pack", "--pack-destination", folder], { cwd: resolve(".") })
  const packed = readdirSync(folder).find((name) => name.endsWith(".tgz"))
  return join(folder, packed ?? assert.fail("npm packed nothing"))
}

/** As a user installs it. What it depends on comes from npm's cache where it is there, else from the registry. */
const install = async (folder: string, tarball: string): Promise<string> => {
  const peer = join(folder, "peer")
  mkdirSync(peer)
  writeFileSync(join(peer, "package.json"), JSON.stringify({ private: true, type: "module" }))
  const flags = ["--prefer-offline", "--fetch-retries=5", "--no-audit", "--no-fund", "--ignore-scripts"]
  await run("npm", ["install", ...flags, tarball], { cwd: peer })
  return peer
}

/** Asks the package's console for its page and for the script that the page names. */
const serveConsole = `
import { Context, Layer } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { routes } from "./node_modules/chronicle-ledger/dist/http/ConsoleFiles.js"
const { handler } = HttpRouter.toWebHandler(routes.pipe(Layer.provide(HttpServer.layerServices)), { disableLogger: true })
const ask = (path) => handler(new Request("http://127.0.0.1" + path), Context.empty())
const page = await ask("/console")
const script = await ask(/\\/console\\/files\\/[\\w-]+\\.js/.exec(await page.text())[0])
for (const { status, headers } of [page, script]) console.log(status, headers.get("content-type"))
`

/** Which file the thread of the read side starts from in a host's process, without projections of its own and with one. */
const tellEntries = `
import { entryOfReadSide } from "./node_modules/chronicle-ledger/dist/ReadSideEntry.js"
console.log(entryOfReadSide([]).href, entryOfReadSide(["/host/projection.js"]).href)
`

layer(memoryLedger, { excludeTestServices: true })("the packed package", (it) => {
  it.effect(
    "lets a peer with Effect and one without it move money and read it back, and plays the demo",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const folder = yield* Effect.acquireRelease(
            Effect.sync(() => mkdtempSync(join(tmpdir(), "chronicle-package-"))),
            (made) => Effect.sync(() => rmSync(made, { recursive: true, force: true }))
          )
          const tarball = yield* Effect.promise(() => pack(folder))
          const peer = yield* Effect.promise(() => install(folder, tarball))
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
          // What its users' tools see of it: the entries and their types, of a package that is for ES modules alone.
          yield* Effect.promise(() => run(bin("publint"), ["--strict", tarball]))
          yield* Effect.promise(() => run(bin("attw"), [tarball, "--profile", "esm-only"]))
          // By npx, as the README says, in a folder that has nothing but the package.
          const demo = yield* Effect.promise(() =>
            run("npx", ["--no-install", "chronicle", "demo", "--json"], {
              cwd: peer,
              env: { ...process.env, ...tellingThreads }
            })
          )
          assert.deepInclude(JSON.parse(demo.stdout.trim().split("\n").at(-1) ?? ""), { ok: true })
          // Its threads load the bundle, those of a host without projections too.
          assert.match(demo.stderr, /^thread file:.*\/chronicle-ledger\/dist\/front\/readSideMain\.mjs$/m)
          writeFileSync(join(peer, "entries.mjs"), tellEntries)
          const entries = yield* Effect.promise(() => run(process.execPath, ["entries.mjs"], { cwd: peer }))
          assert.match(
            entries.stdout,
            /^file:\S+\/dist\/front\/readSideMain\.mjs file:\S+\/dist\/readSideMain\.js\n$/
          )
          // The console is in it, and served from it.
          writeFileSync(join(peer, "console.mjs"), serveConsole)
          const served = yield* Effect.promise(() => run(process.execPath, ["console.mjs"], { cwd: peer }))
          assert.match(
            served.stdout,
            /^200 text\/html; charset=utf-8\n200 text\/javascript; charset=utf-8\n$/
          )
          const ledger = yield* Ledger
          assert.strictEqual((yield* ledger.strongBalance("peer:ada")).balance, 75_00n)
        })
      ),
    420_000
  )
})
