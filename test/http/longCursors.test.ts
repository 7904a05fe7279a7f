/** Feeds of large logs: cursors of very many writers come back as headers, and events are printed as their client takes them. */
import { assert, layer } from "@effect/vitest"
import { Effect, Layer, Result, Stream } from "effect"
import { SubscriptionCursor } from "../../src/actors/subscriptions/SubscriptionCursor.ts"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger } from "../support/callers.ts"
import { openHttpLayer, sendInMemory } from "../support/httpWorld.ts"
import { ownPort } from "../support/ports.ts"

const writers = Array.from({ length: 4_000 }, (_, nth): [string, number] => [
  `node-${nth}-${nth * 7_919}`,
  nth + 1
])

layer(memoryLedger, { excludeTestServices: true })("a feed over HTTP", (it) => {
  it.effect("is printed no further ahead than its client takes it, however much was read at once", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* inside.dispatch({ _tag: "OpenAccount", account: "slow", asset: "USD/2", owner: "Ann" })
        const [event] = yield* Stream.runCollect(Stream.take(inside.subscribe({ accountPrefix: "slow" }), 1))
        assert.isDefined(event)
        if (event === undefined) return
        const printed = new Set<number>()
        const items = Array.from({ length: 500 }, (_, nth) => ({
          ...event,
          version: nth + 1,
          get hash() {
            printed.add(nth)
            return "x".repeat(10_000)
          }
        }))
        const ledger: Ledger["Service"] = { ...inside, subscribe: () => Stream.fromIterable(items) }
        const send = yield* sendInMemory({ ledger })
        const response = yield* Effect.promise(() => send("/v1/feed"))
        const reader = response.body?.getReader()
        yield* Effect.promise(async () => reader?.read())
        yield* Effect.sleep("300 millis")
        // 64 KiB and one event wait for it, and what it was given before.
        assert.isBelow(printed.size, 30)
        yield* Effect.promise(async () => {
          while ((await reader?.read())?.done === false);
        })
        assert.strictEqual(printed.size, items.length)
      })
    )
  )

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

  it.effect(
    "tells what comes close together with one cursor where it has to be shortened, never one ahead of it",
    () =>
      Effect.scoped(
        Effect.gen(function* () {
          const inside = yield* Ledger
          yield* inside.dispatch({ _tag: "OpenAccount", account: "burst", asset: "USD/2", owner: "Ann" })
          const [event] = yield* Stream.runCollect(
            Stream.take(inside.subscribe({ accountPrefix: "burst" }), 1)
          )
          assert.isDefined(event)
          if (event === undefined) return
          const events = 200
          // The writer that committed most is named in each.
          const [writer] = writers.at(-1) ?? [""]
          const at = (nth: number) => ({
            ...event,
            version: nth,
            cursor: new SubscriptionCursor(3, [], [...writers, [writer, 5_000 + nth]]).print()
          })
          const ledger: Ledger["Service"] = {
            ...inside,
            subscribe: () =>
              Stream.concat(
                Stream.fromIterable(Array.from({ length: events }, (_, nth) => at(nth))),
                Stream.never
              )
          }
          const port = yield* ownPort
          yield* Layer.build(openHttpLayer(port, { ledger }))
          const told = yield* Effect.promise(async (signal) => {
            const response = await fetch(`http://127.0.0.1:${port}/v1/feed`, { signal })
            let text = ""
            for await (const part of response.body ?? []) {
              text += Buffer.from(part).toString("utf8")
              const found = [...text.matchAll(/^id: (\S+)\ndata: (.*)\n\n/gm)]
              if (found.length === events)
                return found.map(([, id = "", data = ""]) => ({ id, ...JSON.parse(data) }))
            }
            return []
          })
          assert.lengthOf(told, events)
          let before = 0
          for (const { cursor, id, version } of told) {
            assert.strictEqual(cursor, id)
            const place = Result.getOrThrow(SubscriptionCursor.parse(id)).positionOf(writer)
            assert.isAtLeast(place, before)
            assert.isAtMost(place, 5_000 + version)
            before = place
          }
          assert.isBelow(new Set(told.map(({ id }) => id)).size, events / 4)
        })
      )
  )
})
