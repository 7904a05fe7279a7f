/** Twenty thousand mutated lines of a day: none breaks the reader, and each command is what its line says. */
import { assert, it } from "@effect/vitest"
import { Effect, Random, Stream } from "effect"
import { columns } from "../../src/cli/DayFields.ts"
import { type DayLine, readDay } from "../../src/cli/DayFile.ts"
import type { AskedCommand } from "../../src/domain/Command.ts"
import { instantOf, unitsOf } from "../domain/oracles.ts"

const lines = 20_000

const seeds = [
  "2026-03-02T09:15Z,c1,open,alice,,USD,,,Ada,50.00,vip",
  "2026-03-02,c2,deposit,alice,external:atm,JPY,1000.00,,,,cash",
  "1772442900000,c3,withdraw,alice,,EUR,8.850,,,,",
  ",c4,transfer,alice,bob,BTC,.5,,,,rent",
  ",c5,journal,,,USD,,a=-1.00;b=1,,,split",
  ",c6,journal,,,,,a=-50. USD;b=50 USD;c=-0.1 BTC;d=.1 BTC,,,trade",
  ",c7,freeze,alice,,,,,,,fraud",
  ' , c8 , close , alice , , , , , , ,"quoted, ""note"""'
]
const alphabet = [...'0123456789.,;=-:"# aU\tTZ\r\u00a0\ufeff\u0000\ufffdé', "\ud800"]

const draw = Effect.gen(function* () {
  const below = (end: number) => Random.nextIntBetween(0, end)
  const chars = [...(seeds[yield* below(seeds.length)] ?? "")]
  for (let left = yield* below(4); left > 0; left--) {
    const char = alphabet[yield* below(alphabet.length)] ?? ""
    chars.splice(yield* below(chars.length + 1), yield* below(2), ...((yield* below(4)) === 0 ? [] : [char]))
  }
  return chars.join("")
})

const scales: { readonly [code: string]: string } = { USD: "USD/2", EUR: "EUR/2", JPY: "JPY/0", BTC: "BTC/8" }
const assetOf = (text: string) => scales[text] ?? text
const scaleOf = (asset: string) => Number(asset.slice(asset.indexOf("/") + 1))
const trim = (text: string) => text.replace(/^[ \t\u00a0]+/, "").replace(/[ \t\u00a0]+$/, "")

/** What is wrong with a command as the meaning of a line without quotes; undefined where nothing is. */
const differs = (line: string, command: AskedCommand): string | undefined => {
  const fields = line.split(",")
  if (fields.length !== columns.length) return "another number of fields"
  const [time = "", id, kind, account, other, asset = "", amount = "", legs = ""] = fields.map(trim)
  if (command.commandId !== id) return "command_id"
  if (command.effectiveAt !== (time === "" ? undefined : instantOf(time))) return "time"
  const holds = {
    PlaceHold: "hold",
    CaptureHold: "capture",
    AdjustHold: "adjust",
    ReleaseHold: "release",
    Reverse: "reverse"
  }
  const kinds = {
    ...holds,
    OpenAccount: "open",
    PostJournal: "journal",
    Deposit: "deposit",
    Withdraw: "withdraw"
  }
  const named = { ...kinds, Transfer: "transfer", FreezeAccount: "freeze", UnfreezeAccount: "unfreeze" }
  if (kind !== { ...named, CloseAccount: "close", UpdateAccount: "update", Group: undefined }[command._tag])
    return "kind"
  switch (command._tag) {
    case "PostJournal": {
      const parts = legs.split(";")
      const isSame = parts.every((part, index) => {
        const leg = command.legs[index]
        const [name = "", money = ""] = part.split("=").map(trim)
        const [decimal = "", unit = asset] = money.split(/[ \t\u00a0]+/)
        const units = unitsOf(decimal, scaleOf(assetOf(unit)))
        const signed = leg === undefined ? undefined : leg.side === "debit" ? -leg.amount : leg.amount
        return leg?.account === name && leg.asset === assetOf(unit) && units === signed
      })
      return isSame && parts.length === command.legs.length ? undefined : "legs"
    }
    case "Transfer":
      if (command.from !== account || command.to !== other) return "accounts"
      break
    case "Deposit":
    case "Withdraw":
      if (command.account !== account || (command.contra ?? "") !== other) return "accounts"
      break
    case "Reverse":
      return "kind"
    case "Group":
      return "a line is no group"
    default:
      return command.account === account ? undefined : "account"
  }
  if (command.asset !== assetOf(asset)) return "asset"
  return command.amount === unitsOf(amount, scaleOf(assetOf(asset))) ? undefined : "amount"
}

it.effect("no line of a day becomes another command than it says", () =>
  Effect.gen(function* () {
    const drawn: Array<string> = []
    while (drawn.length < lines) drawn.push(yield* draw)
    const bytes = new TextEncoder().encode([columns.join(), ...drawn].join("\n"))
    const counts = { Command: 0, Assertion: 0, Skipped: 0, Fault: 0 }
    yield* Stream.runForEach(readDay(Stream.make(bytes)), (line: DayLine) =>
      Effect.sync(() => {
        counts[line._tag]++
        if (line._tag !== "Command") return
        // The header is line 1.
        const text = (drawn[line.line - 2] ?? "").replace(/\r$/, "")
        const fault = text.includes('"') ? undefined : differs(text, line.command)
        if (fault !== undefined) assert.fail(`${JSON.stringify(text)}: ${fault}`)
      })
    )
    assert.isAbove(counts.Command, lines / 10)
    assert.isAbove(counts.Fault, lines / 10)
  }).pipe(Random.withSeed(process.env.CHRONICLE_TEST_SEED ?? "7"))
)
