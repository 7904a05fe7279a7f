/** Measured figures enter with what was wanted of them; a table that says which bars are met leaves. */
import { Clock, Console, Effect } from "effect"

export interface Bar {
  readonly bar: string
  readonly measured: string
  readonly wanted: string
  readonly isMet: boolean
}

export const bar = (what: string, measured: string, wanted: string, isMet: boolean): Bar => ({
  bar: what,
  measured,
  wanted,
  isMet
})

export const showBars = (bars: ReadonlyArray<Bar>) =>
  Console.table(bars.map(({ isMet, ...rest }) => ({ ...rest, met: isMet ? "yes" : "NO" })))

/** A figure that no bar is set for, as it is found. */
export const say = (text: string) => Console.error(`  ${text}`)

export const whole = (value: number) => Math.round(value).toLocaleString("en")

export const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const start = yield* Clock.monotonicTimeNanos
    const value = yield* self
    return { value, ms: Number((yield* Clock.monotonicTimeNanos) - start) / 1e6 }
  })
