/**
 * What the thread of the read side loads each time it is started, under load too: what it works with, and no more. Counted, not timed, because
 * a time says little on a busy machine.
 */
import { assert, it } from "@effect/vitest"
import { importGraph } from "../support/importGraph.ts"

const { files, packages } = importGraph("src/readSideLife.ts")

it("loads no doors of a node, no cluster, and no exporter of traces", () => {
  assert.deepEqual(
    files.filter((path) =>
      /^src\/(access|cli|http|loadtest|rpc|infra\/(cluster|dev|telemetry\/Telemetry))/.test(path)
    ),
    []
  )
  assert.isAtMost(files.length, 125)
})

it("loads no client of HTTP before there is a webhook to deliver", () => {
  assert.notInclude(packages, "@effect/platform-node/NodeHttpClient")
})

it("loads of effect its core, and else only the modules that it names", () => {
  assert.deepEqual(
    packages.filter((name) => /^effect\/[^/]+$/.test(name)),
    []
  )
})
