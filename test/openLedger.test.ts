/** The ledger of hosts without Effect, in memory: its promises, and what they do when it is closed. */
import { Effect, Layer, Redacted } from "effect"
import { assert, it } from "vitest"
import { type CommandInput, Ledger, LedgerNode, openLayer } from "../src/index.ts"
import { uniqueNodeName } from "../src/infra/config/Environment.ts"
import { defaultLimits, LedgerConfig } from "../src/infra/config/LedgerConfig.ts"
import { defaultWebhookLimits, WebhookConfig } from "../src/infra/config/WebhookConfig.ts"
import { layerWithoutCommands } from "../src/Ledger.ts"
import { isQuery, queryOf } from "../src/QueryMethods.ts"
import { type ClientLimits, defaultClientLimits } from "../src/rpc/client/ClientOptions.ts"
import { connectLedger } from "../src/rpc/client/connectLedger.ts"
import { LedgerClient } from "../src/rpc/client/LedgerClient.ts"

const outcomeOf = (answer: Promise<unknown>): Promise<string> =>
  answer.then(
    () => "answered",
    (error) => String(error._tag ?? error)
  )

it("close answers every call under way, and later calls are refused", async () => {
  const ledger = await openLayer(LedgerNode.layerMemory)
  await ledger.dispatch({ _tag: "OpenAccount", account: "a", asset: "USD/2", owner: "Ada" })
  const deposits = Array.from({ length: 200 }, () =>
    outcomeOf(ledger.dispatch({ _tag: "Deposit", account: "a", amount: 1n }))
  )
  const asked = outcomeOf(ledger.strongBalance("a"))
  const closed = ledger.close()
  const late = outcomeOf(ledger.dispatch({ _tag: "Deposit", account: "a", amount: 1n }))
  await Promise.all([closed, ledger.close()])
  assert.deepStrictEqual(new Set(await Promise.all([...deposits, asked])), new Set(["answered"]))
  assert.strictEqual(await late, "Unavailable")
  assert.strictEqual(await outcomeOf(ledger.balance("a")), "Unavailable")
})

it("close ends every subscription, and a later one is refused at its first step", async () => {
  const ledger = await openLayer(LedgerNode.layerMemory)
  const read = async (): Promise<number> => {
    let events = 0
    for await (const _ of ledger.subscribe()) events++
    return events
  }
  const reading = read()
  const atRest = ledger.subscribe()[Symbol.asyncIterator]()
  const first = atRest.next()
  await ledger.dispatch({ _tag: "OpenAccount", account: "a", asset: "USD/2", owner: "Ada" })
  assert.isFalse((await first).done)
  const twice = ledger.subscribe({ after: "now" })[Symbol.asyncIterator]()
  const waiting = [twice.next(), twice.next()]
  const early = ledger.subscribe()
  await ledger.balance("a").catch(() => {}) // the steps have begun to wait
  await ledger.close()
  assert.strictEqual(await reading, 1)
  for (const step of [...waiting, twice.next(), atRest.next()]) assert.isTrue((await step).done)
  for (const late of [early, ledger.subscribe()])
    assert.strictEqual(await outcomeOf(late[Symbol.asyncIterator]().next()), "Unavailable")
})

it("close gives up an audit of the log, which no deadline ends, and ends nothing else before its answer", async () => {
  let hasBegun = () => {}
  const begun = new Promise<void>((resolve) => {
    hasBegun = resolve
  })
  const auditing = Effect.andThen(
    Effect.sync(() => hasBegun()),
    Effect.never
  )
  const slow = Layer.effect(
    Ledger,
    Effect.map(Ledger, (inside) => ({ ...inside, verify: () => auditing }))
  )
  const ledger = await openLayer(Layer.provide(slow, LedgerNode.layerMemory))
  const audit = outcomeOf(ledger.verify())
  await begun
  const opened = outcomeOf(
    ledger.dispatch({ _tag: "OpenAccount", account: "a", asset: "USD/2", owner: "Ada" })
  )
  await ledger.close()
  assert.deepStrictEqual([await audit, await opened], ["Unavailable", "answered"])
  assert.strictEqual(await outcomeOf(ledger.verify()), "Unavailable")
})

it("a step of a subscription that waits ends with its return", async () => {
  const ledger = await openLayer(LedgerNode.layerMemory)
  const events = ledger.subscribe({ after: "now" })[Symbol.asyncIterator]()
  const waiting = [events.next(), events.next()]
  await events.return?.()
  for (const step of [...waiting, events.next()]) assert.isTrue((await step).done)
  await ledger.close()
})

it("a node without a name gets a unique one", () => {
  const names = Array.from({ length: 100 }, () => Effect.runSync(uniqueNodeName))
  assert.strictEqual(new Set(names).size, 100)
  for (const name of names) assert.match(name, /^[A-Za-z0-9_-]{10,64}$/)
})

it("null in the place of a command is an invalid command", async () => {
  const ledger = await openLayer(LedgerNode.layerMemory)
  const nothing: CommandInput = JSON.parse("null")
  assert.strictEqual(await outcomeOf(ledger.dispatch(nothing)), "InvalidCommand")
  const [first, second] = await ledger.dispatchMany([
    nothing,
    { _tag: "OpenAccount", account: "a", asset: "USD/2", owner: "Ada" }
  ])
  assert.strictEqual(first?.ok === false && first.error._tag, "InvalidCommand")
  assert.isTrue(second?.ok)
  await ledger.close()
})

it("a question that takes no options refuses them, as it does over RPC", async () => {
  const ledger = await openLayer(LedgerNode.layerMemory)
  const methods = Object.entries(ledger) as ReadonlyArray<
    readonly [string, (...args: ReadonlyArray<unknown>) => Promise<unknown>] // as a host without types calls them
  >
  const without = methods.filter(
    ([name]) =>
      isQuery(name) && queryOf(name).about === "books" && Object.keys(queryOf(name).fields).length === 0
  )
  assert.includeMembers(
    without.map(([name]) => name),
    ["trialBalance", "contraBalances", "parked", "nodes", "stats"]
  )
  for (const [name, ask] of without) {
    for (const args of [[{ recordedAt: 0 }], ["a"], [undefined, { recordedAt: 0 }]])
      assert.strictEqual(await outcomeOf(ask(...args)), "InvalidCommand", `${name} ${JSON.stringify(args)}`)
    for (const args of [[], [undefined], [null], [{}]])
      assert.strictEqual(await outcomeOf(ask(...args)), "answered", `${name} ${JSON.stringify(args)}`)
  }
  await ledger.close()
})

it("a node of the read side refuses a batch that is no list, and each command of one that is", async () => {
  const ledger = await openLayer(Layer.provide(layerWithoutCommands, LedgerNode.layerMemory))
  const nothing: ReadonlyArray<CommandInput> = JSON.parse("null")
  assert.strictEqual(await outcomeOf(ledger.dispatchMany(nothing)), "InvalidCommand")
  const refused = await ledger.dispatchMany([
    { _tag: "OpenAccount", account: "a", asset: "USD/2", owner: "Ada" }
  ])
  assert.deepStrictEqual(
    refused.map((result) => result.ok === false && result.error._tag),
    ["Unavailable"]
  )
  await ledger.close()
})

it("connectLedger refuses what is no URL, and an option that it does not know", async () => {
  // A caller in plain JavaScript may give anything.
  const connect = connectLedger as (config?: unknown) => Promise<unknown>
  const outcome = (config?: unknown) => outcomeOf(Promise.resolve().then(() => connect(config)))
  for (const config of [undefined, {}, { url: undefined }, { url: 7 }, { url: [] }, { url: [undefined] }])
    assert.strictEqual(await outcome(config), "LedgerUrlInvalid")
  const misspelt = (options: object) => outcome({ url: "tcp://127.0.0.1:1", ...options })
  const refused = "TypeError: connectLedger has no option"
  assert.strictEqual(await misspelt({ tokn: "secret" }), `${refused} tokn`)
  const limits = { connectMs: 20, commandDeadlineMS: 500 }
  assert.strictEqual(await misspelt({ limits }), `${refused} limits.commandDeadlineMS`)
  assert.strictEqual(await misspelt({ limits: { connectMs: 20 } }), "Unavailable")
})

it("the client refuses a token that no node takes, and does not tell it", async () => {
  const url = "tcp://127.0.0.1:1"
  for (const token of ["secret\nof two", "secret\n", "secret of two", "\tsecret"]) {
    const refused = "TypeError: the token must be one word, without blanks or line breaks"
    assert.strictEqual(await outcomeOf(connectLedger({ url, token })), refused)
    const client = LedgerClient.layer({ urls: [url], token: Redacted.make(token) })
    assert.strictEqual(await outcomeOf(Effect.runPromise(Effect.scoped(Layer.build(client)))), refused)
  }
})

it("the client refuses limits that are no whole numbers of 1 or more, by their names", async () => {
  const url = "tcp://127.0.0.1:1"
  for (const name of Object.keys(defaultClientLimits)) {
    const least = name === "streamFailuresMax" ? 0 : 1
    const refused = `TypeError: limits.${name} must be a whole number of ${least} or more`
    for (const value of [least - 1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "5", 5n, null, undefined]) {
      const limits = { [name]: value } as Partial<ClientLimits> // as a host without types gives them
      assert.strictEqual(await outcomeOf(connectLedger({ url, limits })), refused, String(value))
      const client = LedgerClient.layer({ urls: [url], limits })
      assert.strictEqual(await outcomeOf(Effect.runPromise(Effect.scoped(Layer.build(client)))), refused)
    }
  }
  const client = LedgerClient.layer({ urls: [url], limits: { streamFailuresMax: 0, pingMs: 1 } })
  assert.strictEqual(await outcomeOf(Effect.runPromise(Effect.scoped(Layer.build(client)))), "answered")
})

it("a node refuses numbers of its host that the environment could not have", async () => {
  const inMemory = (limits: Layer.Layer<never>) =>
    outcomeOf(openLayer(Layer.provide(LedgerNode.layerMemory, limits)).then((ledger) => ledger.close()))
  const lanes = (value: number) => inMemory(Layer.succeed(LedgerConfig, { ...defaultLimits, lanes: value }))
  assert.strictEqual(await lanes(1), "answered")
  assert.strictEqual(await lanes(0), "TypeError: lanes: must be a whole number of 1 or more")
  assert.strictEqual(await lanes(Number.NaN), "TypeError: lanes: expected an integer")
  const webhooks = Layer.succeed(WebhookConfig, { ...defaultWebhookLimits, pauseMs: -1 })
  assert.strictEqual(
    await inMemory(webhooks),
    "TypeError: a limit of webhooks, pauseMs: must be a whole number of 1 or more"
  )
  const services = {
    eventStoreUrl: Redacted.make("postgresql://127.0.0.1:1/none"),
    readModelUrl: Redacted.make("postgresql://127.0.0.1:1/none"),
    natsUrl: "nats://127.0.0.1:1",
    nodeName: "n"
  }
  const refusalOf = (node: Layer.Layer<Ledger, unknown>) =>
    outcomeOf(Effect.runPromise(Effect.scoped(Layer.build(node))))
  const idle = Layer.succeed(LedgerConfig, { ...defaultLimits, storeReaders: 0 })
  assert.strictEqual(
    await outcomeOf(
      Effect.runPromise(Effect.scoped(Layer.build(Layer.provide(LedgerNode.layerReader(services), idle))))
    ),
    "TypeError: storeReaders: must be a whole number of 1 or more"
  )
  const replicas = "TypeError: natsReplicas must be a whole number of 1 or more"
  assert.strictEqual(await refusalOf(LedgerNode.layer({ ...services, natsReplicas: 0 })), replicas)
  const place = { host: "127.0.0.1", port: 0 }
  const port = "TypeError: the port of a node must be a whole number of 1 to 65,535"
  assert.strictEqual(await refusalOf(LedgerNode.layerCluster(services, place)), port)
  assert.strictEqual(await refusalOf(LedgerNode.layerReadSide(services, {}, place)), port)
})
