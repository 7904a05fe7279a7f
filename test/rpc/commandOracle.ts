/** Random commands of the kinds that came with holds, reversals and groups, and what is right of them, written by hand. */
import type { Rng } from "../support/Rng.ts"

type Is = (value: unknown) => boolean

interface Field {
  readonly is: Is
  /** What is right of it in JSON as well. */
  readonly isInJson?: Is
  readonly isRequired?: true
  /** Right ones and wrong ones. No amount is a text, because that is right in JSON alone. */
  readonly values: readonly [unknown, ...ReadonlyArray<unknown>]
}

type Fields = Record<string, unknown>

const isText = (least: number, most: number) => (value: unknown) =>
  typeof value === "string" && value.length >= least && value.length <= most
const isOneOf =
  (...values: ReadonlyArray<string>) =>
  (value: unknown) =>
    typeof value === "string" && values.includes(value)
const isWhole = (least: number, most: number) => (value: unknown) =>
  typeof value === "number" && Number.isInteger(value) && value >= least && value <= most
const isBetween = (least: bigint, most: bigint) => (value: unknown) =>
  typeof value === "bigint" && value >= least && value <= most
const isAccount: Is = (value) =>
  typeof value === "string" && /^[\w:-]{1,64}$/.test(value) && !value.startsWith("external:")
const isContra: Is = (value) => typeof value === "string" && /^external:[\w:-]{1,55}$/.test(value)
const isPlace: Is = (value) => isAccount(value) || isContra(value)
const isCommandId: Is = (value) => typeof value === "string" && /^[\w:./@=+-]{1,128}$/.test(value)
const isAsset: Is = (value) => typeof value === "string" && /^[A-Z][A-Z0-9]*\/(\d|1[0-8])$/.test(value)
const isObject = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value)
const isMetadata: Is = (value) =>
  isObject(value) &&
  Object.entries(value).length <= 16 &&
  Object.entries(value).every(([key, text]) => isText(1, 64)(key) && isText(0, 256)(text))
const hasOnly = (value: Fields, ...keys: ReadonlyArray<string>) =>
  Object.keys(value).every((key) => keys.includes(key))
const isListOf = (least: number, most: number, is: Is) => (value: unknown) =>
  Array.isArray(value) && value.length >= least && value.length <= most && value.every(is)

const amountMax = 10n ** 36n - 1n
const instantMax = 253_402_300_799_999
const wrong = [null, 7, "", {}, [], true] as const

const isLeg: Is = (value) =>
  isObject(value) &&
  hasOnly(value, "account", "side", "amount", "asset") &&
  isPlace(value.account) &&
  isOneOf("debit", "credit")(value.side) &&
  isBetween(1n, amountMax)(value.amount) &&
  (!("asset" in value) || isAsset(value.asset))
const isExchange: Is = (value) =>
  isObject(value) &&
  hasOnly(value, "base", "quote", "rate", "rounding") &&
  isAsset(value.base) &&
  isAsset(value.quote) &&
  typeof value.rate === "string" &&
  /^[1-9]\d{0,29}\/[1-9]\d{0,29}$/.test(value.rate) &&
  isOneOf("half-even", "half-up", "half-down", "up", "down")(value.rounding)
const isShare: Is = (value) =>
  isObject(value) &&
  hasOnly(value, "account", "amount", "asset") &&
  isPlace(value.account) &&
  isBetween(1n, amountMax)(value.amount) &&
  (!("asset" in value) || isAsset(value.asset))

const account: Field = {
  is: isAccount,
  isRequired: true,
  values: ["a", "shop:a", "a-b_c", "external:bank", "a b", "x".repeat(65), ...wrong]
}
const amount: Field = {
  is: isBetween(1n, amountMax),
  values: [5n, 1n, amountMax, amountMax + 1n, 0n, -1n, 5, null, {}, true]
}
const needed = { ...amount, isRequired: true } as const
const place: Field = { is: isPlace, values: ["b", "external:visa", "external:", "b c", ...wrong] }
const instant: Field = {
  is: isWhole(0, instantMax),
  isInJson: isOneOf("2026-01-01"),
  values: [0, 1, instantMax, instantMax + 1, -1, 0.5, "2026-01-01", "2026-02-30", null, {}]
}
const description: Field = { is: isText(1, 256), values: ["x", "x".repeat(257), ...wrong] }
const metadata: Field = {
  is: isMetadata,
  values: [{}, { a: "b" }, { a: 1 }, { "": "b" }, null, "x", Object.fromEntries(nth(17))]
}
const hold: Field = {
  is: isCommandId,
  isRequired: true,
  values: ["h", "a/b@c=d+e", "x".repeat(128), "x".repeat(129), "h~", "h h", null, 7, {}]
}
const side: Field = {
  is: isOneOf("debits", "credits", "both"),
  values: ["debits", "both", "debit", ...wrong]
}
const asset: Field = { is: isAsset, values: ["USD/2", "ETH/18", "USD", "usd/2", "USD/19", ...wrong] }
const legs = {
  is: isListOf(1, 100, isShare),
  values: [
    [{ account: "b", amount: 1n }],
    [{ account: "b", amount: 1n, asset: "USD/2" }],
    [{ account: "b", amount: 1n, asset: "usd" }],
    [],
    [{}],
    null,
    "b"
  ]
} as const
const named = { account: "b", side: "credit", amount: 1n }

function nth(count: number): ReadonlyArray<[string, string]> {
  return Array.from({ length: count }, (_, index) => [`k${index}`, "v"])
}

const isJournal: Is = (value) =>
  isListOf(2, 100, isLeg)(value) && (value as ReadonlyArray<Fields>).some((leg) => isAccount(leg.account)) // a list, as the line says

const kinds: { readonly [kind: string]: { readonly [field: string]: Field } } = {
  PlaceHold: {
    account,
    amount: needed,
    asset,
    expiresAt: instant,
    expiresIn: { is: isWhole(1, instantMax), values: [1, 60_000, 0, -1, 0.5, "1", null] },
    to: place,
    description,
    metadata
  },
  CaptureHold: {
    account,
    hold,
    amount,
    asset,
    final: { is: (value) => typeof value === "boolean", values: [true, false, 1, "yes", null] },
    to: place,
    excess: {
      is: isOneOf("refuse", "fromAvailable"),
      values: ["refuse", "fromAvailable", "fromavailable", ...wrong]
    },
    description
  },
  AdjustHold: { account, hold, amount, asset, expiresAt: instant, description },
  ReleaseHold: { account, hold, amount, asset, description },
  Reverse: {
    original: hold,
    n: { is: isWhole(1, 999), values: [1, 999, 0, 1_000, 1.5, "1", null] },
    amount,
    asset,
    legs,
    reason: { is: isText(1, 256), isRequired: true, values: ["refund", "x".repeat(257), ...wrong] },
    shortfall: { is: isAccount, values: ["a", "external:bank", ...wrong] },
    description,
    metadata
  },
  UpdateAccount: {
    account,
    owner: { is: isText(1, 128), values: ["Ada", "x".repeat(129), ...wrong] },
    overdraftLimit: { is: isBetween(0n, 10n ** 38n - 1n), values: [0n, 5n, -1n, 10n ** 38n, 5, null] },
    asset,
    metadata,
    description
  },
  FreezeAccount: { account, side, reason: description, description, metadata },
  UnfreezeAccount: { account, side, reason: description, description, metadata },
  CloseAccount: { account, reason: description, description, metadata },
  PostJournal: {
    legs: {
      is: isJournal,
      isRequired: true,
      values: [
        [{ account: "a", side: "debit", amount: 1n }, named],
        [{ account: "external:fx", side: "debit", amount: 1n, asset: "EUR/2" }, named],
        [
          { account: "external:fx", side: "debit", amount: 1n },
          { ...named, account: "external:fees" }
        ],
        [named],
        [named, { ...named, asset: "usd" }],
        [named, { ...named, side: "credits" }],
        [named, { ...named, amount: 0n }],
        null,
        []
      ]
    },
    fx: {
      is: isListOf(1, 10, isExchange),
      values: [
        [{ base: "USD/2", quote: "EUR/2", rate: "9/10", rounding: "half-even" }],
        [{ base: "USD/2", quote: "EUR/2", rate: "0/10", rounding: "half-even" }],
        [{ base: "USD/2", quote: "EUR/2", rate: "0.9", rounding: "half-even" }],
        [{ base: "USD/2", quote: "EUR/2", rate: "9/10", rounding: "half" }],
        [{ base: "USD", quote: "EUR/2", rate: "9/10", rounding: "up" }],
        [],
        null
      ]
    },
    description,
    metadata
  }
}
const common: { readonly [field: string]: Field } = {
  commandId: hold,
  effectiveAt: instant,
  expectedVersion: { is: isWhole(0, Number.MAX_SAFE_INTEGER), values: [0, 1, -1, 0.5, "1", null] },
  context: { is: isObject, values: [{}, null, 7, "x", []] }
}
const [kind = "PlaceHold", ...otherKinds] = Object.keys(kinds)

/** How it is sent: as values of a host, or as JSON. */
type Form = "host" | "json"

interface Drawn {
  readonly command: Fields
  readonly isRight: boolean
}

/** Most fields are right ones, so that the whole often is. */
const drawFields = (
  rng: Rng,
  form: Form,
  tag: string,
  fields: { readonly [field: string]: Field }
): Drawn => {
  const command: Fields = { _tag: tag }
  let isRight = true
  for (const [name, { is, isInJson, isRequired, values }] of Object.entries(fields)) {
    if (isRequired === undefined && rng.chance(0.6)) continue
    if (isRequired && rng.chance(0.03)) {
      isRight = false
      continue
    }
    const value = rng.chance(0.75) ? values[0] : rng.pick(values)
    command[name] = value
    isRight &&= is(value) || (form === "json" && isInJson?.(value) === true)
  }
  if (rng.chance(0.03)) {
    command[rng.pick(["misspelt", "ammount", "holds", "sides"])] = 1
    isRight = false
  }
  return { command, isRight }
}

const drawMember = (rng: Rng, form: Form): Drawn => {
  const tag = rng.pick([kind, ...otherKinds])
  const { command, isRight } = drawFields(rng, form, tag, kinds[tag] ?? {})
  if (rng.chance(0.03)) return { command: { ...command, commandId: "own" }, isRight: false }
  return { command, isRight: isRight && tag !== "CaptureHold" && tag !== "Reverse" }
}

const drawGroup = (rng: Rng, form: Form): Drawn => {
  const count = rng.pick([1, 1, 2, 3, 0, 101] as const)
  const members = Array.from({ length: count }, () => drawMember(rng, form))
  return {
    command: { _tag: "Group", commands: members.map(({ command }) => command) },
    isRight: count > 0 && count <= 100 && members.every(({ isRight }) => isRight)
  }
}

/** The options of a group, and of a command. */
export const drawCommand = (rng: Rng, form: Form): Drawn => {
  const options = drawFields(
    rng,
    form,
    "",
    Object.fromEntries(Object.entries(common).map(([name, field]) => [name, optional(field)]))
  )
  const { _tag: _, ...own } = options.command
  const tag = rng.pick([kind, ...otherKinds])
  const { command, isRight } = rng.chance(0.25)
    ? drawGroup(rng, form)
    : drawFields(rng, form, tag, kinds[tag] ?? {})
  return { command: { ...own, ...command }, isRight: isRight && options.isRight }
}

const optional = ({ isRequired: _, ...field }: Field): Field => field
