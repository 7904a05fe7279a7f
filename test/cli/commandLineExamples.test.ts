/** The examples of embedding, run as their first lines say, in memory and over real services, with what they print. */
import { NodeServices } from "@effect/platform-node"
import { assert, layer } from "@effect/vitest"
import { Effect, FileSystem } from "effect"
import { startDevStack } from "../../src/infra/dev/DevStack.ts"
import { run, variablesOf } from "../support/chronicle.ts"
import { preparedDataDir } from "../support/devStacks.ts"

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

/** What the examples of payments print. */
const payments: ReadonlyArray<readonly [file: string, told: string]> = [
  [
    "examples/authorisation.mjs",
    `authorised: 200.00 USD, of which 150.00 USD are held
refused: account ann has 200.00 USD, of which 150.00 USD are held, which does not cover 100.00 USD
first parcel: 110.00 USD, of which 60.00 USD are held
second parcel: 65.00 USD, of which 0.00 USD are held
refused: HoldClosed, captured
the shop has 135.00 USD
`
  ],
  [
    "examples/refund.mjs",
    `paid: ann 16.70 USD, shop 70.00 USD, tax 13.30 USD
refund ~r1~payment-1: ann 52.40 USD, shop 40.00 USD, tax 7.60 USD
again: replayed true
all of it: ann 100.00 USD, shop 0.00 USD, tax 0.00 USD
refused: ReversalExceeds
payment-1 was reversed by ~r1~payment-1 and ~r2~payment-1
`
  ],
  [
    "examples/exchange.mjs",
    `refused: RateMismatch, expected 100.00 EUR
exchanged: 0.00 USD and 100.00 EUR
given back: 110.00 USD and 0.00 EUR
`
  ]
]

/** A machine that does something else besides has a node tell what came late. */
const withoutLog = (stdout: string): string => stdout.replaceAll(/^.*(INFO|WARN).*\n/gm, "")

layer(NodeServices.layer, { excludeTestServices: true })("the examples of payments", (it) => {
  it.effect.each(payments)("%s runs in memory", ([file, words]) =>
    Effect.gen(function* () {
      const text = yield* (yield* FileSystem.FileSystem).readFileString(file)
      assert.include(text.slice(0, text.indexOf("*/")), `node_modules/.bin/node ${file}`)
      const { code, stdout, stderr } = yield* run([], { file })
      assert.deepEqual({ code, stdout: withoutLog(stdout), stderr }, { code: 0, stdout: words, stderr: "" })
    })
  )
})

layer(NodeServices.layer, { excludeTestServices: true })("the examples of embedding", (it) => {
  it.effect.each(examples)("%s runs in memory", (file) =>
    Effect.gen(function* () {
      const text = yield* (yield* FileSystem.FileSystem).readFileString(file)
      assert.include(text.slice(0, text.indexOf("*/")), `node_modules/.bin/node ${file}`)
      const { code, stdout, stderr } = yield* run([], { file })
      assert.deepEqual(
        { code, stdout: withoutLog(stdout), stderr },
        { code: 0, stdout: told(file, "it was done now"), stderr: "" }
      )
    })
  )

  it.effect(
    "both run over real services, and are answered as replayed the second time",
    () =>
      Effect.gen(function* () {
        const stack = yield* startDevStack({ dataDir: yield* preparedDataDir, durable: false })
        for (const done of ["it was done now", "it had been done before"]) {
          for (const file of examples) {
            const { code, stdout, stderr } = yield* run([], { file, env: variablesOf(stack) })
            assert.deepEqual(
              { code, stdout: withoutLog(stdout) },
              { code: 0, stdout: told(file, done) },
              stderr
            )
          }
        }
      }),
    420_000
  )
})
