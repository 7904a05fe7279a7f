/** The ids of the accounts and commands of one run, made of numbers, because the judge keeps its figures in arrays. */
import type { AccountId, CommandId } from "../domain/Ids.ts"
import { Asset } from "../domain/Money.ts"

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

/** `run`: at most 20 characters that an account id may hold. The accounts hold dollars, unless the run is a mix. */
export const makeRunIds = (run: string, isMixed: boolean): RunIds => {
  const prefix = `${run}-`
  return {
    run,
    // Valid by construction, hence no check by schema, which would add to what is measured.
    account: (index) => `${prefix}${index}` as AccountId,
    indexOf: (account) => (account.startsWith(prefix) ? Number(account.slice(prefix.length)) : undefined),
    command: (number) => `${run}:${number}` as CommandId,
    numberOf: (command) => Number(command.slice(run.length + 1)),
    assetOf: (index) => (isMixed ? assets[index % assets.length] : undefined) ?? dollars
  }
}
