/** Waits for a condition and goes on as soon as it holds, so that no test sleeps for a guessed time. */
import { Effect, Schedule } from "effect"

/** Looks every 20 ms; dies after so many seconds. */
export const eventually = <R>(what: string, seconds: number, condition: Effect.Effect<boolean, never, R>) =>
  condition.pipe(
    Effect.repeat({ schedule: Schedule.spaced(20), until: (holds) => holds }),
    Effect.timeoutOrElse({
      duration: seconds * 1_000,
      orElse: () => Effect.die(new Error(`waited ${seconds} s in vain until ${what}`))
    }),
    Effect.asVoid
  )

/** The same for what is looked at without an effect, for up to two minutes and a half: a machine may have much else to do. */
export const until = (what: string, condition: () => boolean) => eventually(what, 150, Effect.sync(condition))
