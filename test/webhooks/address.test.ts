/** Which addresses webhooks are sent to: none but those of the public Internet, as they are at the moment of connecting. */
import { once } from "node:events"
import { setImmediate } from "node:timers/promises"
import { locks, Worker } from "node:worker_threads"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, FiberSet, Result } from "effect"
import {
  endpointUrl,
  guardedLookup,
  isPublic,
  oneAtATime,
  turnsOfProcess
} from "../../src/infra/webhooks/WebhookAddress.ts"
import { until } from "../support/waiting.ts"

type LookupFunction = ReturnType<typeof guardedLookup>

const strict = { allowHttp: false, allowPrivate: false }
const refusalOf = (url: string, rules = strict) => Result.getFailure(endpointUrl(url, rules))

describe("an address", () => {
  it.each([
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "localhost",
    ""
  ])("%s is not of the public Internet", (address) => assert.isFalse(isPublic(address)))

  it.each(["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.169.0.1", "2606:4700::1111", "2a00::1"])(
    "%s is",
    (address) => assert.isTrue(isPublic(address))
  )
})

describe("the URL of an endpoint", () => {
  it.each<[url: string, refusal: RegExp]>([
    ["https://", /whole URL/],
    ["shop.example/hook", /whole URL/],
    ["ftp://shop.example", /https/],
    ["http://shop.example", /CHRONICLE_WEBHOOK_ALLOW_HTTP/],
    ["https://user:pass@shop.example", /user or password/],
    ["https://shop.example/#part", /fragment/],
    ["https://127.0.0.1/", /127\.0\.0\.1 is not/],
    ["https://2130706433/", /127\.0\.0\.1 is not/],
    ["https://0x7f.1/", /127\.0\.0\.1 is not/],
    ["https://[::1]/", /::1 is not/],
    ["https://[::ffff:10.0.0.1]/", /is not/],
    ["https://169.254.169.254/latest/meta-data", /is not/]
  ])("%s is refused", (url, refusal) => {
    const refused = refusalOf(url)
    assert.match(refused._tag === "Some" ? refused.value : "accepted", refusal)
  })

  it("may be of any address and scheme of the web where the configuration allows it", () => {
    const loose = { allowHttp: true, allowPrivate: true }
    for (const url of ["https://shop.example:8443/a?b=c", "http://127.0.0.1:9/", "https://[::1]/"])
      assert.strictEqual(refusalOf(url, loose)._tag, "None", url)
    assert.strictEqual(refusalOf("https://shop.example:8443/a?b=c")._tag, "None")
    assert.strictEqual(refusalOf("ftp://127.0.0.1", loose)._tag, "Some")
  })
})

describe("a name", () => {
  /** A resolver whose answers change, as those of an attacker's own do. */
  const resolver = (...answers: ReadonlyArray<ReadonlyArray<string>>): LookupFunction => {
    let nth = 0
    return (_, { all }, callback) => {
      const found = (answers[Math.min(nth++, answers.length - 1)] ?? []).map((address) => ({
        address,
        family: address.includes(":") ? 6 : 4
      }))
      assert.isTrue(all)
      callback(null, found)
    }
  }
  const ask = (lookup: LookupFunction, all: boolean): unknown => {
    let got: unknown
    lookup("shop.example", { all }, (error, address, family) => {
      got = error === null ? [address, family] : error.message
    })
    return got
  }

  it("is looked up anew for each connection, and refused as soon as an address is private", () => {
    const lookup = guardedLookup(strict, resolver(["8.8.8.8"], ["127.0.0.1"]))
    assert.deepEqual(ask(lookup, false), ["8.8.8.8", 4])
    assert.match(
      String(ask(lookup, false)),
      /shop\.example resolves to an address that is not allowed: 127\.0\.0\.1 is not an address of the public/
    )
  })

  it("is refused where one of several addresses is private, and given whole where none is", () => {
    assert.match(String(ask(guardedLookup(strict, resolver(["8.8.8.8", "fe80::1"])), true)), /fe80::1/)
    assert.deepEqual(ask(guardedLookup(strict, resolver(["8.8.8.8", "2a00::1"])), true), [
      [
        { address: "8.8.8.8", family: 4 },
        { address: "2a00::1", family: 6 }
      ],
      undefined
    ])
    assert.match(String(ask(guardedLookup(strict, resolver([])), true)), /no address/)
  })

  it("may be private where the configuration allows it", () =>
    assert.deepEqual(ask(guardedLookup({ allowPrivate: true }, resolver(["127.0.0.1"])), false), [
      "127.0.0.1",
      4
    ]))
})

describe("lookups of names", () => {
  /** A resolver that answers as the test says, and what was asked of it and told by it. */
  const begin = () => {
    let nowMs = 0
    const begun: Array<string> = []
    const told: Array<string> = []
    let answer = (): void => {}
    const resolve: LookupFunction = (name, _options, callback) => {
      begun.push(name)
      answer = () => callback(null, [{ address: "8.8.8.8", family: 4 }])
    }
    const lookup = guardedLookup(
      strict,
      oneAtATime(resolve, 15_000, () => nowMs)
    )
    return {
      begun,
      told,
      ask: (...names: ReadonlyArray<string>) => {
        for (const name of names)
          lookup(name, {}, (error) => {
            told.push(error === null ? name : error.message)
          })
      },
      answerAfter: (ms: number) => {
        nowMs += ms
        answer()
      }
    }
  }

  it("are made one at a time, and once for all that ask for a name meanwhile", () => {
    const { answerAfter, ask, begun, told } = begin()
    ask("a.example", "b.example", "a.example")
    assert.deepEqual(begun, ["a.example"])
    ask("a.example")
    answerAfter(10)
    assert.deepEqual(told, ["a.example", "a.example", "a.example"])
    assert.deepEqual(begun, ["a.example", "b.example"])
    answerAfter(10)
    ask("a.example")
    assert.deepEqual(begun, ["a.example", "b.example", "a.example"])
  })

  it("are made behind all others of a name that was slow, until it is quick again", () => {
    const { answerAfter, ask, begun } = begin()
    ask("slow.example")
    answerAfter(2_000)
    ask("a.example", "slow.example", "b.example")
    for (let left = 3; left > 0; left--) answerAfter(10)
    assert.deepEqual(begun, ["slow.example", "a.example", "b.example", "slow.example"])
    ask("c.example", "slow.example", "d.example")
    for (let left = 3; left > 0; left--) answerAfter(10)
    assert.deepEqual(begun.slice(4), ["c.example", "slow.example", "d.example"])
  })

  it("are not made any more for attempts that are over", () => {
    const { answerAfter, ask, begun, told } = begin()
    ask("a.example", "b.example")
    answerAfter(15_000)
    assert.deepEqual(begun, ["a.example"])
    assert.deepEqual(told, [
      "a.example",
      "b.example was not looked up: the names of other webhooks take too long"
    ])
    ask("b.example")
    assert.deepEqual(begun, ["a.example", "b.example"])
  })

  it.live("wait for one that another thread of the process makes, also where that thread is ended", () =>
    Effect.gen(function* () {
      const locker = new Worker(
        `const { locks, parentPort } = require("node:worker_threads")
         locks.request("chronicle names of webhooks", () => { parentPort.postMessage("held"); return new Promise(() => {}) })
         setInterval(() => {}, 1_000)`,
        { eval: true }
      )
      yield* Effect.promise(() => once(locker, "message"))
      const begun: Array<string> = []
      const resolve: LookupFunction = (name, _options, callback) => {
        begun.push(name)
        callback(null, [{ address: "8.8.8.8", family: 4 }])
      }
      const turns = turnsOfProcess(yield* FiberSet.makeRuntime<never>())
      const lookup = oneAtATime(resolve, 15_000, () => 0, turns)
      for (const name of ["a.example", "b.example"]) lookup(name, {}, () => {})
      // Behind the first look of the other one.
      yield* Effect.promise(() =>
        locks.request("chronicle names of webhooks", { ifAvailable: true }, () => {})
      )
      assert.deepEqual(begun, [])
      yield* Effect.promise(() => locker.terminate())
      yield* until("the others have their turns", () => begun.length === 2)
    }).pipe(Effect.scoped)
  )

  it.live("are begun one right after another where no other thread makes any", () =>
    Effect.gen(function* () {
      let pausedMs = 0
      const clock: Clock.Clock = {
        ...(yield* Clock.Clock),
        sleep: (duration) => {
          pausedMs += Duration.toMillis(duration)
          // Node frees the lock meanwhile.
          return Effect.promise(() => setImmediate())
        }
      }
      const names = Array.from({ length: 50 }, (_, nth) => `n${nth}.example`)
      let begun = 0
      const resolve: LookupFunction = (_name, _options, callback) => {
        begun++
        callback(null, [{ address: "8.8.8.8", family: 4 }])
      }
      const run = yield* FiberSet.makeRuntime<never>().pipe(Effect.provideService(Clock.Clock, clock))
      const lookup = oneAtATime(resolve, 15_000, () => 0, turnsOfProcess(run))
      for (const name of names) lookup(name, {}, () => {})
      yield* until("all are begun", () => begun === names.length)
      assert.isAtMost(pausedMs, 5 * names.length)
    }).pipe(Effect.scoped)
  )
})
