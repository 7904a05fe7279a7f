/** The preparation of accounts on a node that loses answers: it must succeed, and the judge must not call an invariant broken. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import { accountsOf, type Command } from "../../src/domain/Command.ts"
import { Indeterminate } from "../../src/domain/Errors.ts"
import type { Receipt } from "../../src/domain/Receipt.ts"
import { Acknowledged } from "../../src/loadtest/Acknowledged.ts"
import type { Driver } from "../../src/loadtest/Driver.ts"
import { prepareAccounts } from "../../src/loadtest/Prepare.ts"
import { makeRng } from "../../src/loadtest/Rng.ts"
import { makeRunIds } from "../../src/loadtest/RunIds.ts"
import { makeScenario } from "../../src/loadtest/Scenario.ts"

const ids = makeRunIds("run", false)
const settings = {
  scenario: "transfers-uniform",
  accounts: 100,
  pace: { _tag: "Closed", concurrency: 1 },
  seconds: 1,
  seed: 1,
  repeats: 0,
  intruder: 0,
  readSide: false,
  patienceSeconds: 1
} as const

/** A node that accepts every command, and answers `Indeterminate` to the first sending of each opening. */
const forgetting = (): Pick<Driver, "dispatchMany"> => {
  const accepted = new Map<string, Receipt>()
  const versions = new Map<string, number>()
  return {
    dispatchMany: (commands: ReadonlyArray<Command>) =>
      Effect.sync(() =>
        commands.map((command) => {
          const { commandId } = command
          const known = accepted.get(commandId)
          if (known !== undefined) return Result.succeed({ ...known, replayed: true })
          const postings = accountsOf(command).map((account) => {
            const version = (versions.get(account) ?? 0) + 1
            versions.set(account, version)
            return { account, version, hash: `${account}@${version}` }
          })
          const receipt = { commandId, replayed: false, recordedAt: 0, postings, readToken: "" }
          accepted.set(commandId, receipt)
          return command._tag === "OpenAccount"
            ? Result.fail(new Indeterminate({ commandId }))
            : Result.succeed(receipt)
        })
      )
  }
}

it.effect("accepts that a deposit is answered before the opening whose first answer was lost", () =>
  Effect.gen(function* () {
    const scenario = makeScenario(settings, ids, yield* makeRng(1))
    const acknowledged = new Acknowledged(ids, settings.accounts, false)
    const driver: Driver = {
      ...forgetting(),
      dispatch: () => Effect.die("not used"),
      stats: () => ({
        batches: 0,
        rows: 0,
        rowsMax: 0,
        behind: 0,
        conflicts: 0,
        repeats: 0,
        unknown: 0,
        residents: 0,
        inFlight: 0
      })
    }
    const preparing = yield* Effect.forkChild(
      prepareAccounts(driver, scenario, acknowledged, { from: 0, to: settings.accounts }, () => {})
    )
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(preparing)
    assert.deepStrictEqual(acknowledged.faults, [])
    assert.strictEqual(acknowledged.openCount, 0)
    assert.strictEqual(acknowledged.versionAt(settings.accounts - 1), 2)
  })
)
