/** Settings and a seed enter; the accounts to prepare and an endless row of commands leave. */
import type { Command } from "../domain/Command.ts"
import { makeMixedZipf } from "./MixedZipf.ts"
import type { Rng } from "./Rng.ts"
import type { RunIds } from "./RunIds.ts"
import type { LoadSettings } from "./Settings.ts"

export interface Scenario {
  /** Opens and funds account `index`, in this order. */
  readonly prepare: (index: number) => ReadonlyArray<Command>
  /** Accounts below this number are prepared by an earlier life of the node, so that they are cold. */
  readonly cold: number
  /** The most accounts there will ever be, those opened by the load included. */
  readonly accountsMax: number
  readonly next: () => Command
}

/** Which part of a load this is: of `of` sources, the `nth` from 0; no two send one command or open one account. */
export interface Share {
  readonly nth: number
  readonly of: number
}

const whole: Share = { nth: 0, of: 1 }

/** What every account is given: enough never to run dry by chance. Minor units. */
export const funds = 10n ** 14n

/** The account that takes part in every command of a hot scenario. */
const hot = 0

export const makeScenario = (
  settings: LoadSettings,
  ids: RunIds,
  rng: Rng,
  share: Share = whole
): Scenario => {
  const { accounts } = settings
  let count = 0
  const nextId = () => ids.command(share.nth + share.of * count++)
  const prepare = (index: number): ReadonlyArray<Command> => [
    {
      _tag: "OpenAccount",
      commandId: nextId(),
      account: ids.account(index),
      asset: ids.assetOf(index),
      owner: "load test"
    },
    { _tag: "Deposit", commandId: nextId(), account: ids.account(index), amount: funds }
  ]
  const amount = () => BigInt(1 + rng.below(1_000))
  const otherThan = (index: number) => {
    const other = rng.below(accounts - 1)
    return other < index ? other : other + 1
  }
  const transfer = (from: number, to: number): Command => ({
    _tag: "Transfer",
    commandId: nextId(),
    from: ids.account(from),
    to: ids.account(to),
    amount: amount()
  })
  const plain = { prepare, cold: 0, accountsMax: accounts }
  switch (settings.scenario) {
    case "transfers-uniform":
      return {
        ...plain,
        next: () => {
          const from = rng.below(accounts)
          return transfer(from, otherThan(from))
        }
      }
    case "transfers-hot":
      return {
        ...plain,
        next: () => {
          const other = otherThan(hot)
          return rng.chance(0.5) ? transfer(hot, other) : transfer(other, hot)
        }
      }
    case "deposits-hot":
      return {
        ...plain,
        next: () => ({
          _tag: "Deposit",
          commandId: nextId(),
          account: ids.account(hot),
          amount: amount()
        })
      }
    case "mixed-zipf":
      return makeMixedZipf({ accounts, ids, rng, share, prepare, nextId, amount })
  }
}
