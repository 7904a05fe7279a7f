/** Numbers, amounts and instants as the console shows them: exact, grouped for the eye, the same whatever the browser's language. */
import { codeOf, formatDecimal } from "../domain/Amounts.ts"
import type { Asset } from "../domain/Money.ts"

/** Between the thousands: too narrow to be taken for a decimal mark, and no line breaks at it. */
const thin = "\u202f"

const grouped = (digits: string): string => digits.replaceAll(/\B(?=(\d{3})+$)/g, thin)

/** The minus sign, as wide as a digit where digits are tabular. */
const minus = "\u2212"

/** `decimal("-123456", "USD/2")` is `−1 234.56`, with a narrow space. */
export const decimal = (units: string | bigint, asset: string): string => {
  // A node checked it before it told it.
  const [whole = "", fraction] = formatDecimal(BigInt(units), asset as Asset).split(".")
  const sign = whole.startsWith("-") ? minus : ""
  const digits = grouped(whole.replace("-", ""))
  return `${sign}${digits}${fraction === undefined ? "" : `.${fraction}`}`
}

/** With a plus where it adds. */
export const signedDecimal = (units: string | bigint, asset: string): string =>
  BigInt(units) > 0n ? `+${decimal(units, asset)}` : decimal(units, asset)

export const code = (asset: string): string => codeOf(asset as Asset) // as above

export const count = (value: number): string =>
  Number.isInteger(value) ? grouped(String(value)) : value.toFixed(1)

/** `2026-03-02 09:15:00.250`, in UTC, without the milliseconds where there are none. */
export const instant = (ms: number): string =>
  new Date(ms).toISOString().replace("T", " ").replace("Z", "").replace(".000", "")

/** The same as an instant that the API and a URL take. */
export const isoInstant = (ms: number): string => new Date(ms).toISOString()

/** An instant of a URL, in the forms that the API takes, epoch milliseconds among them; NaN where the text is none. */
export const parsedInstant = (text: string): number =>
  /^\d{12,15}$/.test(text) ? Number(text) : Date.parse(text)

const units = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1_000]
] as const

/** About how long, in its largest unit and the next: `2 d 3 h`, `45 s`, `120 ms`. */
export const duration = (ms: number): string => {
  const [index, [unit, size]] = [...units.entries()].find(([, [, least]]) => ms >= least) ?? [-1, ["ms", 1]]
  const most = Math.floor(ms / size)
  const next = units[index + 1]
  const rest = next === undefined || unit === "ms" ? 0 : Math.floor((ms % size) / next[1])
  return rest === 0 || next === undefined
    ? `${Math.round(most)} ${unit}`
    : `${most} ${unit} ${rest} ${next[0]}`
}

/** `TransferSent` as `Transfer sent`. */
export const words = (tag: string): string =>
  tag.replaceAll(/[a-z][A-Z]/g, ([low = "", up = ""]) => `${low} ${up.toLowerCase()}`)

/** An id or a hash by its ends, where a table has no room for all of it. */
export const shortened = (id: string, most: number): string =>
  id.length <= most ? id : `${id.slice(0, Math.ceil(most / 2) - 1)}…${id.slice(-Math.floor(most / 2))}`
