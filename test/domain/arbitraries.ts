/** Random sequences of commands on so few accounts that they affect each other. */
import { Arbitrary, Schema } from "effect"
import type { AskedCommand } from "../../src/domain/Command.ts"
import { AccountId, CommandId, ContraId } from "../../src/domain/Ids.ts"
import { Amount, Asset, OverdraftLimit } from "../../src/domain/Money.ts"

// Few accounts and assets, so that commands meet; amounts small (likely accepted) or anything at all.
const pick = <const Values extends ReadonlyArray<string>, A>(values: Values, schema: Schema.Decoder<A>) => {
  const decode = Schema.decodeUnknownSync(schema)
  return Arbitrary.map(Arbitrary.schema(Schema.Literals(values)), (value) => decode(value))
}
const account = pick(["a", "b", "c", "d"], AccountId)
const asset = pick(["USD/2", "USD/2", "JPY/0"], Asset)
const contra = pick(["external:bank", "external:atm"], ContraId)
const commandId = pick(["c"], CommandId)
const small = Arbitrary.schema(Schema.BigInt.check(Schema.isBetweenBigInt({ minimum: 1n, maximum: 40n })))
const anyAmount = Arbitrary.schema(Schema.toType(Amount))
const anyOverdraft = Arbitrary.schema(Schema.toType(OverdraftLimit))
const coin = Arbitrary.schema(Schema.Literals([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))

const sides = ["debits", "credits", "both"] as const

const amount = Arbitrary.map(Arbitrary.all({ coin, small, anyAmount }), ({ coin, small, anyAmount }) =>
  coin < 8 ? small : anyAmount
)
const parts = Arbitrary.all({
  coin,
  commandId,
  account,
  other: account,
  third: account,
  asset,
  contra,
  amount,
  rest: small,
  overdraft: anyOverdraft
})

/** One command of a kind that the parts pick; journals mostly balance. */
const command = Arbitrary.map(Arbitrary.all({ kind: coin, parts }), ({ kind, parts }): AskedCommand => {
  const { coin, commandId, account, other, third, asset, contra, amount, rest, overdraft } = parts
  switch (kind) {
    case 0:
    case 1: {
      const overdraftLimit = coin < 6 ? 0n : coin < 9 ? 25n : overdraft
      return { _tag: "OpenAccount", commandId, account, asset, owner: "Ada", overdraftLimit }
    }
    case 2:
    case 3:
      return { _tag: "Deposit", commandId, account, amount, contra }
    case 4:
      return { _tag: "Withdraw", commandId, account, amount, contra }
    case 5:
    case 6:
      return { _tag: "Transfer", commandId, from: account, to: other, amount }
    case 7:
      return {
        _tag: "PostJournal",
        commandId,
        // Often on one account twice, and now and then from outside.
        legs: [
          coin === 1
            ? { account: contra, side: "debit", amount: (rest % 4n) + 2n, asset }
            : { account, side: "debit", amount: (rest % 4n) + 2n },
          { account: other, side: "credit", amount: (rest % 4n) + 1n },
          { account: third, side: "credit", amount: coin === 0 ? amount : 1n }
        ]
      }
    default: {
      if (coin === 9) return { _tag: "UpdateAccount", commandId, account, overdraftLimit: rest }
      if (coin === 8) return { _tag: "CloseAccount", commandId, account }
      const _tag = coin < 3 ? "FreezeAccount" : "UnfreezeAccount"
      const side = coin % 2 === 0 ? sides[Number(rest % 3n)] : undefined
      return { _tag, commandId, account, ...(side === undefined ? {} : { side }) }
    }
  }
})
export const commands = Arbitrary.array(command, { maxLength: 120 })
