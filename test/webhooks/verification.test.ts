/** Signatures are those of the specification, and the programs of docs/webhooks.md accept them and nothing else. */
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { AccountId, CommandId } from "../../src/domain/Ids.ts"
import { headersOf, isTold, toldMessage } from "../../src/domain/Webhook.ts"

/** The example of the specification's own libraries. */
const example = {
  secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
  message: { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", body: '{"test": 2432232314}' },
  at: 1_614_265_330_999,
  signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
}

const blockOf = (language: string): string =>
  new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(readFileSync("docs/webhooks.md", "utf8"))?.[1] ??
  ""

const other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
const { id, body } = { id: "shop:a@17", body: '{"type":"Deposited","text":"päckchen ☃"}' }
const at = 1_767_225_600_000
const headers = headersOf({ id, body }, at, [other, example.secret])

/** What is shown to a program, and whether it is genuine. */
const shown = [
  { secret: example.secret, headers, body, now: at, isGenuine: true },
  { secret: other, headers, body, now: at + 299_000, isGenuine: true },
  { secret: `${other.slice(0, -2)}E=`, headers, body, now: at, isGenuine: false },
  { secret: other, headers, body: body.replace("Deposited", "Withdrawn"), now: at, isGenuine: false },
  { secret: other, headers: { ...headers, "webhook-id": "shop:a@18" }, body, now: at, isGenuine: false },
  { secret: other, headers: { ...headers, "webhook-signature": "v1," }, body, now: at, isGenuine: false },
  { secret: other, headers, body, now: at + 301_000, isGenuine: false }
]

describe("a signature", () => {
  it("is that of the specification's example", () =>
    assert.deepEqual(headersOf(example.message, example.at, [example.secret]), {
      "webhook-id": example.message.id,
      "webhook-timestamp": "1614265330",
      "webhook-signature": example.signature
    }))

  it.effect("is verified by the documented program for Node", () =>
    Effect.gen(function* () {
      const url = `data:text/javascript,${encodeURIComponent(blockOf("js"))}`
      const { isGenuine } = yield* Effect.promise(
        (): Promise<{ isGenuine: (...args: ReadonlyArray<unknown>) => boolean }> => import(url)
      )
      for (const one of shown)
        assert.strictEqual(
          isGenuine(one.secret, one.headers, one.body, one.now),
          one.isGenuine,
          JSON.stringify(one)
        )
    })
  )

  it.live("is verified by the documented program for Python", () =>
    Effect.gen(function* () {
      const program = `${blockOf("python")}
import json, sys
print(json.dumps([is_genuine(one["secret"], one["headers"], one["body"].encode(), one["now"] / 1000) for one in json.loads(sys.argv[1])]))`
      const printed = yield* Effect.callback<string>((resume) => {
        execFile("python3", ["-c", program, JSON.stringify(shown)], (error, stdout, stderr) =>
          resume(Effect.succeed(error === null ? stdout : stderr))
        )
      })
      assert.strictEqual(
        printed.trim(),
        JSON.stringify(shown.map(({ isGenuine }) => isGenuine)).replaceAll(",", ", ")
      )
    })
  )
})

it("an event that this version cannot read is told all the same, whatever the types", () => {
  assert.isTrue(isTold(["Deposited"], undefined))
  const message = toldMessage({
    account: "a" as AccountId,
    version: 7,
    commandId: "c" as CommandId,
    recordedAt: 0,
    effectiveAt: 0,
    hash: "h",
    event: null
  })
  assert.strictEqual(message.id, "a@7")
  const { type, data } = JSON.parse(message.body)
  assert.deepEqual([type, data.event, data.hash], ["Unreadable", null, "h"])
})
