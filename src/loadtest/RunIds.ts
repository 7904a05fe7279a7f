/** Numbers of accounts and commands enter; the ids of one run leave, and back. */
import type { AccountId, CommandId } from "../domain/Ids.ts"
import { Asset } from "../domain/Money.ts"

const dollars = Asset.make("USD/2")
/** Every third account of a mix holds the same asset. */
const assets = [dollars, Asset.make("JPY/0"), Asset.make("BTC/8")]

/** Ids of one run, unlike those of any other, so that one database can take many runs. */
export interface RunIds {
  readonly run: string
  readonly account: (index: number) => AccountId
  /** Which account of this run it is; `undefined` for one of somebody else. */
  readonly indexOf: (account: AccountId) => number | undefined
  readonly command: (number: number) => CommandId
  /** Of a command of this run. */
  readonly numberOf: (command: CommandId) => number
  readonly assetOf: (index: number) => Asset
}

/** `run` is of the characters of an id, at most 20 of them; all accounts of a run that is no mix hold dollars. */
export const makeRunIds = (run: string, isMixed: boolean): RunIds => {
  const prefix = `${run}-`
  return {
    run,
    // Valid by construction: checking a million of them by schema would be part of what is measured.
    account: (index) => `${prefix}${index}` as AccountId,
    indexOf: (account) => (account.startsWith(prefix) ? Number(account.slice(prefix.length)) : undefined),
    command: (number) => `${run}:${number}` as CommandId,
    numberOf: (command) => Number(command.slice(run.length + 1)),
    assetOf: (index) => (isMixed ? assets[index % assets.length] : undefined) ?? dollars
  }
}
