/** A ledger in memory with the console in front of it, and data of every kind that the console shows, text that means harm among them. */
import { Effect, Layer, Result } from "effect"
import { Authenticator } from "../../src/access/Authenticator.ts"
import { RefusalLog } from "../../src/access/RefusalLog.ts"
import type { Token } from "../../src/access/Tokens.ts"
import type { CommandInput } from "../../src/domain/Command.ts"
import { amountMax } from "../../src/domain/Money.ts"
import * as ConsoleFiles from "../../src/http/ConsoleFiles.ts"
import * as Health from "../../src/http/Health.ts"
import { HttpConfig, httpLimits } from "../../src/http/server/HttpLimits.ts"
import * as LedgerHttpServer from "../../src/http/server/LedgerHttpServer.ts"
import { Ledger } from "../../src/Ledger.ts"

/** At a port of loopback. */
export const consoleLayer = (port: number, tokens: ReadonlyArray<Token> = []) =>
  LedgerHttpServer.layer(
    { host: "127.0.0.1", port, tls: undefined },
    Layer.mergeAll(Health.routes, ConsoleFiles.routes),
    { websocketBytesMax: 65_536 }
  ).pipe(
    Layer.provide(
      Layer.mergeAll(
        Authenticator.layer(tokens, 200_000),
        RefusalLog.layer(20),
        Layer.succeed(HttpConfig, httpLimits.defaults)
      )
    )
  )

/** Markup that would run, marks that would turn digits around, and a word that no line is long enough for. */
export const hostile = {
  markup: `<img src=x onerror="document.title='harmed'"><script>document.title='harmed'</script>`,
  marks: "invoice \u202e00.01\u202c paid\u0007",
  word: "W".repeat(256),
  url: "javascript:document.title='harmed'"
}

const day = 86_400_000

/** Every command is accepted. `at`: when the first account was opened. */
const commands = (at: number): ReadonlyArray<CommandInput> => [
  { _tag: "OpenAccount", account: "customer:bob", asset: "USD/2", owner: "Bob Bell" },
  { _tag: "OpenAccount", account: "customer:emil", asset: "EUR/2", owner: "Emil Ekström" },
  { _tag: "OpenAccount", account: "merchant:books:paris", asset: "EUR/2", owner: "Librairie" },
  { _tag: "OpenAccount", account: "merchant:books:rome", asset: "EUR/2", owner: "Libreria" },
  { _tag: "OpenAccount", account: "merchant:coffee", asset: "USD/2", owner: "Corner Coffee" },
  // Its id begins with that of another account.
  { _tag: "OpenAccount", account: "merchant:coffee:till", asset: "USD/2", owner: "Corner Coffee" },
  { _tag: "Deposit", account: "merchant:coffee:till", amount: 88_888_800n },
  { _tag: "OpenAccount", account: "desk:usd", asset: "USD/2", owner: "FX desk", overdraftLimit: 10_000_000n },
  { _tag: "OpenAccount", account: "desk:eur", asset: "EUR/2", owner: "FX desk", overdraftLimit: 10_000_000n },
  { _tag: "OpenAccount", account: "bank:fees", asset: "USD/2", owner: "The bank" },
  {
    _tag: "OpenAccount",
    account: "hostile",
    asset: "JPY/0",
    owner: hostile.markup.slice(0, 128),
    metadata: { [hostile.marks]: hostile.word, url: hostile.url }
  },
  { _tag: "OpenAccount", account: "large", asset: "ETH/18", owner: "Largest amounts" },
  { _tag: "Deposit", account: "large", amount: amountMax, description: "the largest amount of one leg" },
  { _tag: "Deposit", account: "hostile", amount: 1_234_567n, description: hostile.marks },
  { _tag: "Withdraw", account: "hostile", amount: 1_000n, description: hostile.word },
  {
    _tag: "Deposit",
    account: "hostile",
    amount: 5n,
    description: hostile.markup,
    commandId: "hostile-deposit",
    context: { caller: hostile.marks, correlationId: hostile.url, traceparent: hostile.marks },
    metadata: { note: hostile.markup }
  },
  ...Array.from({ length: 90 }, (_, nth): CommandInput => {
    const amount = BigInt(2_500 + ((nth * 7_919) % 9_000))
    if (nth % 9 === 0)
      return { _tag: "Deposit", account: "customer:alice", amount: amount * 6n, description: "salary" }
    return {
      _tag: "Transfer",
      from: "customer:alice",
      to: nth % 3 === 0 ? "customer:bob" : "merchant:coffee",
      amount: amount / 4n,
      description: nth % 3 === 0 ? "rent, shared" : "flat white"
    }
  }),
  {
    _tag: "Deposit",
    account: "customer:alice",
    amount: 4_200n,
    commandId: "refund-late",
    description: "counts for an earlier day",
    effectiveAt: at
  },
  {
    _tag: "Transfer",
    from: "customer:alice",
    to: "customer:bob",
    amount: 12_345n,
    commandId: "order-4711",
    description: "dinner",
    metadata: { invoice: "4711", till: "3" },
    context: {
      caller: "shop-backend",
      correlationId: "checkout-88",
      causationId: "cart-12",
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    }
  },
  {
    _tag: "Reverse",
    original: "order-4711",
    amount: 2_345n,
    reason: "dessert was not served",
    description: "credit note 12"
  },
  {
    _tag: "PostJournal",
    commandId: "fx-1",
    legs: [
      { account: "customer:alice", side: "debit", amount: 11_000n },
      { account: "desk:usd", side: "credit", amount: 11_000n },
      { account: "desk:eur", side: "debit", amount: 10_000n },
      { account: "customer:emil", side: "credit", amount: 10_000n }
    ],
    fx: [{ base: "USD/2", quote: "EUR/2", rate: "10/11", rounding: "half-even" }],
    description: "dollars for euros"
  },
  {
    _tag: "PostJournal",
    commandId: "card-1",
    legs: [
      { account: "external:card", side: "debit", amount: 10_000n, asset: "USD/2" },
      { account: "merchant:coffee", side: "credit", amount: 9_700n },
      { account: "bank:fees", side: "credit", amount: 300n }
    ],
    description: "a card payment, split"
  },
  {
    _tag: "PlaceHold",
    account: "customer:alice",
    amount: 5_000n,
    expiresIn: 3 * day,
    commandId: "hold-hotel",
    to: "external:card",
    description: "hotel"
  },
  {
    _tag: "PlaceHold",
    account: "customer:alice",
    amount: 1_500n,
    expiresIn: 1_800_000,
    commandId: "hold-taxi"
  },
  { _tag: "PlaceHold", account: "customer:alice", amount: 700n, commandId: "hold-forever" },
  {
    _tag: "CaptureHold",
    account: "customer:alice",
    hold: "hold-hotel",
    amount: 2_000n,
    commandId: "capture-hotel-1"
  },
  { _tag: "FreezeAccount", account: "merchant:coffee", side: "debits", reason: "papers are missing" }
]

/** Dispatches all of them, in order, and waits until the read model has them. */
export const seed = Effect.gen(function* () {
  const ledger = yield* Ledger
  const opened = yield* ledger.dispatch({
    _tag: "OpenAccount",
    account: "customer:alice",
    asset: "USD/2",
    owner: "Alice Ayre",
    overdraftLimit: 50_000n
  })
  const last = new Map<string, number>()
  for (const command of commands(opened.recordedAt))
    for (const { account, version } of (yield* ledger.dispatch(command)).postings) last.set(account, version)
  yield* ledger.dispatch({ _tag: "OpenAccount", account: "long", asset: "USD/2", owner: "Long" })
  const lines = Array.from({ length: 1_200 }, (_, nth) => ({
    _tag: "Deposit" as const,
    account: "long",
    amount: BigInt(1 + ((nth * 7_919) % 500))
  }))
  const deposited = yield* ledger.dispatchMany(lines)
  last.set("long", 1 + deposited.filter(Result.isSuccess).length)
  for (const [account, version] of last)
    yield* ledger.balance(account, { readToken: `${account}@${version}` })
})
