/** The blocks of docs/http.md and docs/webhooks.md do what the pages say, run by a shell in their order against a node. */
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { assert, it, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { problemList } from "../../src/http/api/Problems.ts"
import { memoryLedger } from "../support/callers.ts"
import { openHttpLayer } from "../support/httpWorld.ts"
import { ownPort } from "../support/ports.ts"

/** Each shell block of a page with the block of its output. */
const blocksOf = (page: string) =>
  [...readFileSync(page, "utf8").matchAll(/```sh\n([\s\S]*?)```\n```\n([\s\S]*?)\n```/g)].map(
    ([, script = "", output = ""]) => ({ script, output })
  )

const run = (script: string) =>
  Effect.callback<string>((resume) => {
    execFile("bash", ["-c", script], { timeout: 240_000 }, (_error, stdout) => resume(Effect.succeed(stdout)))
  })

/** The output as a pattern, in which `…` stands for anything. */
const patternOf = (output: string): RegExp =>
  new RegExp(`^${output.split("…").map(escapeAll).join("[\\s\\S]*?")}\\s*$`)
const escapeAll = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")

const pages = [
  ["HTTP", "docs/http.md", 8],
  ["webhooks", "docs/webhooks.md", 1]
] as const

layer(memoryLedger, { excludeTestServices: true })("the page about", (it) => {
  it.effect.each(pages)("%s shows what the node answers", ([, page, blocksMin]) =>
    Effect.scoped(
      Effect.gen(function* () {
        const port = yield* ownPort
        yield* Layer.build(openHttpLayer(port))
        const blocks = blocksOf(page)
        assert.isAtLeast(blocks.length, blocksMin)
        for (const { script, output } of blocks) {
          const printed = yield* run(script.replaceAll("127.0.0.1:7080", `127.0.0.1:${port}`))
          assert.match(printed.replaceAll("\r", ""), patternOf(output), script)
        }
      })
    )
  )
})

it("the page about HTTP has every error in the row of its status", () => {
  const rows = readFileSync("docs/http.md", "utf8")
    .split("\n")
    .filter((line) => /^\| \d{3}/.test(line))
  for (const { status, tag } of problemList) {
    const row = rows.find((line) => line.includes(`\`${tag}\``)) ?? ""
    assert.include(row.split("|")[1] ?? "", String(status), tag)
  }
})
