/** A feed of a log with very many writers: its cursors come back as headers. */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Result, Stream } from "effect"
import { SubscriptionCursor } from "../../src/actors/subscriptions/SubscriptionCursor.ts"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger } from "../support/callers.ts"
import { openHttpLayer } from "../support/httpWorld.ts"
import { ownPort } from "../support/ports.ts"

const writers = Array.from({ length: 4_000 }, (_, nth): [string, number] => [
  `node-${nth}-${nth * 7_919}`,
  nth + 1
])

layer(memoryLedger, { excludeTestServices: true })("a feed over HTTP", (it) => {
  it.effect("goes on after a cursor that names more writers than a header has room for", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const long = new SubscriptionCursor(3, [], writers).print()
        assert.isAbove(long.length, 16_384)
        const asked: Array<string | undefined> = []
        const ledger: Ledger["Service"] = {
          ...inside,
          subscribe: (options) => {
            asked.push(options?.after)
            return Stream.map(inside.subscribe(), (event) => ({ ...event, cursor: long }))
          }
        }
        yield* inside.dispatch({ _tag: "OpenAccount", account: "long", asset: "USD/2", owner: "Ann" })
        const port = yield* ownPort
        yield* Layer.build(openHttpLayer(port, { ledger }))
        const first = (headers: Readonly<Record<string, string>>) =>
          Effect.promise(async (signal) => {
            const response = await fetch(`http://127.0.0.1:${port}/v1/feed`, { headers, signal })
            assert.strictEqual(response.status, 200)
            let text = ""
            for await (const part of response.body ?? []) {
              text += Buffer.from(part).toString("utf8")
              const found = /^id: (\S+)\ndata: (.*)\n\n/m.exec(text)
              if (found !== null) return [found[1] ?? "", JSON.parse(found[2] ?? "{}").cursor] as const
            }
            return ["", undefined] as const
          })
        const [id, cursor] = yield* first({})
        assert.strictEqual(cursor, id)
        const [again] = yield* first({ "last-event-id": id })
        assert.strictEqual(again, id)
        assert.deepStrictEqual(asked, [undefined, id])
        const named = Result.getOrThrow(SubscriptionCursor.parse(id))
        assert.isAbove(named.named.length, 300)
        for (const writer of named.named)
          assert.strictEqual(named.positionOf(writer), new Map(writers).get(writer))
      })
    )
  )
})
