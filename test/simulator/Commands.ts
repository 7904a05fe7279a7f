/** What the callers of a world ask the ledger to do, drawn from its seed: every kind of command, right ones and wrong ones. */
import type { CommandInput } from "../../src/domain/Command.ts"
import { deposit, transfer, withdraw } from "../support/ledgerWorld.ts"
import type { Rng } from "../support/Rng.ts"

export type WorldCommand = CommandInput & { readonly commandId: string }
type Of<Tag extends CommandInput["_tag"]> = Extract<WorldCommand, { readonly _tag: Tag }>
type Member = Of<"Group">["commands"][number]

export const accountName = (index: number): string => `acc-${index}`

/** Every fourth account is of another asset. */
export const assetOf = (account: string): string => (/[37]$/.test(account) ? "EUR/2" : "USD/2")

export const openAccount = (account: string, overdraftLimit: bigint): CommandInput => ({
  _tag: "OpenAccount",
  account,
  asset: assetOf(account),
  owner: "Ada",
  overdraftLimit
})

/** What an amount is worth at a rate between two assets of one scale, halves to the even neighbour. */
export const worth = (amount: bigint, rate: string): bigint => {
  const [numerator = 1n, denominator = 1n] = rate.split("/").map(BigInt)
  const [whole, rest] = [(amount * numerator) / denominator, (amount * numerator) % denominator]
  const isUp = 2n * rest > denominator || (2n * rest === denominator && whole % 2n === 1n)
  return isUp ? whole + 1n : whole
}

/** What is drawn from, beside chance: the accounts of the world, and what was asked before. */
export interface Before {
  readonly accounts: number
  readonly inputs: ReadonlyArray<WorldCommand>
  /** Holds, reversals, groups and the like, for the most part. */
  readonly isAboutMoney: boolean
}

interface Draw extends Before {
  readonly rng: Rng
  readonly commandId: string
  readonly amount: bigint
  readonly account: string
  readonly other: string
  readonly third: string
}

/** Frees what was frozen last, mostly: on an account that stays frozen nothing happens. */
const freeze = ({ rng, account, commandId, inputs }: Draw): WorldCommand => {
  const last = inputs.findLast(({ _tag }) => _tag === "FreezeAccount" || _tag === "UnfreezeAccount")
  if (last?._tag === "FreezeAccount" && rng.chance(0.8))
    return { ...last, _tag: "UnfreezeAccount", commandId }
  const side = rng.chance(0.3) ? {} : { side: rng.chance(0.6) ? ("debits" as const) : ("credits" as const) }
  return { _tag: rng.chance(0.9) ? "FreezeAccount" : "UnfreezeAccount", account, commandId, ...side }
}

const update = ({ rng, account, amount, commandId }: Draw): WorldCommand => ({
  _tag: "UpdateAccount",
  account,
  commandId,
  ...(rng.chance(0.7)
    ? { overdraftLimit: rng.chance(0.5) ? 0n : amount }
    : { owner: `owner of ${commandId}` })
})

/** From one account to two, which may be the same or the first one; one of four goes out of the books. */
const split = ({ rng, account, amount, commandId, other, third }: Draw): WorldCommand => ({
  _tag: "PostJournal",
  commandId,
  legs: [
    { account, side: "debit", amount: amount + 1n },
    { account: other, side: "credit", amount },
    rng.chance(0.25)
      ? { account: "external:fees", side: "credit", amount: 1n, asset: assetOf(account) }
      : { account: third, side: "credit", amount: 1n }
  ]
})

const rates = ["9/10", "11/10", "1/3"] as const

/** Money comes in through a contra account in another asset than it goes out; one rate of five does not fit the legs. */
const exchange = (draw: Draw): WorldCommand => {
  const { rng, account, amount, commandId, other } = draw
  const [base, quote] = [assetOf(account), assetOf(other)]
  if (base === quote) return split(draw)
  const rate = rng.pick(rates)
  const bought = worth(amount, rate) + (rng.chance(0.2) ? 1n : 0n)
  if (bought === 0n) return split(draw)
  return {
    _tag: "PostJournal",
    commandId,
    legs: [
      { account, side: "debit", amount },
      { account: "external:fx", side: "credit", amount, asset: base },
      { account: "external:fx", side: "debit", amount: bought, asset: quote },
      { account: other, side: "credit", amount: bought }
    ],
    fx: [{ base, quote, rate, rounding: "half-even" }]
  }
}

const placeHold = ({ rng, account, amount, commandId, other }: Draw): WorldCommand => ({
  _tag: "PlaceHold",
  account,
  amount,
  commandId,
  ...(rng.chance(0.6) ? { expiresIn: 1 + rng.below(rng.pick([60, 60, 600, 3_000] as const)) } : {}),
  ...(rng.chance(0.5) ? { to: rng.chance(0.6) ? other : "external:card" } : {})
})

/** Mostly a hold that was placed, on its own account; undefined: there is none yet. */
const aHold = ({
  rng,
  account,
  inputs
}: Draw): { readonly account: string; readonly hold: string } | undefined => {
  if (rng.chance(0.04)) return { account, hold: "never-placed" }
  const placed = inputs.filter((input) => input._tag === "PlaceHold").slice(-4)
  const found = placed[rng.below(Math.max(1, placed.length))]
  return found && { account: rng.chance(0.03) ? account : found.account, hold: found.commandId }
}

/** A command about a hold, or one that places the first. */
const onHold =
  (make: (draw: Draw, hold: { readonly account: string; readonly hold: string }) => WorldCommand) =>
  (draw: Draw): WorldCommand => {
    const hold = aHold(draw)
    return hold === undefined ? placeHold(draw) : make(draw, hold)
  }

/** In part, mostly; sometimes more than there is beside the hold. */
const captureHold = onHold(({ rng, amount, commandId, other }, hold) => ({
  _tag: "CaptureHold",
  commandId,
  ...hold,
  ...(rng.chance(0.6) ? { amount: rng.chance(0.15) ? 20n * amount : 1n + amount / 3n } : {}),
  ...(rng.chance(0.2) ? { final: true } : {}),
  ...(rng.chance(0.3) ? { excess: "fromAvailable" as const } : {}),
  ...(rng.chance(0.1) ? { to: other } : {})
}))

const adjustHold = onHold(({ amount, commandId }, hold) => ({
  _tag: "AdjustHold",
  commandId,
  ...hold,
  amount
}))

const releaseHold = onHold(({ rng, amount, commandId }, hold) => ({
  _tag: "ReleaseHold",
  commandId,
  ...hold,
  ...(rng.chance(0.6) ? { amount: 1n + amount / 4n } : {})
}))

const moves = ["Deposit", "Withdraw", "Transfer", "PostJournal", "CaptureHold"]

/** In part or as a whole, the first time or again, of what moved money, mostly. */
const reverse = ({ rng, amount, commandId, inputs, third }: Draw): WorldCommand => {
  const moved = inputs.filter(({ _tag }) => moves.includes(_tag)).slice(-6)
  const original = moved[rng.below(Math.max(1, moved.length))]
  const isKnown = original !== undefined && !rng.chance(0.05)
  const legs =
    isKnown && original._tag === "PostJournal" ? original.legs.filter((leg) => leg.side === "credit") : []
  const [leg] = legs
  const share = rng.chance(0.4)
    ? {}
    : leg === undefined
      ? { amount: 1n + amount / 2n }
      : { legs: [{ account: leg.account, amount: 1n + leg.amount / 2n }] }
  return {
    _tag: "Reverse",
    commandId,
    original: isKnown ? original.commandId : "never-sent",
    reason: "given back",
    ...(rng.chance(0.5) ? { n: 1 + rng.below(3) } : {}),
    ...share,
    ...(rng.chance(0.2) ? { shortfall: third } : {})
  }
}

/** The command that another one is about: the hold's, or the one that is given back. */
export const aboutOf = (input: WorldCommand): string | undefined => {
  if ("hold" in input) return input.hold
  return input._tag === "Reverse" ? input.original : undefined
}

const close = ({ account, commandId }: Draw): WorldCommand => ({ _tag: "CloseAccount", account, commandId })

const isGroupable = (
  input: WorldCommand
): input is Exclude<WorldCommand, { readonly _tag: "Group" | "CaptureHold" | "Reverse" }> =>
  !["Group", "CaptureHold", "Reverse"].includes(input._tag)

/** As many as nodes of some worlds have memory for. */
const accountsOfGroupMax = 4

export const accountsOfMember = (member: Member): ReadonlyArray<string> => {
  if (member._tag === "Transfer") return [member.from, member.to]
  return member._tag === "PostJournal" ? member.legs.map(({ account }) => account) : [member.account]
}

const group = (draw: Draw): WorldCommand => {
  const { rng, commandId } = draw
  const commands: Array<Member> = []
  const count = 1 + rng.below(4)
  while (commands.length < count) {
    const drawn = drawOne(redrawn(draw), ordinary)
    if (!isGroupable(drawn)) continue
    const { commandId: _, expectedVersion: __, ...member } = drawn
    const named = new Set([...commands, member].flatMap(accountsOfMember))
    if (named.size > accountsOfGroupMax) break
    commands.push(member)
  }
  return { _tag: "Group", commandId, commands }
}

type Weights = ReadonlyArray<readonly [weight: number, draw: (draw: Draw) => WorldCommand]>

const ordinary: Weights = [
  [2, ({ account, commandId }) => ({ ...openAccount(account, 10n), commandId })],
  [5, ({ account, amount, commandId }) => ({ ...deposit(account, amount), commandId })],
  [5, ({ account, amount, commandId }) => ({ ...withdraw(account, amount), commandId })],
  [7, ({ account, amount, commandId, other }) => ({ ...transfer(account, other, amount), commandId })],
  [2, split],
  [1, exchange],
  [1, freeze],
  [1, update],
  [1, placeHold],
  [1, releaseHold],
  [
    1,
    ({ rng, account, amount, commandId }) => ({
      ...deposit(account, amount),
      commandId,
      expectedVersion: 1 + rng.below(6)
    })
  ]
]
const all: Weights = [...ordinary, [2, captureHold], [1, adjustHold], [2, reverse], [2, group], [0.4, close]]
const aboutMoney: Weights = [
  [3, ({ account, amount, commandId }) => ({ ...deposit(account, amount), commandId })],
  [2, ({ account, amount, commandId }) => ({ ...withdraw(account, amount), commandId })],
  [3, ({ account, amount, commandId, other }) => ({ ...transfer(account, other, amount), commandId })],
  [2, split],
  [2, exchange],
  [2.5, freeze],
  [1.5, update],
  [6, placeHold],
  [6, captureHold],
  [2, adjustHold],
  [2, releaseHold],
  [5, reverse],
  [3, group],
  [1, close]
]

const drawOne = (draw: Draw, weights: Weights): WorldCommand => {
  let dice = draw.rng.next() * weights.reduce((sum, [weight]) => sum + weight, 0)
  for (const [weight, make] of weights) {
    dice -= weight
    if (dice < 0) return make(draw)
  }
  throw new Error("one of the weights is drawn")
}

/** Other accounts and another amount. */
const redrawn = (draw: Omit<Draw, "amount" | "account" | "other" | "third">): Draw => {
  const name = () => accountName(draw.rng.below(draw.accounts))
  return {
    ...draw,
    account: name(),
    other: name(),
    third: name(),
    amount: BigInt(1 + draw.rng.below(80))
  }
}

export const drawCommand = (rng: Rng, commandId: string, before: Before): WorldCommand =>
  drawOne(redrawn({ rng, commandId, ...before }), before.isAboutMoney ? aboutMoney : all)

/** Money is held on an account of balance zero, which is closed twice: soon, and after the hold was released. */
export const closingOf = (account: string, expiresIn: number | undefined): ReadonlyArray<WorldCommand> => [
  { ...openAccount(account, 20n), commandId: "closing-open" },
  {
    _tag: "PlaceHold",
    account,
    amount: 7n,
    commandId: "closing-hold",
    ...(expiresIn === undefined ? {} : { expiresIn })
  },
  { _tag: "CloseAccount", account, commandId: "closing-soon" },
  { _tag: "ReleaseHold", account, hold: "closing-hold", commandId: "closing-release" },
  { _tag: "CloseAccount", account, commandId: "closing-late" }
]

/** One hold that is captured as often as it may be, and once more. */
export const crowdOfCaptures = (account: string, captures: number): ReadonlyArray<WorldCommand> => [
  { ...deposit(account, 10_000n), commandId: "crowd-deposit" },
  { _tag: "PlaceHold", account, amount: 5_000n, commandId: "crowd-hold" },
  ...Array.from(
    { length: captures },
    (_, nth): WorldCommand => ({
      _tag: "CaptureHold",
      account,
      hold: "crowd-hold",
      amount: 1n,
      commandId: `crowd-${nth}`
    })
  )
]

/** Deposits up to the largest balance, and one more. */
export const crowdOfDeposits = (account: string): ReadonlyArray<WorldCommand> => {
  const largest = { _tag: "Deposit", account, amount: 10n ** 36n - 1n } as const
  return [
    { _tag: "Group", commandId: "crowd-deposits", commands: Array.from({ length: 99 }, () => largest) },
    { ...largest, commandId: "crowd-last" },
    { ...largest, commandId: "crowd-beyond" }
  ]
}
