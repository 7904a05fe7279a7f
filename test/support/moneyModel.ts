/**
 * A model of accounts, holds, groups and reversals that is as simple as can be, written without the ledger's own decisions: against it the answers of
 * nodes are held that were asked several things at once.
 */
import type { Asked } from "./moneyCases.ts"
import type { Rng } from "./Rng.ts"

interface ModelHold {
  readonly account: string
  readonly to: string
  remaining: bigint
}

export interface Model {
  readonly balances: Map<string, bigint>
  readonly frozen: Set<string>
  /** By id; one that is closed has nothing left. */
  readonly holds: Map<string, ModelHold>
  /** What was moved by one amount from one account to another, by the id of the command. */
  readonly moves: Map<string, { readonly from: string; readonly to: string; readonly amount: bigint }>
  readonly reversed: Set<string>
}

export const startOf = (accounts: ReadonlyArray<string>, balance: bigint): Model => ({
  balances: new Map(accounts.map((account) => [account, balance])),
  frozen: new Set(),
  holds: new Map(),
  moves: new Map(),
  reversed: new Set()
})

const copyOf = (model: Model): Model => ({
  balances: new Map(model.balances),
  frozen: new Set(model.frozen),
  holds: new Map([...model.holds].map(([id, hold]) => [id, { ...hold }])),
  moves: new Map(model.moves),
  reversed: new Set(model.reversed)
})

export const heldOf = ({ holds }: Model, account: string): bigint =>
  [...holds.values()].reduce((sum, hold) => (hold.account === account ? sum + hold.remaining : sum), 0n)

/** The same for models that say the same. */
export const keyOf = ({ balances, frozen, holds, moves, reversed }: Model): string =>
  JSON.stringify([
    [...balances].map(([account, balance]) => `${account} ${balance}`),
    [...holds].map(([id, { remaining }]) => `${id} ${remaining}`).toSorted(),
    [...frozen].toSorted(),
    [...moves.keys()].toSorted(),
    [...reversed].toSorted()
  ])

const availableOf = (model: Model, account: string): bigint =>
  (model.balances.get(account) ?? 0n) - heldOf(model, account)

const move = (model: Model, from: string, to: string, amount: bigint): string => {
  if (model.frozen.has(from) || model.frozen.has(to)) return "AccountNotActive"
  if (availableOf(model, from) < amount) return "InsufficientFunds"
  model.balances.set(from, (model.balances.get(from) ?? 0n) - amount)
  model.balances.set(to, (model.balances.get(to) ?? 0n) + amount)
  return "accepted"
}

const capture = (model: Model, asked: Asked): string => {
  const hold = model.holds.get(String(asked.hold))
  if (hold === undefined) return "HoldNotFound"
  const { account, to } = hold
  if (model.frozen.has(account)) return "AccountNotActive"
  if (hold.remaining === 0n) return "HoldClosed"
  const amount = asked.amount === undefined ? hold.remaining : BigInt(String(asked.amount))
  const beyond = amount > hold.remaining ? amount - hold.remaining : 0n
  if (beyond > 0n && asked.excess === undefined) return "CaptureExceedsHold"
  if (beyond > availableOf(model, account)) return "InsufficientFunds"
  if (model.frozen.has(to)) return "AccountNotActive"
  hold.remaining = beyond > 0n || asked.final === true ? 0n : hold.remaining - amount
  model.moves.set(String(asked.commandId), { from: account, to, amount })
  return move(model, account, to, amount)
}

const carryOut = (model: Model, asked: Asked): string => {
  const text = (field: string) => String(asked[field])
  switch (asked._tag) {
    case "Transfer": {
      const moved = { from: text("from"), to: text("to"), amount: BigInt(text("amount")) }
      const outcome = move(model, moved.from, moved.to, moved.amount)
      // Those of a group have no ids of their own.
      if (outcome === "accepted" && asked.commandId !== undefined) model.moves.set(text("commandId"), moved)
      return outcome
    }
    case "Group": {
      const members = asked.commands as ReadonlyArray<Asked> // as `draw` makes them
      return members.every((member) => carryOut(model, member) === "accepted") ? "accepted" : "GroupRejected"
    }
    case "PlaceHold": {
      const hold = { account: text("account"), to: text("to"), remaining: BigInt(text("amount")) }
      if (model.frozen.has(hold.account)) return "AccountNotActive"
      if (availableOf(model, hold.account) < hold.remaining) return "InsufficientFunds"
      model.holds.set(text("commandId"), hold)
      return "accepted"
    }
    case "CaptureHold":
      return capture(model, asked)
    case "ReleaseHold": {
      const hold = model.holds.get(text("hold"))
      if (hold === undefined) return "HoldNotFound"
      if (hold.remaining === 0n) return "HoldClosed"
      hold.remaining = 0n
      return "accepted"
    }
    case "Reverse": {
      const original = model.moves.get(text("original"))
      if (original === undefined) return "CommandNotFound"
      if (model.reversed.has(text("original"))) return "accepted"
      const outcome = move(model, original.to, original.from, original.amount)
      if (outcome === "accepted") model.reversed.add(text("original"))
      return outcome
    }
    case "FreezeAccount":
      if (model.frozen.has(text("account"))) return "AccountNotActive"
      model.frozen.add(text("account"))
      return "accepted"
    default:
      return model.frozen.delete(text("account")) ? "accepted" : "AccountNotActive"
  }
}

/** The outcome of a command, and the model after it. */
const next = (before: Model, asked: Asked): readonly [outcome: string, after: Model] => {
  const after = copyOf(before)
  const outcome = carryOut(after, asked)
  return [outcome, outcome === "accepted" ? after : before]
}

/** A command that is told as it was, and what was answered: "accepted", or the tag of the refusal. */
export interface Told {
  readonly asked: Asked
  readonly outcome: string
}

/** All states that an order of what was asked at once leads to, in which each answer is what it was. */
export const explain = (model: Model, told: ReadonlyArray<Told>): ReadonlyArray<Model> =>
  told.length === 0
    ? [model]
    : told.flatMap((one) => {
        const [outcome, after] = next(model, one.asked)
        return outcome === one.outcome
          ? explain(
              after,
              told.filter((other) => other !== one)
            )
          : []
      })

type Accounts = readonly [string, ...ReadonlyArray<string>]

const isSome = <A>(values: ReadonlyArray<A>): values is readonly [A, ...ReadonlyArray<A>] => values.length > 0

const drawMove = (rng: Rng, accounts: Accounts) => {
  const from = rng.pick(accounts)
  const others = accounts.filter((account) => account !== from)
  const to = isSome(others) ? rng.pick(others) : from
  return { from, to, amount: String(1 + rng.below(40)) }
}

/** A command on these accounts, about what the model knows. */
export const draw = (rng: Rng, model: Model, accounts: Accounts, commandId: string): Asked => {
  const known = rng.chance(0.8)
    ? [...model.holds].filter(([, { remaining }]) => remaining > 0n)
    : [...model.holds]
  const kind = rng.below(20)
  const about = isSome(known) ? rng.pick(known) : undefined
  const moves = [...model.moves.keys()]
  if (about !== undefined && kind < 5) {
    const [hold, { account }] = about
    const part = rng.chance(0.7) ? { amount: String(1 + rng.below(25)) } : {}
    const more = {
      ...(rng.chance(0.3) ? { final: true } : {}),
      ...(rng.chance(0.3) ? { excess: "fromAvailable" } : {})
    }
    return { _tag: "CaptureHold", commandId, account, hold, ...part, ...more }
  }
  if (about !== undefined && kind < 7)
    return { _tag: "ReleaseHold", commandId, account: about[1].account, hold: about[0] }
  if (isSome(moves) && kind < 10)
    return { _tag: "Reverse", commandId, original: rng.pick(moves), reason: "refund" }
  if (kind < 13) {
    const { from: account, to, amount } = drawMove(rng, accounts)
    return { _tag: "PlaceHold", commandId, account, to, amount }
  }
  if (kind < 15) {
    const commands = [drawMove(rng, accounts), drawMove(rng, accounts)].map((one) => ({
      _tag: "Transfer",
      ...one
    }))
    return { _tag: "Group", commandId, commands }
  }
  const [frozen] = model.frozen
  if (frozen !== undefined && kind < 17) return { _tag: "UnfreezeAccount", commandId, account: frozen }
  if (kind === 15) return { _tag: "FreezeAccount", commandId, account: rng.pick(accounts) }
  return { _tag: "Transfer", commandId, ...drawMove(rng, accounts) }
}
