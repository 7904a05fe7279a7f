/** Webhooks in virtual time: each event once the endpoint takes it, in order, after pauses, and after the death of a node. */
import { createHmac, timingSafeEqual } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import {
  Clock,
  Context,
  Effect,
  Fiber,
  Latch,
  Layer,
  Logger,
  Redacted,
  References,
  Result,
  Stream
} from "effect"
import { SecureRandom } from "effect/crypto"
import { TestClock } from "effect/testing"
import type { LogStep } from "../../src/actors/subscriptions/LogFollower.ts"
import { Subscriptions } from "../../src/actors/subscriptions/Subscriptions.ts"
import { Webhooks } from "../../src/actors/webhooks/Webhooks.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import type { WebhookInput } from "../../src/domain/Webhook.ts"
import { LedgerConfig } from "../../src/infra/config/LedgerConfig.ts"
import { defaultReadSideLimits } from "../../src/infra/config/ReadSideConfig.ts"
import { defaultWebhookLimits } from "../../src/infra/config/WebhookConfig.ts"
import { EventStore } from "../../src/infra/eventstore/EventStore.ts"
import { WebhookStore } from "../../src/infra/webhooks/WebhookStore.ts"
import { deposit, EventWriter, openAccount, transfer } from "../support/eventWriter.ts"
import { settable, storeBy } from "../support/settableClock.ts"
import {
  type Answer,
  Endpoint,
  pass,
  type Seen,
  startNode,
  webhookWorld,
  write
} from "../support/webhookWorld.ts"

const url = "https://shop.example/hooks"
const hourMs = 3_600_000
/** For tests of days, in which nothing happens mostly. */
const seldom = { pollMs: 60_000, idleMs: 60_000 }
/** By then an event is told of, at such limits: a look of the subscription and a pause after it, a minute each, and the attempt. */
const seenMs = 130_000
const start = 1_767_225_600_000

/** A log with a writer, an endpoint on it, and what it has seen. */
const begin = Effect.fnUntraced(function* (...asked: ReadonlyArray<Partial<WebhookInput>>) {
  yield* TestClock.setTime(start)
  const webhooks = yield* Webhooks
  const endpoint = yield* Endpoint
  const writer = new EventWriter("w-1", start)
  const made = yield* Effect.forEach(asked.length === 0 ? [{}] : asked, (one) =>
    webhooks.create({ url, ...one })
  )
  const [first] = made
  if (first === undefined) return yield* Effect.die("an endpoint was made")
  const { id } = first.webhook
  return {
    webhooks,
    endpoint,
    write: (...commands: ReadonlyArray<CommandInput>) => write(writer, ...commands),
    id,
    made,
    secret: Redacted.value(first.secret),
    shown: Effect.flatMap(webhooks.find(id), Effect.fromNullishOr)
  }
})

const idsOf = (seen: ReadonlyArray<Seen>) => seen.map(({ id }) => id)

/** By the words of the specification, and by nothing of ours. */
const isSigned = ({ headers, body }: Seen, secret: string): boolean => {
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`
  const key = Buffer.from(secret.replace("whsec_", ""), "base64")
  const expected = createHmac("sha256", key).update(signed).digest()
  return (headers["webhook-signature"] ?? "").split(" ").some((one) => {
    const [version, signature = ""] = one.split(",")
    const given = Buffer.from(signature, "base64")
    return version === "v1" && given.length === expected.length && timingSafeEqual(given, expected)
  })
}

describe("a webhook", () => {
  it.effect("that was told all is written down so, where the last that was read was not for it", () =>
    Effect.gen(function* () {
      const { write, id } = yield* begin({ prefix: "shop:" })
      const subscriptions = yield* Subscriptions
      const store = yield* WebhookStore
      yield* write(openAccount("shop:a"), openAccount("other"))
      const [event] = yield* Stream.runCollect(Stream.take(subscriptions.subscribe(), 1))
      assert.isDefined(event)
      // As behind a busy log: what is read of it next has events of other accounts alone. Then nothing happens any more.
      const steps: ReadonlyArray<LogStep> = [
        { events: event === undefined ? [] : [event], startOf: () => 0, cursor: "1", isAtEnd: false },
        { events: [], startOf: () => 0, cursor: "2", isAtEnd: true }
      ]
      const follow = () => Stream.concat(Stream.fromIterable(steps), Stream.never)
      yield* startNode.pipe(Effect.provideService(Subscriptions, { ...subscriptions, follow }))
      yield* pass(hourMs)
      assert.deepInclude(yield* store.find(id), { delivered: 1, cursor: "2", waitingSince: null })
    }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("is told each event of its prefix and types once, in order, signed", () =>
    Effect.gen(function* () {
      const { write, endpoint, secret, made } = yield* begin({
        prefix: "shop:",
        types: ["Deposited", "TransferReceived"]
      })
      yield* startNode
      yield* write(openAccount("shop:a"), openAccount("other"), deposit("other", 100n), deposit("shop:a", 5n))
      yield* write(transfer("other", "shop:a", 7n))
      yield* pass(2_000)
      assert.deepEqual(idsOf(endpoint.seen), ["shop:a@2", "shop:a@3"])
      const [first] = endpoint.seen
      assert.isDefined(first)
      assert.strictEqual(first?.url, url)
      assert.strictEqual(first?.headers["content-type"], "application/json")
      const { type, timestamp, data } = JSON.parse(first?.body ?? "")
      assert.deepEqual([type, timestamp], ["Deposited", "2026-01-01T00:00:00.003Z"])
      assert.deepInclude(data, { account: "shop:a", version: 2 })
      assert.deepInclude(data.event, { _tag: "Deposited", amount: "5" })
      for (const seen of endpoint.seen) {
        assert.match(seen.headers["webhook-signature"] ?? "", /^v1,[A-Za-z0-9+/]{43}=$/)
        assert.isTrue(isSigned(seen, secret))
        assert.isFalse(isSigned({ ...seen, body: `${seen.body} ` }, secret))
        assert.strictEqual(seen.headers["webhook-timestamp"], String(Math.floor(seen.at / 1_000)))
      }
      assert.match(secret, /^whsec_[A-Za-z0-9+/]{43}=$/)
      assert.notInclude(JSON.stringify(made), secret, "shown by no accident")
    }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("that is down for an hour is told everything after it, in order, by growing pauses", () =>
    Effect.gen(function* () {
      const { write, endpoint, shown } = yield* begin()
      yield* startNode
      endpoint.answer = ({ at }) => (at < start + hourMs ? 500 : 200)
      yield* write(openAccount("a"), deposit("a", 1n))
      yield* write(openAccount("b"), deposit("b", 1n))
      yield* pass(hourMs / 2)
      const down = yield* shown
      assert.deepInclude(down, { state: "active", delivered: 0, waitingSince: start })
      assert.deepInclude(down.failures[0], { message: "a@1", status: 500, reason: "answered 500" })
      assert.strictEqual(down.failures.length, down.attempts)
      assert.isAbove(down.nextAttemptAt ?? 0, start + hourMs / 2 - 1)
      yield* pass(2 * hourMs)
      const failed = endpoint.seen.filter(({ at }) => at < start + hourMs)
      assert.deepEqual(new Set(idsOf(failed)), new Set(["a@1"]))
      assert.strictEqual(failed.length, 10)
      const pauses = failed.slice(1).map(({ at }, index) => at - (failed[index]?.at ?? 0))
      for (const [nth, pause] of pauses.entries()) {
        assert.isAtLeast(pause, 5_000 * 2 ** nth)
        assert.isAtMost(pause, 5_000 * 2 ** nth * 1.1 + 10)
      }
      assert.deepEqual(idsOf(endpoint.seen).slice(failed.length), ["a@1", "a@2", "b@1", "b@2"])
      assert.deepInclude(yield* shown, { delivered: 4, attempts: 0, nextAttemptAt: null, waitingSince: null })
    }).pipe(Effect.scoped, Effect.provide(webhookWorld(seldom)))
  )

  it.effect("is told of in the log once an outage, when that is over, and when it is disabled", () => {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      lines.push(`${logLevel} ${String(message)}`)
    })
    return Effect.gen(function* () {
      const { write, endpoint, id } = yield* begin()
      yield* startNode.pipe(
        Effect.provideService(Logger.CurrentLoggers, new Set([logger])),
        Effect.provideService(References.MinimumLogLevel, "Info")
      )
      endpoint.answer = ({ at }) => (at < start + hourMs ? 500 : 200)
      yield* write(openAccount("a"), deposit("a", 1n))
      yield* pass(2 * hourMs)
      // Each event fails once: not an outage each.
      endpoint.answer = () => (endpoint.seen.length % 2 === 0 ? 503 : 204)
      for (let nth = 0; nth < 10; nth++) {
        yield* write(deposit("a", 1n))
        yield* pass(90_000)
      }
      assert.isAtMost(lines.length, 6)
      assert.deepEqual(lines.slice(0, 2), [
        `Warn webhook ${id} did not take an event: answered 500; it waits, with those behind it, and is tried again`,
        `Info webhook ${id} takes events again`
      ])
      endpoint.answer = () => 410
      yield* write(deposit("a", 1n))
      yield* pass(seenMs)
      assert.match(lines.at(-1) ?? "", /^Warn webhook wh_\S+ is disabled: it answered 410/)
      assert.isFalse(
        lines.some((line) => line.includes("shop.example")),
        "a URL may be secret"
      )
    }).pipe(Effect.scoped, Effect.provide(webhookWorld(seldom)))
  })

  it.effect("goes on where all nineteen others hang", () =>
    Effect.gen(function* () {
      const others = Array.from({ length: 19 }, (_, nth) => ({ url: `${url}/hangs/${nth}` }))
      const { write, endpoint } = yield* begin({}, ...others)
      yield* startNode
      endpoint.answer = (seen) => (seen.url.includes("/hangs/") ? "hangs" : 204)
      yield* write(openAccount("a"), ...Array.from({ length: 20 }, () => deposit("a", 1n)))
      // Less than the time that a hanging one has.
      yield* pass(10_000)
      const told = endpoint.seen.filter((seen) => seen.url === url)
      assert.deepEqual(
        idsOf(told),
        Array.from({ length: 21 }, (_, nth) => `a@${nth + 1}`)
      )
      assert.strictEqual(endpoint.underWay, 19)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect(
    "is disabled when it has failed for about five days, and is told all of it when it is resumed",
    () =>
      Effect.gen(function* () {
        const { write, endpoint, shown, webhooks, id } = yield* begin()
        yield* startNode
        endpoint.answer = () => 503
        yield* write(openAccount("a"))
        yield* pass(6 * 24 * hourMs)
        const disabled = yield* shown
        assert.deepInclude(disabled, { state: "disabled", attempts: 19, nextAttemptAt: null, delivered: 0 })
        assert.match(disabled.reason ?? "", /failed 19 times at one event; at last: answered 503/)
        assert.strictEqual(endpoint.seen.length, 19)
        const last = endpoint.seen.at(-1)?.at ?? 0
        assert.isAbove(last - start, 4 * 24 * hourMs)
        for (const [nth, { at }] of endpoint.seen.entries())
          assert.isAtMost(at - (endpoint.seen[nth - 1]?.at ?? start), 24 * hourMs + 1_000)
        endpoint.answer = () => 200
        yield* write(deposit("a", 1n))
        yield* webhooks.resume(id)
        yield* pass(seenMs)
        assert.deepEqual(idsOf(endpoint.seen.slice(19)), ["a@1", "a@2"])
        assert.deepInclude(yield* shown, { state: "active", reason: null, attempts: 0, delivered: 2 })
      }).pipe(Effect.scoped, Effect.provide(webhookWorld(seldom)))
  )

  it.effect("is disabled at once by a 410", () =>
    Effect.gen(function* () {
      const { write, endpoint, shown } = yield* begin()
      yield* startNode
      endpoint.answer = () => 410
      yield* write(openAccount("a"), deposit("a", 1n))
      yield* pass(24 * hourMs)
      assert.strictEqual(endpoint.seen.length, 1)
      assert.deepInclude(yield* shown, { state: "disabled", delivered: 0 })
      assert.match((yield* shown).reason ?? "", /410/)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld(seldom)))
  )

  it.effect.each<[what: string, answer: Answer, reason: string]>([
    ["hangs", "hangs", "did not answer within 15000 ms"],
    [
      "redirects to loopback",
      { status: 302, headers: { location: "http://127.0.0.1/" } },
      "answered 302: redirects are not followed"
    ],
    ["answers 404", 404, "answered 404"]
  ])("that %s has failed, and is asked nothing else meanwhile", ([, answer, reason]) =>
    Effect.gen(function* () {
      const { write, endpoint, shown } = yield* begin()
      yield* startNode
      endpoint.answer = () => answer
      yield* write(openAccount("a"), openAccount("b"))
      yield* pass(17_000)
      assert.deepInclude((yield* shown).failures[0], { message: "a@1", reason })
      assert.deepEqual(new Set(endpoint.seen.map((one) => one.url)), new Set([url]))
      assert.deepEqual(new Set(idsOf(endpoint.seen)), new Set(["a@1"]))
      endpoint.answer = () => 200
      yield* pass(60_000)
      assert.deepEqual(idsOf(endpoint.seen).slice(-2), ["a@1", "b@1"])
      assert.strictEqual(endpoint.underWay, 0)
      assert.strictEqual(endpoint.underWayMost, 1)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("may say how long to wait, within a day", () =>
    Effect.gen(function* () {
      const { write, endpoint, shown } = yield* begin()
      yield* startNode
      endpoint.answer = () => ({ status: 429, headers: { "retry-after": "600" } })
      yield* write(openAccount("a"))
      yield* pass(2_000)
      const asked = ((yield* shown).nextAttemptAt ?? 0) - start
      assert.isAtLeast(asked, 600_000)
      assert.isAtMost(asked, 662_000)
      endpoint.answer = () => ({ status: 429, headers: { "retry-after": "99999999" } })
      yield* pass(hourMs)
      assert.isAtMost((yield* shown).nextAttemptAt ?? 0, start + hourMs + 24 * hourMs)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("may say until when to wait, as an instant of HTTP", () =>
    Effect.gen(function* () {
      const { write, endpoint, shown } = yield* begin()
      yield* startNode
      const until = new Date(start + 600_000).toUTCString()
      endpoint.answer = () => ({ status: 503, headers: { "retry-after": until } })
      yield* write(openAccount("a"))
      yield* pass(2_000)
      const asked = ((yield* shown).nextAttemptAt ?? 0) - start
      assert.isAtLeast(asked, 600_000)
      assert.isAtMost(asked, 662_000)
      // One that has passed, and what is none, ask for nothing: the pauses are the usual ones.
      const answers = ["Mon, 01 Jan 2001 00:00:00 GMT", "tomorrow"]
      endpoint.answer = () => ({ status: 503, headers: { "retry-after": answers.shift() ?? "-1" } })
      // A tenth of each pause is by chance: of the 600 s, and of the usual 10 and 20 after those.
      yield* pass(720_000)
      assert.isAtLeast(endpoint.seen.length, 4)
      assert.isEmpty(answers)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("loses nothing and keeps the order when nodes die, two that deliver for a while included", () =>
    Effect.gen(function* () {
      const { write, endpoint, shown } = yield* begin()
      let [node, other] = [yield* startNode, yield* startNode]
      yield* write(openAccount("a"), openAccount("b"))
      for (let round = 0; round < 20; round++) {
        yield* write(deposit("a", 1n), deposit("b", 1n))
        yield* write(transfer("a", "b", 1n))
        endpoint.answer = () => (round % 3 === 0 ? 500 : 200)
        yield* pass(37 + round * 91)
        yield* node.stop
        ;[node, other] = [other, yield* startNode]
      }
      endpoint.answer = () => 200
      yield* pass(hourMs)
      const lasts = new Map<string, number>()
      const versions = new Map<string, Set<number>>()
      for (const { id } of endpoint.seen) {
        const [account = "", version] = id.split("@")
        const last = lasts.get(account) ?? 0
        // A repeated one may come again, and what follows it; none comes that was never preceded by the one before.
        assert.isTrue(Number(version) <= last + 1, `${id} after ${last}`)
        lasts.set(account, Math.max(last, Number(version)))
        versions.set(account, (versions.get(account) ?? new Set()).add(Number(version)))
      }
      assert.deepEqual(
        [...lasts],
        [
          ["a", 41],
          ["b", 41]
        ]
      )
      for (const seen of versions.values()) assert.strictEqual(seen.size, 41)
      assert.deepInclude(yield* shown, { state: "active", attempts: 0, waitingSince: null })
    }).pipe(Effect.scoped, Effect.provide(webhookWorld(seldom)))
  )

  it.effect("is told nothing twice by a node that stood still while another one took over", () =>
    Effect.gen(function* () {
      const { write, endpoint, shown, id } = yield* begin()
      const store = yield* WebhookStore
      const inner = yield* Clock.Clock
      const wakes = Latch.makeUnsafe(true)
      const sleepy: Clock.Clock = {
        currentTimeMillisUnsafe: () => inner.currentTimeMillisUnsafe(),
        currentTimeMillis: inner.currentTimeMillis,
        currentTimeNanosUnsafe: () => inner.currentTimeNanosUnsafe(),
        currentTimeNanos: inner.currentTimeNanos,
        monotonicTimeNanosUnsafe: () => inner.monotonicTimeNanosUnsafe(),
        monotonicTimeNanos: inner.monotonicTimeNanos,
        sleep: (duration) => Effect.andThen(inner.sleep(duration), wakes.await)
      }
      const revision = Effect.map(store.find(id), (row) => row?.revision)
      yield* Effect.provideService(startNode, Clock.Clock, sleepy)
      yield* write(openAccount("a"))
      yield* pass(70_000)
      assert.deepEqual(idsOf(endpoint.seen), ["a@1"])
      wakes.closeUnsafe()
      yield* pass(10_000)
      yield* startNode
      yield* pass(1_500)
      yield* write(deposit("a", 1n))
      yield* pass(70_000)
      assert.deepEqual(idsOf(endpoint.seen), ["a@1", "a@2"])
      const taken = yield* revision
      wakes.openUnsafe()
      yield* pass(3_000)
      assert.strictEqual(yield* revision, taken, "it begins nothing before it can know who delivers")
      yield* write(deposit("a", 1n))
      yield* pass(70_000)
      assert.deepEqual([...new Set(idsOf(endpoint.seen))], ["a@1", "a@2", "a@3"])
      assert.deepInclude(yield* shown, { state: "active", waitingSince: null })
    }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("goes on with its pause when the node dies, instead of asking at once", () =>
    Effect.gen(function* () {
      const { write, endpoint } = yield* begin()
      const node = yield* startNode
      endpoint.answer = () => 500
      yield* write(openAccount("a"))
      yield* pass(100_000)
      const before = endpoint.seen.length
      yield* node.stop
      yield* startNode
      yield* pass(10_000)
      assert.strictEqual(endpoint.seen.length, before)
      yield* pass(200_000)
      assert.isAbove(endpoint.seen.length, before)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect.each([["alone"], ["with others"]])(
    "goes on within a commit where the node dies, at the event that was not taken (reading the log %s)",
    ([how]) =>
      Effect.gen(function* () {
        const others = Array.from({ length: defaultReadSideLimits.subscribeSharedFrom }, () => ({}))
        const { write, endpoint, webhooks } = yield* begin(...(how === "alone" ? [] : [{}, ...others]))
        const ids = new Set<string>()
        endpoint.answer = ({ id, url: at }) => (at === url && id === "a@200" ? 500 : 200)
        yield* write(openAccount("b"))
        let node = yield* startNode
        yield* pass(70_000)
        yield* write(openAccount("a"), ...Array.from({ length: 300 }, () => deposit("a", 1n)))
        yield* pass(70_000)
        for (let death = 0; death < 3; death++) {
          yield* node.stop
          node = yield* startNode
          yield* pass(70_000)
        }
        endpoint.answer = () => 200
        yield* pass(hourMs)
        for (const { id } of endpoint.seen) ids.add(id)
        assert.strictEqual(ids.size, 302)
        const webhooksMade = (yield* webhooks.list).length
        for (const id of ids)
          if (id !== "a@200")
            assert.lengthOf(
              endpoint.seen.filter((seen) => seen.id === id),
              webhooksMade,
              id
            )
      }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect(
    "is told all of a commit that took the numbers of another, as after a restoration of the log",
    () =>
      Effect.gen(function* () {
        const left = yield* Effect.gen(function* () {
          const { write, endpoint, id } = yield* begin()
          endpoint.answer = ({ id: event }) => (event === "a@20" ? 500 : 200)
          yield* startNode
          yield* write(openAccount("a"), ...Array.from({ length: 30 }, () => deposit("a", 1n)))
          yield* pass(10_000)
          return yield* Effect.flatMap((yield* WebhookStore).find(id), Effect.fromNullishOr)
        }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
        assert.match(left.lastEvent ?? "", /^a@19\b/)
        const { write, endpoint } = yield* begin()
        const store = yield* WebhookStore
        assert.isTrue(yield* store.create({ ...left, id: "wh_left" }, 10))
        yield* write(openAccount("a"), ...Array.from({ length: 30 }, () => deposit("a", 2n)))
        yield* startNode
        yield* pass(60_000)
        const times = new Map<string, number>()
        for (const event of idsOf(endpoint.seen)) times.set(event, (times.get(event) ?? 0) + 1)
        assert.strictEqual(times.size, 31)
        for (const [event, told] of times) assert.strictEqual(told, 2, event)
      }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("is told no more again after the death of a node whose clock was set back meanwhile", () =>
    Effect.gen(function* () {
      const { write, endpoint } = yield* begin()
      const machine = settable(yield* Clock.Clock)
      yield* write(openAccount("a"), ...Array.from({ length: 300 }, () => deposit("a", 1n)))
      const node = yield* startNode.pipe(Effect.provideService(Clock.Clock, machine.clock))
      while (endpoint.seen.length < 50) yield* pass(10)
      machine.setBack(hourMs)
      while (endpoint.seen.length < 200) yield* pass(10)
      yield* node.stop
      yield* startNode
      yield* pass(10_000)
      assert.strictEqual(new Set(idsOf(endpoint.seen)).size, 301)
      // One a millisecond.
      assert.isAtMost(endpoint.seen.length, 301 + 30)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld({ saveMs: 20 })))
  )

  it.effect.each([-hourMs, 0, hourMs])(
    "is told when a message was sent by the event store's clock, where the machine's is off by %i ms",
    (offMs) =>
      Effect.gen(function* () {
        const { write, endpoint, webhooks, id } = yield* begin()
        const machine = settable(yield* Clock.Clock)
        machine.set(offMs)
        const store = storeBy(yield* Clock.Clock, yield* EventStore)
        yield* startNode.pipe(
          Effect.provideService(Clock.Clock, machine.clock),
          Effect.provideService(EventStore, store)
        )
        yield* write(openAccount("a"))
        while (endpoint.seen.length < 1) yield* pass(100)
        const [seen] = endpoint.seen
        const sentAt = Number(seen?.headers["webhook-timestamp"]) * 1_000
        assert.approximately(sentAt, (seen?.at ?? 0) - offMs, 2_000)
        assert.strictEqual((yield* Effect.fromNullishOr(yield* webhooks.find(id))).state, "active")
      }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect.each([-hourMs, hourMs])(
    "waits as long as it should after a failure, where the clock of the node that takes over, or of that before it, is off by %i ms",
    (offMs) =>
      Effect.gen(function* () {
        const { write, endpoint, shown } = yield* begin()
        const right = yield* Clock.Clock
        const machine = settable(right)
        machine.set(offMs)
        const store = storeBy(right, yield* EventStore)
        const startOff = startNode.pipe(
          Effect.provideService(Clock.Clock, machine.clock),
          Effect.provideService(EventStore, store)
        )
        endpoint.answer = () => 500
        yield* write(openAccount("a"))
        for (const node of [startOff, startNode, startOff]) {
          const before = endpoint.seen.length
          const { stop } = yield* node
          while (endpoint.seen.length === before) yield* pass(100)
          yield* pass(1_000)
          yield* stop
          const failedAt = right.currentTimeMillisUnsafe()
          const { attempts, failures, nextAttemptAt } = yield* shown
          assert.approximately(failures[0]?.at ?? 0, failedAt, 2_000)
          const pauseMs = 5_000 * 2 ** (attempts - 1)
          assert.approximately(nextAttemptAt ?? 0, failedAt + pauseMs, 2_000 + pauseMs / 10)
        }
        assert.isAtMost(right.currentTimeMillisUnsafe(), start + 60_000)
      }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect.each([-hourMs, hourMs])(
    "may say until when to wait, where the machine's clock is off by %i ms",
    (offMs) =>
      Effect.gen(function* () {
        const { write, endpoint, shown } = yield* begin()
        const machine = settable(yield* Clock.Clock)
        machine.set(offMs)
        yield* startNode.pipe(
          Effect.provideService(Clock.Clock, machine.clock),
          Effect.provideService(EventStore, storeBy(yield* Clock.Clock, yield* EventStore))
        )
        const headers = { "retry-after": new Date(start + 600_000).toUTCString() }
        endpoint.answer = () => ({ status: 503, headers })
        yield* write(openAccount("a"))
        yield* pass(2_000)
        assert.approximately(((yield* shown).nextAttemptAt ?? 0) - start, 630_000, 32_000)
      }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("is tried again within a day, however far ahead the clock was by which its pause was made", () =>
    Effect.gen(function* () {
      const { write, endpoint } = yield* begin()
      const machine = settable(yield* Clock.Clock)
      machine.set(30 * 24 * hourMs)
      const ahead = yield* startNode.pipe(Effect.provideService(Clock.Clock, machine.clock))
      endpoint.answer = () => 500
      yield* write(openAccount("a"))
      yield* pass(seenMs)
      yield* ahead.stop
      assert.isNotEmpty(endpoint.seen)
      endpoint.answer = () => 204
      const before = endpoint.seen.length
      yield* startNode
      yield* pass(25 * hourMs)
      assert.strictEqual(endpoint.seen.length, before + 1)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld(seldom)))
  )

  it.effect("that is paused is told nothing, and all of it when it is resumed", () =>
    Effect.gen(function* () {
      const { write, endpoint, webhooks, id, shown } = yield* begin()
      yield* startNode
      yield* write(openAccount("a"))
      yield* pass(seenMs)
      yield* webhooks.pause(id)
      yield* pass(seenMs)
      yield* write(deposit("a", 1n))
      yield* write(deposit("a", 2n))
      yield* pass(hourMs)
      assert.deepEqual(idsOf(endpoint.seen), ["a@1"])
      assert.deepInclude(yield* shown, { state: "paused" })
      yield* webhooks.resume(id)
      yield* pass(seenMs)
      assert.deepEqual(idsOf(endpoint.seen), ["a@1", "a@2", "a@3"])
      assert.isTrue(yield* webhooks.remove(id))
      yield* pass(seenMs)
      yield* write(deposit("a", 3n))
      yield* pass(hourMs)
      assert.lengthOf(endpoint.seen, 3)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld(seldom)))
  )

  it.effect("is told from the start of the log where it asks for that, and else from now", () =>
    Effect.gen(function* () {
      const { write, endpoint, webhooks } = yield* begin({ description: "made before" })
      yield* write(openAccount("a"))
      yield* webhooks.create({ url: `${url}/all`, from: "start" })
      yield* webhooks.create({ url: `${url}/now` })
      yield* write(deposit("a", 1n))
      yield* startNode
      yield* pass(2_000)
      const told = (path: string) => idsOf(endpoint.seen.filter((seen) => seen.url === `${url}${path}`))
      assert.deepEqual([told(""), told("/all"), told("/now")], [["a@1", "a@2"], ["a@1", "a@2"], ["a@2"]])
    }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("is signed by both secrets for a day after a new one was made", () =>
    Effect.gen(function* () {
      const { write, endpoint, webhooks, id, secret } = yield* begin()
      yield* startNode
      const rotated = yield* Effect.flatMap(webhooks.rotate(id), Effect.fromNullishOr)
      const fresh = Redacted.value(rotated.secret)
      assert.notStrictEqual(fresh, secret)
      yield* write(openAccount("a"))
      yield* pass(seenMs)
      yield* pass(24 * hourMs)
      yield* write(deposit("a", 1n))
      yield* pass(seenMs)
      const [both, one] = endpoint.seen
      assert.isDefined(both)
      assert.isDefined(one)
      if (both === undefined || one === undefined) return
      assert.deepEqual([isSigned(both, secret), isSigned(both, fresh)], [true, true])
      assert.deepEqual([isSigned(one, secret), isSigned(one, fresh)], [false, true])
    }).pipe(Effect.scoped, Effect.provide(webhookWorld(seldom)))
  )

  it.effect.each([-hourMs, hourMs])(
    "waits, and has a former secret, as long as the event store's clock says, where the machine's is off by %i ms",
    (offMs) =>
      Effect.gen(function* () {
        const { id } = yield* begin()
        const right = yield* Clock.Clock
        const machine = settable(right)
        machine.set(offMs)
        const of = Layer.fresh(Webhooks.layer).pipe(Layer.provide(SecureRandom.layerWebCrypto))
        const built = yield* Effect.provideService(
          Layer.build(of),
          EventStore,
          storeBy(right, yield* EventStore)
        ).pipe(Effect.provideService(Clock.Clock, machine.clock))
        const webhooks = Context.get(built, Webhooks)
        yield* pass(1_000)
        const { asOf } = yield* webhooks.summary
        const rotated = yield* Effect.provideService(webhooks.rotate(id), Clock.Clock, machine.clock)
        const { clockSkewMaxMs } = yield* LedgerConfig
        const now = right.currentTimeMillisUnsafe()
        assert.approximately(asOf, now, clockSkewMaxMs)
        assert.approximately(rotated?.webhook.formerSecretUntil ?? 0, now + 24 * hourMs, 1_000)
      }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("can be tried by a ping at any time, which tells how it went", () =>
    Effect.gen(function* () {
      const { endpoint, webhooks, id, secret } = yield* begin()
      yield* webhooks.pause(id)
      const ping = Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(webhooks.test(id))
        yield* pass(20_000)
        return yield* Fiber.join(fiber)
      })
      assert.deepEqual(yield* ping, { isDelivered: true, status: 204, reason: "" })
      endpoint.answer = () => "hangs"
      assert.deepEqual(yield* ping, { isDelivered: false, reason: "did not answer within 15000 ms" })
      const [seen] = endpoint.seen
      assert.isTrue(seen !== undefined && isSigned(seen, secret))
      assert.deepInclude(JSON.parse(seen?.body ?? ""), { type: "ping", data: { webhook: id } })
      assert.isUndefined(yield* webhooks.test("wh_none"))
    }).pipe(Effect.scoped, Effect.provide(webhookWorld()))
  )

  it.effect("is tried once at a time, and so are no more at once than attempts may be", () =>
    Effect.gen(function* () {
      const { endpoint, webhooks, made } = yield* begin({}, {}, {})
      const [first = "", second = "", third = ""] = made.map(({ webhook }) => webhook.id)
      endpoint.answer = () => "hangs"
      const test = (id: string) =>
        Effect.forkChild(Effect.result(webhooks.test(id)), { startImmediately: true })
      const [hanging, other] = [yield* test(first), yield* test(second)]
      yield* pass(1_000)
      for (const [id, what] of [
        [first, `the number of tests of ${first}`],
        [third, "the number of tests of webhooks"]
      ] as const) {
        const refused = yield* Effect.flip(webhooks.test(id))
        assert.deepInclude(refused, { _tag: "Overloaded", what })
      }
      assert.strictEqual(endpoint.underWay, 2)
      yield* pass(15_000)
      for (const one of [hanging, other]) assert.isTrue(Result.isSuccess(yield* Fiber.join(one)))
      endpoint.answer = () => 204
      const again = yield* test(first)
      yield* pass(1_000)
      assert.deepInclude(Result.getOrThrow(yield* Fiber.join(again)), { isDelivered: true })
    }).pipe(Effect.scoped, Effect.provide(webhookWorld({ attemptsMax: 2 })))
  )
})

describe("many webhooks", () => {
  it.effect("are bounded in number and in attempts at once, and a slow one holds up no other", () =>
    Effect.gen(function* () {
      const asked = Array.from({ length: 6 }, (_, nth) => ({ url: `${url}/${nth}` }))
      const { write, endpoint, webhooks } = yield* begin(...asked)
      const refused = yield* Effect.flip(webhooks.create({ url }))
      assert.match(refused.message, /6 webhooks already/)
      yield* startNode
      endpoint.answer = (seen) => (seen.url.endsWith("/0") ? "hangs" : 200)
      yield* write(openAccount("a"), ...Array.from({ length: 40 }, () => deposit("a", 1n)))
      yield* pass(10_000)
      for (let nth = 1; nth < 6; nth++)
        assert.lengthOf(new Set(idsOf(endpoint.seen.filter((seen) => seen.url.endsWith(`/${nth}`)))), 41)
      assert.isAtMost(endpoint.underWayMost, 3)
      const { delivered, failed, endpoints } = yield* webhooks.summary
      assert.deepEqual([delivered, failed, endpoints.active], [5 * 41, 0, 6])
    }).pipe(
      Effect.scoped,
      Effect.provide(webhookWorld({ endpointsMax: 6, attemptsMax: 3, attemptMs: 15_000 }))
    )
  )

  it.effect("that hang hold up no other, also where they are more than the attempts at once", () =>
    Effect.gen(function* () {
      const asked = Array.from({ length: 10 }, (_, nth) => ({
        url: `${url}/${nth < 8 ? "hangs/" : ""}${nth}`
      }))
      const { write, endpoint } = yield* begin(...asked)
      yield* startNode
      endpoint.answer = (seen) => (seen.url.includes("/hangs/") ? "hangs" : 200)
      yield* write(openAccount("a"), ...Array.from({ length: 30 }, () => deposit("a", 1n)))
      // By then each that hangs was tried once, four at a time.
      yield* pass(40_000)
      for (const nth of [8, 9])
        assert.lengthOf(new Set(idsOf(endpoint.seen.filter((seen) => seen.url === `${url}/${nth}`))), 31)
      assert.isAtMost(endpoint.underWayMost, 4)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld({ attemptsMax: 4 })))
  )

  it.effect("keep their last failures and no more", () =>
    Effect.gen(function* () {
      const { write, endpoint, shown } = yield* begin()
      yield* startNode
      endpoint.answer = () => 500
      yield* write(openAccount("a"))
      yield* pass(hourMs)
      const { failures, attempts } = yield* shown
      assert.lengthOf(failures, 3)
      assert.isAbove(attempts, 3)
      assert.isAbove(failures[0]?.at ?? 0, failures[1]?.at ?? 0)
    }).pipe(Effect.scoped, Effect.provide(webhookWorld({ ...seldom, failuresMax: 3 })))
  )
})

it("the pauses and tries come to about five days", () => {
  const { pauseMs, pauseMsMax, triesMax } = defaultWebhookLimits
  const pauses = Array.from({ length: triesMax - 1 }, (_, nth) => Math.min(pauseMsMax, pauseMs * 2 ** nth))
  const days = pauses.reduce((sum, pause) => sum + pause, 0) / 86_400_000
  assert.isAbove(days, 4)
  assert.isBelow(days, 6)
})
