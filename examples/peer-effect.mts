/**
 * A peer over RPC: opens two accounts, moves money, and asks for a balance.
 *
 *     npm run build && node_modules/.bin/node examples/peer-effect.mts
 *
 * It needs a node, which `npm run -s chronicle -- dev` in another terminal is, and the package: built, here, or installed.
 */
import { Ledger, LedgerClient } from "chronicle-ledger"
import { Console, Effect, Redacted } from "effect"

const url = process.env.CHRONICLE_RPC_URL ?? "tcp://127.0.0.1:7070"
const token = process.env.CHRONICLE_RPC_TOKEN

// Written against `Ledger` alone: the same code runs in the ledger's own process, over `LedgerNode.layer`.
const program = Effect.gen(function* () {
  const ledger = yield* Ledger
  const open = (account: string) =>
    ledger
      .dispatch({ _tag: "OpenAccount", account, asset: "USD/2", owner: "Peer", commandId: `open-${account}` })
      .pipe(Effect.catchTag("AccountAlreadyExists", () => Effect.void))
  yield* open("peer:ada")
  yield* open("peer:bob")
  yield* ledger.dispatch({ _tag: "Deposit", account: "peer:ada", amount: 100_00n })
  const receipt = yield* ledger.dispatch({
    _tag: "Transfer",
    from: "peer:ada",
    to: "peer:bob",
    amount: 25_00n
  })
  const bob = yield* ledger.balance("peer:bob", { readToken: receipt.readToken })
  yield* Console.log(`peer:bob has ${bob.balance} after version ${bob.version}`)
})

Effect.runPromise(
  Effect.provide(
    program,
    LedgerClient.layer({ urls: [url], token: token === undefined ? undefined : Redacted.make(token) })
  )
)
