/** Makes examples/day.csv, the day of a small bank, from a fixed seed: byte for byte the same each time. */
import { NodeRuntime, NodeServices } from "@effect/platform-node"
import { Console, DateTime, Effect, FileSystem, Random, Result } from "effect"
import { toContent } from "../src/cli/DayCommand.ts"
import { type Column, columns } from "../src/cli/DayFields.ts"
import { type Account, absent, evolve } from "../src/domain/Account.ts"
import { decide } from "../src/domain/Decide.ts"
import type { AccountId } from "../src/domain/Ids.ts"
import { type Asset, formatDecimal } from "../src/domain/Money.ts"

const seed = "the day of a small bank"
const opensAt = DateTime.toEpochMillis(DateTime.makeUnsafe("2026-03-02T07:00:00Z"))

type Row = { readonly [Name in Column]?: string }

/** The further ones are of holds, reversals and exchanges. */
const header: ReadonlyArray<Column> = [...columns, "fx", "hold", "expires", "final", "original"]

/** The accounts of one asset, and the usual amounts in it, in minor units. */
interface Branch {
  readonly asset: Asset
  readonly code: string
  readonly customers: ReadonlyArray<string>
  readonly merchants: ReadonlyArray<string>
  readonly employers: ReadonlyArray<string>
  readonly landlord: string
  readonly fees: string
  /** About what a day's shopping costs. */
  readonly unit: bigint
}

const branch = (
  asset: string,
  customers: number,
  merchants: number,
  employers: number,
  unit: bigint
): Branch => {
  const code = asset.slice(0, 3)
  const name = (kind: string, count: number) =>
    Array.from({ length: count }, (_, index) => `${code}:${kind}:${String(index + 1).padStart(3, "0")}`)
  return {
    asset: asset as Asset, // one of three literals below that its schema accepts
    code,
    customers: name("customer", customers),
    merchants: name("merchant", merchants),
    employers: name("employer", employers),
    landlord: `${code}:landlord`,
    fees: `${code}:fees`,
    unit
  }
}

/** 200 accounts: 117 in dollars, 52 in yen, 31 in bitcoin. */
const dollars = branch("USD/2", 100, 12, 3, 4_000n)
const yen = branch("JPY/0", 40, 8, 2, 3_000n)
const bitcoin = branch("BTC/8", 24, 4, 1, 90_000n)
const branches = [dollars, yen, bitcoin]

const givenNames = [
  "Ada",
  "Björn",
  "Chloé",
  "Dmitri",
  "Emeka",
  "Fatima",
  "Grażyna",
  "Hiroshi",
  "Inés",
  "José",
  "王芳",
  "Zoë"
]
const familyNames = [
  "Ångström",
  "Brown",
  "Çelik",
  "de la Cruz",
  "Eze",
  "Fernández",
  "O'Neill",
  "佐藤",
  "Smith, Jr.",
  "Yıldız"
]
const shops = [
  '"The Corner" Bakery',
  "Books & Maps",
  "Café Central",
  "Garage Nord",
  "Pharmacy, Main Street",
  "みどり市場"
]
const notes = ["groceries", "coffee", "books", "fuel", "lunch, for two", "a “gift”", "pharmacy", "tickets"]

/** Writes lines, and knows the state they lead to, so that an account can be drained to the last cent. */
class Writer {
  readonly lines: Array<string> = [header.join(",")]
  readonly #rows: Array<Row> = []
  readonly #accounts = new Map<AccountId, Account>()
  readonly #decided = new Set<string>()
  #at = opensAt

  comment(text: string): void {
    this.lines.push(`# ${text}`)
  }

  /** A line some seconds after the one before it. */
  add(kind: string, row: Row, seconds = 11): string {
    this.#at += seconds * 1_000
    const time = DateTime.formatIso(DateTime.makeUnsafe(this.#at)).replace(".000Z", "Z")
    const command_id = `day-${String(this.#rows.length + 1).padStart(4, "0")}`
    this.repeat({ time, command_id, kind, ...row })
    return command_id
  }

  /** Says what an account, or all accounts that begin with a prefix, come to here. A reversal within the prefix changes nothing. */
  assert(of: string, { asset, code }: Pick<Branch, "asset" | "code">): void {
    const isOf = (account: string) =>
      of.endsWith("*") ? account.startsWith(of.slice(0, -1)) : account === of
    let sum = 0n
    for (const [id, state] of this.#accounts)
      if (isOf(id) && state._tag === "Opened" && state.asset === asset) sum += state.balance
    this.repeat({ kind: "assert", account: of, asset: code, amount: formatDecimal(sum, asset) })
  }

  /** A row as it stands, whatever its id. */
  repeat(row: Row): void {
    this.#rows.push(row)
    const fields = header.map((column) => row[column] ?? "")
    const text = fields
      .map((field) => (/[",]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field))
      .join()
    this.lines.push(text)
    const content = Result.getOrThrow(
      toContent({ line: this.lines.length, text, fields: Result.succeed(fields) }, header)
    )
    if (content._tag !== "Command") return
    const { command } = content
    if (this.#decided.has(command.commandId)) return
    for (const { account, event } of Result.getOrElse(decide(command, this.#stateOf, this.#at), () => [])) {
      this.#accounts.set(account, evolve(this.#stateOf(account), event, this.#at))
      this.#decided.add(command.commandId)
    }
  }

  balanceOf(account: string): bigint {
    const state = this.#stateOf(account as AccountId) // an id of a branch above
    return state._tag === "Opened" ? state.balance : 0n
  }

  /** A row written before, of one of these kinds and not among the last few. */
  readonly earlier = (...kinds: ReadonlyArray<string>) =>
    Random.choice(this.#rows.slice(0, -40).filter(({ kind }) => kinds.includes(kind ?? "")))

  readonly #stateOf = (account: AccountId): Account => this.#accounts.get(account) ?? absent(account)
}

/** Between a tenth of the unit and twice it, in steps no rounder than real prices. */
const price = ({ unit }: Branch) =>
  Effect.map(Random.nextIntBetween(100, 2_000), (thousandths) => (unit * BigInt(thousandths)) / 1_000n)

const money = ({ asset, code }: Branch, units: bigint): Row => ({
  asset: code,
  amount: formatDecimal(units, asset)
})

const openAll = Effect.fnUntraced(function* (day: Writer) {
  day.comment("Morning: 200 accounts are opened, and money comes in from other banks.")
  for (const one of branches) {
    const asset = one.code
    for (const [index, account] of one.customers.entries()) {
      const owner = `${yield* Random.choice(givenNames)} ${yield* Random.choice(familyNames)}`
      // Each tenth customer may overdraw.
      const overdraft = index % 10 === 3 ? { overdraft: formatDecimal(one.unit * 10n, one.asset) } : {}
      day.add("open", { account, asset, owner, ...overdraft }, 3)
    }
    for (const account of one.merchants)
      day.add("open", { account, asset, owner: yield* Random.choice(shops) }, 3)
    for (const account of one.employers)
      day.add("open", { account, asset, owner: `Works No. ${account.slice(-1)}` }, 3)
    day.add("open", { account: one.landlord, asset, owner: "Homes & Gardens Ltd." }, 3)
    day.add("open", { account: one.fees, asset, owner: "the bank itself", note: "card fees" }, 3)
  }
  for (const one of branches) {
    for (const account of one.customers)
      day.add("deposit", { account, ...money(one, (yield* price(one)) * 3n), note: "opening balance" }, 5)
    for (const account of one.employers)
      day.add(
        "deposit",
        { account, ...money(one, one.unit * 40n * 60n), counterparty: "external:central-bank" },
        5
      )
  }
})

const payWagesAndRents = Effect.fnUntraced(function* (day: Writer) {
  const rent = (one: Branch, account: string) =>
    day.add("transfer", {
      account,
      counterparty: one.landlord,
      ...money(one, one.unit * 15n),
      note: "rent, March"
    })
  day.comment("Some pay the rent before their wages are there: refused. Only later could they afford it.")
  for (const account of dollars.customers.slice(20, 32)) rent(dollars, account)
  for (const account of yen.customers.slice(10, 16)) rent(yen, account)
  day.comment("Wages.")
  for (const one of branches) {
    for (const counterparty of one.customers) {
      const account = yield* Random.choice(one.employers)
      const wage = one.unit * 25n + (yield* price(one)) * 5n
      day.add("transfer", { account, counterparty, ...money(one, wage), note: "wages" })
    }
  }
  day.comment("Rents.")
  for (const account of dollars.customers.slice(0, 60)) rent(dollars, account)
  for (const account of yen.customers.slice(0, 25)) rent(yen, account)
})

/** A card payment: the merchant gets the price less a fee of a hundredth, the bank gets the fee. */
const payByCard = Effect.fnUntraced(function* (day: Writer, one: Branch, customer: string) {
  const merchant = yield* Random.choice(one.merchants)
  const paid = yield* price(one)
  const fee = paid / 100n + 1n
  const leg = (account: string, units: bigint) => `${account}=${formatDecimal(units, one.asset)}`
  const legs = [leg(customer, -paid), leg(merchant, paid - fee), leg(one.fees, fee)].join(";")
  day.add("journal", { asset: one.code, legs, note: yield* Random.choice(notes) })
})

/** One of the many things that happen on any day. */
const something = Effect.fnUntraced(function* (day: Writer) {
  const one = yield* Random.choice([dollars, dollars, dollars, yen, yen, bitcoin])
  const account = yield* Random.choice(one.customers)
  const dice = yield* Random.nextIntBetween(0, 100)
  if (dice < 62) return yield* payByCard(day, one, account)
  if (dice < 82) {
    const counterparty = yield* Random.choice(one.customers.filter((other) => other !== account))
    return day.add("transfer", { account, counterparty, ...money(one, yield* price(one)) })
  }
  if (dice < 92)
    return day.add("withdraw", {
      account,
      counterparty: "external:atm",
      ...money(one, yield* price(one)),
      note: "cash"
    })
  if (dice < 97) return day.add("deposit", { account, ...money(one, yield* price(one)), note: "cash" })
  // More than anybody has.
  return day.add("withdraw", {
    account,
    ...money(one, one.unit * 500n + (yield* price(one))),
    note: "a house"
  })
})

const repeats = Effect.fnUntraced(function* (day: Writer) {
  day.repeat(yield* day.earlier("transfer", "deposit", "journal"))
})

const reuses = Effect.fnUntraced(function* (day: Writer) {
  const row = yield* day.earlier("deposit")
  day.repeat({ ...row, amount: `${row.amount === "1" ? "2" : "1"}`, note: "the id of another command" })
})

const frozen = "USD:customer:013"
const closed = "USD:customer:077"

/** An instant, and not a length of time, so that the events are the same whenever the day is played. */
const longAfter = "2126-03-09"

/** Card payments that are authorised first, and what else a day has beside transfers. */
const evening = (day: Writer): void => {
  const [guest = "", driver = "", traveller = "", late = ""] = dollars.customers.filter(
    (account) => account !== frozen && day.balanceOf(account) > 25_000n
  )
  const [hotel = "", pump = "", shop = ""] = dollars.merchants
  const usd = (amount: string): Row => ({ asset: dollars.code, amount })
  day.comment(
    "Evening. A hotel authorises 180.00, takes 60.00 and then the rest of what was drunk; what remains is free at once."
  )
  const room = day.add("hold", { account: guest, counterparty: hotel, ...usd("180.00"), expires: longAfter })
  const stay = day.add("capture", { account: guest, counterparty: hotel, hold: room, ...usd("60.00") })
  day.add("capture", { account: guest, counterparty: hotel, hold: room, ...usd("75.50"), final: "yes" })
  day.comment("A pump authorises 150.00, and 48.20 are tanked. Another driver goes away: released.")
  const tank = day.add("hold", { account: driver, counterparty: pump, ...usd("150.00"), expires: longAfter })
  day.add("capture", { account: driver, counterparty: pump, hold: tank, ...usd("48.20"), final: "yes" })
  const gone = day.add("hold", {
    account: traveller,
    counterparty: pump,
    ...usd("150.00"),
    expires: longAfter
  })
  day.add("release", { account: traveller, hold: gone, note: "drove off without" })
  day.comment(
    "An authorisation that is never captured expires; nothing is to be done for it. Who comes too late gets nothing."
  )
  const expired = day.add("hold", { account: late, counterparty: shop, ...usd("20.00"), expires: "1 millis" })
  day.comment("An exchange of dollars for yen at a rate that is checked.")
  day.add("journal", {
    legs: `${traveller}=-100.00 USD;external:fx=100.00 USD;external:fx=-15037 JPY;${yen.customers[4]}=15037 JPY`,
    fx: "USD>JPY=150.37",
    note: "for the journey"
  })
  day.comment("A card payment from another bank, split as it comes in.")
  day.add("journal", {
    asset: dollars.code,
    legs: `external:card=-100.00;${shop}=97.00;${dollars.fees}=3.00`
  })
  day.assert(guest, dollars)
  day.assert(yen.customers[4] ?? "", yen)
  day.comment("The guest is given 20.00 back of the first 60.00.")
  day.add("reverse", { original: stay, ...usd("20.00"), note: "no breakfast" })
  day.add("capture", { account: late, counterparty: shop, hold: expired })
  day.add("deposit", { account: late, ...usd("1.00"), note: "a coin" })
  day.assert(`${dollars.code}:*`, dollars)
}

/** The whole file as text. */
export const generateDay: Effect.Effect<string> = Effect.gen(function* () {
  const day = new Writer()
  yield* openAll(day)
  yield* payWagesAndRents(day)
  day.comment("The day.")
  for (let index = 0; index < 1_950; index++) {
    yield* something(day)
    if (index % 60 === 17) yield* repeats(day)
    if (index % 400 === 350) yield* reuses(day)
    if (index === 600) {
      day.comment(`A court has ${frozen} frozen: neither in nor out from here on.`)
      day.add("freeze", { account: frozen, note: "court order 26/114" })
    }
    if (index > 600 && index % 200 === 0)
      day.add("transfer", {
        account: dollars.customers[0] ?? frozen,
        counterparty: frozen,
        ...money(dollars, 100n)
      })
    if (index === 1_200) {
      day.comment(`${closed} leaves the bank: closing is refused until the account is empty.`)
      day.add("close", { account: closed })
      day.add("withdraw", { account: closed, ...money(dollars, day.balanceOf(closed)), note: "all of it" })
      day.add("close", { account: closed, note: "moved abroad" })
    }
  }
  evening(day)
  return `${day.lines.join("\n")}\n`
}).pipe(Effect.orDie, Random.withSeed(seed)) // no list that is drawn from is empty

if (import.meta.main) {
  Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem
    const text = yield* generateDay
    yield* files.writeFileString("examples/day.csv", text)
    yield* Console.log(`examples/day.csv: ${text.split("\n").length - 1} lines`)
  }).pipe(Effect.provide(NodeServices.layer), NodeRuntime.runMain)
}
