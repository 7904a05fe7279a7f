/**
 * The scenario `holds`: card payments. Of a hundred authorisations 70 are captured whole, 12 for less with the rest given free at
 * once, 6 in two parts, 8 are released and 4 are left to expire, which makes about as many captures and releases as holds. What
 * follows on a hold is sent once its placing was acknowledged, so the ledger may refuse none of it. But one in four of those that
 * were left to expire is captured afterwards, which the ledger must refuse.
 */
import type { AskedCommand } from "../domain/Command.ts"
import type { AccountId, CommandId } from "../domain/Ids.ts"
import type { Receipt } from "../domain/Receipt.ts"
import type { Rng } from "./Rng.ts"
import type { RunIds } from "./RunIds.ts"
import type { Scenario } from "./Scenario.ts"

/** How long a hold keeps its money back that is left to expire, and any other one, in milliseconds. */
const expiresSoonMs = 2_000
const expiresMs = 3_600_000

/** How authorisations end, in percent; the rest is left to expire. */
const shares = { whole: 70, less: 12, parts: 6, released: 8 }

/** Of the holds that expired, the share that is captured all the same, how long after that, in milliseconds, and how many wait at most. */
const lateShare = 0.25
const lateMs = 3_000
const lateMax = 1_000

/** Holds that wait for what follows, at most: beyond, no further one is placed. */
const waitingMax = 10_000

type Plan = keyof typeof shares | "expires"

interface Payment {
  readonly payer: number
  readonly hold: CommandId
  readonly plan: Plan
  readonly amount: bigint
  captured: bigint
  /** By the receipt of its placing. */
  expiresAt: number
}

interface Ingredients {
  readonly accounts: number
  readonly ids: RunIds
  readonly rng: Rng
  readonly prepare: Scenario["prepare"]
  readonly nextId: () => CommandId
  readonly otherThan: (index: number) => number
}

const planOf = (rng: Rng): Plan => {
  let at = rng.below(100)
  for (const plan of ["whole", "less", "parts", "released"] as const) {
    if (at < shares[plan]) return plan
    at -= shares[plan]
  }
  return "expires"
}

/** What is sent next on a hold. */
const nextOn = (account: AccountId, commandId: CommandId, payment: Payment): AskedCommand => {
  const { hold, plan, amount, captured } = payment
  const on = { commandId, account, hold }
  if (plan === "released") return { _tag: "ReleaseHold", ...on }
  if (plan === "less") return { _tag: "CaptureHold", ...on, amount: amount - amount / 10n, final: true }
  const isFirstPart = plan === "parts" && captured === 0n
  return isFirstPart ? { _tag: "CaptureHold", ...on, amount: amount / 2n } : { _tag: "CaptureHold", ...on }
}

/** Holds that wait for what follows on them. */
const makeOpen = (rng: Rng) => {
  const waiting: Array<Payment> = []
  return {
    count: () => waiting.length,
    add: (payment: Payment): void => void waiting.push(payment),
    /** Any of them, so that a hold stays open for a while. */
    take: (): Payment | undefined => {
      const index = rng.below(Math.max(1, waiting.length))
      const taken = waiting[index]
      const last = waiting.pop()
      if (last !== undefined && taken !== undefined && last !== taken) waiting[index] = last
      return taken
    }
  }
}

/** Holds that are to be captured after they have expired. */
const makeLate = (rng: Rng) => {
  const waiting: Array<Payment> = []
  /** The latest instant of a receipt: it is that now, or later. */
  let latest = 0
  return {
    add: (payment: Payment): void => {
      if (waiting.length < lateMax && rng.chance(lateShare)) waiting.push(payment)
    },
    learn: (recordedAt: number): void => {
      latest = Math.max(latest, recordedAt)
    },
    /** The first of them, where it has expired for so long that no clock of a node can doubt it. */
    take: (): Payment | undefined => {
      const [first] = waiting
      return first !== undefined && latest >= first.expiresAt + lateMs ? waiting.shift() : undefined
    }
  }
}

export const makeCardPayments = ({
  accounts,
  ids,
  rng,
  prepare,
  nextId,
  otherThan
}: Ingredients): Scenario => {
  /** Of commands that were drawn; some are never sent, and are forgotten with their object. */
  const payments = new WeakMap<object, Payment>()
  /** Of them those whose receipt came: that of a replay says nothing more. */
  const told = new WeakSet<object>()
  const open = makeOpen(rng)
  const late = makeLate(rng)

  const place = (): AskedCommand => {
    const payer = rng.below(accounts)
    const [hold, plan, amount] = [nextId(), planOf(rng), BigInt(10 + rng.below(10_000))]
    const command: AskedCommand = {
      _tag: "PlaceHold",
      commandId: hold,
      account: ids.account(payer),
      amount,
      expiresIn: plan === "expires" ? expiresSoonMs : expiresMs,
      to: ids.account(otherThan(payer))
    }
    payments.set(command, { payer, hold, plan, amount, captured: 0n, expiresAt: Number.POSITIVE_INFINITY })
    return command
  }

  const follow = (payment: Payment): AskedCommand => {
    const command = nextOn(ids.account(payment.payer), nextId(), payment)
    payments.set(command, payment)
    return command
  }

  const accepted = (command: object, { recordedAt, commandId }: Receipt): string | undefined => {
    const payment = payments.get(command)
    late.learn(recordedAt)
    if (payment === undefined || !("_tag" in command) || told.has(command)) return undefined
    told.add(command)
    if (command._tag === "PlaceHold") {
      payment.expiresAt = recordedAt + (payment.plan === "expires" ? expiresSoonMs : expiresMs)
      if (payment.plan === "expires") late.add(payment)
      else open.add(payment)
      return undefined
    }
    if (recordedAt >= payment.expiresAt)
      return `${commandId} was accepted at ${recordedAt}, after its hold had expired`
    if (command._tag !== "CaptureHold") return undefined
    const asked = "amount" in command && typeof command.amount === "bigint" ? command.amount : undefined
    payment.captured += asked ?? payment.amount - payment.captured
    if (payment.captured < payment.amount && payment.plan === "parts") open.add(payment)
    return undefined
  }

  const mayBeRefused: Scenario["mayBeRefused"] = (command, { _tag }) => {
    const isLate = payments.get(command)?.plan === "expires" && "hold" in command
    return isLate && (_tag === "HoldExpired" || _tag === "HoldClosed")
  }

  const next = () => {
    const isDue = open.count() >= waitingMax || (open.count() > 0 && rng.chance(0.52))
    const payment = late.take() ?? (isDue ? open.take() : undefined)
    return payment === undefined ? place() : follow(payment)
  }
  return { prepare, cold: 0, accountsMax: accounts, next, accepted, mayBeRefused }
}
