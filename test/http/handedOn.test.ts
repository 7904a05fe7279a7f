/** Streams over HTTP that follow the log's end together: what comes is handed on to each, and none loses or repeats an event where it stops. */
import { connect, type Socket } from "node:net"
import { assert, layer } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SharedSeat } from "../../src/actors/subscriptions/SharedList.ts"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger } from "../support/callers.ts"
import { openHttpLayer } from "../support/httpWorld.ts"
import { ownPort } from "../support/ports.ts"
import { eventually } from "../support/readSides.ts"

const account = "followed"

/** Counts how often what was handed on was taken with room for more, and without. */
const countTakes = Effect.gen(function* () {
  const counts = { went: 0, stopped: 0 }
  const { handOn } = SharedSeat.prototype
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      SharedSeat.prototype.handOn = function (take) {
        return handOn.call(this, () => {
          const goesOn = take()
          counts[goesOn ? "went" : "stopped"]++
          return goesOn
        })
      }
    }),
    () =>
      Effect.sync(() => {
        SharedSeat.prototype.handOn = handOn
      })
  )
  return counts
})

interface Reader {
  readonly socket: Socket
  /** The versions of the events that came. */
  readonly versions: Array<number>
}

const openReader = (port: number, path: string) =>
  Effect.acquireRelease(
    Effect.sync((): Reader => {
      const socket = connect(port, "127.0.0.1")
      const versions: Array<number> = []
      let line = ""
      socket.on("data", (data) => {
        const lines = `${line}${data}`.split("\n")
        line = lines.pop() ?? ""
        for (const one of lines) {
          const found = /^data: .*"version":(\d+)/.exec(one)
          if (found !== null) versions.push(Number(found[1]))
        }
      })
      socket.on("error", () => {})
      socket.write(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n`)
      return { socket, versions }
    }),
    ({ socket }) => Effect.sync(() => socket.destroy())
  )

layer(memoryLedger, { excludeTestServices: true })("streams over HTTP that follow together", (it) => {
  it.effect("bring each event once and in order, also to those that stop and go on", () =>
    Effect.gen(function* () {
      const takes = yield* countTakes
      const port = yield* ownPort
      yield* Layer.build(Layer.fresh(openHttpLayer(port, { limits: { followMs: 10 } })))
      const ledger = yield* Ledger
      yield* ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ann" })
      const readers = yield* Effect.forEach(
        Array.from({ length: 6 }, (_, index) =>
          index % 2 === 0 ? `/v1/accounts/${account}/events` : `/v1/feed?accountPrefix=${account}`
        ),
        (path) => openReader(port, path)
      )
      let version = 1
      const deposit = (description: string) => ({
        _tag: "Deposit" as const,
        account,
        amount: 1n,
        description
      })
      const untilAllHave = eventually(
        Effect.sync(() => {
          for (const { versions } of readers) assert.strictEqual(versions.at(-1), version)
        })
      )
      // One at a time, until all of them have their seats.
      while (takes.went < 20) {
        yield* ledger.dispatch(deposit("one"))
        version++
        yield* untilAllHave
      }
      for (let round = 0; takes.stopped === 0; round++) {
        for (const [index, { socket }] of readers.entries()) if (index % 3 === round % 3) socket.pause()
        // More than a socket takes: those that read them go on meanwhile.
        for (let nth = 0; nth < 20; nth++)
          yield* ledger.dispatchMany(Array.from({ length: 500 }, () => deposit("x".repeat(200))))
        version += 20 * 500
        for (const { socket } of readers) socket.resume()
        yield* untilAllHave
      }
      const all = Array.from({ length: version }, (_, index) => index + 1)
      for (const { versions } of readers) assert.deepEqual(versions, all)
    }).pipe(Effect.scoped)
  )
})
