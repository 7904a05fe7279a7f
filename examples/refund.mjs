/**
 * A refund: what a payment moved is given back, in part, twice, and never more than it was.
 *
 *     node_modules/.bin/node examples/refund.mjs
 *
 * It keeps everything in memory. What can be reversed, and how much of it: docs/commands.md.
 */
import { Option } from "effect"
import { formatMoney, LedgerNode, openLayer } from "../src/index.ts"

const ledger = await openLayer(LedgerNode.layerMemory)
const usd = (units) => formatMoney(units, "USD/2")
const balances = async () => {
  const views = await Promise.all(["ann", "shop", "tax"].map((account) => ledger.strongBalance(account)))
  return views.map(({ account, balance }) => `${account} ${usd(balance)}`).join(", ")
}

try {
  for (const account of ["ann", "shop", "tax"])
    await ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: account })
  await ledger.dispatch({ _tag: "Deposit", account: "ann", amount: 100_00n })

  // One payment over two receivers: 70.00 for the goods, 13.30 of tax.
  await ledger.dispatch({
    _tag: "PostJournal",
    commandId: "payment-1",
    legs: [
      { account: "ann", side: "debit", amount: 83_30n },
      { account: "shop", side: "credit", amount: 70_00n },
      { account: "tax", side: "credit", amount: 13_30n }
    ]
  })
  console.log(`paid: ${await balances()}`)

  // The first refund names what each receiver gives back; the payer gets their sum. Sent again, it is the same refund.
  const legs = [
    { account: "shop", amount: 30_00n },
    { account: "tax", amount: 5_70n }
  ]
  const first = { _tag: "Reverse", original: "payment-1", legs, reason: "one item came back" }
  const receipt = await ledger.dispatch(first)
  console.log(`refund ${receipt.commandId}: ${await balances()}`)
  console.log(`again: replayed ${(await ledger.dispatch(first)).replayed}`)

  // The second one gives back all that is left.
  await ledger.dispatch({ _tag: "Reverse", original: "payment-1", n: 2, reason: "and the rest" })
  console.log(`all of it: ${await balances()}`)
  await ledger
    .dispatch({ _tag: "Reverse", original: "payment-1", n: 3, legs, reason: "once more" })
    .catch((error) => console.log(`refused: ${error._tag}`))

  // Both directions are kept. A question that may have no answer is answered by an Option of effect.
  const found = await ledger.find("payment-1")
  if (Option.isSome(found)) console.log(`payment-1 was reversed by ${found.value.reversals.join(" and ")}`)
} finally {
  await ledger.close()
}
