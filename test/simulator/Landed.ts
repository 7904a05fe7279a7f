/** Whether what landed is what was asked, and was allowed: row by row and command by command, from the design alone. */
import type { StoredEvent } from "../../src/domain/StoredEvent.ts"
import { type WorldCommand, worth } from "./Commands.ts"
import { absent, type Body, changeOf, payloadOf, type State, type States } from "./Fold.ts"
import { gaveOf, type Log, netOf } from "./Refusals.ts"
import { type History, isReceipt, type Sending } from "./World.ts"

type Member = Extract<WorldCommand, { readonly _tag: "Group" }>["commands"][number]
type Part = Exclude<WorldCommand, { readonly _tag: "Group" }> | Member

const firstTypes: { readonly [Tag in Part["_tag"]]: string } = {
  OpenAccount: "AccountOpened",
  Deposit: "Deposited",
  Withdraw: "Withdrawn",
  Transfer: "TransferSent",
  PostJournal: "JournalPosted",
  UpdateAccount: "AccountUpdated",
  PlaceHold: "HoldPlaced",
  CaptureHold: "HoldCaptured",
  AdjustHold: "HoldAdjusted",
  ReleaseHold: "HoldReleased",
  Reverse: "",
  FreezeAccount: "AccountFrozen",
  UnfreezeAccount: "AccountUnfrozen",
  CloseAccount: "AccountClosed"
}

/** Fields that an event has as its command had them. */
const copied = ["asset", "owner", "overdraftLimit", "hold", "final"] as const

const typesOf = (part: Part, first: Body | undefined): ReadonlyArray<string> => {
  const own = firstTypes[part._tag]
  if (part._tag === "Transfer") return [own, "TransferReceived"]
  if (part._tag === "CaptureHold")
    return first?.to?.startsWith("external:") ? [own] : [own, "TransferReceived"]
  if (part._tag !== "PostJournal") return [own]
  const legs = part.legs.filter(({ account }) => !account.startsWith("external:"))
  return legs.map((_, index) => (index === 0 ? own : "JournalLegPosted"))
}

/** What each account gets by a command. */
const movesOf = (part: Part, before: State): ReadonlyMap<string, bigint> => {
  const moves = new Map<string, bigint>()
  const add = (account: string, units: bigint) => moves.set(account, (moves.get(account) ?? 0n) + units)
  switch (part._tag) {
    case "Deposit":
      add(part.account, part.amount)
      break
    case "Withdraw":
      add(part.account, -part.amount)
      break
    case "Transfer":
      add(part.from, -part.amount)
      add(part.to, part.amount)
      break
    case "PostJournal":
      for (const { account, side, amount } of part.legs)
        if (!account.startsWith("external:")) add(account, side === "credit" ? amount : -amount)
      break
    case "CaptureHold": {
      const amount = part.amount ?? before.holds.get(part.hold)?.remaining ?? 0n
      add(part.account, -amount)
      const to = before.holds.get(part.hold)?.to ?? part.to ?? "external:bank"
      if (!to.startsWith("external:")) add(to, amount)
      break
    }
  }
  return new Map([...moves].filter(([, units]) => units !== 0n))
}

const equal = (a: ReadonlyMap<string, bigint>, b: ReadonlyMap<string, bigint>): boolean =>
  a.size === b.size && [...a].every(([key, value]) => b.get(key) === value)

/** The first event has what its command says. */
const saysSo = (part: Part, row: StoredEvent, first: Body, before: State): boolean => {
  const asked: Readonly<Record<string, unknown>> = { ...part }
  const told: Readonly<Record<string, unknown>> = { ...first }
  const isCopied = copied.every(
    (key) => !(key in told) || asked[key] === undefined || `${asked[key]}` === `${told[key]}`
  )
  if (!isCopied) return false
  switch (part._tag) {
    case "PlaceHold": {
      const expiresAt = part.expiresIn === undefined ? part.expiresAt : row.recordedAt + part.expiresIn
      return first.amount === `${part.amount}` && first.expiresAt === expiresAt && first.to === part.to
    }
    case "AdjustHold":
      return first.amount === `${part.amount}`
    case "ReleaseHold":
      return first.amount === `${part.amount ?? before.holds.get(part.hold)?.remaining}`
    case "PostJournal": {
      const [sold, , , bought] = part.legs
      return (part.fx ?? []).every(({ rate }) => worth(sold?.amount ?? 0n, rate) === bought?.amount)
    }
    case "FreezeAccount":
    case "UnfreezeAccount":
      return first.side === (part.side ?? "both")
    default:
      return true
  }
}

const partsOf = (input: WorldCommand): ReadonlyArray<Part> =>
  input._tag === "Group" ? input.commands : [input]

type Landed = History["outside"]["landed"]

const netOfAccounts = (rows: Landed): ReadonlyMap<string, bigint> =>
  new Map([...netOf(rows)].filter(([place]) => !place.startsWith("external:")))

/** Whether the events of a command are those that the input asks for, all of them and no other. */
const fits = (input: WorldCommand, rows: Landed, states: States): boolean => {
  if (input._tag === "Reverse") return true
  let next = 0
  for (const part of partsOf(input)) {
    const first = rows[next]
    if (first === undefined) return false
    const { row } = first
    const before = states.get(row.accountId)?.[row.version - 1] ?? absent
    const body = payloadOf(row)
    const types = typesOf(part, body)
    const own = rows.slice(next, next + types.length)
    next += types.length
    if (own.length < types.length || own.some((one, index) => one.row.type !== types[index])) return false
    if (!equal(movesOf(part, before), netOfAccounts(own)) || !saysSo(part, row, body, before)) return false
  }
  return next === rows.length
}

/** An event that the account's state before it forbids. */
const lawFault = (before: State, row: StoredEvent, body: Body): string | undefined => {
  const units = changeOf(row, body)
  const frozen = (side: string) => before.frozen === "both" || before.frozen === side
  const takes = units < 0n || row.type === "HoldPlaced" || row.type === "HoldAdjusted"
  if (row.type === "HoldExpired") return undefined
  if (before.status === "closed") return "the account was closed"
  if (takes && frozen("debits")) return "the account was frozen for debits"
  if (units > 0n && frozen("credits")) return "the account was frozen for credits"
  if (row.type !== "AccountClosed") return undefined
  const isHolding = [...before.holds.values()].some(({ expiresAt }) => expiresAt > row.recordedAt)
  return isHolding || before.balance !== 0n ? "the account was not empty" : undefined
}

/** Nothing of a hold is lost or made: what was captured, released and has expired is what it was to keep back. */
const holdFaults = (account: string, states: ReadonlyArray<State>): ReadonlyArray<string> => {
  const last = states.at(-1) ?? absent
  const faults: Array<string> = []
  for (const [id, hold] of [...last.holds, ...last.ended]) {
    const { captured, released, remaining, total } = hold
    const rest = "how" in hold && hold.how !== "expired" ? 0n : remaining
    if (captured + released + rest !== total || remaining < 0n)
      faults.push(
        `holds: ${id} of ${account}: ${captured} captured, ${released} released, ${rest} of ${total}`
      )
  }
  return faults
}

/** A notice is true, and comes once: that much of the hold was left when it expired. */
const noticeFaults = (landed: Landed, states: States): ReadonlyArray<string> => {
  const noticed = new Set<string>()
  return landed.flatMap(({ row }) => {
    if (row.type !== "HoldExpired") return []
    const { amount, expiredAt, hold = "" } = payloadOf(row)
    const ended = states.get(row.accountId)?.[row.version]?.ended.get(hold)
    const key = `${row.accountId} ${hold}`
    const isFirst = !noticed.has(key)
    noticed.add(key)
    const isTrue = ended?.how === "expired" && ended.at === expiredAt && `${ended.remaining}` === amount
    return isTrue && isFirst ? [] : [`holds: ${row.accountId}@${row.version} is an untrue notice of ${hold}`]
  })
}

type Asked = ReadonlyMap<string, ReadonlyArray<WorldCommand>>

/** What an account that got money lacks is paid by the account that the reversal names for it, which may have a share of its own. */
const isMovedRight = (
  { got, gave, moved }: { readonly got: bigint; readonly gave: bigint; readonly moved: bigint },
  paidForOthers: bigint
): boolean =>
  got < 0n ? moved <= gave && moved >= gave - paidForOthers : moved <= 0n && -moved <= gave + paidForOthers

/** No leg of a command gives back more than it got, over all of its reversals; and one is there for each before the last. */
const reversalFaults = (log: Log, asked: Asked): ReadonlyArray<string> => {
  const faults: Array<string> = []
  for (const [id, rows] of log) {
    const [, number, original = ""] = /^~r(\d+)~(.*)$/.exec(id) ?? []
    if (number === undefined) continue
    const n = Number(number)
    if (n > 1 && !log.has(`~r${n - 1}~${original}`))
      faults.push(`reversal ${id} is there without the one before it`)
    const own = netOf(rows)
    const shares = [...netOf(log.get(original) ?? [])].map(([place, got]) => ({
      place,
      got,
      gave: gaveOf(log, original, n, place),
      moved: own.get(place) ?? 0n
    }))
    const payers = new Set(
      (asked.get(id) ?? []).map((input) => (input._tag === "Reverse" ? input.shortfall : undefined))
    )
    for (const share of shares) {
      const { got, gave, moved, place } = share
      let given = 0n
      for (let nth = 1; nth <= n; nth++) given += gaveOf(log, original, nth, place)
      const size = got < 0n ? -got : got
      if (given > size) faults.push(`reversals of ${original} give back ${given} of ${size} on ${place}`)
      const lacking = shares
        .filter((other) => other.place !== place && other.got > 0n)
        .reduce((sum, other) => sum + other.gave + other.moved, 0n)
      if (!isMovedRight(share, payers.has(place) ? lacking : 0n))
        faults.push(`reversal ${id} moves ${moved} on ${place}, and says ${gave}`)
    }
  }
  return faults
}

/** The balances that receipts tell are those of the log, at their versions. */
const receiptFaults = ({ answer }: Sending, states: States): ReadonlyArray<string> => {
  if (answer === undefined || !isReceipt(answer)) return []
  return answer.postings.flatMap(({ account, available, balance, held, version }) => {
    const state = states.get(account)?.[version]
    if (state === undefined) return []
    const open = [...state.holds.values()].reduce((sum, { remaining }) => sum + remaining, 0n)
    const isLocked = state.status === "closed" || state.frozen === "debits" || state.frozen === "both"
    const free = isLocked ? 0n : state.balance + state.limit - open
    return balance === state.balance && held === open && available === free
      ? []
      : [
          `the receipt of ${answer.commandId} binds ${balance}, ${held} held, ${available} available on ${account}@${version}`
        ]
  })
}

/** Every breach in what landed. */
export const faultsOfLanded = (history: History, states: States, log: Log): ReadonlyArray<string> => {
  const faults: Array<string> = []
  for (const { row } of history.outside.landed) {
    const before = states.get(row.accountId)?.[row.version - 1] ?? absent
    const fault = lawFault(before, row, payloadOf(row))
    if (fault !== undefined)
      faults.push(`law: ${row.accountId}@${row.version} is ${row.type}, though ${fault}`)
  }
  const asked = new Map<string, Array<WorldCommand>>()
  for (const { input } of history.sendings) {
    const inputs = asked.get(input.commandId) ?? []
    inputs.push(input)
    asked.set(input.commandId, inputs)
  }
  for (const [id, rows] of log) {
    const inputs = asked.get(id)
    if (inputs !== undefined && !inputs.some((input) => fits(input, rows, states)))
      faults.push(
        `effect: ${id} did ${rows.map(({ row }) => row.type).join(", ")}, which is not what it asks for`
      )
  }
  return [
    ...faults,
    ...[...states].flatMap(([account, all]) => holdFaults(account, all)),
    ...noticeFaults(history.outside.landed, states),
    ...reversalFaults(log, asked),
    ...history.sendings.flatMap((sending) => receiptFaults(sending, states))
  ]
}
