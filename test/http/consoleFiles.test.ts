/** The files of the console as a node sends them, where they cannot be read at first. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, References } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import * as ConsoleFiles from "../../src/http/ConsoleFiles.ts"

/** The statuses of so many requests for the page, one after the other. */
const statusesOf = (read: Parameters<typeof ConsoleFiles.routesOf>[0], requests: number) =>
  Effect.gen(function* () {
    const { dispose, handler } = HttpRouter.toWebHandler(
      ConsoleFiles.routesOf(read).pipe(Layer.provide(HttpServer.layerServices)),
      { disableLogger: true }
    )
    yield* Effect.addFinalizer(() => Effect.promise(dispose))
    const ask = Effect.promise(() =>
      handler(new Request("http://127.0.0.1/console"), Context.make(References.MinimumLogLevel, "None"))
    )
    return yield* Effect.replicateEffect(
      Effect.map(ask, ({ status }) => status),
      requests
    )
  }).pipe(Effect.scoped)

const page = new Map([["index.html", "<p>the console</p>"]])

it.live("are sent once they can be read, though they could not at first, and read no more then", () =>
  Effect.gen(function* () {
    let reads = 0
    const read = Effect.suspend(() => {
      reads++
      if (reads === 1) return Effect.fail(new Error("EMFILE: too many open files"))
      return reads === 2 ? Effect.die(new Error("no memory")) : Effect.succeed(page)
    })
    assert.deepEqual(yield* statusesOf(read, 5), [404, 404, 200, 200, 200])
    assert.strictEqual(reads, 3)
  })
)
