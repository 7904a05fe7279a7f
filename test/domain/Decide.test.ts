/** Given accepted commands, when one more is decided, then its events or its rejection: one case a line. */
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { AskedCommand, type CommandInput } from "../../src/domain/Command.ts"
import { amountMax, balanceMax } from "../../src/domain/Money.ts"
import { command, given } from "./books.ts"

type Fields = Readonly<Record<string, unknown>>
type Accepted = ReadonlyArray<readonly [account: string, tag: string, fields?: Fields]>
type Case = readonly [
  name: string,
  given: ReadonlyArray<CommandInput>,
  when: CommandInput,
  then: Accepted | (Fields & { readonly _tag: string }),
  /** How long after the commands before it the command is decided, in milliseconds. */
  laterMs?: number
]

const USD = "USD/2"
const open = (account: string, asset = USD, overdraftLimit = 0n): CommandInput => ({
  _tag: "OpenAccount",
  account,
  asset,
  owner: "Ada",
  overdraftLimit
})
const deposit = (account: string, amount: bigint, more: Fields = {}): CommandInput => ({
  _tag: "Deposit",
  account,
  amount,
  ...more
})
const withdraw = (account: string, amount: bigint, more: Fields = {}): CommandInput => ({
  _tag: "Withdraw",
  account,
  amount,
  ...more
})
const transfer = (from: string, to: string, amount: bigint, more: Fields = {}): CommandInput => ({
  _tag: "Transfer",
  from,
  to,
  amount,
  ...more
})
type Sided = {
  readonly side?: "debits" | "credits" | "both"
  readonly description?: string
  readonly metadata?: { readonly [key: string]: string }
}
const notes: Sided = { description: "a case of ours", metadata: { case: "7" } }
const freeze = (account: string, more: Sided = {}): CommandInput => ({
  _tag: "FreezeAccount",
  account,
  reason: "court order",
  ...more
})
const unfreeze = (account: string, more: Sided = {}): CommandInput => ({
  _tag: "UnfreezeAccount",
  account,
  ...more
})
const [debits, credits] = [{ side: "debits" }, { side: "credits" }] as const
const update = (account: string, more: Omit<CommandInput & { _tag: "UpdateAccount" }, "_tag" | "account">) =>
  ({ _tag: "UpdateAccount", account, ...more }) as const
const close = (account: string): CommandInput => ({ _tag: "CloseAccount", account })
/** `journal(["a", -5n], ["b", 5n])`: a negative amount is a debit. */
const journal = (...legs: ReadonlyArray<readonly [account: string, amount: bigint]>): CommandInput => ({
  _tag: "PostJournal",
  legs: legs.map(([account, amount]) => ({
    account,
    side: amount < 0n ? "debit" : "credit",
    amount: amount < 0n ? -amount : amount
  }))
})

const hold = (account: string, id: string, amount: bigint, more: Fields = {}): CommandInput => ({
  _tag: "PlaceHold",
  commandId: id,
  account,
  amount,
  ...more
})
const capture = (account: string, hold: string, more: Fields = {}): CommandInput => ({
  _tag: "CaptureHold",
  account,
  hold,
  ...more
})
const adjust = (account: string, hold: string, more: Fields): CommandInput => ({
  _tag: "AdjustHold",
  account,
  hold,
  ...more
})
const release = (account: string, hold: string, more: Fields = {}): CommandInput => ({
  _tag: "ReleaseHold",
  account,
  hold,
  ...more
})

const a = open("a")
const ab = [open("a"), open("b"), deposit("a", 100n)]
/** A hundred of the largest amounts leave room for 99 minor units. */
const fill = (account: string) => Array.from({ length: 100 }, () => deposit(account, amountMax))
const full = [open("a"), ...fill("a"), open("b")]
const room = balanceMax - 100n * amountMax
/** An account with 5 minor units available, and room for 10 more. */
const tight: ReadonlyArray<CommandInput> = [
  open("a"),
  ...fill("a"),
  deposit("a", room - 10n),
  ...Array.from({ length: 100 }, (_, nth) => hold("a", `h${nth}`, amountMax)),
  hold("a", "last", room - 15n),
  open("b"),
  deposit("b", 100n)
]
const tightLegs = [
  { account: "a", version: 204, side: "credit", amount: 8n },
  { account: "a", version: 205, side: "debit", amount: 9n },
  { account: "a", version: 206, side: "credit", amount: 3n },
  { account: "b", version: 3, side: "debit", amount: 2n }
]

/** An account of 100 with a hold `h` of 60 on it. */
const held = [...ab, hold("a", "h", 60n)]
const thousand = Array.from({ length: 1_000 }, (_, nth) => hold("a", `h${nth}`, 1n, { expiresIn: 5 }))
const many = [open("a"), deposit("a", 2_000n), ...thousand]

/** Commands without ids, as those of a group are. */
const group = (...commands: ReadonlyArray<CommandInput>) => ({ _tag: "Group", commands }) as CommandInput

const expectedLegs = [
  { account: "a", version: 103, side: "debit", amount: 9n },
  { account: "b", version: 3, side: "debit", amount: 9n },
  { account: "a", version: 104, side: "credit", amount: 9n },
  { account: "b", version: 4, side: "credit", amount: 9n }
]

const tenElevenths = { base: USD, quote: "EUR/2", rate: "10/11", rounding: "half-even" } as const
const exchangeable = [
  open("a"),
  deposit("a", 500_00n),
  open("e", "EUR/2"),
  open("desk-usd"),
  open("desk-eur", "EUR/2", 999_00n)
]
/** Dollars of `a` for euros of the desk, which go to `e`. */
const exchange = (
  dollars: bigint,
  euros: bigint,
  {
    desk: [usd, eur] = ["desk-usd", "desk-eur"] as readonly [string, string],
    fx = [tenElevenths] as ReadonlyArray<object>
  } = {}
) =>
  ({
    _tag: "PostJournal",
    legs: [
      { account: "a", side: "debit", amount: dollars },
      { account: usd, side: "credit", amount: dollars, asset: USD },
      { account: eur, side: "debit", amount: euros, asset: "EUR/2" },
      { account: "e", side: "credit", amount: euros }
    ],
    fx
  }) as CommandInput // the pairs of desks are texts
const exchanged = [
  ["a", "JournalPosted", { fx: [tenElevenths] }],
  ["desk-usd", "JournalLegPosted"],
  ["desk-eur", "JournalLegPosted"],
  ["e", "JournalLegPosted"]
] as const

const cases: Record<string, ReadonlyArray<Case>> = {
  OpenAccount: [
    [
      "opens an absent account with defaults",
      [],
      { _tag: "OpenAccount", account: "a", asset: USD, owner: "Ada" },
      [["a", "AccountOpened", { asset: USD, owner: "Ada", overdraftLimit: 0n, metadata: {} }]]
    ],
    [
      "keeps overdraft and metadata",
      [],
      { ...open("a", "JPY/0", 7n), metadata: { k: "v" } } as CommandInput, // the spread loses which variant it is
      [["a", "AccountOpened", { asset: "JPY/0", overdraftLimit: 7n, metadata: { k: "v" } }]]
    ],
    ["is refused where the id is taken", [a], open("a"), { _tag: "AccountAlreadyExists", account: "a" }],
    [
      "is refused where a closed account had the id",
      [a, close("a")],
      open("a"),
      { _tag: "AccountAlreadyExists" }
    ]
  ],
  Deposit: [
    [
      "enters from the bank by default",
      [a],
      deposit("a", 5n),
      [["a", "Deposited", { amount: 5n, contra: "external:bank" }]]
    ],
    [
      "names its contra, description and metadata",
      [a],
      deposit("a", 5n, { contra: "external:atm", description: "cash", metadata: { till: "3" } }),
      [["a", "Deposited", { contra: "external:atm", description: "cash", metadata: { till: "3" } }]]
    ],
    ["accepts the account's asset", [a], deposit("a", 1n, { asset: USD }), [["a", "Deposited"]]],
    [
      "is refused in another asset",
      [a],
      deposit("a", 1n, { asset: "EUR/2" }),
      { _tag: "AssetMismatch", account: "a", expected: "EUR/2", actual: USD }
    ],
    ["is refused on no account", [], deposit("a", 1n), { _tag: "AccountNotFound", account: "a" }],
    [
      "is refused while frozen",
      [a, freeze("a")],
      deposit("a", 1n),
      { _tag: "AccountNotActive", status: "frozen" }
    ],
    [
      "is refused once closed",
      [a, close("a")],
      deposit("a", 1n),
      { _tag: "AccountNotActive", status: "closed" }
    ],
    ["reaches the largest balance", full, deposit("a", room), [["a", "Deposited", { amount: room }]]],
    [
      "is refused one unit above the largest balance",
      full,
      deposit("a", room + 1n),
      { _tag: "LimitExceeded", account: "a", limit: "balance", max: balanceMax.toString(), asset: USD }
    ]
  ],
  Withdraw: [
    [
      "takes all there is",
      ab,
      withdraw("a", 100n),
      [["a", "Withdrawn", { amount: 100n, contra: "external:bank" }]]
    ],
    [
      "is refused one unit above the balance",
      ab,
      withdraw("a", 101n),
      { _tag: "InsufficientFunds", account: "a", asset: USD, balance: 100n, overdraftLimit: 0n, amount: 101n }
    ],
    ["goes down to the overdraft limit", [open("a", USD, 50n)], withdraw("a", 50n), [["a", "Withdrawn"]]],
    [
      "is refused one unit beyond the overdraft limit",
      [open("a", USD, 50n)],
      withdraw("a", 51n),
      { _tag: "InsufficientFunds", balance: 0n, overdraftLimit: 50n }
    ],
    ["is refused in another asset", ab, withdraw("a", 1n, { asset: "USD/3" }), { _tag: "AssetMismatch" }],
    ["is refused on no account", [], withdraw("a", 1n), { _tag: "AccountNotFound" }],
    ["is refused while frozen", [...ab, freeze("a")], withdraw("a", 1n), { _tag: "AccountNotActive" }]
  ],
  Transfer: [
    [
      "writes one leg an account, each naming where the other stands",
      ab,
      transfer("a", "b", 30n, { description: "rent" }),
      [
        ["a", "TransferSent", { amount: 30n, to: "b", toVersion: 2, description: "rent" }],
        ["b", "TransferReceived", { amount: 30n, from: "a", fromVersion: 3, description: "rent" }]
      ]
    ],
    ["is refused to itself", ab, transfer("a", "a", 1n), { _tag: "SameAccount", account: "a" }],
    [
      "is refused from no account",
      [open("b")],
      transfer("a", "b", 1n),
      { _tag: "AccountNotFound", account: "a" }
    ],
    ["is refused to no account", ab, transfer("a", "x", 1n), { _tag: "AccountNotFound", account: "x" }],
    [
      "is refused from a frozen one",
      [...ab, freeze("a")],
      transfer("a", "b", 1n),
      { _tag: "AccountNotActive", account: "a" }
    ],
    [
      "is refused to a frozen one",
      [...ab, freeze("b")],
      transfer("a", "b", 1n),
      { _tag: "AccountNotActive", account: "b" }
    ],
    [
      "is refused to a closed one",
      [...ab, close("b")],
      transfer("a", "b", 1n),
      { _tag: "AccountNotActive", status: "closed" }
    ],
    [
      "is refused between two assets",
      [...ab, open("j", "JPY/0")],
      transfer("a", "j", 1n),
      { _tag: "AssetMismatch", account: "j", expected: USD, actual: "JPY/0" }
    ],
    [
      "is refused where the named asset is not the sender's",
      ab,
      transfer("a", "b", 1n, { asset: "JPY/0" }),
      { _tag: "AssetMismatch", account: "a" }
    ],
    ["is refused uncovered", ab, transfer("a", "b", 101n), { _tag: "InsufficientFunds", account: "a" }],
    [
      "is refused where the receiver would pass the largest balance",
      [...full, ...fill("b")],
      transfer("a", "b", room + 1n),
      { _tag: "LimitExceeded", account: "b" }
    ]
  ],
  PostJournal: [
    [
      "writes all legs, the first holding the whole journal",
      [...ab, open("fee")],
      journal(["a", -30n], ["b", 29n], ["fee", 1n]),
      [
        [
          "a",
          "JournalPosted",
          {
            legs: [
              { account: "a", version: 3, side: "debit", amount: 30n },
              { account: "b", version: 2, side: "credit", amount: 29n },
              { account: "fee", version: 2, side: "credit", amount: 1n }
            ]
          }
        ],
        ["b", "JournalLegPosted", { amount: 29n, side: "credit", head: "a", headVersion: 3 }],
        ["fee", "JournalLegPosted", { amount: 1n, side: "credit", head: "a", headVersion: 3 }]
      ]
    ],
    [
      "balances each asset by itself",
      [...ab, open("j", "JPY/0", 9n), open("k", "JPY/0")],
      journal(["a", -5n], ["b", 5n], ["j", -9n], ["k", 9n]),
      [
        ["a", "JournalPosted"],
        ["b", "JournalLegPosted"],
        ["j", "JournalLegPosted"],
        ["k", "JournalLegPosted"]
      ]
    ],
    [
      "finds the order in which its legs fit, where holds near the largest balance leave little room",
      tight,
      journal(["a", 3n], ["a", -9n], ["a", 8n], ["b", -2n]),
      [
        ["a", "JournalPosted", { legs: tightLegs }],
        ["a", "JournalLegPosted", { amount: 9n, side: "debit" }],
        ["a", "JournalLegPosted", { amount: 3n, side: "credit" }],
        ["b", "JournalLegPosted"]
      ]
    ],
    [
      "is refused where no order fits, for each of its legs is an event that must be covered",
      tight,
      journal(["a", -20n], ["a", 20n]),
      { _tag: "InsufficientFunds", account: "a", amount: 20n }
    ],
    ["is refused unless it sums to zero", ab, journal(["a", -5n], ["b", 4n]), { _tag: "InvalidCommand" }],
    [
      "is refused where only the sum over two assets is zero",
      [...ab, open("j", "JPY/0")],
      journal(["a", -5n], ["j", 5n]),
      { _tag: "InvalidCommand" }
    ],
    [
      "is refused where a leg names another asset than its account's",
      ab,
      {
        _tag: "PostJournal",
        legs: [
          { account: "a", side: "debit", amount: 5n, asset: USD },
          { account: "b", side: "credit", amount: 5n, asset: "USD/3" }
        ]
      },
      { _tag: "AssetMismatch", account: "b", expected: "USD/3", actual: USD }
    ],
    [
      "may have several legs on one account, each an event of its own",
      ab,
      journal(["a", -5n], ["b", 6n], ["a", -1n]),
      [
        [
          "a",
          "JournalPosted",
          {
            legs: [
              { account: "a", version: 3, side: "debit", amount: 5n },
              { account: "b", version: 2, side: "credit", amount: 6n },
              { account: "a", version: 4, side: "debit", amount: 1n }
            ]
          }
        ],
        ["b", "JournalLegPosted", { headVersion: 3 }],
        ["a", "JournalLegPosted", { headVersion: 3, amount: 1n }]
      ]
    ],
    [
      "lets money pass through an account that has none, in whatever order the legs stand",
      [...ab, open("c")],
      journal(["a", -9n], ["b", -9n], ["b", 9n], ["c", 9n]),
      [
        ["a", "JournalPosted"],
        ["b", "JournalLegPosted", { side: "credit" }],
        ["b", "JournalLegPosted", { side: "debit" }],
        ["c", "JournalLegPosted"]
      ]
    ],
    [
      "is judged by what its legs leave on an account in the end",
      ab,
      journal(["a", -150n], ["b", 149n], ["a", 49n], ["b", -48n]),
      { _tag: "InsufficientFunds", account: "a", balance: 100n, amount: 101n }
    ],
    [
      "is refused for what several legs take together, which may be more than one leg may have",
      [open("a"), open("b")],
      journal(["a", -amountMax], ["a", -amountMax], ["b", amountMax], ["b", amountMax]),
      { _tag: "InsufficientFunds", account: "a", balance: 0n, amount: 2n * amountMax }
    ],
    [
      "reaches the largest balance over a leg that is beyond it",
      [...full, deposit("a", room), deposit("b", 9n)],
      journal(["a", 9n], ["b", -9n], ["a", -9n], ["b", 9n]),
      [
        ["a", "JournalPosted", { legs: expectedLegs }],
        ["b", "JournalLegPosted"],
        ["a", "JournalLegPosted", { side: "credit" }],
        ["b", "JournalLegPosted"]
      ]
    ],
    [
      "splits what comes in from outside",
      [...ab, open("fee")],
      journal(["external:card", -100n], ["b", 97n], ["fee", 3n]),
      [
        [
          "b",
          "JournalPosted",
          { contras: [{ contra: "external:card", side: "debit", amount: 100n, asset: USD }] }
        ],
        ["fee", "JournalLegPosted", { head: "b", headVersion: 2 }]
      ]
    ],
    [
      "is refused where the asset of a leg on a contra account cannot be told",
      [...ab, open("j", "JPY/0")],
      journal(["a", -5n], ["external:fx", 5n], ["j", 9n], ["external:fx", -9n]),
      { _tag: "InvalidCommand" }
    ],
    ["exchanges at the rate that it names", exchangeable, exchange(110_00n, 100_00n), [...exchanged]],
    [
      "is refused at another rate than it names",
      exchangeable,
      exchange(110_00n, 101_50n),
      { _tag: "RateMismatch", expected: 100_00n, actual: 101_50n, base: USD, quote: "EUR/2" }
    ],
    [
      "exchanges by way of a contra account",
      exchangeable,
      exchange(110_00n, 100_00n, { desk: ["external:fx", "external:fx"] }),
      [
        ["a", "JournalPosted", { fx: [tenElevenths] }],
        ["e", "JournalLegPosted"]
      ]
    ],
    [
      "is refused where no leg is in an asset of its rate",
      ab,
      { ...journal(["a", -5n], ["b", 5n]), fx: [tenElevenths] } as CommandInput, // as above
      { _tag: "InvalidCommand" }
    ],
    [
      "is refused where one asset is in two rates",
      exchangeable,
      exchange(110_00n, 100_00n, { fx: [tenElevenths, { ...tenElevenths, quote: "JPY/0" }] }),
      { _tag: "InvalidCommand" }
    ],
    [
      "is refused where any debit is uncovered",
      ab,
      journal(["a", 5n], ["b", -5n]),
      { _tag: "InsufficientFunds", account: "b" }
    ],
    [
      "is refused where any account is missing",
      ab,
      journal(["a", -5n], ["x", 5n]),
      { _tag: "AccountNotFound", account: "x" }
    ],
    [
      "is refused where any account is frozen",
      [...ab, freeze("b")],
      journal(["a", -5n], ["b", 5n]),
      { _tag: "AccountNotActive", account: "b" }
    ],
    [
      "is refused where a credit would pass the largest balance",
      [...full, deposit("b", amountMax)],
      journal(["b", -room - 1n], ["a", room + 1n]),
      { _tag: "LimitExceeded", account: "a" }
    ]
  ],
  PlaceHold: [
    [
      "keeps back what it says until it expires",
      ab,
      hold("a", "h", 100n, {
        expiresIn: 1_000,
        to: "b",
        description: "hotel",
        metadata: { room: "12" }
      }),
      [
        [
          "a",
          "HoldPlaced",
          {
            hold: "h",
            amount: 100n,
            expiresAt: 1_767_225_601_000,
            to: "b",
            description: "hotel",
            metadata: { room: "12" }
          }
        ]
      ]
    ],
    [
      "is refused beyond what is available",
      held,
      hold("a", "i", 41n),
      { _tag: "InsufficientFunds", held: 60n, balance: 100n }
    ],
    [
      "is refused where holds would keep back more than a balance may be",
      [
        open("a", USD, amountMax),
        ...fill("a"),
        ...Array.from({ length: 100 }, (_, nth) => hold("a", `h${nth}`, amountMax))
      ],
      hold("a", "one-more", amountMax),
      { _tag: "LimitExceeded", limit: "sum of open holds" }
    ],
    ["may use the overdraft", [open("a", USD, 50n)], hold("a", "h", 50n), [["a", "HoldPlaced"]]],
    ["is refused for the account itself", ab, hold("a", "h", 1n, { to: "a" }), { _tag: "SameAccount" }],
    ["is refused in another asset", ab, hold("a", "h", 1n, { asset: "EUR/2" }), { _tag: "AssetMismatch" }],
    ["is refused while frozen", [...ab, freeze("a")], hold("a", "h", 1n), { _tag: "AccountNotActive" }],
    [
      "is refused where it would expire at once",
      ab,
      hold("a", "h", 1n, { expiresAt: 1_767_225_600_000 }),
      { _tag: "InvalidCommand" }
    ],
    [
      "takes one way to say when it expires",
      ab,
      hold("a", "h", 1n, { expiresAt: 1_800_000_000_000, expiresIn: 5 }),
      { _tag: "InvalidCommand" }
    ],
    [
      "is refused where a thousand are open",
      many,
      hold("a", "one-more", 1n),
      { _tag: "HoldLimit", limit: "open holds of an account", max: 1_000 }
    ],
    [
      "is decided at once where a thousand have expired",
      many,
      hold("a", "one-more", 2_000n),
      [["a", "HoldPlaced"]],
      5
    ],
    ["is refused under the id of an open hold", held, hold("a", "h", 1n), { _tag: "InvalidCommand" }]
  ],
  CaptureHold: [
    [
      "takes the rest where no amount is named, out to the bank",
      held,
      capture("a", "h"),
      [["a", "HoldCaptured", { hold: "h", amount: 60n, to: "external:bank" }]]
    ],
    [
      "pays the account that the hold names",
      [...ab, hold("a", "h", 60n, { to: "b" })],
      capture("a", "h", { amount: 25n }),
      [
        ["a", "HoldCaptured", { amount: 25n, to: "b", toVersion: 2 }],
        ["b", "TransferReceived", { amount: 25n, from: "a", fromVersion: 4 }]
      ]
    ],
    [
      "pays the account that it names itself",
      held,
      capture("a", "h", { to: "b" }),
      [
        ["a", "HoldCaptured"],
        ["b", "TransferReceived"]
      ]
    ],
    [
      "pays a contra",
      held,
      capture("a", "h", { to: "external:visa" }),
      [["a", "HoldCaptured", { to: "external:visa" }]]
    ],
    [
      "cannot turn a hold elsewhere",
      [...ab, hold("a", "h", 60n, { to: "b" })],
      capture("a", "h", { to: "external:bank" }),
      { _tag: "InvalidCommand" }
    ],
    [
      "is refused beyond the hold, which stays",
      held,
      capture("a", "h", { amount: 72n }),
      { _tag: "CaptureExceedsHold", remaining: 60n, amount: 72n }
    ],
    [
      "takes the excess from what is available",
      held,
      capture("a", "h", { amount: 72n, excess: "fromAvailable" }),
      [["a", "HoldCaptured", { amount: 72n }]]
    ],
    [
      "is refused where not even that covers it",
      held,
      capture("a", "h", { amount: 101n, excess: "fromAvailable" }),
      { _tag: "InsufficientFunds", amount: 41n }
    ],
    [
      "keeps what its sender noted, on both of its legs",
      held,
      capture("a", "h", { to: "b", description: "room", metadata: { night: "1" } }),
      [
        ["a", "HoldCaptured", { hold: "h", to: "b", description: "room", metadata: { night: "1" } }],
        ["b", "TransferReceived", { amount: 60n, description: "room", metadata: { night: "1" } }]
      ]
    ],
    [
      "leaves the rest held",
      [...held, capture("a", "h", { amount: 20n })],
      withdraw("a", 41n),
      { _tag: "InsufficientFunds", held: 40n, balance: 80n }
    ],
    [
      "frees the rest where it is final",
      [...held, capture("a", "h", { amount: 20n, final: true })],
      withdraw("a", 80n),
      [["a", "Withdrawn"]]
    ],
    [
      "is refused after the rest was captured",
      [...held, capture("a", "h")],
      capture("a", "h", { amount: 1n }),
      { _tag: "HoldNotFound" }
    ],
    [
      "is refused from the very instant of expiry",
      [...ab, hold("a", "h", 60n, { expiresIn: 1_000 })],
      capture("a", "h"),
      { _tag: "HoldExpired", expiredAt: 1_767_225_601_000 },
      1_000
    ],
    [
      "is taken a millisecond before it",
      [...ab, hold("a", "h", 60n, { expiresIn: 1_000 })],
      capture("a", "h"),
      [["a", "HoldCaptured"]],
      999
    ],
    ["is refused while frozen", [...held, freeze("a")], capture("a", "h"), { _tag: "AccountNotActive" }],
    [
      "is refused to a frozen account",
      [...held, freeze("b")],
      capture("a", "h", { to: "b" }),
      { _tag: "AccountNotActive", account: "b" }
    ],
    [
      "is refused to an account of another asset",
      [...held, open("e", "EUR/2")],
      capture("a", "h", { to: "e" }),
      { _tag: "AssetMismatch" }
    ],
    ["is refused to itself", held, capture("a", "h", { to: "a" }), { _tag: "SameAccount" }],
    [
      "is refused of a hold that never was",
      held,
      capture("a", "other"),
      { _tag: "HoldNotFound", hold: "other" }
    ],
    [
      "is refused in another asset than the account's",
      held,
      capture("a", "h", { amount: 1n, asset: "JPY/0" }),
      { _tag: "AssetMismatch", account: "a", expected: "JPY/0", actual: USD }
    ],
    [
      "is taken in the account's asset",
      held,
      capture("a", "h", { amount: 1n, asset: USD }),
      [["a", "HoldCaptured", { amount: 1n }]]
    ],
    [
      "is refused more than a hundred times",
      [
        ...ab,
        deposit("a", 100n),
        hold("a", "h", 101n),
        ...Array.from({ length: 100 }, () => capture("a", "h", { amount: 1n }))
      ],
      capture("a", "h"),
      { _tag: "HoldLimit", limit: "captures of a hold", max: 100 }
    ]
  ],
  AdjustHold: [
    [
      "raises the total",
      held,
      adjust("a", "h", { amount: 100n }),
      [["a", "HoldAdjusted", { hold: "h", amount: 100n }]]
    ],
    [
      "is refused beyond what is available",
      held,
      adjust("a", "h", { amount: 101n }),
      { _tag: "InsufficientFunds", amount: 41n }
    ],
    [
      "lowers the total, and frees the difference",
      [...held, adjust("a", "h", { amount: 10n })],
      withdraw("a", 90n),
      [["a", "Withdrawn"]]
    ],
    [
      "is refused down to what is captured",
      [...held, capture("a", "h", { amount: 20n })],
      adjust("a", "h", { amount: 20n }),
      { _tag: "InvalidCommand" }
    ],
    [
      "keeps what its sender noted",
      held,
      adjust("a", "h", { amount: 70n, metadata: { tip: "10" } }),
      [["a", "HoldAdjusted", { hold: "h", amount: 70n, metadata: { tip: "10" } }]]
    ],
    [
      "moves the instant of expiry",
      [...ab, hold("a", "h", 60n, { expiresIn: 1_000 }), adjust("a", "h", { expiresAt: 1_767_225_609_000 })],
      capture("a", "h"),
      [["a", "HoldCaptured"]],
      8_999
    ],
    [
      "is refused in another asset than the account's",
      held,
      adjust("a", "h", { amount: 10n, asset: "JPY/0" }),
      { _tag: "AssetMismatch", account: "a", expected: "JPY/0", actual: USD }
    ],
    ["is refused for nothing", held, adjust("a", "h", {}), { _tag: "InvalidCommand" }],
    ["is refused into the past", held, adjust("a", "h", { expiresAt: 5 }), { _tag: "InvalidCommand" }],
    [
      "is refused while frozen",
      [...held, freeze("a")],
      adjust("a", "h", { amount: 5n }),
      { _tag: "AccountNotActive" }
    ],
    [
      "is refused once expired",
      [...ab, hold("a", "h", 60n, { expiresIn: 9 })],
      adjust("a", "h", { amount: 5n }),
      { _tag: "HoldExpired" },
      9
    ]
  ],
  ReleaseHold: [
    ["frees all of it", held, release("a", "h"), [["a", "HoldReleased", { hold: "h", amount: 60n }]]],
    [
      "keeps what its sender noted",
      held,
      release("a", "h", { description: "void", metadata: { case: "7" } }),
      [["a", "HoldReleased", { hold: "h", amount: 60n, description: "void", metadata: { case: "7" } }]]
    ],
    [
      "frees a part",
      [...held, release("a", "h", { amount: 10n })],
      withdraw("a", 51n),
      { _tag: "InsufficientFunds", held: 50n }
    ],
    ["is refused beyond what remains", held, release("a", "h", { amount: 61n }), { _tag: "InvalidCommand" }],
    ["is done on a frozen account", [...held, freeze("a")], release("a", "h"), [["a", "HoldReleased"]]],
    ["is refused twice", [...held, release("a", "h")], release("a", "h"), { _tag: "HoldNotFound" }],
    [
      "is refused in another asset than the account's",
      held,
      release("a", "h", { amount: 1n, asset: "USD/3" }),
      { _tag: "AssetMismatch", account: "a", expected: "USD/3", actual: USD }
    ],
    ["is refused on no account", [], release("a", "h"), { _tag: "AccountNotFound" }]
  ],
  Reverse: [
    [
      "is refused where its original was not found; the others need a log, in actors/reversals.test.ts",
      ab,
      { _tag: "Reverse", original: "none", reason: "refund" },
      { _tag: "InvalidCommand" }
    ]
  ],
  FreezeAccount: [
    ["freezes an open account", [a], freeze("a"), [["a", "AccountFrozen", { reason: "court order" }]]],
    [
      "is refused on a frozen one",
      [a, freeze("a")],
      freeze("a"),
      { _tag: "AccountNotActive", status: "frozen" }
    ],
    [
      "is refused on a closed one",
      [a, close("a")],
      freeze("a"),
      { _tag: "AccountNotActive", status: "closed" }
    ],
    ["is for both sides where none is named", [a], freeze("a"), [["a", "AccountFrozen", { side: "both" }]]],
    [
      "keeps what its sender wrote to it, beside the reason",
      [a],
      freeze("a", notes),
      [["a", "AccountFrozen", { reason: "court order", ...notes }]]
    ],
    [
      "for debits lets money in",
      [a, freeze("a", debits)],
      deposit("a", 1n),
      [["a", "Deposited", { amount: 1n }]]
    ],
    [
      "for debits lets no money out",
      [...ab, freeze("a", debits)],
      transfer("a", "b", 1n),
      { _tag: "AccountNotActive", account: "a", status: "frozen", frozen: "debits" }
    ],
    ["for credits lets money out", [...ab, freeze("a", credits)], withdraw("a", 1n), [["a", "Withdrawn"]]],
    [
      "for credits lets no money in",
      [...ab, freeze("b", credits)],
      transfer("a", "b", 1n),
      { _tag: "AccountNotActive", account: "b", frozen: "credits" }
    ],
    [
      "for credits lets no leg of a journal in",
      [...ab, freeze("b", credits)],
      journal(["a", -1n], ["b", 1n]),
      { _tag: "AccountNotActive", account: "b", frozen: "credits" }
    ],
    [
      "adds the other side",
      [a, freeze("a", debits), freeze("a", credits)],
      deposit("a", 1n),
      { _tag: "AccountNotActive", frozen: "both" }
    ],
    [
      "widens from one side to both",
      [a, freeze("a", debits)],
      freeze("a"),
      [["a", "AccountFrozen", { side: "both" }]]
    ],
    [
      "is refused for a side that is frozen",
      [a, freeze("a")],
      freeze("a", credits),
      { _tag: "AccountNotActive", frozen: "both" }
    ],
    ["is refused on no account", [], freeze("a"), { _tag: "AccountNotFound" }]
  ],
  UnfreezeAccount: [
    ["opens a frozen account again", [a, freeze("a")], unfreeze("a"), [["a", "AccountUnfrozen"]]],
    [
      "keeps what its sender wrote to it",
      [a, freeze("a")],
      unfreeze("a", notes),
      [["a", "AccountUnfrozen", notes]]
    ],
    ["is refused on an open one", [a], unfreeze("a"), { _tag: "AccountNotActive", status: "open" }],
    [
      "is refused on a closed one",
      [a, close("a")],
      unfreeze("a"),
      { _tag: "AccountNotActive", status: "closed" }
    ],
    [
      "of one side leaves the other",
      [...ab, freeze("a"), unfreeze("a", credits), deposit("a", 1n)],
      withdraw("a", 1n),
      { _tag: "AccountNotActive", status: "frozen", frozen: "debits" }
    ],
    [
      "of one side opens an account frozen for it",
      [...ab, freeze("a", debits), unfreeze("a", debits)],
      withdraw("a", 1n),
      [["a", "Withdrawn"]]
    ],
    [
      "of both opens an account frozen for one",
      [...ab, freeze("a", debits), unfreeze("a")],
      withdraw("a", 1n),
      [["a", "Withdrawn"]]
    ],
    [
      "is refused for a side that is not frozen",
      [a, freeze("a", debits)],
      unfreeze("a", credits),
      { _tag: "AccountNotActive", frozen: "debits" }
    ],
    ["is refused on no account", [], unfreeze("a"), { _tag: "AccountNotFound" }]
  ],
  UpdateAccount: [
    [
      "changes what is given, and nothing else",
      [a],
      update("a", { owner: "Bo", metadata: { tier: "gold" } }),
      [["a", "AccountUpdated", { owner: "Bo", metadata: { tier: "gold" } }]]
    ],
    [
      "raises what the account may draw",
      [...ab, update("a", { overdraftLimit: 20n })],
      withdraw("a", 120n),
      [["a", "Withdrawn"]]
    ],
    [
      "lowers the limit down to what is drawn",
      [open("a", USD, 100n), withdraw("a", 70n)],
      update("a", { overdraftLimit: 70n }),
      [["a", "AccountUpdated", { overdraftLimit: 70n }]]
    ],
    [
      "is refused below what is drawn",
      [open("a", USD, 100n), withdraw("a", 70n)],
      update("a", { overdraftLimit: 69n }),
      { _tag: "InsufficientFunds", balance: -70n, overdraftLimit: 69n, amount: 1n }
    ],
    [
      "is refused below what is drawn and held",
      [open("a", USD, 100n), withdraw("a", 70n), hold("a", "h", 20n)],
      update("a", { overdraftLimit: 89n }),
      { _tag: "InsufficientFunds", balance: -70n, held: 20n, overdraftLimit: 89n, amount: 1n }
    ],
    [
      "is done at what is drawn and held",
      [open("a", USD, 100n), withdraw("a", 70n), hold("a", "h", 20n)],
      update("a", { overdraftLimit: 90n }),
      [["a", "AccountUpdated", { overdraftLimit: 90n }]]
    ],
    [
      "changes a frozen account",
      [a, freeze("a")],
      update("a", { owner: "Bo" }),
      [["a", "AccountUpdated", { owner: "Bo" }]]
    ],
    ["is refused where it changes nothing", [a], update("a", {}), { _tag: "InvalidCommand" }],
    [
      "is refused with a limit in another asset than the account's",
      [a],
      update("a", { overdraftLimit: 5n, asset: "JPY/0" }),
      { _tag: "AssetMismatch", account: "a", expected: "JPY/0", actual: USD }
    ],
    [
      "is refused on a closed account",
      [a, close("a")],
      update("a", { owner: "Bo" }),
      { _tag: "AccountNotActive", status: "closed" }
    ],
    ["is refused on no account", [], update("a", { owner: "Bo" }), { _tag: "AccountNotFound" }]
  ],
  CloseAccount: [
    ["closes at zero", [a], close("a"), [["a", "AccountClosed"]]],
    ["is refused with money on it", ab, close("a"), { _tag: "InvalidCommand" }],
    [
      "is refused below zero",
      [open("a", USD, 9n), withdraw("a", 9n)],
      close("a"),
      { _tag: "InvalidCommand" }
    ],
    [
      "is refused with money held",
      [open("a", USD, 9n), hold("a", "h", 9n, { expiresIn: 5 })],
      close("a"),
      { _tag: "OpenHolds", count: 1, held: 9n }
    ],
    [
      "closes once its hold has expired",
      [open("a", USD, 9n), hold("a", "h", 9n, { expiresIn: 5 })],
      close("a"),
      [["a", "AccountClosed"]],
      5
    ],
    ["closes a frozen account at zero", [a, freeze("a")], close("a"), [["a", "AccountClosed"]]],
    [
      "is refused on a frozen account with money",
      [...ab, freeze("a")],
      close("a"),
      { _tag: "InvalidCommand" }
    ],
    ["is refused twice", [a, close("a")], close("a"), { _tag: "AccountNotActive", status: "closed" }],
    ["is refused on no account", [], close("a"), { _tag: "AccountNotFound" }]
  ],
  Group: [
    [
      "decides each command on what those before it leave, and names the place of every event",
      [a],
      group(open("b"), deposit("a", 9n), transfer("a", "b", 9n), withdraw("b", 4n)),
      [
        [
          "b",
          "AccountOpened",
          {
            group: {
              head: "b",
              headVersion: 1,
              events: [
                { account: "b", version: 1 },
                { account: "a", version: 2 },
                { account: "a", version: 3 },
                { account: "b", version: 2 },
                { account: "b", version: 3 }
              ]
            }
          }
        ],
        ["a", "Deposited", { group: { head: "b", headVersion: 1 } }],
        ["a", "TransferSent", { toVersion: 2 }],
        ["b", "TransferReceived", { fromVersion: 3 }],
        ["b", "Withdrawn", { amount: 4n }]
      ]
    ],
    [
      "is refused as a whole, by the command that is",
      ab,
      group(transfer("a", "b", 60n), transfer("a", "b", 60n), deposit("a", 60n)),
      { _tag: "GroupRejected", index: 1, command: "Transfer" }
    ],
    [
      "holds each command to its expected version",
      ab,
      group(deposit("a", 1n, { expectedVersion: 2 }), deposit("a", 1n, { expectedVersion: 2 })),
      { _tag: "GroupRejected", index: 1 }
    ],
    [
      "is held to its own before all others",
      ab,
      { ...group(deposit("b", 1n)), expectedVersion: 7 } as CommandInput, // as above
      { _tag: "VersionConflict", account: "b" }
    ]
  ],
  expectedVersion: [
    [
      "lets the command through where it is met",
      ab,
      deposit("a", 1n, { expectedVersion: 2 }),
      [["a", "Deposited"]]
    ],
    [
      "refuses a lower one",
      ab,
      deposit("a", 1n, { expectedVersion: 1 }),
      { _tag: "VersionConflict", account: "a", expected: 1, actual: 2 }
    ],
    ["refuses a higher one", ab, withdraw("a", 1n, { expectedVersion: 3 }), { _tag: "VersionConflict" }],
    ["0 means absent", [], { ...open("a"), expectedVersion: 0 } as CommandInput, [["a", "AccountOpened"]]], // as above
    [
      "speaks of the sender of a transfer",
      ab,
      transfer("a", "b", 1n, { expectedVersion: 1 }),
      { _tag: "VersionConflict", account: "a" }
    ],
    [
      "comes before any other refusal",
      ab,
      withdraw("a", 999n, { expectedVersion: 7 }),
      { _tag: "VersionConflict" }
    ]
  ]
}

/** The parts of `actual` that `expected` names. */
const named = (actual: object, expected: object): object =>
  Object.fromEntries(Object.entries(actual).filter(([key]) => key in expected))

describe.each(Object.entries(cases))("%s", (_, rows) => {
  it.each(rows.map((row) => [row[0], row] as const))("%s", (_name, row) => {
    const [, before, when, then, laterMs = 0] = row
    const books = given(before)
    books.now += laterMs
    const decision = books.run(command(when))
    if ("_tag" in then) {
      assert.isTrue(Result.isFailure(decision), "was accepted")
      if (Result.isFailure(decision)) {
        assert.deepStrictEqual(named(decision.failure, then), { ...then })
        assert.isNotEmpty(decision.failure.message)
      }
    } else {
      const legs = Result.getOrThrow(decision)
      assert.deepStrictEqual(
        legs.map(({ account, event }) => [account, event._tag]),
        then.map(([account, tag]) => [account, tag])
      )
      for (const [index, [, , fields = {}]] of then.entries()) {
        assert.deepStrictEqual(named(legs[index]?.event ?? {}, fields), { ...fields })
      }
    }
  })
})

it("has a case for every kind of command", () => {
  const kinds = Object.keys(cases).filter((kind) => kind !== "expectedVersion")
  assert.sameMembers(kinds, Object.keys(AskedCommand.cases))
})

it.each<[string, ReadonlyArray<CommandInput>, CommandInput, string]>([
  [
    "money in an account to close",
    [open("a"), deposit("a", 50n)],
    close("a"),
    "account: holds 0.50 USD: only an account of balance zero can be closed"
  ],
  [
    "legs that do not sum to zero",
    ab,
    journal(["a", -5n], ["b", 4n]),
    "legs: sum to -0.01 USD (USD/2), not to zero"
  ],
  [
    "the command of a group that is refused",
    ab,
    group(deposit("a", 1n), withdraw("b", 1n)),
    "command 1 of the group (Withdraw): account b has 0.00 USD, which does not cover 0.01 USD"
  ],
  [
    "an exchange at another rate",
    exchangeable,
    exchange(110_00n, 101_50n),
    "110.00 USD at 10/11 half-even is 100.00 EUR, not 101.50 EUR"
  ],
  [
    "a transfer to the sender",
    ab,
    transfer("a", "a", 1n),
    "account a is named twice: a transfer is between two accounts"
  ],
  [
    "the largest balance",
    full,
    deposit("a", room + 1n),
    `account a would pass the largest balance, which is ${balanceMax} minor units of USD/2`
  ],
  [
    "what an account with an overdraft lacks",
    [open("a", "JPY/0", 5n)],
    withdraw("a", 6n),
    "account a has 0 JPY and an overdraft limit of 5 JPY, which do not cover 6 JPY"
  ],
  ["what an account lacks", ab, withdraw("a", 150n), "account a has 1.00 USD, which does not cover 1.50 USD"]
])("says in its reader's units what is wrong: %s", (_, before, when, message) => {
  assert.strictEqual(Result.getOrThrow(Result.flip(given(before).run(command(when)))).message, message)
})
