/** What counts as an acknowledgement of the bus: only that says of a message that it is stored. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit } from "effect"
import { ErrorCode, headers, type NatsConnection, NatsError } from "nats"
import { sendAll } from "../../src/infra/bus/BusNats.ts"

type Subscribe = NatsConnection["subscribe"]

/** As much of a connection as sending needs. */
const connectionOf = (subscribe: Subscribe) =>
  ({ subscribe, publish: () => {} }) as Pick<NatsConnection, "subscribe" | "publish"> as NatsConnection

/** A server that answers with this text. */
const answering = (text: string) =>
  connectionOf(((_inbox, options) => {
    const ack = { data: new TextEncoder().encode(text), json: (): unknown => JSON.parse(text) }
    queueMicrotask(() => options?.callback?.(null, ack as Parameters<typeof options.callback>[1]))
    return { unsubscribe: () => {} } as ReturnType<Subscribe>
  }) satisfies Subscribe)

const send = (nats: NatsConnection) =>
  Effect.exit(sendAll(nats, "EVENTS", [{ subject: "events.0", text: "{}", headers: headers() }]))

describe("the bus", () => {
  it.effect("has stored a message where it names the stream", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* send(answering('{"stream":"EVENTS","seq":1}')), Exit.void)
    })
  )

  it.effect.each([
    "{}",
    "null",
    "1",
    "no JSON",
    "",
    '{"stream":"OTHER","seq":1}',
    '{"error":{"description":"full"}}'
  ])("has not stored a message of which it says %s", (text) =>
    Effect.gen(function* () {
      const { store } = yield* Effect.flip(Effect.flatten(send(answering(text))))
      assert.strictEqual(store, "bus")
    })
  )

  it.effect("is away where its connection closes as a message is sent", () =>
    Effect.gen(function* () {
      const closed = connectionOf(() => {
        throw NatsError.errorForCode(ErrorCode.ConnectionClosed)
      })
      const { reason } = yield* Effect.flip(Effect.flatten(send(closed)))
      assert.include(reason, ErrorCode.ConnectionClosed)
    })
  )

  it.effect("names its server to logs, and not to callers", () =>
    Effect.gen(function* () {
      const lost = connectionOf(() => {
        throw Object.assign(new Error("getaddrinfo ENOTFOUND nats.internal"), { code: "ENOTFOUND" })
      })
      const { message, reason } = yield* Effect.flip(Effect.flatten(send(lost)))
      assert.strictEqual(reason, "it failed (ENOTFOUND)")
      assert.strictEqual(message, "bus: it failed: getaddrinfo ENOTFOUND nats.internal")
    })
  )
})
