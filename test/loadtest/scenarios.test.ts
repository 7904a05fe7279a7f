/** The commands of each scenario: reproducible by their seed, valid, and skewed as the scenario claims. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { accountsOf, type Command, fromHost } from "../../src/domain/Command.ts"
import { AccountNotFound, HoldExpired } from "../../src/domain/Errors.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import { withRepeats } from "../../src/loadtest/Repeats.ts"
import { makeRng, makeZipf } from "../../src/loadtest/Rng.ts"
import { makeRunIds } from "../../src/loadtest/RunIds.ts"
import { makeScenario } from "../../src/loadtest/Scenario.ts"
import { type LoadSettings, type ScenarioName, scenarioNames } from "../../src/loadtest/Settings.ts"

const ids = makeRunIds("run", true)

const settingsOf = (scenario: ScenarioName, seed: number): LoadSettings => ({
  scenario,
  accounts: 300,
  pace: { _tag: "Closed", concurrency: 1 },
  seconds: 1,
  seed,
  repeats: 0,
  intruder: 0,
  readSide: false,
  patienceSeconds: 60
})

const scenarioOf = (scenario: ScenarioName, seed: number) =>
  Effect.map(makeRng(seed), (rng) => makeScenario(settingsOf(scenario, seed), ids, rng))

const take = (next: () => Command, count: number) => Array.from({ length: count }, next)
const indexesOf = (command: Command) => accountsOf(command).map((account) => ids.indexOf(account) ?? -1)

describe("scenarios", () => {
  for (const name of scenarioNames) {
    it.effect(`${name}: draws valid commands that depend on the seed alone`, () =>
      Effect.gen(function* () {
        const first = take((yield* scenarioOf(name, 1)).next, 500)
        const again = take((yield* scenarioOf(name, 1)).next, 500)
        const other = take((yield* scenarioOf(name, 2)).next, 500)
        assert.deepStrictEqual(first, again)
        assert.notDeepEqual(first, other)
        for (const command of first)
          assert.isTrue(Result.isSuccess(fromHost(command)), JSON.stringify(command._tag))
        assert.strictEqual(new Set(first.map((command) => command.commandId)).size, 500)
      })
    )
  }

  it.effect(
    "transfers-uniform with groups: transfers stay within groups, whose accounts share a segment",
    () =>
      Effect.gen(function* () {
        const grouped = makeRunIds("run", false, true)
        const settings = { ...settingsOf("transfers-uniform", 1), accounts: 305, affinity: true }
        const commands = take(makeScenario(settings, grouped, yield* makeRng(1)).next, 2_000)
        const seen = new Set<number>()
        for (const command of commands) {
          const [from, to] = accountsOf(command).map((account) => grouped.indexOf(account) ?? -1)
          assert.isTrue(from !== undefined && to !== undefined && from !== to)
          seen.add(from ?? -1).add(to ?? -1)
          assert.strictEqual(Math.floor((from ?? -1) / 10), Math.floor((to ?? -1) / 10))
          const [one, other] = accountsOf(command).map((account) => account.split(":")[0])
          assert.strictEqual(one, other)
          assert.isTrue(Result.isSuccess(fromHost(command)))
        }
        assert.strictEqual(seen.size, 305)
      })
  )

  it.effect("transfers-hot: every transfer has one account in common, as sender or receiver", () =>
    Effect.gen(function* () {
      const commands = take((yield* scenarioOf("transfers-hot", 1)).next, 400)
      for (const command of commands) assert.include(indexesOf(command), 0)
      const outgoing = commands.filter((command) => indexesOf(command)[0] === 0).length
      assert.isAbove(outgoing, 150)
      assert.isBelow(outgoing, 250)
    })
  )

  it.effect("mixed-zipf: has every kind of command, each within one asset and balanced", () =>
    Effect.gen(function* () {
      const scenario = yield* scenarioOf("mixed-zipf", 1)
      assert.strictEqual(scenario.cold, 90)
      const commands = take(scenario.next, 5_000)
      const counts = new Map<string, number>()
      const legCounts = new Set<number>()
      for (const command of commands) {
        counts.set(command._tag, (counts.get(command._tag) ?? 0) + 1)
        if (command._tag === "Transfer") {
          const [from = 0, to = 0] = indexesOf(command)
          assert.strictEqual(from % 3, to % 3)
          assert.notStrictEqual(from, to)
        }
        if (command._tag === "PostJournal") {
          const sum = command.legs.reduce(
            (total, leg) => total + (leg.side === "debit" ? -leg.amount : leg.amount),
            0n
          )
          assert.strictEqual(sum, 0n)
          legCounts.add(command.legs.length)
          assert.strictEqual(new Set(command.legs.map((leg) => leg.account)).size, command.legs.length)
        }
      }
      assert.sameMembers([...legCounts], [3, 4, 5])
      for (const [kind, least] of Object.entries({
        OpenAccount: 100,
        Deposit: 800,
        Withdraw: 600,
        Transfer: 2_000
      })) {
        assert.isAtLeast(counts.get(kind) ?? 0, least, kind)
      }
    })
  )
})

describe("holds", () => {
  it.effect("are followed, once they are acknowledged, in the proportions of card payments", () =>
    Effect.gen(function* () {
      const { next, accepted } = yield* scenarioOf("holds", 1)
      const tags: Record<string, number> = {}
      let now = 1_000
      let parts = 0
      const [expiring, late] = [new Set<string>(), new Set<string>()]
      for (let drawn = 0; drawn < 20_000; drawn++) {
        const command = next()
        assert.isTrue(Result.isSuccess(fromHost(command)))
        tags[command._tag] = (tags[command._tag] ?? 0) + 1
        if (command._tag === "CaptureHold" && command.amount !== undefined && command.final !== true) parts++
        const { commandId } = command
        if (command._tag === "PlaceHold" && command.expiresIn === 2_000) expiring.add(commandId)
        if (command._tag === "CaptureHold" && expiring.has(command.hold)) {
          // Of a hold that has expired, which no ledger accepts.
          late.add(command.hold)
          continue
        }
        const receipt = { commandId, replayed: false, recordedAt: now++, postings: [], readToken: "" }
        assert.isUndefined(accepted?.(command, receipt))
        // A replay says nothing more.
        assert.isUndefined(accepted?.(command, { ...receipt, replayed: true }))
      }
      const holds = tags.PlaceHold ?? 0
      assert.closeTo((tags.CaptureHold ?? 0) / holds, 0.94, 0.04)
      assert.closeTo((tags.ReleaseHold ?? 0) / holds, 0.08, 0.02)
      assert.closeTo(parts / holds, 0.06, 0.02)
      assert.closeTo(expiring.size / holds, 0.04, 0.02)
      assert.closeTo(late.size / expiring.size, 0.2, 0.1)
    })
  )

  it.effect("a capture that is accepted after its hold has expired is a fault", () =>
    Effect.gen(function* () {
      const { next, accepted } = yield* scenarioOf("holds", 1)
      const tell = (command: Command, recordedAt: number) => {
        const { commandId } = command
        return accepted?.(command, { commandId, replayed: false, recordedAt, postings: [], readToken: "" })
      }
      let command: Command = next()
      while (command._tag === "PlaceHold") {
        tell(command, 1_000)
        command = next()
      }
      assert.match(tell(command, 3_601_000) ?? "", /after its hold had expired/)
      assert.isUndefined(tell(command, 3_600_999))
    })
  )
})

describe("a ledger that accepts everything", () => {
  const receiptOf = ({ commandId }: Command, recordedAt: number, replayed = false): Receipt => ({
    commandId,
    replayed,
    recordedAt,
    postings: [],
    readToken: ""
  })

  it.effect("is at fault in mixed-zipf, also where the first receipt that comes is a replay", () =>
    Effect.gen(function* () {
      const { next, accepted } = yield* scenarioOf("mixed-zipf", 1)
      const faults = take(next, 2_000).flatMap((command, nth) => {
        const fault = accepted?.(command, receiptOf(command, 1_000 + nth, nth % 2 === 0))
        return fault === undefined ? [] : [fault]
      })
      // Four in a hundred must be refused.
      assert.closeTo(faults.length / 2_000, 0.04, 0.02)
      assert.match(faults[0] ?? "", /which had to be refused/)
    })
  )

  it.effect("is at fault in holds, and a refusal of a hold that has expired is none", () =>
    Effect.gen(function* () {
      const { next, accepted, mayBeRefused } = yield* scenarioOf("holds", 1)
      const faults: Array<string> = []
      const allowed: Array<boolean> = []
      for (let nth = 0; nth < 20_000; nth++) {
        const command = next()
        const fault = accepted?.(command, receiptOf(command, 1_000 + nth))
        if (command._tag !== "CaptureHold") continue
        if (fault !== undefined) faults.push(fault)
        const expired = new HoldExpired({ account: command.account, hold: command.hold, expiredAt: 0 })
        allowed.push(mayBeRefused?.(command, expired) === true)
        assert.isFalse(mayBeRefused?.(command, new AccountNotFound({ account: command.account })))
      }
      assert.isAbove(faults.length, 20)
      assert.match(faults[0] ?? "", /after its hold had expired/)
      assert.strictEqual(allowed.filter(Boolean).length, faults.length, "and of those alone")
    })
  )
})

describe("Zipf's law", () => {
  for (const exponent of [0.5, 0.9, 1, 1.3]) {
    it.effect(`draws each of the first ranks as often as exponent ${exponent} says`, () =>
      Effect.gen(function* () {
        const size = 1_000
        const count = 200_000
        const draw = makeZipf(yield* makeRng(7), size, exponent)
        const seen = new Float64Array(size)
        for (let index = 0; index < count; index++) {
          const rank = draw()
          seen[rank] = (seen[rank] ?? 0) + 1
        }
        let weights = 0
        for (let rank = 1; rank <= size; rank++) weights += rank ** -exponent
        for (const rank of [1, 2, 3, 10, 100, 1_000]) {
          const expected = (count * rank ** -exponent) / weights
          // Five standard deviations of a Poisson count.
          assert.closeTo(seen[rank - 1] ?? 0, expected, 5 * Math.sqrt(expected), `rank ${rank}`)
        }
      })
    )
  }
})

describe("repeats", () => {
  const repeatsOf = (changed: (command: Command) => Command | undefined) =>
    Effect.gen(function* () {
      const scenario = yield* scenarioOf("transfers-uniform", 1)
      const commands = take(withRepeats(scenario.next, 0.2, yield* makeRng(3), changed), 20_000)
      const firsts = new Map<string, Command>()
      const counts = { same: 0, changed: 0 }
      for (const command of commands) {
        const first = firsts.get(command.commandId)
        if (first === undefined) firsts.set(command.commandId, command)
        else if (first === command) counts.same++
        else counts.changed++
      }
      return counts
    })

  it.effect("are the same objects, except for a few with another body", () =>
    Effect.gen(function* () {
      const { same, changed } = yield* repeatsOf((command) => ({ ...command }))
      assert.closeTo((same + changed) / 20_000, 0.2, 0.02)
      assert.isAbove(changed, 20)
      assert.isBelow(changed, 200)
    })
  )

  it.effect("keep their body where another one must not be sent yet", () =>
    Effect.gen(function* () {
      const { same, changed } = yield* repeatsOf(() => undefined)
      assert.closeTo(same / 20_000, 0.2, 0.02)
      assert.strictEqual(changed, 0)
    })
  )
})
