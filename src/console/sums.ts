/** What a row of the books has together: the accounts of a prefix by their sum, and an account by its own balance. */
import type { Group } from "./prefixes.ts"
import type { Account, Sum } from "./wire.ts"

/** An account is not summed up by its id: other ids may begin with it, as `merchant:coffee2` does with `merchant:coffee`. */
export const groupParts = ({ isAccount, prefix }: Group): ReadonlyArray<string> => [
  "v1",
  isAccount ? "accounts" : "sums",
  prefix
]

export const sumsIn = (told: Sum | Account): Sum["sums"] =>
  "sums" in told ? told.sums : [{ asset: told.asset, balance: told.balance, accounts: 1 }]

/** An account has one asset, so none is counted for two of them. */
export const accountsIn = (sums: Sum["sums"]): number =>
  sums.reduce((counted, { accounts }) => counted + accounts, 0)
