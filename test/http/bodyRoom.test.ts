/** The room for bodies of requests: each caller has a share of it, single commands have some beside batches, and a body has what came of it. */
import { assert, layer } from "@effect/vitest"
import { Effect } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { memoryLedger, token } from "../support/callers.ts"
import { type Send, sendInMemory } from "../support/httpWorld.ts"
import { until } from "../support/waiting.ts"

const names = Array.from({ length: 6 }, (_, nth) => `caller-${nth}`)
const [first = "", second = ""] = names
const tokens = names.map((name) => token(name, ["command"]))
const limits = { bufferBytesMax: 400_000, bufferBytesPerCallerMax: 100_000, batchBytesMax: 60_000 }

const post = (
  send: Send,
  caller: string,
  path: string,
  body: NonNullable<RequestInit["body"]>,
  headers: Record<string, string>
) =>
  send(path, {
    method: "POST",
    body,
    headers: { authorization: `Bearer secret-${caller}`, ...headers },
    // What comes in pieces is sent before the answer comes.
    ...{ duplex: "half" }
  })
const ofBatch = { "content-type": "application/x-ndjson" }

/** A deposit with a body of so many bytes. */
const deposit = (send: Send, caller: string, account: string, bytes: number) =>
  Effect.promise(async () => {
    const headers = { "content-type": "application/json", "content-length": String(bytes) }
    const body = '{"amount":"1"}'.padEnd(bytes)
    return (await post(send, caller, `/v1/accounts/${account}/deposits`, body, headers)).status
  })

/** A batch of blank lines that arrived whole. */
const batch = (send: Send, caller: string, bytes: number) =>
  Effect.promise(async () => {
    const headers = { ...ofBatch, "content-length": String(bytes) }
    return (await post(send, caller, "/v1/batch", "\n".repeat(bytes), headers)).status
  })

/** A batch of which so many bytes came; goes on once the server waits for more, or has refused it. `finish` sends the end. */
const begin = Effect.fnUntraced(function* (send: Send, caller: string, bytes: number) {
  let asked = 0
  let status: number | undefined
  let finish = (): void => {}
  const body = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        if (++asked === 1) return controller.enqueue(Buffer.alloc(bytes, "\n"))
        return new Promise<void>((resolve) => {
          finish = () => {
            controller.close()
            resolve()
          }
        })
      }
    },
    { highWaterMark: 0 }
  )
  const answered = post(send, caller, "/v1/batch", body, { ...ofBatch, "transfer-encoding": "chunked" }).then(
    async (response) => {
      await response.text()
      status = response.status
    }
  )
  yield* until("the server has what came of the batch", () => asked > 1 || status !== undefined)
  return {
    isHeld: () => status === undefined,
    end: Effect.promise(async () => {
      finish()
      await answered
      return status
    })
  }
})

layer(memoryLedger, { excludeTestServices: true })("the room for bodies", (it) => {
  const opened = Effect.fnUntraced(function* (account: string, changed: Partial<typeof limits> = {}) {
    yield* (yield* Ledger).dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Ann" })
    return yield* sendInMemory({ tokens, limits: { ...limits, ...changed } })
  })

  it.effect("is not all of one caller, whose batches leave some to its commands", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* opened("shared")
        const begun = yield* Effect.forEach(Array.from({ length: 8 }), () => begin(send, first, 50_000))
        assert.deepEqual(
          begun.map(({ isHeld }) => isHeld()),
          [true, ...Array.from({ length: 7 }, () => false)]
        )
        assert.strictEqual(yield* batch(send, second, 50_000), 200)
        for (const caller of [first, second])
          assert.strictEqual(yield* deposit(send, caller, "shared", 20_000), 201, caller)
        const ends = yield* Effect.forEach(begun, ({ end }) => end)
        assert.deepEqual(new Set(ends), new Set([200, 429]))
        assert.strictEqual(yield* batch(send, first, 60_000), 200, "it was given back")
      })
    )
  )

  it.effect("is not all of batches, however many callers send some", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* opened("spared")
        const begun = yield* Effect.forEach(names, (caller) => begin(send, caller, 60_000))
        assert.deepEqual(
          begun.map(({ isHeld }) => isHeld()),
          [true, true, true, true, true, false]
        )
        for (const caller of names) assert.strictEqual(yield* deposit(send, caller, "spared", 40_000), 201)
        yield* Effect.forEach(begun, ({ end }) => end)
      })
    )
  )

  it.effect.each([90_000, 400_000, 600_000])(
    "is enough for one batch, and for commands beside it, where a batch may have %i bytes",
    (batchBytesMax) =>
      Effect.scoped(
        Effect.gen(function* () {
          const send = yield* opened(`raised-${batchBytesMax}`, { batchBytesMax })
          const begun = yield* begin(send, first, batchBytesMax)
          assert.isTrue(begun.isHeld())
          for (const caller of [first, second])
            assert.strictEqual(yield* deposit(send, caller, `raised-${batchBytesMax}`, 20_000), 201, caller)
          assert.strictEqual(yield* begun.end, 200)
        })
      )
  )

  it.effect("is taken by a body as that arrives", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const send = yield* opened("arriving")
        const begun = yield* Effect.forEach(Array.from({ length: 20 }), () => begin(send, first, 1))
        assert.isTrue(begun.every(({ isHeld }) => isHeld()))
        assert.strictEqual(yield* batch(send, first, 60_000), 200)
        yield* Effect.forEach(begun, ({ end }) => end)
      })
    )
  )
})
