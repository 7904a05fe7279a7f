/** What the console works out for itself, without a browser: URLs, amounts, postings, windows of a statement, groups, rates. */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  count,
  decimal,
  duration,
  instant,
  shortened,
  signedDecimal,
  words
} from "../../src/console/format.ts"
import { byExpiry } from "../../src/console/holds.ts"
import { clockAhead } from "../../src/console/nodeClock.ts"
import { sampledVersions, settled } from "../../src/console/points.ts"
import { instantAt, positionOf, steps } from "../../src/console/positions.ts"
import { postingsOf, sumsOf } from "../../src/console/postings.ts"
import { groupsOf, wayTo } from "../../src/console/prefixes.ts"
import { ratesOf, runsOf } from "../../src/console/rates.ts"
import { changed, links, parseRoute } from "../../src/console/route.ts"
import { candidatesOf, distinct, type Found, onlyOne, waysOf } from "../../src/console/search.ts"
import { lastOf, pageOf } from "../../src/console/statement.ts"
import { accountsIn, groupParts, sumsIn } from "../../src/console/sums.ts"
import { shortNumber, tickLabels } from "../../src/console/ticks.ts"
import type { Hold, Leg, Line } from "../../src/console/wire.ts"
import { anyCommandIdLengthMax } from "../../src/domain/IdPatterns.ts"
import { AnyCommandId } from "../../src/domain/Ids.ts"

const at = (path: string) => {
  const { pathname, search } = new URL(path, "http://node")
  return { pathname, search }
}

describe("a URL", () => {
  const ids = ["alice", "merchant:books:paris", "~r1~order-4711", "x".repeat(64)]
  it.each(ids)("of %s shows the same account and transaction again", (id) => {
    assert.deepEqual(parseRoute(at(links.account(id))).view, { view: "account", id })
    assert.deepEqual(parseRoute(at(links.transaction(id))).view, { view: "transaction", id })
  })

  it.each(["a/b", "50%", "?q=1", "<script>", "\u202eevil", "ü&=#"])(
    "carries the text %j through a search",
    (text) => {
      assert.deepEqual(parseRoute(at(links.search(text))).view, { view: "search", text })
      assert.deepEqual(parseRoute(at(links.account(text))).view, { view: "account", id: text })
    }
  )

  it.each([
    ["/console", "home"],
    ["/console/", "home"],
    ["/console/books?prefix=a:", "books"],
    ["/console/holds", "holds"],
    ["/console/operations", "operations"],
    ["/console/nonsense", "unknown"],
    ["/console/transactions", "unknown"],
    ["/console/accounts/50%", "account"]
  ])("%s shows %s", (path, view) => {
    assert.strictEqual(parseRoute(at(path)).view.view, view)
  })

  it("keeps its options but those that are changed, and drops what is empty", () => {
    const here = at("/console/accounts/alice?known=2026-03-02&page=50&axis=effective")
    assert.strictEqual(
      changed(here, { page: undefined, known: "" }),
      "/console/accounts/alice?axis=effective"
    )
    // An option may be there several times, on every page.
    const two = at("/console/accounts/alice?types=Deposited&types=Withdrawn&page=50")
    assert.strictEqual(
      changed(two, { page: "9" }),
      "/console/accounts/alice?types=Deposited&types=Withdrawn&page=9"
    )
    assert.strictEqual(
      changed(two, { types: "Deposited", page: "" }),
      "/console/accounts/alice?types=Deposited"
    )
  })
})

describe("numbers", () => {
  it.each([
    ["0", "USD/2", "0.00"],
    ["-5", "USD/2", "\u22120.05"],
    ["123456789", "USD/2", "1\u202f234\u202f567.89"],
    ["-1234567", "JPY/0", "\u22121\u202f234\u202f567"],
    ["1000000000000000001", "ETH/18", "1.000000000000000001"],
    [
      `${10n ** 38n - 1n}`,
      "ETH/18",
      `99\u202f999\u202f999\u202f999\u202f999\u202f999\u202f999.${"9".repeat(18)}`
    ]
  ])("%s of %s is shown exactly", (units, asset, shown) => {
    assert.strictEqual(decimal(units, asset), shown)
  })

  it("say their sign, where they are asked to", () => {
    assert.deepEqual(
      ["5", "0", "-5"].map((units) => signedDecimal(units, "JPY/0")),
      ["+5", "0", "\u22125"]
    )
  })

  it("are counted and timed in words of the eye", () => {
    assert.deepEqual([count(1_234_567), count(0.25)], ["1\u202f234\u202f567", "0.3"])
    assert.deepEqual([0, 120, 1_000, 59_999, 61_000, 3_600_000, 90_000_000, 180_000_000].map(duration), [
      "0 ms",
      "120 ms",
      "1 s",
      "59 s",
      "1 min 1 s",
      "1 h",
      "1 d 1 h",
      "2 d 2 h"
    ])
    assert.deepEqual(
      [instant(Date.UTC(2026, 2, 2, 9, 15)), instant(Date.UTC(2026, 2, 2, 9, 15, 0, 5))],
      ["2026-03-02 09:15:00", "2026-03-02 09:15:00.005"]
    )
    assert.deepEqual(
      [words("TransferSent"), shortened("short", 16), shortened("0123456789abcdefgh", 16)],
      ["Transfer sent", "short", "0123456…abcdefgh"]
    )
  })
})

const leg = (account: string, event: Leg["event"]): Leg => ({ account, version: 2, event, hash: "h" })
const usd = () => "USD/2"

describe("postings", () => {
  it.each<[name: string, legs: ReadonlyArray<Leg>, amounts: ReadonlyArray<readonly [string, bigint]>]>([
    [
      "a deposit",
      [leg("alice", { _tag: "Deposited", amount: "500", contra: "external:bank" })],
      [
        ["alice", 500n],
        ["external:bank", -500n]
      ]
    ],
    [
      "a transfer",
      [
        leg("alice", { _tag: "TransferSent", amount: "7", to: "bob", toVersion: 2 }),
        leg("bob", { _tag: "TransferReceived", amount: "7", from: "alice", fromVersion: 2 })
      ],
      [
        ["alice", -7n],
        ["bob", 7n]
      ]
    ],
    [
      "a journal with a leg outside the books",
      [
        leg("shop", {
          _tag: "JournalPosted",
          legs: [{ account: "shop", version: 2, side: "credit", amount: "97" }],
          contras: [{ contra: "external:card", side: "debit", amount: "100", asset: "USD/2" }]
        }),
        leg("fees", { _tag: "JournalLegPosted", amount: "3", side: "credit", head: "shop", headVersion: 2 })
      ],
      [
        ["shop", 97n],
        ["external:card", -100n],
        ["fees", 3n]
      ]
    ],
    [
      "a capture that leaves the books",
      [leg("alice", { _tag: "HoldCaptured", hold: "h-1", amount: "20", to: "external:card" })],
      [
        ["alice", -20n],
        ["external:card", 20n]
      ]
    ]
  ])("of %s come to zero", (_name, legs, amounts) => {
    const postings = postingsOf(legs, usd)
    assert.deepEqual(
      postings.map(({ account, amount }) => [account, amount] as const),
      amounts
    )
    assert.deepEqual(sumsOf(postings), [{ asset: "USD/2", sum: 0n }])
  })

  it("of which one is missing do not", () => {
    const sent = leg("alice", { _tag: "TransferSent", amount: "7", to: "bob", toVersion: 2 })
    assert.deepEqual(sumsOf(postingsOf([sent], usd)), [{ asset: "USD/2", sum: -7n }])
  })

  it("have no sum while an asset is not known, and need none where no money moves", () => {
    const sent = leg("alice", { _tag: "TransferSent", amount: "7", to: "bob", toVersion: 2 })
    assert.isUndefined(sumsOf(postingsOf([sent], () => undefined)))
    const frozen = leg("alice", { _tag: "AccountFrozen", side: "both" })
    assert.deepEqual(sumsOf(postingsOf([frozen], () => undefined)), [])
  })
})

describe("a search", () => {
  it.each([
    ["alice", { account: "alice", contra: undefined, command: "alice", prefix: "alice" }],
    ["merchant:", { account: "merchant:", contra: undefined, command: "merchant:", prefix: "merchant:" }],
    [
      "external:bank",
      { account: undefined, contra: "external:bank", command: "external:bank", prefix: undefined }
    ],
    ["~r1~order-1", { account: undefined, contra: undefined, command: "~r1~order-1", prefix: undefined }],
    ["<b>", { account: undefined, contra: undefined, command: undefined, prefix: undefined }]
  ])("for %s asks for what it may be", (text, candidates) => {
    assert.deepEqual(candidatesOf(text), candidates)
  })

  it("takes every id that the ledger takes or makes for one", () => {
    const [account, longest] = ["a".repeat(64), "x".repeat(128)]
    const ids = [
      "order-1",
      longest,
      "~r1~order-1",
      `~r999999999~${longest}`,
      "group~0",
      "~r2~group~499",
      "~x~customer:alice~hold-1",
      `~x~${account}~${longest}~999`
    ]
    for (const id of ids) {
      assert.isTrue(Schema.is(AnyCommandId)(id), id)
      assert.strictEqual(candidatesOf(id).command, id)
    }
    const lengths = ids.map((id) => id.length)
    assert.strictEqual(Math.max(...lengths), anyCommandIdLengthMax, "the field has room for each")
    for (const id of ["~x~hold-1", `~x~${account}a~hold-1`, "~r0~order-1", "group~1000", ""]) {
      assert.isFalse(Schema.is(AnyCommandId)(id), id)
      assert.isUndefined(candidatesOf(id).command)
    }
  })

  it("goes straight to what it found where that is one thing, however many assets a contra account has", () => {
    const contra = (name: string, asset: string) => ({ contra: `external:${name}`, asset, balance: "-5" })
    const found = (...contras: Found["contras"]): Found => ({
      account: undefined,
      transaction: undefined,
      contras,
      beginning: []
    })
    const bank = [contra("bank", "EUR/2"), contra("bank", "USD/2")]
    assert.strictEqual(onlyOne(found(...bank)), links.books("", { contra: "external:bank" }))
    const two = found(...bank, contra("broker", "USD/2"))
    assert.isUndefined(onlyOne(two))
    assert.lengthOf(waysOf(two), 2)
    const transaction = { commandId: "external:bank", recordedAt: 0, effectiveAt: 0, legs: [], reversals: [] }
    assert.isUndefined(onlyOne({ ...found(...bank), transaction }))
    assert.strictEqual(onlyOne({ ...found(), transaction }), links.transaction("external:bank"))
    assert.isUndefined(onlyOne(found()))
  })
})

describe("a statement", () => {
  const page = (options: string, version = 200) => pageOf(new URLSearchParams(options), version)

  it("shows the last lines of a long account, where nothing else is asked for", () => {
    assert.strictEqual(page("").lastFrom, 150)
    assert.isUndefined(page("", 50).lastFrom)
    assert.strictEqual(page("known=2026-03-02T00:00:00.000Z", 120).lastFrom, 70)
    for (const asked of ["from=2026-03-02", "page=9", "types=Deposited", "axis=effective"])
      assert.isUndefined(page(asked).lastFrom, asked)
  })

  it("begins behind the lines of the same instant that are not among the last", () => {
    const line = (version: number): Line => ({
      version,
      type: "Deposited",
      amount: "5",
      balance: String(version * 5),
      counterparty: null,
      description: null,
      commandId: `c-${version}`,
      recordedAt: 0,
      effectiveAt: 0
    })
    const statement = { rows: [], opening: "0", closing: "20" }
    const { rows, opening, closing } = lastOf(statement, [1, 2, 3, 4].map(line), 2)
    assert.deepEqual([rows.map(({ version }) => version), opening, closing], [[3, 4], "10", "20"])
  })

  it("ends with what was known, the instant itself included, unless a bound is named", () => {
    assert.strictEqual(page("known=2026-03-02T00:00:00.000Z").to, String(Date.UTC(2026, 2, 2) + 1))
    // As the API takes it, too.
    assert.strictEqual(page(`known=${Date.UTC(2026, 2, 2)}`).to, String(Date.UTC(2026, 2, 2) + 1))
    assert.strictEqual(page("known=2026-03-02T00:00:00.000Z&to=2026-03-01").to, "2026-03-01")
    assert.strictEqual(page("known=2026-03-02T00:00:00.000Z&axis=effective").to, "")
    assert.strictEqual(page("known=nonsense").to, "")
  })
})

describe("time", () => {
  it("has a position on the slider, whose ends are those of the axis", () => {
    assert.deepEqual(
      [0, 500, steps].map((position) => instantAt(1_000, 3_000, position)),
      [1_000, 2_000, 3_000]
    )
    assert.deepEqual(
      [900, 1_000, 2_000, 9_999].map((one) => positionOf(1_000, 3_000, one)),
      [0, 0, 500, steps]
    )
    assert.strictEqual(positionOf(5, 5, 5), steps)
  })

  it("is told on an axis by what tells one tick from the next", () => {
    const day = Date.UTC(2026, 2, 2)
    assert.deepEqual(tickLabels([day, day + 86_400_000], 86_400_000), ["2026-03-02", "2026-03-03"])
    assert.deepEqual(tickLabels([day + 82_800_000, day + 86_400_000], 3_600_000), [
      "23:00\n2026-03-02",
      "00:00\n2026-03-03"
    ])
    assert.deepEqual(tickLabels([day + 500, day + 600], 100), ["00.500\n2026-03-02 00:00", "00.600"])
  })

  it("has few digits on the axis of amounts", () => {
    assert.deepEqual([0, 1_500, -2_500_000, 250e15, 1e18, 2.5e22].map(shortNumber), [
      "0",
      "1.5K",
      "-2.5M",
      "2.5e17",
      "1e18",
      "2.5e22"
    ])
  })

  it("keeps one point an instant, the last", () => {
    const point = (one: number, balance: bigint) => ({ at: one, balance })
    assert.deepEqual(settled([point(2, 1n), point(1, 5n), point(2, 3n)]), [point(1, 5n), point(2, 3n)])
  })

  it("takes all versions of a short account, and of a long one the first, the last and some between", () => {
    assert.deepEqual(sampledVersions(3, 60), [1, 2, 3])
    const sampled = sampledVersions(100_000, 60)
    assert.deepEqual([sampled.length, sampled[0], sampled.at(-1)], [60, 1, 100_000])
    assert.deepEqual(
      sampled,
      [...new Set(sampled)].toSorted((a, b) => a - b)
    )
  })

  it("orders holds by expiry, those without last, as they were placed", () => {
    const hold = (id: string, expiresAt?: number): Hold => ({
      id,
      amount: "1",
      captured: "0",
      remaining: "1",
      captures: 0,
      ...(expiresAt === undefined ? {} : { expiresAt })
    })
    const holds = [hold("never"), hold("late", 9), hold("soon", 3), hold("never either")]
    assert.deepEqual(
      byExpiry(holds).map(({ id }) => id),
      ["soon", "late", "never", "never either"]
    )
  })
})

describe("prefixes", () => {
  it("group accounts by their next segment", () => {
    const ids = ["merchant:a", "merchant:books:paris", "merchant:books:rome", "merchant:z"]
    assert.deepEqual(groupsOf(ids, "merchant:"), [
      { prefix: "merchant:a", isAccount: true, accounts: 1 },
      { prefix: "merchant:books:", isAccount: false, accounts: 2 },
      { prefix: "merchant:z", isAccount: true, accounts: 1 }
    ])
    assert.deepEqual(
      groupsOf(ids, "").map(({ prefix }) => prefix),
      ["merchant:"]
    )
    // In the middle of a segment as well.
    assert.deepEqual(
      groupsOf(["merchant:books:paris"], "mer").map(({ prefix }) => prefix),
      ["merchant:"]
    )
  })

  it("are summed up, and an account is asked for its own balance, for other ids may begin with its id", () => {
    assert.deepEqual(groupsOf(["m:books:a", "m:coffee", "m:coffee2"], "m:").map(groupParts), [
      ["v1", "sums", "m:books:"],
      ["v1", "accounts", "m:coffee"],
      ["v1", "accounts", "m:coffee2"]
    ])
    const sums = [{ asset: "USD/2", balance: "9", accounts: 3 }]
    assert.deepEqual(sumsIn({ prefix: "m:books:", knownAt: 7, sums, parked: 0 }), sums)
  })

  it("have the accounts of all their assets", () => {
    const sums = [
      { asset: "EUR/2", balance: "9", accounts: 3 },
      { asset: "USD/2", balance: "-4", accounts: 4 }
    ]
    assert.deepEqual([sums, sums.slice(1), []].map(accountsIn), [7, 4, 0])
  })

  it("are come to segment by segment", () => {
    assert.deepEqual(wayTo(""), [""])
    assert.deepEqual(wayTo("merchant:"), ["", "merchant:"])
    assert.deepEqual(wayTo("merchant:books:pa"), ["", "merchant:", "merchant:books:", "merchant:books:pa"])
  })
})

describe("counters", () => {
  it("become rates, also where a node began anew", () => {
    const readings = [
      { at: 0, total: 100 },
      { at: 2_000, total: 300 },
      { at: 4_000, total: 50 }
    ]
    assert.deepEqual(ratesOf(readings), [
      { at: 2_000, perSecond: 100 },
      { at: 4_000, perSecond: 25 }
    ])
    assert.deepEqual(ratesOf([]), [])
  })

  it("of shards are told in runs", () => {
    assert.strictEqual(runsOf([3, 1, 2, 7, 9, 10]), "1–3, 7, 9–10")
    assert.strictEqual(runsOf([]), "")
  })
})

describe("the clock of the node", () => {
  const at = Date.parse("2026-03-02T09:15:00Z")
  const date = "Mon, 02 Mar 2026 09:15:00 GMT"

  it("is this one where an answer says nothing else", () => {
    // Of whole seconds what is left of one is not told.
    for (const sentAt of [at - 50, at, at + 999])
      assert.strictEqual(clockAhead(0, date, sentAt, sentAt + 50), 0, String(sentAt - at))
    assert.strictEqual(clockAhead(0, null, at, at), 0)
    assert.strictEqual(clockAhead(7, "soon", at, at), 7)
  })

  it("is as far ahead or behind as an answer tells, to half a second", () => {
    const hour = 3_600_000
    for (const ahead of [hour, -hour]) {
      const found = clockAhead(0, date, at - ahead, at - ahead + 50)
      assert.approximately(found, ahead, 600)
      assert.strictEqual(
        clockAhead(found, date, at - ahead, at - ahead + 20_000),
        found,
        "a slow answer tells less"
      )
    }
  })
})

describe("what a search could not learn", () => {
  it("is said once, however many of its questions failed so", () => {
    const fault = (detail: string) => ({ status: 0, title: "No answer", detail })
    assert.deepEqual(distinct([fault("a"), fault("b"), fault("a")]), [fault("a"), fault("b")])
  })
})
