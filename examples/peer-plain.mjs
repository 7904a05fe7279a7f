/**
 * The same peer as in peer-effect.mts, in plain JavaScript with promises.
 *
 *     npm run build && node_modules/.bin/node examples/peer-plain.mjs
 *
 * It needs a node, which `npm run -s chronicle -- dev` in another terminal is, and the package: built, here, or installed.
 */
import { connectLedger } from "chronicle-ledger"

const ledger = await connectLedger({
  url: process.env.CHRONICLE_RPC_URL ?? "tcp://127.0.0.1:7070",
  token: process.env.CHRONICLE_RPC_TOKEN
})

for (const account of ["peer:eve", "peer:dan"]) {
  await ledger
    .dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Peer", commandId: `open-${account}` })
    .catch((error) => {
      if (error._tag !== "AccountAlreadyExists") throw error
    })
}
const results = await ledger.dispatchMany([
  { _tag: "Deposit", account: "peer:eve", amount: 100_00n },
  { _tag: "Transfer", from: "peer:eve", to: "peer:dan", amount: 25_00n },
  { _tag: "Withdraw", account: "peer:dan", amount: 1_000_000_00n }
])
console.log(results.map((one) => (one.ok ? "done" : one.error._tag)).join(", "))

const transfer = results[1]
const dan = await ledger.balance("peer:dan", {
  readToken: transfer?.ok ? transfer.receipt.readToken : undefined
})
console.log(`peer:dan has ${dan.balance} after version ${dan.version}`)
await ledger.close()
