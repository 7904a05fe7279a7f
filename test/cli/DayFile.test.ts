/** A bank's day as text: each line becomes the command it says, or a fault that names line, column and reason. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schedule, Stream } from "effect"
import { allColumns, type Column, columns } from "../../src/cli/DayFields.ts"
import { type DayLine, NotADayFile, readDay } from "../../src/cli/DayFile.ts"
import { fromHost } from "../../src/domain/Command.ts"

const header = columns.join(",")

/** Reads a text whose UTF-8 bytes come in pieces of `size`. */
const read = (text: string | Uint8Array, size = 65_536, lineCharsMax?: number) => {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
    bytes.subarray(index * size, (index + 1) * size)
  )
  return Stream.runCollect(readDay(Stream.fromIterable(pieces), lineCharsMax))
}

/** Reads lines under the right header. */
const readLines = (...lines: ReadonlyArray<string>) => read([header, ...lines].join("\n"))

const told = (line: DayLine | undefined) => {
  switch (line?._tag) {
    case "Command":
      return line.command
    case "Assertion":
      return line.assertion
    case "Fault":
      return `${line.fault.line} ${line.fault.column ?? "-"}: ${line.fault.reason}: ${line.fault.text}`
    default:
      return line
  }
}

/** What exactly is wrong with a line at fault. */
const detailOf = (line: DayLine | undefined) => (line?._tag === "Fault" ? line.fault.detail : undefined)

const instant = 1_772_442_900_000 // 2026-03-02T09:15Z

describe("a line", () => {
  it.effect.each<[string, unknown]>([
    [
      ",c1,open,alice,,USD,,,Ada,,",
      { _tag: "OpenAccount", commandId: "c1", account: "alice", asset: "USD/2", owner: "Ada" }
    ],
    [
      '2026-03-02T09:15Z,c1,open,alice,,XYZ/3,,,"Lovelace, ""Ada""",7.5,vip',
      {
        _tag: "OpenAccount",
        commandId: "c1",
        effectiveAt: instant,
        account: "alice",
        asset: "XYZ/3",
        owner: 'Lovelace, "Ada"',
        overdraftLimit: 7500n,
        metadata: { note: "vip" }
      }
    ],
    [
      "2026-03-02T09:15:00.000Z,c1,deposit,alice,,BTC,0.00000001,,,,",
      {
        _tag: "Deposit",
        commandId: "c1",
        effectiveAt: instant,
        account: "alice",
        asset: "BTC/8",
        amount: 1n
      }
    ],
    ...(
      [
        ["EUR", "8.850", "EUR/2", 885n],
        ["EUR", "100.00000", "EUR/2", 10_000n],
        ["JPY", "1000.00", "JPY/0", 1000n],
        ["USD", "50.", "USD/2", 5000n],
        ["USD", ".50", "USD/2", 50n],
        [" USD ", "\t12.50 ", "USD/2", 1250n],
        ["JPY/2", "10.50", "JPY/2", 1050n],
        ["BTC/2", "10.5", "BTC/2", 1050n],
        ["ETH/18", "1000000000000.000000000000000001", "ETH/18", 10n ** 30n + 1n]
      ] as const
    ).map(([asset, decimal, read, amount]): [string, unknown] => [
      ` , c1 , deposit , alice , , ${asset},${decimal}, , , , `,
      { _tag: "Deposit", commandId: "c1", account: "alice", asset: read, amount }
    ]),
    [
      ",c1,journal,,,,, a = -50. USD ; b=50 USD/2;c=-.001 BTC;d=0.001 BTC ,,,a trade",
      {
        _tag: "PostJournal",
        commandId: "c1",
        legs: [
          { account: "a", side: "debit", amount: 5000n, asset: "USD/2" },
          { account: "b", side: "credit", amount: 5000n, asset: "USD/2" },
          { account: "c", side: "debit", amount: 100_000n, asset: "BTC/8" },
          { account: "d", side: "credit", amount: 100_000n, asset: "BTC/8" }
        ],
        description: "a trade"
      }
    ],
    [
      "2026-03-02,c1,close,alice,,,,,,,",
      { _tag: "CloseAccount", commandId: "c1", effectiveAt: 1_772_409_600_000, account: "alice" }
    ],
    [
      "2026-03-02T10:15+01:00,c1,close,alice,,,,,,,",
      { _tag: "CloseAccount", commandId: "c1", effectiveAt: instant, account: "alice" }
    ],
    [
      ",c1,withdraw,alice,external:atm,JPY,1000,,,,cash",
      {
        _tag: "Withdraw",
        commandId: "c1",
        account: "alice",
        contra: "external:atm",
        asset: "JPY/0",
        amount: 1000n,
        description: "cash"
      }
    ],
    [
      ",c1,transfer,alice,bob,EUR/2,12.5,,,,",
      { _tag: "Transfer", commandId: "c1", from: "alice", to: "bob", asset: "EUR/2", amount: 1250n }
    ],
    [
      ",c1,journal,,,USD,,alice=-10.00;shop=9.80;bank:fees=0.20,,,card",
      {
        _tag: "PostJournal",
        commandId: "c1",
        legs: [
          { account: "alice", side: "debit", amount: 1000n, asset: "USD/2" },
          { account: "shop", side: "credit", amount: 980n, asset: "USD/2" },
          { account: "bank:fees", side: "credit", amount: 20n, asset: "USD/2" }
        ],
        description: "card"
      }
    ],
    [
      ",c1,freeze,alice,,,,,,,fraud",
      { _tag: "FreezeAccount", commandId: "c1", account: "alice", reason: "fraud" }
    ],
    [",c1,unfreeze,alice,,,,,,,", { _tag: "UnfreezeAccount", commandId: "c1", account: "alice" }],
    [",c1,close,alice,,,,,,,", { _tag: "CloseAccount", commandId: "c1", account: "alice" }]
  ])("%s becomes a command", ([line, expected]) =>
    Effect.gen(function* () {
      const lines = yield* readLines(line)
      assert.deepEqual<unknown>(lines.map(told), [expected])
      assert.isTrue(Result.isSuccess(fromHost(expected)))
    })
  )

  it.effect.each<[string, string]>([
    ['x,"y', '2 -: malformed: x,"y'],
    ['x"y",', '2 -: malformed: x"y",'],
    ["a,b,c", "2 -: malformed: a,b,c"],
    [",c1,close,alice\r,,,,,,,", "2 -: malformed: ,c1,close,alice\r,,,,,,,"],
    [",c1,close,alice,,,,,,,\r\r", "2 -: malformed: ,c1,close,alice,,,,,,,\r"],
    ["\ufeff,c1,close,alice,,,,,,,", "2 -: malformed: \ufeff,c1,close,alice,,,,,,,"],
    [",c1,close,alice,,,,,,,,", "2 -: malformed: ,c1,close,alice,,,,,,,,"],
    [",c1,steal,alice,,,,,,,", "2 kind: unknown kind: steal"],
    [",c1,constructor,alice,,,,,,,", "2 kind: unknown kind: constructor"],
    [",c1,,alice,,,,,,,", "2 kind: unknown kind: "],
    [",,close,alice,,,,,,,", "2 command_id: missing: ,,close,alice,,,,,,,"],
    [",c1,open,alice,,USD,,,,,", "2 owner: missing: ,c1,open,alice,,USD,,,,,"],
    [",c1,close,alice,,USD,,,,,", "2 asset: not for this kind: USD"],
    [",c1,transfer,a,b,USD,1,x=1,,,", "2 legs: not for this kind: x=1"],
    [",c 1,close,alice,,,,,,,", "2 command_id: bad id: c 1"],
    [",c1,close,al.ice,,,,,,,", "2 account: bad id: al.ice"],
    [",c1,close,external:bank,,,,,,,", "2 account: bad id: external:bank"],
    [",c1,transfer,a,b b,USD,1,,,,", "2 counterparty: bad id: b b"],
    [",c1,deposit,a,bank,USD,1,,,,", "2 counterparty: bad id: bank"],
    ["02.03.2026,c1,close,alice,,,,,,,", "2 time: bad time: 02.03.2026"],
    ["5,c1,close,alice,,,,,,,", "2 time: bad time: 5"],
    ["2026-03-02T09:15,c1,close,alice,,,,,,,", "2 time: bad time: 2026-03-02T09:15"],
    ["2026-02-30T09:15Z,c1,close,alice,,,,,,,", "2 time: bad time: 2026-02-30T09:15Z"],
    ["2026-03-02T24:00Z,c1,close,alice,,,,,,,", "2 time: bad time: 2026-03-02T24:00Z"],
    ["1969-12-31T00:00Z,c1,close,alice,,,,,,,", "2 time: bad time: 1969-12-31T00:00Z"],
    [`,c1,freeze,alice,,,,,,,${"x".repeat(257)}`, `2 note: bad text: ${"x".repeat(100)}`],
    [",c1,freeze,alice,,,,,,,\u0000", "2 note: bad text: \u0000"],
    [`,c1,open,alice,,USD,,,${"x".repeat(129)},,`, `2 owner: bad text: ${"x".repeat(100)}`],
    [",c1,deposit,a,,DOGE,1,,,,", "2 asset: unknown asset: DOGE"],
    [",c1,deposit,a,,xyz/3,1,,,,", "2 asset: unknown asset: xyz/3"],
    [",c1,deposit,a,,XYZ/3/4,1,,,,", "2 asset: unknown asset: XYZ/3/4"],
    [',c1,deposit,a,,USD,"1,000",,,,', "2 amount: not a number: 1,000"],
    [",c1,deposit,a,,USD,1e3,,,,", "2 amount: not a number: 1e3"],
    [",c1,deposit,a,,USD,1.505,,,,", "2 amount: too many decimals: 1.505"],
    [",c1,deposit,a,,JPY,1.5,,,,", "2 amount: too many decimals: 1.5"],
    [",c1,deposit,a a,,USD,0,,,,", "2 account: bad id: a a"],
    [",c1,transfer,a,a,USD,0,,,,", "2 counterparty: same account: a"],
    [",c1,assert,al.ice,,USD,1,,,,", "2 account: bad id: al.ice"],
    [",c1,assert,a*b,,USD,1,,,,", "2 account: bad id: a*b"],
    [",,assert,a,,,1,,,,", "2 asset: missing: ,,assert,a,,,1,,,,"],
    [",,assert,a,,USD,1.005,,,,", "2 amount: too many decimals: 1.005"],
    ["2026-03-02,,assert,a,,USD,1,,,,", "2 time: not for this kind: 2026-03-02"],
    [",c1,deposit,a,,USD,-1,,,,", "2 amount: not positive: -1"],
    [
      ",c1,deposit,a,,USD,10000000000000000000000000000000000.00,,,,",
      "2 amount: overflow: 10000000000000000000000000000000000.00"
    ],
    [`,c1,deposit,a,,USD,${"9".repeat(50)},,,,`, `2 amount: overflow: ${"9".repeat(50)}`],
    [",c1,deposit,a,,EUR,8.855,,,,", "2 amount: too many decimals: 8.855"],
    [',c1,deposit,a,,EUR,"1,000.00",,,,', "2 amount: not a number: 1,000.00"],
    [',c1,deposit,a,,EUR,"12,50",,,,', "2 amount: not a number: 12,50"],
    [",c1,deposit,a,,EUR,.,,,,", "2 amount: not a number: ."],
    [",c1,deposit,a,,EUR,  ,,,,", "2 amount: missing: ,c1,deposit,a,,EUR,  ,,,,"],
    [",c1,journal,,,,,a=-1 USD;b=1,,,", "2 asset: missing: b=1"],
    [",c1,journal,,,,,a=-1 USD;b=1 EUR,,,", "2 legs: unbalanced: a=-1 USD;b=1 EUR"],
    [",c1,journal,,,USD,,a=-1 USD x;b=1,,,", "2 legs: malformed: a=-1 USD x"],
    [",c1,journal,,,USD,,a=-1 DOGE;b=1,,,", "2 asset: unknown asset: DOGE"],
    [",c1,open,alice,,USD,,,Ada,-1,", "2 overdraft: negative: -1"],
    [",c1,transfer,a,a,USD,1,,,,", "2 counterparty: same account: a"],
    [",c1,journal,,,USD,,a=-1;b=0.99,,,", "2 legs: unbalanced: a=-1;b=0.99"],
    [",c1,journal,,,USD,,a=-1;b,,,", "2 legs: malformed: b"],
    [",c1,journal,,,USD,,a=-1;b=1=2,,,", "2 legs: malformed: b=1=2"],
    [",c1,journal,,,USD,,a=0;b=0,,,", "2 legs: not positive: a=0"],
    [",c1,journal,,,USD,,a a=-1;b=1,,,", "2 legs: bad id: a a=-1;b=1"],
    [",c1,journal,,,JPY,,a=-1.5;b=1.5,,,", "2 legs: too many decimals: -1.5"]
  ])("%j is at fault", ([line, expected]) =>
    Effect.gen(function* () {
      const good = ",c9,close,bob,,,,,,,"
      const lines = yield* readLines(line, good)
      assert.strictEqual(told(lines[0]), expected)
      assert.strictEqual(lines[1]?._tag, "Command", "the rest goes on")
    })
  )

  it.effect.each<[string, RegExp]>([
    ['x,"y', /^a quote is never closed$/],
    ['x"y",', /^a quote within a field that does not begin with one$/],
    ['"x"y,', /^a closing quote is not followed by a comma$/],
    ["a\r,b,c", /^a carriage return within the line, outside of quotes$/],
    ["\ufeffa,b,c", /^a byte order mark within the file$/],
    ["a,b,c", /^it has 3 fields, the header has 11$/],
    [`,c1,close,${"x".repeat(20_000)},,,,,,,`, /^longer than 16384 characters$/],
    ["2026-02-30,c1,close,alice,,,,,,,", /^is no day of the calendar$/],
    ["2026-03-02T09:15,c1,close,alice,,,,,,,", /^has no time zone/],
    [",c 1,close,alice,,,,,,,", /^must be 1 to 128 characters/],
    [",c1,deposit,a,,DOGE,1,,,,", /^must be a code and a scale/],
    [",c1,journal,,,USD,,a=-1;b=0.99,,,", /^the sum is -0.01 USD$/]
  ])("%j is reported with what exactly is wrong", ([line, detail]) =>
    Effect.gen(function* () {
      assert.match(detailOf((yield* readLines(line))[0]) ?? "", detail)
    })
  )

  it.effect("may have a hundred legs and no more", () =>
    Effect.gen(function* () {
      const legs = (count: number) =>
        [`sum=-${count - 1}`, ...Array.from({ length: count - 1 }, (_, index) => `a${index}=1`)].join(";")
      const lines = yield* readLines(
        `,c1,journal,,,JPY,,${legs(100)},,,`,
        `,c2,journal,,,JPY,,${legs(101)},,,`
      )
      assert.deepInclude(lines[0], { _tag: "Command" })
      assert.deepNestedInclude(lines[1], { "fault.reason": "too many legs" })
    })
  )
})

/** Reads lines under a header that names further columns. */
const readWider = (...lines: ReadonlyArray<string>) =>
  read([`${header},side,metadata,fx`, ...lines].join("\n"))

describe("a line with further columns", () => {
  it.effect.each<[string, unknown]>([
    [
      ",c1,freeze,alice,,,,,,,fraud,debits,,",
      { _tag: "FreezeAccount", commandId: "c1", account: "alice", side: "debits", reason: "fraud" }
    ],
    [
      ",c1,update,alice,,USD,,,Bo,7.50,as asked,,tier = gold;note=,",
      {
        _tag: "UpdateAccount",
        commandId: "c1",
        account: "alice",
        owner: "Bo",
        overdraftLimit: 750n,
        asset: "USD/2",
        metadata: { tier: "gold", note: "" },
        description: "as asked"
      }
    ],
    [
      ",c1,deposit,a,,USD,1,,,,,,invoice=a=b,",
      {
        _tag: "Deposit",
        commandId: "c1",
        metadata: { invoice: "a=b" },
        amount: 100n,
        asset: "USD/2",
        account: "a"
      }
    ],
    [
      ",c1,journal,,,,,external:card=-5 USD;a=2 USD;b=4 USD;a=-1 USD,,,,,,",
      {
        _tag: "PostJournal",
        commandId: "c1",
        legs: [
          { account: "external:card", side: "debit", amount: 500n, asset: "USD/2" },
          { account: "a", side: "credit", amount: 200n, asset: "USD/2" },
          { account: "b", side: "credit", amount: 400n, asset: "USD/2" },
          { account: "a", side: "debit", amount: 100n, asset: "USD/2" }
        ]
      }
    ],
    [
      ",c1,journal,,,JPY,,a=-1;b=1,,,,,,USD>EUR=10/11 half-up; EUR > JPY = 162.350",
      {
        _tag: "PostJournal",
        commandId: "c1",
        legs: [
          { account: "a", side: "debit", amount: 1n, asset: "JPY/0" },
          { account: "b", side: "credit", amount: 1n, asset: "JPY/0" }
        ],
        fx: [
          { base: "USD/2", quote: "EUR/2", rate: "10/11", rounding: "half-up" },
          { base: "EUR/2", quote: "JPY/0", rate: "162350/1000", rounding: "half-even" }
        ]
      }
    ],
    [",c1,journal,,,JPY,,a=-1;b=1,,,,,,USD>DOGE=2", "2 fx: unknown asset: DOGE"],
    [",c1,journal,,,JPY,,a=-1;b=1,,,,,,USD>EUR=0", "2 fx: malformed: USD>EUR=0"],
    [",c1,journal,,,JPY,,a=-1;b=1,,,,,,USD=EUR", "2 fx: malformed: USD=EUR"],
    [",c1,freeze,alice,,,,,,,,sideways,,", "2 side: bad text: sideways"],
    [",c1,close,alice,,,,,,,,debits,,", "2 side: not for this kind: debits"],
    [",c1,deposit,a,,USD,1,,,,,,invoice,", "2 metadata: malformed: invoice"],
    [",c1,deposit,a,,USD,1,,,,,,a=1;a=2,", "2 metadata: malformed: a=2"],
    [",c1,open,a,,USD,,,Al,,vip,,tier=gold;note=old,", "2 metadata: malformed: tier=gold;note=old"],
    [",c1,update,alice,,,,,,7.50,,,,", "2 asset: missing: 7.50"]
  ])("%j is read", ([line, expected]) =>
    Effect.gen(function* () {
      assert.deepEqual<unknown>((yield* readWider(line)).map(told), [expected])
    })
  )

  it.effect.each(["side,side", "colour", "side,", ""])("but not a header that goes on with %j", (further) =>
    Effect.gen(function* () {
      assert.instanceOf(yield* Effect.flip(read(`${header},${further}`)), NotADayFile)
    })
  )
})

/** Reads lines of holds and reversals: their fields by name, in a file with all columns. */
const readNamed = (...rows: ReadonlyArray<{ readonly [Name in Column]?: string }>) =>
  read(
    [allColumns.join(), ...rows.map((row) => allColumns.map((column) => row[column] ?? "").join())].join("\n")
  )

describe("a line of a hold or a reversal", () => {
  const hold = { command_id: "c1", kind: "hold", account: "a", asset: "USD", amount: "12.5" }
  const step = (kind: string) => ({ command_id: "c1", kind, account: "a", hold: "h-1" })
  const back = { command_id: "c1", kind: "reverse", original: "pay-1", note: "returned" }
  const told1 = { commandId: "c1", account: "a" }
  const placed = { _tag: "PlaceHold", ...told1, asset: "USD/2", amount: 1250n }
  it.effect.each<[{ readonly [Name in Column]?: string }, unknown]>([
    [hold, placed],
    [
      { ...hold, counterparty: "shop", expires: "2026-03-09T09:15Z", note: "card", metadata: "till=3" },
      {
        ...placed,
        to: "shop",
        expiresAt: instant + 7 * 86_400_000,
        description: "card",
        metadata: { till: "3" }
      }
    ],
    [
      { ...hold, expires: "7 days" },
      { ...placed, expiresIn: 604_800_000 }
    ],
    [
      { ...hold, expires: "1 millis" },
      { ...placed, expiresIn: 1 }
    ],
    [step("capture"), { _tag: "CaptureHold", ...told1, hold: "h-1" }],
    [
      {
        ...step("capture"),
        counterparty: "external:card",
        asset: "JPY",
        amount: "700",
        final: "yes",
        excess: "yes"
      },
      {
        _tag: "CaptureHold",
        ...told1,
        hold: "h-1",
        amount: 700n,
        asset: "JPY/0",
        final: true,
        to: "external:card",
        excess: "fromAvailable"
      }
    ],
    [
      { ...step("adjust"), asset: "USD", amount: "80", expires: "2026-03-02T09:15Z" },
      { _tag: "AdjustHold", ...told1, hold: "h-1", amount: 8000n, asset: "USD/2", expiresAt: instant }
    ],
    [step("release"), { _tag: "ReleaseHold", ...told1, hold: "h-1" }],
    [
      { ...step("release"), asset: "USD", amount: "1", note: "less" },
      { _tag: "ReleaseHold", ...told1, hold: "h-1", amount: 100n, asset: "USD/2", description: "less" }
    ],
    [back, { _tag: "Reverse", commandId: "c1", original: "pay-1", reason: "returned" }],
    [
      { ...back, n: "2", asset: "USD", amount: "30", shortfall: "fees" },
      {
        _tag: "Reverse",
        commandId: "c1",
        original: "pay-1",
        reason: "returned",
        n: 2,
        amount: 3000n,
        asset: "USD/2",
        shortfall: "fees"
      }
    ],
    [
      { ...back, asset: "USD", legs: "shop=30.00; tax = 570 JPY" },
      {
        _tag: "Reverse",
        commandId: "c1",
        original: "pay-1",
        reason: "returned",
        legs: [
          { account: "shop", amount: 3000n, asset: "USD/2" },
          { account: "tax", amount: 570n, asset: "JPY/0" }
        ]
      }
    ],
    [{ ...hold, amount: "0.00" }, "2 amount: not positive: 0.00"],
    [{ ...hold, expires: "soon" }, "2 expires: bad time: soon"],
    [{ ...hold, expires: "-1 days" }, "2 expires: bad time: -1 days"],
    [{ ...hold, hold: "h-1" }, "2 hold: not for this kind: h-1"],
    [{ ...hold, counterparty: "b b" }, "2 counterparty: bad id: b b"],
    [{ ...step("capture"), amount: "1" }, "2 asset: missing: 1"],
    [{ ...step("capture"), hold: "h 1" }, "2 hold: bad id: h 1"],
    [{ ...step("capture"), final: "no" }, "2 final: bad text: no"],
    [{ ...step("release"), asset: "USD", amount: "-1" }, "2 amount: not positive: -1"],
    [{ ...step("adjust"), expires: "7 days" }, "2 expires: bad time: 7 days"],
    [{ ...back, n: "0" }, "2 n: not a number: 0"],
    [{ ...back, original: "x y" }, "2 original: bad id: x y"],
    [{ ...back, asset: "USD", legs: "shop=-1" }, "2 legs: not positive: shop=-1"],
    [{ ...back, legs: "shop=1" }, "2 asset: missing: shop=1"]
  ])("%j is read", ([row, expected]) =>
    Effect.gen(function* () {
      assert.deepEqual<unknown>((yield* readNamed(row)).map(told), [expected])
    })
  )
  it.effect("names what it cannot do without", () =>
    Effect.gen(function* () {
      const lines = yield* readNamed(
        { ...step("capture"), hold: "" },
        { ...back, note: "" },
        { ...back, original: "" }
      )
      assert.deepEqual(
        lines.map((line) => (line._tag === "Fault" ? [line.fault.column, line.fault.reason] : line._tag)),
        [
          ["hold", "missing"],
          ["note", "missing"],
          ["original", "missing"]
        ]
      )
    })
  )
})

describe("lines of a group", () => {
  const member = (group: string, amount: string) => ({
    group,
    kind: "deposit",
    account: "a",
    asset: "USD",
    amount
  })
  const deposited = (amount: bigint) => ({ _tag: "Deposit", account: "a", asset: "USD/2", amount })
  const single = { command_id: "c9", kind: "close", account: "b" }
  const close = { _tag: "CloseAccount", commandId: "c9", account: "b" }
  const group = (commandId: string, ...commands: ReadonlyArray<unknown>) => ({
    _tag: "Group",
    commandId,
    commands
  })
  const broken = (line: number, id: string) => `${line} group: malformed: ${id}`

  it.effect.each<[string, ReadonlyArray<{ readonly [Name in Column]?: string }>, ReadonlyArray<unknown>]>([
    [
      "follow each other and are one command",
      [member("g-1", "1"), member("g-1", "2"), single, member("g-2", "3")],
      [group("g-1", deposited(100n), deposited(200n)), close, group("g-2", deposited(300n))]
    ],
    [
      "may be of several kinds and times, and one of nothing is skipped",
      [
        { group: "g", kind: "open", account: "a", asset: "USD", owner: "Ada" },
        member("g", "0.00"),
        { ...member("g", "1"), time: "2026-03-02T09:15Z", note: "pay" }
      ],
      [
        { _tag: "Skipped", line: 3 },
        group(
          "g",
          { _tag: "OpenAccount", account: "a", asset: "USD/2", owner: "Ada" },
          { ...deposited(100n), effectiveAt: instant, description: "pay" }
        )
      ]
    ],
    [
      "are no fault where all of them are of nothing, unless one beside them may be theirs",
      [member("g", "0"), member("g", "0.00"), single, member("h", "0"), member("h", "x")],
      [
        { _tag: "Skipped", line: 2 },
        { _tag: "Skipped", line: 3 },
        close,
        { _tag: "Skipped", line: 5 },
        "6 amount: not a number: x",
        broken(5, "h")
      ]
    ],
    [
      "are not done where one of them is at fault",
      [member("g", "1"), member("g", "x"), member("g", "3"), single],
      ["3 amount: not a number: x", broken(2, "g"), close]
    ],
    [
      "have the group in place of an id",
      [{ ...member("g", "1"), command_id: "c" }],
      [`2 command_id: not for this kind: c`, broken(2, "g")]
    ],
    [
      "are of kinds that a group may have",
      [{ group: "g", kind: "reverse", original: "x", note: "y" }],
      [broken(2, "g")]
    ],
    ["have a right id", [member("g g", "1")], ["2 group: bad id: g g", broken(2, "g g")]]
  ])("%s", ([, rows, expected]) =>
    Effect.gen(function* () {
      assert.deepEqual<unknown>((yield* readNamed(...rows)).map(told), expected)
    })
  )

  it.effect("are not done where a line before, among or behind them cannot be read: it may be of them", () =>
    Effect.gen(function* () {
      const row = (of: { readonly [Name in Column]?: string }) =>
        allColumns.map((column) => of[column] ?? "").join()
      const within = yield* read(
        [allColumns.join(), row(member("g", "1")), "a,b", row(member("g", "2"))].join("\n")
      )
      assert.deepEqual<unknown>(within.map(told), ["3 -: malformed: a,b", broken(2, "g")])
      const behind = yield* read([allColumns.join(), row(member("g", "1")), "a,b", row(single)].join("\n"))
      assert.deepEqual<unknown>(behind.map(told), ["3 -: malformed: a,b", broken(2, "g"), close])
      const before = yield* read([allColumns.join(), "a,b", row(member("g", "1")), row(single)].join("\n"))
      assert.deepEqual<unknown>(before.map(told), ["2 -: malformed: a,b", broken(3, "g"), close])
      const apart = yield* read([allColumns.join(), "a,b", row(single), row(member("g", "1"))].join("\n"))
      assert.deepEqual<unknown>(apart.map(told), ["2 -: malformed: a,b", close, group("g", deposited(100n))])
    })
  )
})

describe("a line that is no command", () => {
  it.effect.each<[string, unknown]>([
    [",,assert,alice,,USD,-12.50,,,,", { of: { account: "alice" }, asset: "USD/2", expected: -1250n }],
    [",c1,assert,merchant:*,,JPY,0,,,,noon", { of: { prefix: "merchant:" }, asset: "JPY/0", expected: 0n }],
    [",,assert,*,,USD,1,,,,", { of: { prefix: "" }, asset: "USD/2", expected: 100n }],
    [",c1,deposit,alice,,USD,0.00,,,,", { _tag: "Skipped", line: 2 }],
    [",c1,withdraw,alice,,JPY,-0,,,,", { _tag: "Skipped", line: 2 }],
    [",c1,transfer,alice,bob,USD,.0,,,,", { _tag: "Skipped", line: 2 }]
  ])("%j asserts something, or is skipped", ([line, expected]) =>
    Effect.gen(function* () {
      assert.deepEqual<unknown>((yield* readLines(line)).map(told), [expected])
    })
  )
})

describe("a file", () => {
  const body = [
    "# a day",
    "",
    header,
    ",c1,open,alice,,USD,,,Zoë 😀,,",
    "   ",
    '# a comment with a " in it',
    ',c2,freeze,alice,,,,,,,"open',
    ",c3,close,alice,,,,,,,"
  ]

  it.effect.each<[string, string]>([
    ["LF", body.join("\n")],
    ["LF at its end", `${body.join("\n")}\n`],
    ["CRLF", `${body.join("\r\n")}\r\n`],
    ["a byte order mark", `\uFEFF${body.join("\n")}`]
  ])("with %s has the same lines, numbered as in an editor", ([, text]) =>
    Effect.gen(function* () {
      for (const size of [1, 2, 3, 7, 65_536]) {
        const lines = yield* read(text, size)
        assert.deepEqual<unknown>(
          lines.map((line) => (line._tag === "Command" ? [line.line, line.command.commandId] : told(line))),
          [[4, "c1"], '7 -: malformed: ,c2,freeze,alice,,,,,,,"open', [8, "c3"]]
        )
        const first = lines[0]
        assert.deepNestedInclude(first, { "command.owner": "Zoë 😀" })
      }
    })
  )

  it.effect("has one fault for a line above the limit, and is read on", () =>
    Effect.gen(function* () {
      for (const size of [5, 65_536]) {
        const text = `${header}\n,c1,close,${"x".repeat(400_000)},,,,,,,\n,c2,close,a,,,,,,,\n`
        const lines = yield* read(text, size, 200)
        assert.strictEqual(told(lines[0]), `2 -: malformed: ,c1,close,${"x".repeat(90)}`)
        assert.deepInclude(lines[1], { _tag: "Command", line: 3 })
      }
    })
  )

  it.effect("that is not UTF-8 has a fault for each bad line", () =>
    Effect.gen(function* () {
      const bytes = Buffer.from(`${header}\n,c1,open,alice,,USD,,,Zo\xeb,,\n,c2,close,alice,,,,,,,`, "latin1")
      const lines = yield* read(bytes)
      assert.deepNestedInclude(lines[0], { "fault.reason": "malformed" })
      assert.deepInclude(lines[1], { _tag: "Command" })
    })
  )

  it.effect.each(["", "# nothing\n", ",c1,close,a,,,,,,,", header.replace("note", "memo"), `${header},more`])(
    "without the header is refused: %j",
    (text) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(read(text))
        assert.instanceOf(error, NotADayFile)
      })
  )

  it.effect("of any size is read in bounded memory", () =>
    Effect.gen(function* () {
      let pulled = 0
      const endless = Stream.make(header, "\n").pipe(
        Stream.concat(Stream.repeat(Stream.make(",c1,close,alice,,,,,,,\n"), Schedule.forever)),
        Stream.tap(() => Effect.sync(() => pulled++)),
        Stream.encodeText
      )
      const lines = yield* Stream.runCollect(Stream.take(readDay(endless), 100))
      assert.strictEqual(lines.length, 100)
      assert.isBelow(pulled, 110)
    })
  )
})
