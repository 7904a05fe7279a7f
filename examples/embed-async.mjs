/**
 * The ledger inside a program of yours that knows nothing of Effect, in plain JavaScript: promises, and errors to catch.
 *
 *     node_modules/.bin/node examples/embed-async.mjs
 *
 * It keeps everything in memory. To run it on real services, run `npm run -s chronicle -- dev` in another terminal
 * and paste the `export` lines it prints before. Run it twice there: every command answers as replayed.
 */
import { formatMoney, LedgerNode, openLayer, openLedger } from "../src/index.ts"

const { CHRONICLE_EVENT_STORE_URL, CHRONICLE_READ_MODEL_URL, CHRONICLE_NATS_URL } = process.env

const ledger =
  CHRONICLE_EVENT_STORE_URL === undefined
    ? await openLayer(LedgerNode.layerMemory)
    : await openLedger({
        eventStoreUrl: CHRONICLE_EVENT_STORE_URL,
        readModelUrl: CHRONICLE_READ_MODEL_URL,
        natsUrl: CHRONICLE_NATS_URL,
        nodeName: "embed-async",
        migrate: true
      })

const [alice, bob] = ["embed-async:alice", "embed-async:bob"]

try {
  // An id of your own makes a command safe to send again: it takes effect once.
  await ledger.dispatchMany([
    { _tag: "OpenAccount", commandId: "embed-async:1", account: alice, asset: "USD/2", owner: "Alice" },
    { _tag: "OpenAccount", commandId: "embed-async:2", account: bob, asset: "USD/2", owner: "Bob" },
    { _tag: "Deposit", commandId: "embed-async:3", account: alice, amount: 100_00n }
  ])
  const receipt = await ledger.dispatch({
    _tag: "Transfer",
    commandId: "embed-async:4",
    from: alice,
    to: bob,
    amount: 25_00n
  })
  console.log(`transferred, at ${receipt.postings.map((one) => `${one.account}@${one.version}`)}`)
  console.log(receipt.replayed ? "it had been done before" : "it was done now")

  // The read model follows in its own time; with the receipt's token the answer holds at least this transfer.
  const view = await ledger.balance(alice, { readToken: receipt.readToken })
  console.log(`alice has ${formatMoney(view.balance, view.asset)}`)

  // The past answers the same for ever.
  const before = await ledger.balanceAt(alice, { version: 2 })
  console.log(`she had ${formatMoney(before.balance, before.asset)}`)

  // A refusal rejects with a tagged error, and leaves nothing in the log.
  try {
    await ledger.dispatch({ _tag: "Withdraw", account: bob, amount: 1_000_00n })
  } catch (error) {
    if (error._tag !== "InsufficientFunds") throw error
    console.log(`refused: ${error.message}`)
  }
} finally {
  await ledger.close()
}
