/**
 * Payloads that no client of ours would send: a peer of another language, which writes its JSON by hand, is told what is wrong
 * by the same `InvalidCommand` as a host in process, and not by a message about the protocol.
 */
import { createConnection } from "node:net"
import { createInterface } from "node:readline"
import { assert, layer } from "@effect/vitest"
import { Cause, Effect, Stream } from "effect"
import { Ledger } from "../../src/Ledger.ts"
import { askMethod, type QueryName, queryEntries } from "../../src/QueryMethods.ts"
import { open } from "../support/ledgerWorld.ts"
import { memoryLedger, openTcp, token } from "../support/rpcWorld.ts"

/** One line of a peer: sends a call, and gives what the exit of it says. */
const connectByHand = (port: number) =>
  Effect.gen(function* () {
    const socket = yield* Effect.acquireRelease(
      Effect.sync(() => createConnection({ port, host: "127.0.0.1" })),
      (one) => Effect.sync(() => one.destroy())
    )
    const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
    let id = 0
    return (tag: string, payload: unknown) =>
      Effect.promise(async (): Promise<unknown> => {
        const headers = [["authorization", "Bearer secret-peer"]]
        socket.write(`${JSON.stringify({ _tag: "Request", id: id++, tag, payload, headers })}\n`)
        for (;;) {
          const { value } = await lines.next()
          const message = JSON.parse(String(value))
          if (message._tag === "Exit") return message.exit
        }
      })
  })

/** Faults of an exit as JSON; undefined where it is no refusal by `InvalidCommand`. */
const faultsOf = (exit: unknown): unknown => {
  const text = JSON.stringify(exit)
  const found = /"error":(\{"_tag":"InvalidCommand".*?\]\})/.exec(text)?.[1]
  return found === undefined ? undefined : JSON.parse(found).faults
}

const wrongPayloads = (name: QueryName): ReadonlyArray<unknown> => {
  const [, query] = queryEntries.find(([one]) => one === name) ?? []
  const right =
    name === "balanceAt" ? { account: "hand:a", version: 1 } : { account: "hand:a", commandId: "c" }
  const ids = query?.about === "books" ? {} : { [query?.about ?? ""]: Reflect.get(right, query?.about ?? "") }
  const options = name === "balanceAt" ? { version: 1 } : {}
  return [
    ...(query?.about === "books" ? [] : [null, "text", 7, [], {}, { [query?.about ?? ""]: 7 }]),
    { ...ids, ...options, misspelt: 1 },
    ...Object.keys(query?.fields ?? {}).flatMap((field) =>
      [true, {}, []].map((wrong) => ({ ...ids, ...options, [field]: wrong }))
    )
  ]
}

layer(memoryLedger, { excludeTestServices: true })("a payload written by hand", (it) => {
  const world = Effect.gen(function* () {
    const ledger = yield* Ledger
    yield* Effect.ignore(ledger.dispatch(open("hand:a")))
    const { port } = yield* openTcp({ format: "ndjson", tokens: [token("peer", ["admin"])] })
    return { ledger, send: yield* connectByHand(port) }
  })

  it.effect("of any query is refused as its arguments are in process", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { ledger, send } = yield* world
        for (const [name] of queryEntries) {
          for (const payload of wrongPayloads(name)) {
            const called = askMethod(ledger, name, payload)
            const error = yield* Effect.flip(Effect.isEffect(called) ? called : Stream.runHead(called))
            const what = `${name} ${JSON.stringify(payload)}`
            if (error._tag !== "InvalidCommand") return assert.fail(`${what}: ${error._tag}`)
            assert.deepEqual(
              faultsOf(yield* send(name, payload)),
              JSON.parse(JSON.stringify(error.faults)),
              what
            )
          }
        }
      })
    )
  )

  it.effect("may leave an option out by null, as clients of earlier versions do", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { send } = yield* world
        const answer = yield* send("history", { account: "hand:a", after: null, limit: null })
        assert.include(JSON.stringify(answer), "AccountOpened")
        assert.include(JSON.stringify(yield* send("stats", null)), '"_tag":"Success"')
      })
    )
  )

  it.effect("of a command is refused with the path of its fault", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { send } = yield* world
        const deposit = { _tag: "Deposit", account: "hand:a", amount: "1" }
        const cases: ReadonlyArray<readonly [string, unknown, ReadonlyArray<string>]> = [
          ["dispatch", null, []],
          ["dispatch", { command: deposit, misspelt: 1 }, ["misspelt"]],
          ["dispatchMany", { commands: "text" }, ["commands"]],
          ["dispatchMany", { commands: null }, ["commands"]],
          ["dispatchMany", { command: [deposit] }, ["commands"]],
          ["events", { account: "hand:a", after: -1 }, ["after"]],
          ["events", { account: "hand:a", follow: "yes" }, ["follow"]]
        ]
        for (const [tag, payload, path] of cases) {
          const faults = faultsOf(yield* send(tag, payload))
          const what = `${tag} ${JSON.stringify(payload)}`
          if (!Array.isArray(faults)) return assert.fail(`${what}: no faults`)
          assert.deepInclude(
            faults.map((fault) => fault.path),
            path,
            what
          )
        }
        for (const context of [null, [], "text", 7])
          assert.isDefined(
            faultsOf(yield* send("dispatch", { command: { ...deposit, context } })),
            String(context)
          )
        for (const command of [null, "text", 7, [], {}])
          assert.isDefined(faultsOf(yield* send("dispatch", { command })), JSON.stringify(command))
        const batch = JSON.stringify(yield* send("dispatchMany", { commands: [deposit, null, deposit] }))
        assert.deepEqual(batch.match(/"_tag":"(Success|InvalidCommand)"/g)?.length, 4, batch)
      })
    )
  )

  it.effect("of a command is told in the words of JSON, in which an amount is a string", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { send } = yield* world
        const commands = [1, 12.5, "12.50", null].map((amount) => ({
          _tag: "Deposit",
          account: "hand:a",
          amount
        }))
        const message = 'must be a string of whole minor units, such as "1250"'
        const expected = [{ path: ["amount"], message }]
        for (const command of commands)
          assert.deepEqual(faultsOf(yield* send("dispatch", { command })), expected)
        const batch = JSON.stringify(yield* send("dispatchMany", { commands }))
        assert.lengthOf(batch.split(JSON.stringify(message)), 1 + commands.length, batch)
      })
    )
  )

  it.effect("may have instants as texts, as over HTTP, and is told what is wrong with one", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const { ledger, send } = yield* world
        const account = "hand:dated"
        yield* ledger.dispatch(open(account))
        const at = Date.parse("2001-09-09T01:46:40Z")
        const texts = ["2001-09-09T01:46:40Z", "2001-09-09T03:46:40+02:00", String(at)]
        const deposit = { _tag: "Deposit", account, amount: "5", commandId: "hand-dated" }
        // The same command, however its instant is written: it lands once.
        for (const effectiveAt of [at, ...texts])
          assert.include(
            JSON.stringify(yield* send("dispatch", { command: { ...deposit, effectiveAt } })),
            '"_tag":"Success"',
            String(effectiveAt)
          )
        const later = "2100-01-01"
        const hold = { _tag: "PlaceHold", account, amount: "1", commandId: "hand-hold", expiresAt: later }
        const member = { _tag: "Deposit", account, amount: "1", effectiveAt: texts[0] }
        const group = { _tag: "Group", commandId: "hand-group", commands: [member] }
        const batch = JSON.stringify(yield* send("dispatchMany", { commands: [hold, group] }))
        assert.lengthOf(batch.match(/"_tag":"Success"/g) ?? [], 3, batch)
        const [, dated, held, grouped] = yield* ledger.history(account)
        assert.deepEqual([dated?.effectiveAt, grouped?.effectiveAt], [at, at])
        assert.nestedInclude(held, { "event.expiresAt": Date.parse(later) })

        const { recordedAt } = yield* ledger.balanceAt(account, { version: 2 })
        const known = new Date(recordedAt).toISOString()
        const questions: ReadonlyArray<readonly [string, object, string]> = [
          ["balanceAt", { account, recordedAt: known, version: null }, '"version":2'],
          ["statement", { account, from: "2001-01-01", to: known }, '"opening"'],
          ["sum", { prefix: account, effectiveAt: texts[1], knownAt: known }, `"effectiveAt":${at}`],
          ["holds", { account, expiringBefore: "2000-01-01" }, '"rows":[]'],
          ["holdsByExpiry", { prefix: account, expiringBefore: later }, '"rows":[]'],
          ["trialBalanceAt", { recordedAt: known }, `"recordedAt":${recordedAt}`]
        ]
        for (const [name, payload, words] of questions)
          assert.include(JSON.stringify(yield* send(name, payload)), words, name)

        const wrong: ReadonlyArray<readonly [text: string, words: RegExp]> = [
          ["2026-02-30", /^is no day of the calendar$/],
          ["2026-03-02T09:15", /^has no time zone: add Z/],
          ["invoice 12", /^is no instant: write 2026-03-02T09:15:00Z/]
        ]
        for (const [text, words] of wrong)
          for (const [name, payload, ...path] of [
            ["statement", { account, to: text }, "to"],
            ["statement", { account, from: "2026-01-01", to: text }, "to"],
            ["trialBalanceAt", { recordedAt: text }, "recordedAt"],
            ["dispatch", { command: { ...deposit, effectiveAt: text } }, "effectiveAt"],
            ["dispatch", { command: { ...hold, expiresAt: text } }, "expiresAt"],
            [
              "dispatch",
              { command: { ...group, commands: [{ ...member, effectiveAt: text }] } },
              "commands",
              "0",
              "effectiveAt"
            ]
          ] as const) {
            const faults = faultsOf(yield* send(name, payload))
            const what = `${name} ${JSON.stringify(payload)}: ${JSON.stringify(faults)}`
            if (!Array.isArray(faults) || faults.length !== 1) return assert.fail(what)
            assert.deepEqual(faults[0].path, path, what)
            assert.match(faults[0].message, words, what)
          }
      })
    )
  )
})

layer(memoryLedger, { excludeTestServices: true })("a fault of the node", (it) => {
  it.effect("is not told in its own words, which may name hosts and files", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const bug = new Error("cannot find /srv/ledger/part.mjs for keeper at 10.0.0.5:5432")
        const { port } = yield* openTcp({
          format: "ndjson",
          tokens: [token("peer", ["admin"])],
          ledger: {
            ...(yield* Ledger),
            dispatch: () => Effect.die(bug),
            stats: Effect.die(bug),
            subscribe: () => Stream.die(bug)
          }
        })
        const send = yield* connectByHand(port)
        const command = { _tag: "Deposit", account: "hand:a", amount: "1" }
        for (const [tag, payload] of [
          ["dispatch", { command }],
          ["stats", null],
          ["health", null],
          ["subscribe", {}]
        ] as const) {
          const told = JSON.stringify(yield* send(tag, payload))
          assert.include(told, "the node failed, at what its log says", tag)
          assert.notMatch(told, /srv|keeper|10\.0/, tag)
        }
      })
    )
  )

  it.effect("is not told where it is thrown as the call is made, nor beside an interruption", () =>
    Effect.scoped(
      Effect.gen(function* () {
        const bug = new Error("cannot find /srv/ledger/part.mjs for keeper at 10.0.0.5:5432")
        let isAsked = false
        const { port } = yield* openTcp({
          format: "ndjson",
          tokens: [token("peer", ["admin"])],
          ledger: {
            ...(yield* Ledger),
            dispatch: () => Effect.failCause(Cause.combine(Cause.interrupt(1), Cause.die(bug))),
            get stats(): never {
              isAsked = true
              throw bug
            }
          }
        })
        const send = yield* connectByHand(port)
        const command = { _tag: "Deposit", account: "hand:a", amount: "1" }
        const dispatched = JSON.stringify(yield* send("dispatch", { command }))
        assert.include(dispatched, "Interrupt")
        assert.notMatch(dispatched, /srv|keeper|10\.0/)
        const asked = JSON.stringify(yield* send("health", null))
        assert.isTrue(isAsked)
        assert.include(asked, "the node failed, at what its log says")
        assert.notMatch(asked, /srv|keeper|10\.0/)
      })
    )
  )
})
