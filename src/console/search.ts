/** What a text that was searched may be, an id or the beginning of one, and where to go with what there is under it. */
import { accountIdPattern, anyCommandIdPattern, externalPrefix } from "../domain/IdPatterns.ts"
import { links } from "./route.ts"
import type { Account, ContraBalance, Transaction } from "./wire.ts"

interface Candidates {
  readonly account: string | undefined
  /** Also the beginning of one. */
  readonly contra: string | undefined
  /** Also of a hold, whose id is that of the command that placed it. */
  readonly command: string | undefined
  readonly prefix: string | undefined
}

export const candidatesOf = (text: string): Candidates => {
  const isId = accountIdPattern.test(text)
  const isContra = isId && text.startsWith(externalPrefix)
  const account = isId && !isContra ? text : undefined
  return {
    account,
    contra: isContra ? text : undefined,
    command: anyCommandIdPattern.test(text) ? text : undefined,
    prefix: account
  }
}

export interface Found {
  readonly account: Account | undefined
  readonly transaction: Transaction | undefined
  /** Those that begin so, one for each of their assets. */
  readonly contras: ReadonlyArray<ContraBalance>
  readonly beginning: ReadonlyArray<Account>
}

/** Where to each thing that was found leads. */
export const waysOf = ({ account, transaction, beginning, contras }: Found): ReadonlyArray<string> => [
  ...(account === undefined ? [] : [links.account(account.account)]),
  ...(transaction === undefined ? [] : [links.transaction(transaction.commandId)]),
  ...new Set(contras.map(({ contra }) => links.books("", { contra }))),
  ...beginning.map((row) => links.account(row.account))
]

/** Where there is one answer alone, it is shown at once. An account that begins so is not what was searched. */
export const onlyOne = (found: Found): string | undefined => {
  const [first, ...others] = waysOf(found)
  return others.length === 0 && found.beginning.length === 0 ? first : undefined
}

/** A node that does not answer fails every question of a search alike, which is said once. */
export const distinct = <Fault extends { readonly title: string; readonly detail: string }>(
  faults: ReadonlyArray<Fault>
): ReadonlyArray<Fault> =>
  faults.filter(
    ({ title, detail }, index) =>
      faults.findIndex((other) => other.title === title && other.detail === detail) === index
  )
