/** The ids of the accounts and commands of one run, made of numbers, because the judge keeps its figures in arrays. */
import type { AccountId, CommandId } from "../domain/Ids.ts"
import { Asset } from "../domain/Money.ts"
import type { LoadSettings } from "./Settings.ts"

const dollars = Asset.make("USD/2")
/** The assets of a mix: account n holds the asset n modulo 3. */
const assets = [dollars, Asset.make("JPY/0"), Asset.make("BTC/8")]

/** Ids that no other run uses, so that one database can take many runs. */
export interface RunIds {
  readonly run: string
  readonly account: (index: number) => AccountId
  /** The number of an account of this run; undefined for any other account. */
  readonly indexOf: (account: AccountId) => number | undefined
  readonly command: (number: number) => CommandId
  /** The number of a command of this run. */
  readonly numberOf: (command: CommandId) => number
  readonly assetOf: (index: number) => Asset
}

/** Accounts of one group, where there are groups: neighbours by number. */
export const groupAccounts = 10

/**
 * `run`: at most 20 characters that an account id may hold. The accounts hold dollars, unless the run is a mix. In groups:
 * the accounts of a group have the first segment of their ids in common, hence one node where that is the placement key.
 */
export const makeRunIds = (run: string, isMixed: boolean, isGrouped = false): RunIds => {
  const prefix = `${run}-`
  const numberIn = (account: string) =>
    Number(account.slice(isGrouped ? account.indexOf(":") + 1 : prefix.length))
  return {
    run,
    // Valid by construction, hence no check by schema, which would add to what is measured.
    account: (index) =>
      (isGrouped
        ? `${prefix}${Math.floor(index / groupAccounts)}:${index}`
        : `${prefix}${index}`) as AccountId,
    indexOf: (account) => (account.startsWith(prefix) ? numberIn(account) : undefined),
    command: (number) => `${run}:${number}` as CommandId,
    numberOf: (command) => Number(command.slice(run.length + 1)),
    assetOf: (index) => (isMixed ? assets[index % assets.length] : undefined) ?? dollars
  }
}

/** The ids of a load with these settings. */
export const runIdsFor = (run: string, { scenario, affinity }: Pick<LoadSettings, "scenario" | "affinity">) =>
  makeRunIds(run, scenario === "mixed-zipf", affinity === true)
