/** Subscriptions over RPC bring every committed event in order, whatever happens to nodes and connections. */
import { createConnection } from "node:net"
import { assert, layer } from "@effect/vitest"
import { Effect, Fiber, Queue, Stream } from "effect"
import type { CommittedEvent } from "../../src/actors/subscriptions/SharedEvent.ts"
import { defaultLimits } from "../../src/infra/config/LedgerConfig.ts"
import { defaultReadSideLimits } from "../../src/infra/config/ReadSideConfig.ts"
import { Ledger } from "../../src/Ledger.ts"
import { deposit, open, transfer } from "../support/ledgerWorld.ts"
import { connect, memoryLedger, openTcp, openWebSocket, token, tokenOf } from "../support/rpcWorld.ts"
import { until } from "../support/waiting.ts"

type Service = Ledger["Service"]

/** The versions of each account, in the order in which they came. */
const versionsOf = (events: ReadonlyArray<CommittedEvent>) => {
  const versions = new Map<string, Array<number>>()
  for (const { account, version } of events) {
    const before = versions.get(account) ?? []
    // At least once: what came already may come again behind a lost connection.
    if (version > (before.at(-1) ?? 0)) versions.set(account, [...before, version])
  }
  return versions
}

const upTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1)

layer(memoryLedger, { excludeTestServices: true })("a subscription over RPC", (it) => {
  it.effect("goes on behind the last event across a restart of its node, whose end it does not hold up", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const tokens = [token("shop", ["read"], ["re:"])]
        yield* inside.dispatchMany([open("re:a"), open("re:b"), open("other:c"), deposit("re:a", 100n)])
        // Longer than this test may take: a node that waited for its streams to end would not end.
        const first = yield* openTcp({ tokens, limits: { drainMs: 600_000 } })
        const way = yield* connect({ urls: [first.url], token: tokenOf("shop") })
        const taken: Array<CommittedEvent> = []
        const reader = yield* way.ledger.subscribe({ accountPrefix: "re:" }).pipe(
          Stream.runForEach((event) => Effect.sync(() => taken.push(event))),
          Effect.forkChild
        )
        yield* until("the first events came", () => taken.length >= 3)
        yield* first.stop
        yield* inside.dispatchMany([transfer("re:a", "re:b", 1n), deposit("other:c", 1n)])
        yield* openTcp({ tokens, port: first.port })
        yield* inside.dispatch(transfer("re:a", "re:b", 1n))
        yield* until("all events came", () => versionsOf(taken).get("re:b")?.at(-1) === 3)
        yield* until("all events came", () => versionsOf(taken).get("re:a")?.at(-1) === 4)
        yield* Fiber.interrupt(reader)
        assert.deepEqual([...versionsOf(taken)].sort(), [
          ["re:a", upTo(4)],
          ["re:b", upTo(3)]
        ])
        // A host that was away goes on from the cursor it kept.
        const late = yield* way.ledger
          .subscribe({ accountPrefix: "re:", after: taken[2]?.cursor ?? "" })
          .pipe(Stream.take(4), Stream.runCollect)
        assert.deepEqual(late.map(({ account, version }) => `${account}@${version}`).sort(), [
          "re:a@3",
          "re:a@4",
          "re:b@2",
          "re:b@3"
        ])
      })
    )
  )

  it.effect('after "now" fails when its connection is lost before the first event', () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        const { url, stop } = yield* openTcp({
          ledger: { ...inside, subscribe: () => Stream.never }
        })
        const way = yield* connect({ urls: [url] })
        const reader = yield* Effect.forkChild(
          Effect.flip(Stream.runDrain(way.ledger.subscribe({ after: "now" }))),
          { startImmediately: true }
        )
        yield* way.client.awaitConnected
        // Answered behind the subscription, on the same connection.
        yield* way.ledger.stats
        yield* stop
        assert.strictEqual((yield* Fiber.join(reader))._tag, "Unavailable")
      })
    )
  )

  it.effect("is as slow as its reader, and slows no other call", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* inside.dispatch(open("slow:a"))
        const count = 6_000
        yield* inside.dispatchMany(Array.from({ length: count - 1 }, () => deposit("slow:a", 1n)))
        // Whole commits, until there are so many events: how large each is depends on the machine.
        const atOnceMax = defaultReadSideLimits.subscribeEventsMax + defaultLimits.batchRowsMax
        let read = 0
        const ledger: Service = {
          ...inside,
          subscribe: (asked) =>
            Stream.map(inside.subscribe(asked), (event) => {
              read++
              return event
            })
        }
        const { url } = yield* openTcp({ ledger })
        const way = yield* connect({ urls: [url] })
        const taken: Array<CommittedEvent> = []
        const step = yield* Queue.bounded<void>(1)
        const reader = yield* way.ledger.subscribe({ accountPrefix: "slow:" }).pipe(
          // Not so many: what was read before a pause may come again behind it.
          Stream.takeUntil(({ version }) => version === count),
          Stream.runForEach((event) => {
            taken.push(event)
            return taken.length === 1 ? Queue.take(step) : Effect.void
          }),
          Effect.forkChild
        )
        yield* until("the first event was taken", () => taken.length === 1)

        for (let n = 0; n < 50; n++) yield* way.ledger.stats
        assert.isAtMost(read, atOnceMax, "events that were read for a reader of one")
        yield* Queue.offer(step, undefined)
        yield* Fiber.join(reader)
        assert.deepEqual(versionsOf(taken).get("slow:a"), upTo(count))
      })
    )
  )

  it.effect.each([
    ["TCP", openTcp],
    ["a WebSocket", openWebSocket]
  ] as const)(
    "keeps its connection behind a reader that takes longer than a node may be silent, over %s",
    ([name, openDoor]) =>
      Effect.scoped(
        Effect.gen(function* () {
          const inside = yield* Ledger
          const account = `long:${name.length}`
          yield* inside.dispatch(open(account))
          const count = 300
          yield* inside.dispatchMany(Array.from({ length: count - 1 }, () => deposit(account, 1n)))
          let opened = 0
          const ledger: Service = {
            ...inside,
            subscribe: (asked) => {
              opened++
              return inside.subscribe(asked)
            }
          }
          const { url } = yield* openDoor({ ledger })
          const way = yield* connect({ urls: [url], limits: { pingMs: 1_000 } })
          let taken = 0
          yield* way.ledger.subscribe({ accountPrefix: account }).pipe(
            Stream.take(count),
            Stream.runForEach(() => (++taken === 1 ? Effect.sleep(4_000) : Effect.void))
          )
          assert.strictEqual(opened, 1)
        })
      )
  )

  it.effect("counts against the streams of its connection", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { port } = yield* openTcp({ format: "ndjson", limits: { streamsPerConnectionMax: 2 } })
        const request = (id: number, tag: string, payload: object) =>
          `${JSON.stringify({ _tag: "Request", id, tag, payload, headers: [] })}\n`
        const said = yield* Effect.callback<string>((resume) => {
          let text = ""
          const socket = createConnection({ port, host: "127.0.0.1" })
          socket.on("error", () => {})
          socket.on("data", (data) => {
            text += data.toString()
            if (text.includes("Exit")) socket.destroy()
          })
          socket.on("close", () => resume(Effect.succeed(text)))
          for (const id of [1, 2, 3]) socket.write(request(id, "subscribe", { accountPrefix: "none:" }))
        })
        const exit: unknown = JSON.parse(said.split("\n").find((line) => line.includes("Exit")) ?? "{}")
        assert.deepInclude(exit, { _tag: "Exit", requestId: 3 })
        assert.include(said, "the number of streams of this connection")
      })
    )
  )

  it.effect("of one account is held back by a slow reader, while other calls go on", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* inside.dispatch(open("slow"))
        yield* inside.dispatchMany(Array.from({ length: 2_999 }, (_, n) => deposit("slow", BigInt(n + 1))))
        let pages = 0
        const ledger: Service = {
          ...inside,
          history: (account, page) => {
            pages++
            return inside.history(account, page)
          }
        }
        const { url } = yield* openTcp({ ledger })
        const way = yield* connect({ urls: [url] })
        const taken: Array<number> = []
        const step = yield* Queue.bounded<void>(1)
        const reader = yield* way.client.events("slow").pipe(
          Stream.runForEach(({ version }) => {
            taken.push(version)
            return taken.length === 1 ? Queue.take(step) : Effect.void
          }),
          Effect.forkChild
        )
        yield* until("the first event was taken", () => taken.length === 1)
        for (let n = 0; n < 50; n++) yield* way.ledger.stats
        assert.isAtMost(pages, 4, "pages of 200 that were read for a reader of one event")
        yield* Queue.offer(step, undefined)
        yield* Fiber.join(reader)
        assert.deepEqual(
          taken,
          Array.from({ length: 3_000 }, (_, n) => n + 1)
        )
      })
    )
  )

  it.effect("of one account brings every event once, across a restart of the node", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const inside = yield* Ledger
        yield* inside.dispatch(open("followed"))
        const first = yield* openTcp({ limits: { drainMs: 1, followMs: 10 } })
        const way = yield* connect({ urls: [first.url] })
        const taken: Array<number> = []
        yield* way.client.events("followed", { follow: true }).pipe(
          Stream.runForEach(({ version }) => Effect.sync(() => taken.push(version))),
          Effect.forkChild
        )
        yield* until("the first event came", () => taken.length === 1)
        yield* inside.dispatch(deposit("followed", 1n))
        yield* until("the second event came", () => taken.length === 2)
        yield* first.stop
        yield* inside.dispatch(deposit("followed", 1n))
        yield* openTcp({ port: first.port, limits: { followMs: 10 } })
        yield* inside.dispatch(deposit("followed", 1n))
        yield* until("all events came", () => taken.length >= 4)
        assert.deepEqual(taken, [1, 2, 3, 4])
      })
    )
  )

  it.effect("of one account refuses wrong arguments before a node is asked", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { client } = yield* connect({ urls: ["tcp://127.0.0.1:1"] })
        const events = client.events as (...args: ReadonlyArray<unknown>) => ReturnType<typeof client.events>
        const cases: ReadonlyArray<readonly [string, ReadonlyArray<unknown>]> = [
          ["account", ["not an id!"]],
          ["account", [null]],
          ["options", ["a", null]],
          ["options", ["a", new Date(0)]],
          ["after", ["a", { after: -1 }]],
          ["after", ["a", { after: Number.NaN }]],
          ["follow", ["a", { follow: "yes" }]],
          ["fellow", ["a", { fellow: true }]]
        ]
        for (const [path, args] of cases) {
          const error = yield* Effect.flip(Stream.runDrain(events(...args)))
          if (error._tag !== "InvalidCommand") return assert.fail(`${path}: ${error._tag}`)
          assert.deepEqual(
            error.faults.map((fault) => fault.path),
            [[path]]
          )
        }
      })
    )
  )
})
