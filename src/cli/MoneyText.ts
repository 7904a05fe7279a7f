/** Amounts as a person writes them at the command line: `12.50`, `12.50 USD`, `12.50 USD/2`. */
import { Result, Schema } from "effect"
import { Asset, codeOf, type MoneyFault, parseDecimal, trimBlanks } from "../domain/Money.ts"

export interface MoneyText {
  readonly decimal: string
  /** `USD` or `USD/2`; undefined where only a number was given. */
  readonly unit: string | undefined
}

const readAsset = Schema.decodeUnknownResult(Asset)

export const parseMoneyText = (text: string): MoneyText | undefined => {
  const match = /^(\d+(?:\.\d*)?|\.\d+)(?:\s+([A-Z][A-Z0-9]{0,11}(?:\/\d{1,2})?))?$/.exec(trimBlanks(text))
  const [, decimal, unit] = match ?? []
  return decimal === undefined ? undefined : { decimal, unit }
}

/** The asset that the text itself names in full; without it the account's has to be asked for. */
export const assetIn = ({ unit }: MoneyText): Asset | undefined => {
  if (unit === undefined || !unit.includes("/")) return undefined
  const asset = readAsset(unit)
  return Result.isSuccess(asset) ? asset.success : undefined
}

/** Minor units of the account's asset, or why the text does not name any. */
export const unitsOf = (money: MoneyText, asset: Asset): Result.Result<bigint, string> => {
  if (money.unit !== undefined && money.unit !== codeOf(asset) && money.unit !== asset)
    return Result.fail(`the account holds ${asset}, not ${money.unit}`)
  return Result.mapError(
    parseDecimal(money.decimal, asset),
    (fault: MoneyFault) => `${money.decimal} ${codeOf(asset)}: ${fault} (${asset})`
  )
}
