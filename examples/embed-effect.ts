/**
 * The ledger inside a program of yours that uses Effect: money moves, and the answers are printed.
 *
 *     node_modules/.bin/node examples/embed-effect.ts
 *
 * It keeps everything in memory. To run it on real services, run `npm run -s chronicle -- dev` in another terminal
 * and paste the `export` lines it prints before. Run it twice there: every command answers as replayed.
 */
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Option } from "effect"
import { formatMoney, Ledger, LedgerNode, servicesConfig } from "../src/index.ts"

/** A node in this process: over the services of the environment, or in memory where none are named. */
const node = Layer.unwrap(
  Effect.gen(function* () {
    const url = yield* Config.option(Config.String("CHRONICLE_EVENT_STORE_URL"))
    if (Option.isNone(url)) return LedgerNode.layerMemory
    const services = { ...(yield* servicesConfig), nodeName: "embed-effect" }
    yield* LedgerNode.migrate(services)
    return LedgerNode.layer(services)
  })
)

const [alice, bob] = ["embed-effect:alice", "embed-effect:bob"]

const program = Effect.gen(function* () {
  const ledger = yield* Ledger

  // An id of your own makes a command safe to send again: it takes effect once.
  yield* ledger.dispatchMany([
    { _tag: "OpenAccount", commandId: "embed-effect:1", account: alice, asset: "USD/2", owner: "Alice" },
    { _tag: "OpenAccount", commandId: "embed-effect:2", account: bob, asset: "USD/2", owner: "Bob" },
    { _tag: "Deposit", commandId: "embed-effect:3", account: alice, amount: 100_00n }
  ])
  const receipt = yield* ledger.dispatch({
    _tag: "Transfer",
    commandId: "embed-effect:4",
    from: alice,
    to: bob,
    amount: 25_00n
  })
  yield* Console.log(`transferred, at ${receipt.postings.map((one) => `${one.account}@${one.version}`)}`)
  yield* Console.log(receipt.replayed ? "it had been done before" : "it was done now")

  // The read model follows in its own time; with the receipt's token the answer holds at least this transfer.
  const view = yield* ledger.balance(alice, { readToken: receipt.readToken })
  yield* Console.log(`alice has ${formatMoney(view.balance, view.asset)}`)

  // The past answers the same for ever.
  const before = yield* ledger.balanceAt(alice, { version: 2 })
  yield* Console.log(`she had ${formatMoney(before.balance, before.asset)}`)

  // A refusal is a value with a tag, and leaves nothing in the log.
  yield* ledger.dispatch({ _tag: "Withdraw", account: bob, amount: 1_000_00n }).pipe(
    Effect.andThen(Console.log("this is not reached")),
    Effect.catchTag("InsufficientFunds", ({ message }) => Console.log(`refused: ${message}`))
  )
})

NodeRuntime.runMain(program.pipe(Effect.provide(node)))
