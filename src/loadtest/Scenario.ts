/** The scenarios: which accounts a load prepares, and which commands it sends, without end and by the seed alone. */
import type { AskedCommand } from "../domain/Command.ts"
import type { CommandError } from "../domain/Errors.ts"
import type { Receipt } from "../domain/Receipt.ts"
import { makeCardPayments } from "./CardPayments.ts"
import { makeMixedZipf } from "./MixedZipf.ts"
import type { Rng } from "./Rng.ts"
import { groupAccounts, type RunIds } from "./RunIds.ts"
import type { LoadSettings } from "./Settings.ts"

export interface Scenario {
  /** The commands that open and fund account `index`, in this order. */
  readonly prepare: (index: number) => ReadonlyArray<AskedCommand>
  /** Accounts below this number are prepared before the node starts, so that it does not have them in memory. */
  readonly cold: number
  /** The most accounts there can be, including those that the load opens. */
  readonly accountsMax: number
  readonly next: () => AskedCommand
  /** Told of each receipt, replayed or not; answers what was wrong with it. */
  readonly accepted?: (command: object, receipt: Receipt) => string | undefined
  /** Whether this command may be refused so, besides what is known of all scenarios (`Refusals.ts`). */
  readonly mayBeRefused?: (command: object, error: CommandError) => boolean
}

/** One of several parts of a load: of `of` parts, the `nth` from 0. No two parts send the same command or open the same account. */
export interface Share {
  readonly nth: number
  readonly of: number
}

const whole: Share = { nth: 0, of: 1 }

/** The funds of every account, in minor units: enough that no account runs out of them by chance. */
const funds = 10n ** 14n

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
  const prepare = (index: number): ReadonlyArray<AskedCommand> => [
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
  const transfer = (from: number, to: number): AskedCommand => ({
    _tag: "Transfer",
    commandId: nextId(),
    from: ids.account(from),
    to: ids.account(to),
    amount: amount()
  })
  const deposit = (to: number): AskedCommand => ({
    _tag: "Deposit",
    commandId: nextId(),
    account: ids.account(to),
    amount: amount()
  })
  const plain = { prepare, cold: 0, accountsMax: accounts }
  switch (settings.scenario) {
    case "transfers-uniform":
      return {
        ...plain,
        next: () => {
          const from = rng.below(accounts)
          return transfer(
            from,
            settings.affinity === true ? otherOfGroup(from, accounts, rng) : otherThan(from)
          )
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
    case "deposits-uniform":
      return { ...plain, next: () => deposit(rng.below(accounts)) }
    case "deposits-hot":
      return { ...plain, next: () => deposit(hot) }
    case "holds":
      return makeCardPayments({ accounts, ids, rng, prepare, nextId, otherThan })
    case "mixed-zipf":
      return makeMixedZipf({ accounts, ids, rng, share, prepare, nextId, amount })
  }
}

/** Another account of the same group; the last group may be smaller than the others. */
const otherOfGroup = (index: number, accounts: number, rng: Rng): number => {
  const start = index - (index % groupAccounts)
  const size = Math.min(groupAccounts, accounts - start)
  return size === 1 ? (index + 1) % accounts : start + ((index - start + 1 + rng.below(size - 1)) % size)
}
