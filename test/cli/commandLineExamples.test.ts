/** The examples of embedding, run as their first lines say, in memory and over real services, with what they print. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { startDevStack } from "../../src/infra/dev/DevStack.ts"
import { run, variablesOf } from "../support/chronicle.ts"
import { freshDataDir } from "../support/devStacks.ts"

const examples = ["examples/embed-effect.ts", "examples/embed-async.mjs"]

const told = (file: string, done: string) => {
  const name = file.replace(/.*\/|\..*/g, "")
  return [
    `transferred, at ${name}:alice@3,${name}:bob@2`,
    done,
    "alice has 75.00 USD",
    "she had 100.00 USD",
    `refused: account ${name}:bob has 25.00 USD, which does not cover 1000.00 USD`,
    ""
  ].join("\n")
}

layer(NodeServices.layer, { excludeTestServices: true })("the examples of embedding", (it) => {
  it.effect.each(examples)("%s runs in memory", (file) =>
    Effect.gen(function* () {
      const text = yield* (yield* FileSystem.FileSystem).readFileString(file)
      assert.include(text.slice(0, text.indexOf("*/")), `node_modules/.bin/node ${file}`)
      const { code, stdout, stderr } = yield* run([], { file })
      assert.deepEqual(
        { code, stdout, stderr },
        { code: 0, stdout: told(file, "it was done now"), stderr: "" }
      )
    })
  )

  it.effect(
    "both run over real services, and are answered as replayed the second time",
    () =>
      Effect.gen(function* () {
        const stack = yield* startDevStack({ dataDir: yield* freshDataDir, durable: false })
        for (const done of ["it was done now", "it had been done before"]) {
          for (const file of examples) {
            const { code, stdout, stderr } = yield* run([], { file, env: variablesOf(stack) })
            assert.deepEqual(
              { code, stdout: stdout.replaceAll(/^.*(INFO|WARN).*\n/gm, "") },
              { code: 0, stdout: told(file, done) },
              stderr
            )
          }
        }
      }),
    240_000
  )
})
