/** The scenario `mixed-zipf`: what a bank's day is made of, in random order, on some busy accounts and many quiet ones, with some commands that must be refused. */
import type { AskedCommand, Leg } from "../domain/Command.ts"
import type { CommandId } from "../domain/Ids.ts"
import { makeZipf, type Rng } from "./Rng.ts"
import type { RunIds } from "./RunIds.ts"
import type { Scenario, Share } from "./Scenario.ts"

/** Rank k is used with a probability proportional to 1 / k^0.9. */
const skew = 0.9
/** The share of the accounts, the least used ones, that are not in memory when the load begins. */
const coldShare = 0.3
/** The share of commands on accounts that are drawn without regard to rank, most of which are cold. */
const strayShare = 0.05
/** How many accounts the load may open, as a share of the prepared ones. */
const opensShare = 1

interface Ingredients {
  readonly accounts: number
  readonly ids: RunIds
  readonly rng: Rng
  readonly share: Share
  readonly prepare: (index: number) => ReadonlyArray<AskedCommand>
  readonly nextId: () => CommandId
  readonly amount: () => bigint
}

/** Percentages of the commands; the rest are commands that must be refused. */
const shares = { open: 4, deposit: 18, withdraw: 15, transfer: 45, journal: 14 }

export const makeMixedZipf = (ingredients: Ingredients): Scenario => {
  const { accounts, ids, rng, share, prepare, nextId, amount } = ingredients
  const accountsMax = accounts * (1 + opensShare)
  /** Accounts that are open, among the prepared ones and those that this part of the load opens. */
  let opened = accounts
  const openedMax = accounts + Math.floor((accounts * opensShare) / share.of)
  const { indexOf, pick, pickOther } = makePicker(ingredients, () => opened)
  const on = (index: number) => ({ commandId: nextId(), account: ids.account(index) })
  const transfer = (): AskedCommand => {
    const from = pick()
    const to = pickOther([from])
    return {
      _tag: "Transfer",
      commandId: nextId(),
      from: ids.account(from),
      to: ids.account(to),
      amount: amount()
    }
  }
  /** Commands that must be refused: forgotten with their objects. */
  const hopeless = new WeakSet<object>()
  /** A command that must be refused, for one of four reasons. */
  const drawHopeless = (): AskedCommand => {
    const index = pick()
    switch (rng.below(4)) {
      case 0:
        return { _tag: "Withdraw", ...on(index), amount: 10n ** 17n }
      case 1:
        return { _tag: "Deposit", ...on(index), amount: amount(), expectedVersion: 0 }
      case 2:
        return { _tag: "Deposit", ...on(accountsMax + index), amount: amount() }
      default:
        return { _tag: "Deposit", ...on(index), amount: amount(), asset: ids.assetOf(index + 1) }
    }
  }
  const refused = (): AskedCommand => {
    const command = drawHopeless()
    hopeless.add(command)
    return command
  }
  const accepted: Scenario["accepted"] = (command, { commandId }) =>
    hopeless.has(command) ? `${commandId} was accepted, which had to be refused` : undefined
  const next = (): AskedCommand => {
    let at = rng.below(100) - shares.open
    if (at < 0 && opened < openedMax) {
      const index = indexOf(opened++)
      const asset = ids.assetOf(index)
      return { _tag: "OpenAccount", ...on(index), asset, owner: "load test", overdraftLimit: 10n ** 9n }
    }
    at -= shares.deposit
    if (at < 0) return { _tag: "Deposit", ...on(pick()), amount: amount() }
    at -= shares.withdraw
    if (at < 0) return { _tag: "Withdraw", ...on(pick()), amount: amount() }
    at -= shares.transfer
    if (at < 0) return transfer()
    at -= shares.journal
    return at < 0 ? makeJournal(ingredients, pick, pickOther) : refused()
  }
  return { prepare, cold: Math.floor(accounts * coldShare), accountsMax, next, accepted }
}

/** Draws accounts. `opened`: accounts that are open, counted as this part of the load counts them. */
const makePicker = ({ accounts, rng, share }: Ingredients, opened: () => number) => {
  const rank = makeZipf(rng, accounts, skew)
  const indexOf = (nth: number) => (nth < accounts ? nth : accounts + (nth - accounts) * share.of + share.nth)
  // The busiest account is the last one, because the cold accounts are the first ones and are to be quiet.
  const pick = () => (rng.chance(strayShare) ? indexOf(rng.below(opened())) : accounts - 1 - rank())
  /** Another account of the same asset. Ends soon, because `taken` holds at most 4 of at least 100 accounts. */
  const pickOther = (taken: ReadonlyArray<number>): number => {
    const kind = (taken[0] ?? 0) % 3
    for (;;) {
      const near = pick()
      const index = near < accounts ? near - (near % 3) + kind : near
      const isThere = near < accounts ? index < accounts : index % 3 === kind
      if (isThere && !taken.includes(index)) return index
    }
  }
  return { indexOf, pick, pickOther }
}

/** One account pays 2 to 4 others. */
const makeJournal = (
  { ids, rng, nextId, amount }: Ingredients,
  pick: () => number,
  pickOther: (taken: ReadonlyArray<number>) => number
): AskedCommand => {
  const count = 3 + rng.below(3)
  const indexes = [pick()]
  while (indexes.length < count) indexes.push(pickOther(indexes))
  const [payer = 0, ...payees] = indexes
  const credits = payees.map(
    (index): Leg => ({ account: ids.account(index), side: "credit", amount: amount() })
  )
  const sum = credits.reduce((total, leg) => total + leg.amount, 0n)
  return {
    _tag: "PostJournal",
    commandId: nextId(),
    legs: [{ account: ids.account(payer), side: "debit", amount: sum }, ...credits]
  }
}
