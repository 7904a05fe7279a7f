/** Independent readings of amounts and instants, which the readers of the domain are compared with. */
import { instantMax } from "../../src/domain/Ids.ts"

/** Minor units by the rule, told another way: digits around one point, as a fraction of whole numbers. */
export const unitsOf = (text: string, scale: number): bigint | undefined => {
  const bare = text.replace(/^[ \t\u00a0]*/, "").replace(/[ \t\u00a0]*$/, "")
  const sign = bare.startsWith("-") ? -1n : 1n
  const unsigned = /^[+-]/.test(bare) ? bare.slice(1) : bare
  const parts = unsigned.split(".")
  if (parts.length > 2 || !/^[0-9]+$/.test(parts.join(""))) return undefined
  const decimals = (parts[1] ?? "").length
  const numerator = BigInt(parts.join("")) * 10n ** BigInt(scale)
  const denominator = 10n ** BigInt(decimals)
  if (numerator % denominator !== 0n) return undefined
  const units = numerator / denominator
  return units > 10n ** 38n - 1n ? undefined : sign * units
}

const daysIn = (year: number, month: number): number =>
  month === 2
    ? year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
      ? 29
      : 28
    : [4, 6, 9, 11].includes(month)
      ? 30
      : 31

/** Epoch milliseconds by the rule, told another way: days counted year by year, without the calendar of JavaScript. */
export const instantOf = (text: string): number | undefined => {
  const bounded = (value: number) => (value >= 0 && value <= instantMax ? value : undefined)
  if (/^[0-9]{12,15}$/.test(text)) return bounded(Number(text))
  const [date = "", time, ...rest] = text.toUpperCase().split("T")
  if (rest.length > 0 || !/^[0-9]{4}-[0-9]{2}-[0-9]{2}$/.test(date)) return undefined
  const [year = 0, month = 0, day = 0] = date.split("-").map(Number)
  if (month < 1 || month > 12 || day < 1 || day > daysIn(year, month)) return undefined
  let days = day - 1
  for (let before = 1; before < month; before++) days += daysIn(year, before)
  for (let before = 1970; before < year; before++) days += daysIn(before, 2) + 337
  for (let after = year; after < 1970; after++) days -= daysIn(after, 2) + 337
  if (time === undefined) return bounded(days * 86_400_000)
  const zone = /(?:Z|[+-][0-9]{2}:[0-9]{2})$/.exec(time)?.[0]
  if (zone === undefined) return undefined
  const clock = time.slice(0, -zone.length)
  if (!/^[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,40})?)?$/.test(clock)) return undefined
  const [hours = 0, minutes = 0, seconds = "0"] = [
    Number(clock.slice(0, 2)),
    Number(clock.slice(3, 5)),
    clock.slice(6) || "0"
  ]
  const millis = unitsOf(seconds, 3)
  if (hours > 23 || minutes > 59 || millis === undefined || millis >= 60_000n) return undefined
  let offset = 0
  if (zone !== "Z") {
    const [ahead, past] = [Number(zone.slice(1, 3)), Number(zone.slice(4))]
    if (ahead > 23 || past > 59) return undefined
    offset = (zone.startsWith("-") ? -1 : 1) * (ahead * 60 + past)
  }
  return bounded(days * 86_400_000 + (hours * 60 + minutes - offset) * 60_000 + Number(millis))
}
