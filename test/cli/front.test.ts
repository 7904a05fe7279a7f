/** The front of the command line: few files, the same answers as the whole program, and handing over what it does not do. */
import { spawnSync } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { pathToFileURL } from "node:url"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { bundleFront } from "../../scripts/front.ts"

let folder = ""
/** Runs a module's `run`, and counts the modules that were loaded for it on stderr's last line. */
const runner = () => join(folder, "runner.mjs")

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "chronicle-front-"))
  await bundleFront(resolve("src"), folder)
  writeFileSync(
    runner(),
    `import { registerHooks } from "node:module"
const [url] = process.argv.splice(2, 1)
let modules = 0
registerHooks({ load: (id, context, next) => { if (!id.startsWith("node:")) modules++; return next(id, context) } })
process.on("exit", () => console.error("modules " + modules))
const { run } = await import(url)
run(() => console.error("handed over"))
`
  )
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const runWith = (module: string, args: ReadonlyArray<string>) => {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !name.startsWith("CHRONICLE_"))
  )
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [runner(), pathToFileURL(module).href, ...args],
    { encoding: "utf8", env: { ...env, NO_COLOR: "1", CHRONICLE_RPC_URL: "tcp://127.0.0.1:1" } }
  )
  const [said = "", modules] = stderr.split(/modules (\d+)\n$/)
  return { status, stdout, said, modules: Number(modules) }
}
const runFront = (...args: ReadonlyArray<string>) => runWith(join(folder, "front.mjs"), args)

describe("the front of the command line", () => {
  it.each([
    [["--help"], 0],
    [["--version"], 0],
    [["statement", "--help"], 0],
    [["balance"], 2],
    [["nonsense"], 2],
    [["deposit", "alice", "much"], 2]
  ] as const)("answers %j as the whole program does, from at most 6 files", (args, code) => {
    const { modules, ...front } = runFront(...args)
    const whole = runWith(resolve("src/cli/program.ts"), args)
    assert.deepEqual(front, { status: whole.status, stdout: whole.stdout, said: whole.said })
    assert.strictEqual(front.status, code)
    assert.isAtMost(modules, 6)
    assert.isAtMost(whole.modules, 400)
  })

  it.each([["serve"], ["migrate"], ["demo"], ["loadtest", "--scenario", "mixed-zipf"]])(
    "hands %s over to the whole program without a word",
    (...args) => {
      const { stdout, said } = runFront(...args)
      assert.deepEqual({ stdout, said }, { stdout: "", said: "handed over\n" })
    }
  )

  it("reaches for a node by itself", () => {
    const { status, said } = runFront("deposit", "alice", "1 USD/2")
    assert.strictEqual(status, 1)
    assert.match(said, /ECONNREFUSED/)
  })
})
