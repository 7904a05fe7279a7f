/**
 * The scenario `holds`: card payments. Of a hundred authorisations 70 are captured whole, 12 for less with the rest given free at
 * once, 6 in two parts, 8 are released and 4 are left to expire, which makes about as many captures and releases as holds. What
 * follows on a hold is sent once its placing was acknowledged, so the ledger may refuse none of it.
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
  const waiting: Array<Payment> = []

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

  /** Takes any of those that wait, so that a hold stays open for a while. */
  const takeWaiting = (): Payment | undefined => {
    const index = rng.below(Math.max(1, waiting.length))
    const taken = waiting[index]
    const last = waiting.pop()
    if (last !== undefined && taken !== undefined && last !== taken) waiting[index] = last
    return taken
  }

  const accepted = (command: object, { recordedAt, commandId }: Receipt): string | undefined => {
    const payment = payments.get(command)
    if (payment === undefined || !("_tag" in command)) return undefined
    if (command._tag === "PlaceHold") {
      payment.expiresAt = recordedAt + (payment.plan === "expires" ? expiresSoonMs : expiresMs)
      if (payment.plan !== "expires") waiting.push(payment)
      return undefined
    }
    if (recordedAt >= payment.expiresAt)
      return `${commandId} was accepted at ${recordedAt}, after its hold had expired`
    if (command._tag !== "CaptureHold") return undefined
    const asked = "amount" in command && typeof command.amount === "bigint" ? command.amount : undefined
    payment.captured += asked ?? payment.amount - payment.captured
    if (payment.captured < payment.amount && payment.plan === "parts") waiting.push(payment)
    return undefined
  }

  const next = () => {
    const isDue = waiting.length >= waitingMax || (waiting.length > 0 && rng.chance(0.52))
    const payment = isDue ? takeWaiting() : undefined
    return payment === undefined ? place() : follow(payment)
  }
  return { prepare, cold: 0, accountsMax: accounts, next, accepted }
}
