/**
 * Commands on money and what becomes of them, to the minor unit: the same table for a node alone and for two nodes of a cluster, whichever
 * door they come through. A name that begins with `@` is an account, and ends in the number of the node that owns it; one with `#` is the id of a command.
 */
import { assert } from "@effect/vitest"

/** A command in its form on the wire. */
export interface Asked {
  readonly _tag: string
  readonly [field: string]: unknown
}

/** What an account has at the end: its balance, and what is held where that is not zero. */
type Has = string | readonly [balance: string, held: string]

export interface MoneyCase {
  readonly name: string
  /** The accounts that are opened first: what each has, of US dollars by default, and its overdraft limit. */
  readonly funds: Readonly<Record<string, string>>
  /** Are accepted, one after another. */
  readonly first?: ReadonlyArray<Asked>
  readonly asked: Asked
  /** "accepted", or the refusal by its tag and those of its fields that matter. */
  readonly answer: "accepted" | Readonly<Record<string, unknown>>
  readonly has: Readonly<Record<string, Has>>
}

const usd = "USD/2"
const eur = "EUR/2"

const transfer = (from: string, to: string, amount: string, more: object = {}): Asked => ({
  _tag: "Transfer",
  from,
  to,
  amount,
  ...more
})
const place = (account: string, amount: string, more: object = {}): Asked => ({
  _tag: "PlaceHold",
  commandId: "#h",
  account,
  amount,
  ...more
})
const capture = (account: string, more: object = {}): Asked => ({
  _tag: "CaptureHold",
  account,
  hold: "#h",
  ...more
})
const adjust = (account: string, more: object): Asked => ({
  _tag: "AdjustHold",
  account,
  hold: "#h",
  ...more
})
const release = (account: string, more: object = {}): Asked => ({
  _tag: "ReleaseHold",
  account,
  hold: "#h",
  ...more
})
const reverse = (more: object = {}): Asked => ({ _tag: "Reverse", original: "#t", reason: "refund", ...more })
const freeze = (account: string, side?: string): Asked => ({
  _tag: "FreezeAccount",
  account,
  ...(side === undefined ? {} : { side })
})
const journal = (legs: ReadonlyArray<string>, more: object = {}): Asked => ({
  _tag: "PostJournal",
  legs: legs.map((leg) => {
    const [account = "", amount = "", asset] = leg.split(" ")
    return {
      account,
      side: amount.startsWith("-") ? "debit" : "credit",
      amount: amount.replace("-", ""),
      ...(asset === undefined ? {} : { asset })
    }
  }),
  ...more
})
const group = (...commands: ReadonlyArray<Asked>): Asked => ({
  _tag: "Group",
  commandId: "#g",
  commands: commands.map(({ commandId: _, ...command }) => command)
})
const t = { commandId: "#t" }
const invalid = (path: string) => ({ _tag: "InvalidCommand", faults: [{ path: [path] }] })
const amountMax = "9".repeat(36)

const holds: ReadonlyArray<MoneyCase> = [
  {
    name: "a capture pays all to the account of another node that only the hold names",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60", { to: "@b2" })],
    asked: capture("@a1"),
    answer: "accepted",
    has: { "@a1": "40", "@b2": "60" }
  },
  {
    name: "a capture of one unit leaves the rest held",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60")],
    asked: capture("@a1", { amount: "1", to: "@b2" }),
    answer: "accepted",
    has: { "@a1": ["99", "59"], "@b2": "1" }
  },
  {
    name: "a final capture gives the rest free",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60")],
    asked: capture("@a1", { amount: "1", to: "@b2", final: true }),
    answer: "accepted",
    has: { "@a1": "99", "@b2": "1" }
  },
  {
    name: "a capture beyond the hold is refused",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60"), capture("@a1", { amount: "20", to: "@b2" })],
    asked: capture("@a1", { amount: "41", to: "@b2" }),
    answer: { _tag: "CaptureExceedsHold", remaining: "40", amount: "41" },
    has: { "@a1": ["80", "40"], "@b2": "20" }
  },
  {
    name: "a capture with excess takes from what is available, to its last unit",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60", { to: "@b2" })],
    asked: capture("@a1", { amount: "100", excess: "fromAvailable" }),
    answer: "accepted",
    has: { "@a1": "0", "@b2": "100" }
  },
  {
    name: "a capture with excess takes no more than is available",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60", { to: "@b2" })],
    asked: capture("@a1", { amount: "101", excess: "fromAvailable" }),
    answer: { _tag: "InsufficientFunds", account: "@a1", balance: "100", held: "60", amount: "41" },
    has: { "@a1": ["100", "60"], "@b2": "0" }
  },
  {
    name: "a capture of nothing is invalid",
    funds: { "@a1": "100" },
    first: [place("@a1", "60")],
    asked: capture("@a1", { amount: "0" }),
    answer: invalid("amount"),
    has: { "@a1": ["100", "60"] }
  },
  {
    name: "a capture to another place than the hold's is invalid, though that one is of another node",
    funds: { "@a1": "100", "@b2": "0", "@c2": "0" },
    first: [place("@a1", "60", { to: "@b2" })],
    asked: capture("@a1", { to: "@c2" }),
    answer: invalid("to"),
    has: { "@a1": ["100", "60"], "@b2": "0", "@c2": "0" }
  },
  {
    name: "a capture to an account of another asset is refused",
    funds: { "@a1": "100", "@b2": `0 ${eur}` },
    first: [place("@a1", "60", { to: "@b2" })],
    asked: capture("@a1"),
    answer: { _tag: "AssetMismatch", account: "@b2", expected: usd, actual: eur },
    has: { "@a1": ["100", "60"], "@b2": "0" }
  },
  {
    name: "a capture to an account that nobody opened is refused",
    funds: { "@a1": "100" },
    first: [place("@a1", "60", { to: "@b2" })],
    asked: capture("@a1"),
    answer: { _tag: "AccountNotFound", account: "@b2" },
    has: { "@a1": ["100", "60"] }
  },
  {
    name: "a capture to an account that takes none is refused",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60", { to: "@b2" }), freeze("@b2", "credits")],
    asked: capture("@a1"),
    answer: { _tag: "AccountNotActive", account: "@b2", frozen: "credits" },
    has: { "@a1": ["100", "60"], "@b2": "0" }
  },
  {
    name: "a capture from a frozen account is refused",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60", { to: "@b2" }), freeze("@a1", "debits")],
    asked: capture("@a1"),
    answer: { _tag: "AccountNotActive", account: "@a1", frozen: "debits" },
    has: { "@a1": ["100", "60"], "@b2": "0" }
  },
  {
    name: "a capture to the payer itself is refused",
    funds: { "@a1": "100" },
    first: [place("@a1", "60")],
    asked: capture("@a1", { to: "@a1" }),
    answer: { _tag: "SameAccount", account: "@a1" },
    has: { "@a1": ["100", "60"] }
  },
  {
    name: "a capture in another asset is refused",
    funds: { "@a1": "100" },
    first: [place("@a1", "60")],
    asked: capture("@a1", { asset: eur, amount: "1" }),
    answer: { _tag: "AssetMismatch", account: "@a1" },
    has: { "@a1": ["100", "60"] }
  },
  {
    name: "a capture of what was captured is told so",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60", { to: "@b2" }), capture("@a1")],
    asked: capture("@a1", { amount: "1" }),
    answer: { _tag: "HoldClosed", how: "captured" },
    has: { "@a1": "40", "@b2": "60" }
  },
  {
    name: "a capture of what was released is told so",
    funds: { "@a1": "100" },
    first: [place("@a1", "60"), release("@a1", { amount: "20" }), release("@a1")],
    asked: capture("@a1"),
    answer: { _tag: "HoldClosed", how: "released" },
    has: { "@a1": "100" }
  },
  {
    name: "a capture of what never was there is refused",
    funds: { "@a1": "100", "@b2": "100" },
    first: [place("@b2", "60")],
    asked: capture("@a1"),
    answer: { _tag: "HoldNotFound", account: "@a1", hold: "#h" },
    has: { "@a1": "100", "@b2": ["100", "60"] }
  },
  {
    name: "a hold of more than is available is refused",
    funds: { "@a1": `100 ${usd} 50` },
    first: [place("@a1", "60")],
    asked: place("@a1", "91", { commandId: "#k" }),
    answer: { _tag: "InsufficientFunds", held: "60", overdraftLimit: "50", amount: "91" },
    has: { "@a1": ["100", "60"] }
  },
  {
    name: "a hold of the last unit, overdraft included, is accepted",
    funds: { "@a1": `100 ${usd} 50` },
    first: [place("@a1", "60")],
    asked: place("@a1", "90", { commandId: "#k" }),
    answer: "accepted",
    has: { "@a1": ["100", "150"] }
  },
  {
    name: "what is held is not paid out",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60")],
    asked: transfer("@a1", "@b2", "41"),
    answer: { _tag: "InsufficientFunds", balance: "100", held: "60" },
    has: { "@a1": ["100", "60"], "@b2": "0" }
  },
  {
    name: "a hold for its own account is refused",
    funds: { "@a1": "100" },
    asked: place("@a1", "60", { to: "@a1" }),
    answer: { _tag: "SameAccount" },
    has: { "@a1": "100" }
  },
  {
    name: "a hold that has expired when it is placed is invalid",
    funds: { "@a1": "100" },
    asked: place("@a1", "60", { expiresAt: 1_000 }),
    answer: invalid("expiresAt"),
    has: { "@a1": "100" }
  },
  {
    name: "a hold is raised by what is available",
    funds: { "@a1": "100" },
    first: [place("@a1", "60")],
    asked: adjust("@a1", { amount: "100" }),
    answer: "accepted",
    has: { "@a1": ["100", "100"] }
  },
  {
    name: "a hold is not raised by more than is available",
    funds: { "@a1": "100" },
    first: [place("@a1", "60")],
    asked: adjust("@a1", { amount: "101" }),
    answer: { _tag: "InsufficientFunds", held: "60", amount: "41" },
    has: { "@a1": ["100", "60"] }
  },
  {
    name: "a hold is not lowered to what was captured and released of it",
    funds: { "@a1": "100", "@b2": "0" },
    first: [
      place("@a1", "60", { to: "@b2" }),
      capture("@a1", { amount: "10" }),
      release("@a1", { amount: "5" })
    ],
    asked: adjust("@a1", { amount: "15" }),
    answer: invalid("amount"),
    has: { "@a1": ["90", "45"], "@b2": "10" }
  },
  {
    name: "a hold is lowered to one unit above what was captured and released",
    funds: { "@a1": "100", "@b2": "0" },
    first: [
      place("@a1", "60", { to: "@b2" }),
      capture("@a1", { amount: "10" }),
      release("@a1", { amount: "5" })
    ],
    asked: adjust("@a1", { amount: "16" }),
    answer: "accepted",
    has: { "@a1": ["90", "1"], "@b2": "10" }
  },
  {
    name: "more than remains is not released",
    funds: { "@a1": "100" },
    first: [place("@a1", "60")],
    asked: release("@a1", { amount: "61" }),
    answer: invalid("amount"),
    has: { "@a1": ["100", "60"] }
  },
  {
    name: "a frozen account releases",
    funds: { "@a1": "100" },
    first: [place("@a1", "60"), freeze("@a1")],
    asked: release("@a1", { amount: "59" }),
    answer: "accepted",
    has: { "@a1": ["100", "1"] }
  },
  {
    name: "an account with an open hold is not closed",
    funds: { "@a1": `0 ${usd} 10` },
    first: [place("@a1", "10")],
    asked: { _tag: "CloseAccount", account: "@a1" },
    answer: { _tag: "OpenHolds", count: 1, held: "10" },
    has: { "@a1": ["0", "10"] }
  },
  {
    name: "the overdraft limit is not lowered below what is held",
    funds: { "@a1": `0 ${usd} 10` },
    first: [place("@a1", "10")],
    asked: { _tag: "UpdateAccount", account: "@a1", overdraftLimit: "7" },
    answer: { _tag: "InsufficientFunds", held: "10", overdraftLimit: "7", amount: "3" },
    has: { "@a1": ["0", "10"] }
  }
]

const reversals: ReadonlyArray<MoneyCase> = [
  {
    name: "a transfer between nodes is given back whole",
    funds: { "@a1": "100", "@b2": "0" },
    first: [transfer("@a1", "@b2", "60", t)],
    asked: reverse(),
    answer: "accepted",
    has: { "@a1": "100", "@b2": "0" }
  },
  {
    name: "the second part of a transfer between nodes is what is left",
    funds: { "@a1": "100", "@b2": "0" },
    first: [transfer("@a1", "@b2", "60", t), reverse({ amount: "1" })],
    asked: reverse({ n: 2 }),
    answer: "accepted",
    has: { "@a1": "100", "@b2": "0" }
  },
  {
    name: "no more is given back than is left, by one unit",
    funds: { "@a1": "100", "@b2": "0" },
    first: [transfer("@a1", "@b2", "60", t), reverse({ amount: "20" })],
    asked: reverse({ n: 2, amount: "41" }),
    answer: { _tag: "ReversalExceeds", left: "40", amount: "41" },
    has: { "@a1": "60", "@b2": "40" }
  },
  {
    name: "what was given back whole has nothing left",
    funds: { "@a1": "100", "@b2": "0" },
    first: [transfer("@a1", "@b2", "60", t), reverse()],
    asked: reverse({ n: 2 }),
    answer: { _tag: "ReversalExceeds", left: "0" },
    has: { "@a1": "100", "@b2": "0" }
  },
  {
    name: "a reversal out of turn is invalid",
    funds: { "@a1": "100", "@b2": "0" },
    first: [transfer("@a1", "@b2", "60", t)],
    asked: reverse({ n: 2, amount: "1" }),
    answer: invalid("n"),
    has: { "@a1": "40", "@b2": "60" }
  },
  {
    name: "the first reversal with another body is refused",
    funds: { "@a1": "100", "@b2": "0" },
    first: [transfer("@a1", "@b2", "60", t), reverse({ amount: "1" })],
    asked: reverse({ amount: "2" }),
    answer: { _tag: "CommandIdReused" },
    has: { "@a1": "41", "@b2": "59" }
  },
  {
    name: "a reversal of a reversal is invalid",
    funds: { "@a1": "100", "@b2": "0" },
    first: [transfer("@a1", "@b2", "60", t), reverse()],
    asked: reverse({ original: "~r1~#t" }),
    answer: invalid("original"),
    has: { "@a1": "100", "@b2": "0" }
  },
  {
    name: "what was never accepted is not given back",
    funds: { "@a1": "100" },
    asked: reverse(),
    answer: { _tag: "CommandNotFound", commandId: "#t" },
    has: { "@a1": "100" }
  },
  {
    name: "what moved no money is not given back",
    funds: { "@a1": "100" },
    first: [place("@a1", "60")],
    asked: reverse({ original: "#h" }),
    answer: invalid("original"),
    has: { "@a1": ["100", "60"] }
  },
  {
    name: "what the receiver of another node has spent is not given back",
    funds: { "@a1": "100", "@b2": "0", "@c1": "0" },
    first: [transfer("@a1", "@b2", "60", t), transfer("@b2", "@c1", "1")],
    asked: reverse(),
    answer: { _tag: "InsufficientFunds", account: "@b2", balance: "59", amount: "60" },
    has: { "@a1": "40", "@b2": "59", "@c1": "1" }
  },
  {
    name: "what the receiver holds back is not given back",
    funds: { "@a1": "100", "@b2": "0" },
    first: [transfer("@a1", "@b2", "60", t), place("@b2", "1")],
    asked: reverse(),
    answer: { _tag: "InsufficientFunds", account: "@b2", balance: "60", held: "1" },
    has: { "@a1": "40", "@b2": ["60", "1"] }
  },
  {
    name: "a shortfall account of a third place pays what the receiver lacks",
    funds: { "@a1": "100", "@b2": "0", "@c1": "0", "@s1": "7" },
    first: [transfer("@a1", "@b2", "60", t), transfer("@b2", "@c1", "5"), place("@b2", "2")],
    asked: reverse({ shortfall: "@s1" }),
    answer: "accepted",
    has: { "@a1": "100", "@b2": ["2", "2"], "@c1": "5", "@s1": "0" }
  },
  {
    name: "a shortfall account that lacks one unit too is told",
    funds: { "@a1": "100", "@b2": "0", "@c1": "0", "@s2": "4" },
    first: [transfer("@a1", "@b2", "60", t), transfer("@b2", "@c1", "5")],
    asked: reverse({ shortfall: "@s2" }),
    answer: { _tag: "InsufficientFunds", account: "@s2", balance: "4", amount: "5" },
    has: { "@a1": "40", "@b2": "55", "@c1": "5", "@s2": "4" }
  },
  {
    name: "a shortfall account of another asset is refused",
    funds: { "@a1": "100", "@b2": "0", "@c1": "0", "@s2": `9 ${eur}` },
    first: [transfer("@a1", "@b2", "60", t), transfer("@b2", "@c1", "5")],
    asked: reverse({ shortfall: "@s2" }),
    answer: { _tag: "AssetMismatch", account: "@s2" },
    has: { "@a1": "40", "@b2": "55", "@c1": "5", "@s2": "9" }
  },
  {
    name: "a shortfall account that is not there is refused where it has to pay",
    funds: { "@a1": "100", "@b2": "0", "@c1": "0" },
    first: [transfer("@a1", "@b2", "60", t), transfer("@b2", "@c1", "5")],
    asked: reverse({ shortfall: "@s2" }),
    answer: { _tag: "AccountNotFound", account: "@s2" },
    has: { "@a1": "40", "@b2": "55", "@c1": "5" }
  },
  {
    name: "a reversal is refused where the receiver's money may not leave",
    funds: { "@a1": "100", "@b2": "0" },
    first: [transfer("@a1", "@b2", "60", t), freeze("@b2", "debits")],
    asked: reverse(),
    answer: { _tag: "AccountNotActive", account: "@b2" },
    has: { "@a1": "40", "@b2": "60" }
  },
  {
    name: "a capture is given back to the payer's balance, not to the hold",
    funds: { "@a1": "100", "@b2": "0" },
    first: [place("@a1", "60", { to: "@b2" }), capture("@a1", { amount: "50", ...t })],
    asked: reverse(),
    answer: "accepted",
    has: { "@a1": ["100", "10"], "@b2": "0" }
  },
  {
    name: "an exchange of four accounts at two nodes is given back by its very units",
    funds: { "@a1": "1000", "@d2": "0", "@e1": `909 ${eur}`, "@f2": `0 ${eur}` },
    first: [
      journal(["@a1 -1000", "@d2 1000", "@e1 -909", "@f2 909"], {
        ...t,
        fx: [{ base: usd, quote: eur, rate: "10/11", rounding: "half-even" }]
      })
    ],
    asked: reverse(),
    answer: "accepted",
    has: { "@a1": "1000", "@d2": "0", "@e1": "909", "@f2": "0" }
  },
  {
    name: "one asset of an exchange is given back by its legs",
    funds: { "@a1": "1000", "@d2": "0", "@e1": `909 ${eur}`, "@f2": `0 ${eur}` },
    first: [
      journal(["@a1 -1000", "@d2 1000", "@e1 -909", "@f2 909"], {
        ...t,
        fx: [{ base: usd, quote: eur, rate: "10/11", rounding: "half-even" }]
      })
    ],
    asked: reverse({ legs: [{ account: "@f2", amount: "1" }] }),
    answer: "accepted",
    has: { "@a1": "0", "@d2": "1000", "@e1": "1", "@f2": "908" }
  },
  {
    name: "legs of which both sides do not come to the same are invalid",
    funds: { "@a1": "100", "@b2": "0" },
    first: [transfer("@a1", "@b2", "60", t)],
    asked: reverse({
      legs: [
        { account: "@a1", amount: "2" },
        { account: "@b2", amount: "1" }
      ]
    }),
    answer: invalid("legs"),
    has: { "@a1": "40", "@b2": "60" }
  },
  {
    name: "a group over both nodes is given back as one",
    funds: { "@a1": "100", "@b2": "0", "@c1": "0" },
    first: [group(transfer("@a1", "@b2", "60"), transfer("@b2", "@c1", "50"))],
    asked: reverse({ original: "#g" }),
    answer: "accepted",
    has: { "@a1": "100", "@b2": "0", "@c1": "0" }
  },
  {
    name: "a split payment from a contra is given back there, the fees' part by the shop",
    funds: { "@a1": "0", "@b2": "0", "@c1": "0" },
    first: [journal(["external:card -100", "@a1 97", "@b2 3"], t), transfer("@b2", "@c1", "3")],
    asked: reverse({ shortfall: "@a1" }),
    answer: { _tag: "InsufficientFunds", account: "@a1", balance: "97", amount: "100" },
    has: { "@a1": "97", "@b2": "0", "@c1": "3" }
  }
]

const money: ReadonlyArray<MoneyCase> = [
  {
    name: "a journal passes money through an account that has none",
    funds: { "@a1": "100", "@b2": "0", "@c1": "0" },
    asked: journal(["@b2 -100", "@a1 -100", "@b2 100", "@c1 100"]),
    answer: "accepted",
    has: { "@a1": "0", "@b2": "0", "@c1": "100" }
  },
  {
    name: "a journal is refused as a whole by what all its legs take from an account",
    funds: { "@a1": "100", "@b2": "0" },
    asked: journal(["@a1 -60", "@b2 60", "@a1 -41", "@b2 41"]),
    answer: { _tag: "InsufficientFunds", account: "@a1", balance: "100", amount: "101" },
    has: { "@a1": "100", "@b2": "0" }
  },
  {
    name: "a journal that does not come to zero is invalid",
    funds: { "@a1": "100", "@b2": "0" },
    asked: journal(["@a1 -60", "@b2 59"]),
    answer: invalid("legs"),
    has: { "@a1": "100", "@b2": "0" }
  },
  {
    name: "an exchange that is off by one unit is told what was expected",
    funds: { "@a1": "1000", "@d2": "0", "@e1": `910 ${eur}`, "@f2": `0 ${eur}` },
    asked: journal(["@a1 -1000", "@d2 1000", "@e1 -910", "@f2 910"], {
      fx: [{ base: usd, quote: eur, rate: "10/11", rounding: "half-even" }]
    }),
    answer: { _tag: "RateMismatch", amount: "1000", expected: "909", actual: "910" },
    has: { "@a1": "1000", "@d2": "0", "@e1": "910", "@f2": "0" }
  },
  {
    name: "a leg on a contra that does not say which of two assets it means is invalid",
    funds: { "@a1": "1000", "@e2": `910 ${eur}` },
    asked: journal(["@a1 -10", "external:fx 10", "@e2 -9 EUR/2", "external:fx 9 EUR/2"]),
    answer: { _tag: "InvalidCommand", faults: [{ path: ["legs", "1", "asset"] }] },
    has: { "@a1": "1000", "@e2": "910" }
  },
  {
    name: "the largest amount goes to another node a hundred times at most",
    funds: { "@a1": amountMax, "@b2": "0" },
    first: [
      group(...Array.from({ length: 99 }, () => ({ _tag: "Deposit", account: "@b2", amount: amountMax })), {
        _tag: "Deposit",
        account: "@b2",
        amount: "99"
      })
    ],
    asked: transfer("@a1", "@b2", amountMax),
    answer: "accepted",
    has: { "@a1": "0", "@b2": String(10n ** 38n - 1n) }
  },
  {
    name: "one unit above the largest balance is refused",
    funds: { "@a1": amountMax, "@b2": "0" },
    first: [
      group(...Array.from({ length: 99 }, () => ({ _tag: "Deposit", account: "@b2", amount: amountMax })), {
        _tag: "Deposit",
        account: "@b2",
        amount: "100"
      })
    ],
    asked: transfer("@a1", "@b2", amountMax),
    answer: { _tag: "LimitExceeded", account: "@b2", limit: "balance", max: String(10n ** 38n - 1n) },
    has: { "@a1": amountMax, "@b2": String(99n * (10n ** 36n - 1n) + 100n) }
  },
  {
    name: "one unit above the largest amount is invalid",
    funds: { "@a1": amountMax, "@b2": "0" },
    asked: transfer("@a1", "@b2", String(10n ** 36n)),
    answer: invalid("amount"),
    has: { "@a1": amountMax, "@b2": "0" }
  }
]

const groups: ReadonlyArray<MoneyCase> = [
  {
    name: "a group opens, pays into and pays from accounts of both nodes",
    funds: { "@a1": "100" },
    asked: group(
      { _tag: "OpenAccount", account: "@b2", asset: usd, owner: "Ada" },
      transfer("@a1", "@b2", "100"),
      place("@b2", "30"),
      transfer("@b2", "@a1", "70")
    ),
    answer: "accepted",
    has: { "@a1": "70", "@b2": ["30", "30"] }
  },
  {
    name: "a group that is refused in the middle does nothing on either node",
    funds: { "@a1": "100", "@b2": "0" },
    asked: group(
      transfer("@a1", "@b2", "60"),
      place("@b2", "50"),
      transfer("@b2", "@a1", "11"),
      transfer("@a1", "@b2", "1")
    ),
    answer: {
      _tag: "GroupRejected",
      index: 2,
      command: "Transfer",
      rejection: { _tag: "InsufficientFunds", account: "@b2", balance: "60", held: "50", amount: "11" }
    },
    has: { "@a1": "100", "@b2": "0" }
  },
  {
    name: "a group that places two holds on one account is refused",
    funds: { "@a1": "100", "@b2": "100" },
    asked: group(place("@a1", "1"), place("@b2", "1"), place("@a1", "1")),
    answer: {
      _tag: "GroupRejected",
      index: 2,
      rejection: { _tag: "InvalidCommand", faults: [{ path: ["account"] }] }
    },
    has: { "@a1": "100", "@b2": "100" }
  },
  {
    name: "a group is held against the versions that its commands before leave",
    funds: { "@a1": "100", "@b2": "1" },
    asked: group(
      transfer("@a1", "@b2", "1", { expectedVersion: 2 }),
      transfer("@b2", "@a1", "1", { expectedVersion: 2 })
    ),
    answer: {
      _tag: "GroupRejected",
      index: 1,
      rejection: { _tag: "VersionConflict", account: "@b2", expected: 2, actual: 3 }
    },
    has: { "@a1": "100", "@b2": "1" }
  },
  {
    name: "a capture in a group is no command",
    funds: { "@a1": "100" },
    first: [place("@a1", "60")],
    asked: group(capture("@a1")),
    answer: { _tag: "InvalidCommand" },
    has: { "@a1": ["100", "60"] }
  }
]

const accounts: ReadonlyArray<MoneyCase> = [
  {
    name: "a closed account is not opened again",
    funds: { "@a1": "0" },
    first: [{ _tag: "CloseAccount", account: "@a1" }],
    asked: { _tag: "OpenAccount", account: "@a1", asset: eur, owner: "Bob" },
    answer: { _tag: "AccountAlreadyExists", account: "@a1" },
    has: { "@a1": "0" }
  },
  {
    name: "an account with one unit is not closed",
    funds: { "@a1": "1" },
    asked: { _tag: "CloseAccount", account: "@a1" },
    answer: invalid("account"),
    has: { "@a1": "1" }
  },
  {
    name: "a side that is frozen is not frozen again",
    funds: { "@a1": "1" },
    first: [freeze("@a1", "debits"), freeze("@a1", "credits")],
    asked: freeze("@a1", "debits"),
    answer: { _tag: "AccountNotActive", frozen: "both" },
    has: { "@a1": "1" }
  },
  {
    name: "a side that is not frozen is not freed",
    funds: { "@a1": "1" },
    first: [freeze("@a1", "debits")],
    asked: { _tag: "UnfreezeAccount", account: "@a1", side: "credits" },
    answer: { _tag: "AccountNotActive", frozen: "debits" },
    has: { "@a1": "1" }
  },
  {
    name: "an update of nothing is invalid",
    funds: { "@a1": "1" },
    asked: { _tag: "UpdateAccount", account: "@a1" },
    answer: invalid("command"),
    has: { "@a1": "1" }
  }
]

export const moneyCases: ReadonlyArray<MoneyCase> = [...holds, ...reversals, ...money, ...groups, ...accounts]

/** The commands that open an account and pay into it. */
export const funding = (account: string, funds: string): ReadonlyArray<Asked> => {
  const [amount = "0", asset = "USD/2", overdraftLimit = "0"] = funds.split(" ")
  const open = { _tag: "OpenAccount", account, asset, owner: "Ada", overdraftLimit }
  return amount === "0" ? [open] : [open, { _tag: "Deposit", account, amount }]
}

/** The case with ids of its own in the place of its names, and all its commands in order, the one that is asked last. */
export const named = (one: MoneyCase, id: string, accountOf: (name: string, node: number) => string) => {
  const text = JSON.stringify(one).replaceAll("#", `${id}-`)
  const ids = new Map<string, string>()
  for (const [name, node] of text.matchAll(/@[a-z]([12])/g))
    ids.set(name, ids.get(name) ?? accountOf(`${id}-${name.slice(1)}`, Number(node)))
  const own = JSON.parse(text.replaceAll(/@[a-z][12]/g, (name) => ids.get(name) ?? name)) as MoneyCase // other texts alone
  const begun = Object.entries(own.funds).flatMap(([account, funds]) => funding(account, funds))
  const commands = [...begun, ...(own.first ?? []), own.asked].map(
    (command, index): Asked => ({ commandId: `${id}-${index}`, ...command })
  )
  return { ...own, commands }
}

/** All that `expected` names is in `actual`, at any depth. */
export const includes = (actual: unknown, expected: unknown, what: string): void => {
  if (typeof expected !== "object" || expected === null) return assert.strictEqual(actual, expected, what)
  for (const [key, value] of Object.entries(expected)) includes(Reflect.get(Object(actual), key), value, what)
}

/** Amounts become texts, as on the wire; an error keeps its fields. */
export const toJson = (value: object): object =>
  JSON.parse(
    JSON.stringify({ ...value }, (_, one: unknown) => (typeof one === "bigint" ? String(one) : one))
  ) as object // of an object
