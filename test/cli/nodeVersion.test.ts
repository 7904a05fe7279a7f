/** The version of Node: what is refused, and that both entries refuse it before they load anything else. */
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert, it } from "@effect/vitest"
import packageJson from "../../package.json" with { type: "json" }
import { nodeVersionFault, nodeVersionMin } from "../../src/NodeVersion.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

it.each(["22.19.0", "22.20.1", "23.0.0", "24.21.0", "26.0.0-nightly"])("Node %s will do", (version) => {
  assert.isUndefined(nodeVersionFault(version))
})

it.each(["18.20.8", "20.20.2", "21.9.0", "22.18.9"])("Node %s is refused by its number", (version) => {
  assert.match(
    nodeVersionFault(version) ?? "",
    new RegExp(`needs Node 22.19.0 or later, and this is Node ${version}`)
  )
})

it("is what package.json promises", () => {
  assert.strictEqual(packageJson.engines.node, `>=${nodeVersionMin}`)
})

/** Runs an entry of the project in a Node that takes itself for an older one. */
const runOld = (entry: string, ...args: ReadonlyArray<string>) =>
  spawnSync(
    process.execPath,
    [
      "--import",
      'data:text/javascript,Object.defineProperty(process,"versions",{value:{...process.versions,node:"20.20.2"}})',
      entry,
      ...args
    ],
    { cwd: root, encoding: "utf8", timeout: 240_000 }
  )

it("the command line ends with one line that says so", () => {
  const { status, stdout, stderr } = runOld("src/cli/main.ts", "--help")
  assert.deepEqual([status, stdout], [1, ""])
  assert.match(
    stderr,
    /^chronicle: Chronicle Ledger needs Node 22\.19\.0 or later, and this is Node 20\.20\.2: [^\n]+\n$/
  )
})

it("the library refuses to be loaded, and says so", () => {
  const { status, stderr } = runOld("src/index.ts")
  assert.strictEqual(status, 1)
  assert.include(stderr, "Error: Chronicle Ledger needs Node 22.19.0 or later, and this is Node 20.20.2")
})
