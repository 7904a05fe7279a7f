/** Waits for a condition and goes on as soon as it holds, so that no test sleeps for a guessed time. */
import { Effect, Schedule } from "effect"

/** When to give up, in seconds: no bound of what is tested, but a machine may have much else to do. */
const patienceSeconds = 150

/** Looks every 20 ms; dies after so many seconds. */
export const eventually = <R>(
  what: string,
  condition: Effect.Effect<boolean, never, R>,
  seconds = patienceSeconds
) =>
  condition.pipe(
    Effect.repeat({ schedule: Schedule.spaced(20), until: (holds) => holds }),
    Effect.timeoutOrElse({
      duration: seconds * 1_000,
      orElse: () => Effect.die(new Error(`waited ${seconds} s in vain until ${what}`))
    }),
    Effect.asVoid
  )

/** The same for what is looked at without an effect. */
export const until = (what: string, condition: () => boolean) => eventually(what, Effect.sync(condition))
