/**
 * Instants as text. The one reader of them at every door, because a second and laxer one (JavaScript's own turns
 * `invoice 12` and `2026-02-30` into days, and reads a time without a zone in that of the machine) would answer another
 * question than the one that was asked.
 */
import { Result } from "effect"
import { type Instant, instantMax } from "./Ids.ts"

const dateTime =
  /^(\d{4})-(\d{2})-(\d{2})(?:[Tt](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,40}))?)?([Zz]|[+-]\d{2}:\d{2})?)?$/

/** 1973 to 9999. Fewer digits are a year, a day without its dashes, or seconds rather than milliseconds. */
const epochMillis = /^\d{12,15}$/

export const instantForms =
  "2026-03-02T09:15:00Z, the same with an offset (+01:00), 2026-03-02 (midnight UTC), or 12 to 15 digits of epoch milliseconds"

/**
 * Epoch milliseconds of RFC 3339 with a zone (seconds may be left out), of a date alone (that day's midnight UTC), or of
 * 12 to 15 digits of epoch milliseconds. Fails with what is wrong, in words that follow the text itself.
 */
export const parseInstant = (text: string): Result.Result<Instant, string> => {
  if (epochMillis.test(text)) return withinBounds(Number(text))
  const match = dateTime.exec(text)
  if (match === null) return Result.fail(`is no instant: write ${instantForms}`)
  const [, year, month, day, hour, minute = "0", second = "0", fraction = "", zone] = match
  const days = daysOf(Number(year), Number(month), Number(day))
  if (days === undefined) return Result.fail("is no day of the calendar")
  if (hour === undefined) return withinBounds(days * dayMs)
  if (zone === undefined) return Result.fail("has no time zone: add Z (UTC) or an offset such as +01:00")
  const offset = offsetOf(zone)
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59 || offset === undefined)
    return Result.fail("is no time of a day: hours go to 23, minutes and seconds to 59")
  if (/[1-9]/.test(fraction.slice(3))) return Result.fail("is finer than a millisecond")
  const time = (Number(hour) * 60 + Number(minute) - offset) * minuteMs + Number(second) * 1_000
  return withinBounds(days * dayMs + time + Number(fraction.slice(0, 3).padEnd(3, "0")))
}

const minuteMs = 60_000
const dayMs = 86_400_000

/** Days since 1970-01-01, or undefined where the calendar has no such day. */
const daysOf = (year: number, month: number, day: number): number | undefined => {
  const date = new Date(0)
  // Not `Date.UTC`, which takes the years 0 to 99 for 1900 to 1999.
  date.setUTCFullYear(year, month - 1, day)
  // A day that does not exist (30 February) has become one of another month.
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day ? date.getTime() / dayMs : undefined
}

/** Minutes ahead of UTC; undefined for an offset of 24 hours or more. */
const offsetOf = (zone: string): number | undefined => {
  if (zone === "Z" || zone === "z") return 0
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(4))]
  if (hours > 23 || minutes > 59) return undefined
  return (zone.startsWith("-") ? -1 : 1) * (hours * 60 + minutes)
}

const withinBounds = (instant: number): Result.Result<Instant, string> =>
  instant >= 0 && instant <= instantMax
    ? Result.succeed(instant)
    : Result.fail("is outside of the ledger's time, which goes from 1970 to 9999")

/** Why an interval from `from` (included) to `to` (excluded) cannot be meant: undefined where it can. */
export const intervalFault = (from: Instant | undefined, to: Instant | undefined): string | undefined =>
  from !== undefined && to !== undefined && from > to ? "must not be later than `to`" : undefined
