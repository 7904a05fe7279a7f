/** The targets of the read side: a measured figure, the wanted one, and whether it is met. */
import { Clock, Console, Effect } from "effect"

export interface Target {
  readonly target: string
  readonly measured: string
  readonly wanted: string
  readonly isMet: boolean
}

export const target = (what: string, measured: string, wanted: string, isMet: boolean): Target => ({
  target: what,
  measured,
  wanted,
  isMet
})

export const printTargets = (targets: ReadonlyArray<Target>) =>
  Console.table(targets.map(({ isMet, ...rest }) => ({ ...rest, met: isMet ? "yes" : "NO" })))

/** Prints a figure that has no target. */
export const say = (text: string) => Console.error(`  ${text}`)

export const whole = (value: number) => Math.round(value).toLocaleString("en")

export const timed = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const start = yield* Clock.monotonicTimeNanos
    const value = yield* self
    return { value, ms: Number((yield* Clock.monotonicTimeNanos) - start) / 1e6 }
  })
