/**
 * An exchange: dollars become euros at a rate that the ledger holds the legs against, and all of it is given back to the last cent.
 *
 *     node_modules/.bin/node examples/exchange.mjs
 *
 * It keeps everything in memory. Journals, rates and rounding: docs/commands.md.
 */
import { formatMoney, LedgerNode, openLayer } from "../src/index.ts"

const ledger = await openLayer(LedgerNode.layerMemory)
const balances = async () => {
  const views = await Promise.all(["ann:usd", "ann:eur"].map((account) => ledger.strongBalance(account)))
  return views.map(({ balance, asset }) => formatMoney(balance, asset)).join(" and ")
}

try {
  for (const [account, asset] of [
    ["ann:usd", "USD/2"],
    ["ann:eur", "EUR/2"]
  ])
    await ledger.dispatch({ _tag: "OpenAccount", account, asset, owner: "Ann" })
  await ledger.dispatch({ _tag: "Deposit", account: "ann:usd", amount: 110_00n })

  // In each asset the legs come to zero; the other side is a contra account, outside of the books. 10 euros for 11 dollars.
  const exchange = (euros) => ({
    _tag: "PostJournal",
    legs: [
      { account: "ann:usd", side: "debit", amount: 110_00n },
      { account: "external:fx", side: "credit", amount: 110_00n, asset: "USD/2" },
      { account: "external:fx", side: "debit", amount: euros, asset: "EUR/2" },
      { account: "ann:eur", side: "credit", amount: euros }
    ],
    fx: [{ base: "USD/2", quote: "EUR/2", rate: "10/11", rounding: "half-even" }]
  })
  await ledger
    .dispatch(exchange(101_50n))
    .catch((error) => console.log(`refused: ${error._tag}, expected ${formatMoney(error.expected, "EUR/2")}`))
  await ledger.dispatch({ ...exchange(100_00n), commandId: "exchange-1" })
  console.log(`exchanged: ${await balances()}`)

  // A month later, at whatever rate there is then, the very cents of both assets come back.
  await ledger.dispatch({ _tag: "Reverse", original: "exchange-1", reason: "booked by mistake" })
  console.log(`given back: ${await balances()}`)
} finally {
  await ledger.close()
}
