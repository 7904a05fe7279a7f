/**
 * A card payment in two steps: money is kept back when the card is shown, and paid when the goods leave, in part and for less.
 *
 *     node_modules/.bin/node examples/authorisation.mjs
 *
 * It keeps everything in memory. The states of a hold and what each command refuses: docs/commands.md.
 */
import { formatMoney, LedgerNode, openLayer } from "../src/index.ts"

const ledger = await openLayer(LedgerNode.layerMemory)
const usd = (units) => formatMoney(units, "USD/2")
const tell = (what, { postings: [first] }) =>
  console.log(`${what}: ${usd(first.balance)}, of which ${usd(first.held)} are held`)

try {
  for (const account of ["ann", "shop"])
    await ledger.dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: account })
  await ledger.dispatch({ _tag: "Deposit", account: "ann", amount: 200_00n })

  // The command's id is the hold's. Its money can go to the shop alone, and is free again after seven days.
  const hold = "order-4711"
  const sevenDays = 7 * 24 * 3_600_000
  const placed = await ledger.dispatch({
    _tag: "PlaceHold",
    commandId: hold,
    account: "ann",
    amount: 150_00n,
    expiresIn: sevenDays,
    to: "shop"
  })
  tell("authorised", placed)

  // What is held can be spent by nothing else.
  await ledger
    .dispatch({ _tag: "Withdraw", account: "ann", amount: 100_00n })
    .catch((error) => console.log(`refused: ${error.message}`))

  // Two parcels: each capture pays the shop, and the last one gives free what is left.
  const capture = { _tag: "CaptureHold", account: "ann", hold }
  tell("first parcel", await ledger.dispatch({ ...capture, commandId: "parcel-1", amount: 90_00n }))
  tell(
    "second parcel",
    await ledger.dispatch({ ...capture, commandId: "parcel-2", amount: 45_00n, final: true })
  )

  // A hold ends once.
  await ledger
    .dispatch({ ...capture, commandId: "parcel-3", amount: 1_00n })
    .catch((error) => console.log(`refused: ${error._tag}, ${error.how}`))
  const shop = await ledger.strongBalance("shop")
  console.log(`the shop has ${usd(shop.balance)}`)
} finally {
  await ledger.close()
}
