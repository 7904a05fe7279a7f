/** Opens and funds the accounts of a load before it begins, and notes every receipt for the judge. */
import { Data, Effect, Result } from "effect"
import type { Command } from "../domain/Command.ts"
import type { Acknowledged } from "./Acknowledged.ts"
import type { Driver } from "./Driver.ts"
import type { Scenario } from "./Scenario.ts"

const batchAccounts = 500
const batchesAtOnce = 6
const triesMax = 50
const pauseMs = 100

/** The load was not started, because its accounts could not be opened and funded. */
export class PreparationFailed extends Data.TaggedError("PreparationFailed")<{ readonly reason: string }> {
  override get message() {
    return `the accounts of the load could not be prepared: ${this.reason}`
  }
}

export const prepareAccounts = Effect.fn("LoadTest.prepare")(function* (
  driver: Driver,
  scenario: Scenario,
  acknowledged: Acknowledged,
  range: { readonly from: number; readonly to: number },
  onProgress: (accounts: number) => void
) {
  let prepared = 0
  const starts: Array<number> = []
  for (let index = range.from; index < range.to; index += batchAccounts) starts.push(index)
  yield* Effect.forEach(
    starts,
    (start) =>
      Effect.suspend(() => {
        const stop = Math.min(start + batchAccounts, range.to)
        const commands: Array<Command> = []
        for (let index = start; index < stop; index++) commands.push(...scenario.prepare(index))
        return Effect.map(sendAll(driver, acknowledged, commands), () => {
          prepared += stop - start
          onProgress(prepared)
        })
      }),
    { concurrency: batchesAtOnce, discard: true }
  )
})

/** Sends a batch until each command is accepted. Commands of one account keep their order. */
const sendAll = Effect.fnUntraced(function* (
  driver: Driver,
  acknowledged: Acknowledged,
  commands: ReadonlyArray<Command>
) {
  // As of the first sending, because a command without an answer may have taken effect before others that were answered since.
  let left = commands.map((command) => ({ command, sent: acknowledged.sent(command) }))
  for (let tries = 0; tries < triesMax; tries++) {
    const results = yield* driver.dispatchMany(left.map(({ command }) => command))
    const again: Array<(typeof left)[number]> = []
    for (const [index, sending] of left.entries()) {
      const { command, sent } = sending
      const result = results[index]
      if (result === undefined) continue
      if (Result.isSuccess(result)) {
        acknowledged.accepted(command, sent, result.success)
        continue
      }
      const { _tag, message } = result.failure
      if (_tag === "Indeterminate") acknowledged.unknown(command)
      // AccountNotFound: the opening of the account is sent again as well.
      else if (_tag !== "Overloaded" && _tag !== "Unavailable" && _tag !== "AccountNotFound") {
        return yield* new PreparationFailed({ reason: message })
      }
      again.push(sending)
    }
    if (again.length === 0) return
    left = again
    yield* Effect.sleep(pauseMs)
  }
  return yield* new PreparationFailed({
    reason: `${left.length} commands were not accepted in ${triesMax} tries`
  })
})
